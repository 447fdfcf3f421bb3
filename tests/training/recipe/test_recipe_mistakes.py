"""Mistakes in recipes are told all at once, each with its place and what would be right."""

import sys
from pathlib import Path

import pytest

from bimba.errors import InputError
from bimba.training.recipe.reading import read_recipe

MINIMAL = """\
output: runs/first
model:
  path: somewhere
data:
  sources:
    - json_path: a.json
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return name


def problem_of(text: str, *overrides: str) -> str:
    with pytest.raises(InputError) as raised:
        read_recipe(write("my.yaml", text), overrides)
    return raised.value.problem


@pytest.mark.usefixtures("folder")
class TestMistakes:
    def test_all_are_told_at_once_with_file_line_and_what_is_allowed(self) -> None:
        write("base.yaml", f"{MINIMAL}schedule:\n  warmup: 2\n")
        child = "extends: base.yaml\nframs:\n  count: 3\ntrain:\n  lora: {rank: 0}\n  projector: {mod: full}\n"
        problem = problem_of(child + "compute:\n  precision: fp16\n", "log.every=0", "log.evry=1")
        assert problem.splitlines() == [
            "the recipe my.yaml does not hold:",
            "  - log.evry (command line) is unknown; did you mean log.every?",
            "  - train.projector.mod (my.yaml:6) is unknown; did you mean train.projector.mode?",
            "  - train.lora.rank (my.yaml:5) is 0: it should be greater than or equal to 1",
            "  - schedule.warmup (base.yaml:8) is 2: it should be less than 1",
            "  - compute.precision (my.yaml:8) is 'fp16': it should be 'bf16' or 'float32'",
            "  - log.every (command line) is 0: it should be greater than or equal to 1",
            "  - frams (my.yaml:2) is unknown; did you mean frames?",
        ]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("x: 1\n", "output is missing"),
            ("model: {vision: v}\n", "model.start is missing; it is checkpoint, parts or scratch"),
            ("model: {start: part}\n", "model.start (my.yaml:1) is 'part': it should be checkpoint, parts or scratch"),
            ("model: {start: parts, vison: v}\n", "model.vison (my.yaml:1) is unknown; did you mean model.vision?"),
            ("model: {start: parts, vision: v}\n", "model.language is missing"),
            ("model: 3\n", "model (my.yaml:1) is 3: it should be a mapping, key: value"),
            ("frames: 3\n", "frames (my.yaml:1) is 3: it should be a mapping, key: value"),
            ("data: {sources: 3}\n", "data.sources (my.yaml:1) is 3: it should be a list"),
            (
                "data: {sources: [{}]}\n",
                "data.sources.0 (my.yaml:1): a source has one of json_path, mixture, needles and stream",
            ),
            (
                "data: {sources: [{jsonpath: x}]}\n",
                "data.sources.0.jsonpath (my.yaml:1) is unknown; did you mean data.sources.0.json_path?",
            ),
            (
                "data: {sources: [{json_path: x, sampling_strategy: last:3}]}\n",
                "data.sources.0 (my.yaml:1): sampling_strategy is 'last:3'; it should be all, first:N, end:N or",
            ),
            (
                "data: {sources: [{needles: {folder: x, options: {vidoes: 3}}}]}\n",
                "did you mean data.sources.0.needles.options.videos?",
            ),
            (
                "model: {path: p, compressor: {expnd: 2}}\n",
                "model.compressor.expnd (my.yaml:1) is unknown; did you mean model.compressor.expand?",
            ),
            ("model: {path: p, compressor: {type: maximum}}\n", "compressor type 'maximum' is none of"),
            ("model: {path: p, compressor: 3}\n", "model.compressor (my.yaml:1) is 3: it should be a mapping"),
            ("model: {start: scratch, config: {text_confg: 1}}\n", "did you mean model.config.text_config?"),
            (
                "train: {lora: {targets: q_proj}}\n",
                "train.lora.targets (my.yaml:1) is 'q_proj': it should be a list, or it should be 'all-linear'",
            ),
            ("train: {projector: {mode: frozen}, compressor: {mode: frozen}}\n", "every part is frozen"),
            ("1: 2\n", "1 (my.yaml:1)"),
        ],
    )
    def test_one_is_told(self, text: str, expected: str) -> None:
        assert expected in problem_of(text)

    def test_the_same_unknown_key_is_told_once(self) -> None:
        problem = problem_of("output: x\nmodel: {path: p, compressor: {expnd: 2}}\ndata: {sources: [{mixture: m}]}\n")
        assert len(problem.splitlines()) == 2

    def test_settings_that_do_not_go_together_are_told_without_a_place(self) -> None:
        problem = problem_of(f"{MINIMAL}  cache: c\ntrain: {{vision_tower: {{mode: full}}}}\n")
        assert problem.splitlines()[1].startswith("  - data.cache keeps features of a frozen vision tower")

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", r"my\.yaml is empty"),
            ("- a\n", r"my\.yaml is a list, not a mapping"),
            ("just words\n", r"my\.yaml is a str, not a mapping"),
            ("output: [x\nmodel: 3\n", r"my\.yaml:2 is not YAML"),
            ("a: 1\nb: {c: 1,\n  c: 2}\n", r"my\.yaml:3: c is there twice, first in line 2"),
            ("output: !!python/object:os.path x\n", r"my\.yaml:1: the tag !!python/object:os\.path is not read here"),
            ("output: !!int x\n", r"my\.yaml:1: the tag !!int is not read here"),
            ("a: &a [*a]\n", r"my\.yaml:1: a\.0 holds itself"),
            ("? [a, b]\n: 1\n", r"my\.yaml:1: a key is a list or a mapping"),
            ("a: 1\n---\nb: 1\n", r"my\.yaml:2 is not YAML"),
            ("a: \x07\n", r"my\.yaml is not YAML"),
        ],
    )
    def test_a_file_that_is_no_recipe(self, text: str, expected: str) -> None:
        with pytest.raises(InputError, match=expected):
            read_recipe(write("my.yaml", text))

    def test_a_file_that_is_no_text(self) -> None:
        Path("my.yaml").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InputError, match=r"my\.yaml cannot be read"):
            read_recipe("my.yaml")

    def test_without_pyyaml_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "yaml", None)
        for name in list(sys.modules):
            if name.endswith("recipe.yaml_text"):
                monkeypatch.delitem(sys.modules, name)
        package = sys.modules["bimba.training.recipe"]
        monkeypatch.delattr(package, "yaml_text", raising=False)
        with pytest.raises(InputError) as raised:
            read_recipe(write("my.yaml", MINIMAL))
        assert raised.value.fix == 'pip install "bimba[train]"'
