"""Recipe files, their parents and overrides become one checked recipe, and mistakes are told with their places."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bimba.errors import InputError
from bimba.training.recipe.reading import differences, read_recipe, recipe_as_yaml
from bimba.training.recipe.settings import Checkpoint, Parts, Recipe, Scratch

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
def test_the_smallest_recipe_has_defaults_for_everything_else() -> None:
    recipe = read_recipe(write("my.yaml", MINIMAL))
    assert recipe.model == Checkpoint(path="somewhere")
    assert recipe.data.sources[0].json_path == Path("a.json"), "paths stay relative to the current folder"
    assert (recipe.frames.count, recipe.schedule.epochs, recipe.save.result) == (64, 1.0, "merged")


@pytest.mark.usefixtures("folder")
def test_paths_are_not_changed_by_where_the_file_is() -> None:
    recipe = read_recipe(write("far/away/my.yaml", MINIMAL))
    assert (recipe.output, recipe.data.sources[0].json_path) == (Path("runs/first"), Path("a.json"))


@pytest.mark.usefixtures("folder")
def test_a_file_wins_over_a_shipped_recipe_of_its_name_and_a_folder_does_not() -> None:
    Path("cpu").mkdir()
    assert isinstance(read_recipe("cpu").model, Scratch)
    Path("cpu").rmdir()
    assert isinstance(read_recipe(write("cpu", MINIMAL)).model, Checkpoint)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("name", ["bimba_lava_qwen2_7b", "recipes/bimba_llava_qwen2.yaml"])
def test_a_recipe_that_is_not_there_suggests_the_nearest(name: str) -> None:
    with pytest.raises(InputError, match=r"neither a file nor a shipped recipe") as raised:
        read_recipe(name)
    assert raised.value.fix.startswith("did you mean bimba_llava_qwen2_7b?")


@pytest.mark.usefixtures("folder")
def test_a_recipe_that_is_like_none_lists_them() -> None:
    with pytest.raises(InputError) as raised:
        read_recipe("qqq")
    assert raised.value.fix.startswith("name a YAML file or one of ablation/")


@pytest.mark.usefixtures("folder")
class TestExtends:
    def test_mappings_merge_and_lists_and_single_values_replace(self) -> None:
        more = (
            "    - json_path: b.json\nschedule: {betas: [0.8, 0.9], seed: 3, warmup: 0.1}\ndistillation: {teacher: t}\n"
        )
        write("base.yaml", MINIMAL + more)
        child = "extends: base.yaml\ndata: {sources: [{mixture: m.yaml}]}\nschedule: {warmup: 0}\ndistillation: null\n"
        recipe = read_recipe(write("child.yaml", child))
        assert recipe.output == Path("runs/first")
        assert [source.mixture for source in recipe.data.sources] == [Path("m.yaml")]
        assert (recipe.schedule.seed, recipe.schedule.warmup, recipe.schedule.betas) == (3, 0, (0.8, 0.9))
        assert recipe.distillation is None

    def test_is_relative_to_the_file_and_goes_on(self) -> None:
        write("a/base.yaml", MINIMAL)
        write("a/b/middle.yaml", "extends: ../base.yaml\nframes: {count: 8}\n")
        recipe = read_recipe(write("a/top.yaml", "extends: b/middle.yaml\nframes: {sampling: fps}\n"))
        assert (recipe.frames.count, recipe.frames.sampling) == (8, "fps")

    def test_may_be_a_shipped_recipe(self) -> None:
        recipe = read_recipe(write("my.yaml", "extends: bimba_llava_qwen2_7b\nframes: {count: 128}\n"))
        assert (recipe.frames.count, recipe.train.lora.rank) == (128, 128)

    def test_another_start_replaces_the_model(self) -> None:
        write("base.yaml", MINIMAL)
        recipe = read_recipe(write("c.yaml", "extends: base.yaml\nmodel: {start: parts, vision: v, language: l}\n"))
        assert recipe.model == Parts(start="parts", vision="v", language="l")

    def test_the_start_that_was_meant_merges(self) -> None:
        write("base.yaml", MINIMAL)
        recipe = read_recipe(write("c.yaml", "extends: base.yaml\nmodel: {start: checkpoint, base: b}\n"))
        assert recipe.model == Checkpoint(path="somewhere", base="b")

    def test_another_type_replaces_the_compressor(self) -> None:
        write("base.yaml", MINIMAL.replace("data:", "  compressor: {num_layers: 2}\ndata:"))
        recipe = read_recipe(write("c.yaml", "extends: base.yaml\nmodel: {compressor: {type: pooling}}\n"))
        assert isinstance(recipe.model, Checkpoint)
        assert recipe.model.compressor == {"type": "pooling"}

    def test_a_circle_is_refused(self) -> None:
        write("a.yaml", "extends: b.yaml\n")
        write("b.yaml", "extends: ./a.yaml\n")
        with pytest.raises(InputError, match=r"in a circle: a\.yaml -> b\.yaml -> a\.yaml"):
            read_recipe("a.yaml")

    def test_a_parent_that_is_not_there_is_told_with_its_line(self) -> None:
        with pytest.raises(InputError, match=r"my\.yaml:2 extends cpv: neither") as raised:
            read_recipe(write("my.yaml", "output: x\nextends: cpv\n"))
        assert "did you mean cpu?" in raised.value.fix

    @pytest.mark.parametrize("value", ["[a, b]", "", "3", '""'])
    def test_it_names_one_file(self, value: str) -> None:
        with pytest.raises(InputError, match=r"my\.yaml:1: extends is"):
            read_recipe(write("my.yaml", f"extends: {value}\n"))


@pytest.mark.usefixtures("folder")
class TestOverrides:
    def test_values_are_read_as_yaml(self) -> None:
        overrides = [
            "schedule.max_steps=10",
            "schedule.learning_rate=1e-6",
            "train.lora.targets=[q_proj,v_proj]",
            "train.vision_tower={mode: lora, learning_rate: 2E-6}",
            "compute.compile=true",
            "data.max_tokens=null",
            "output=2026-01-31",
            "data.sources.0.json_path=x=y.json",
        ]
        recipe = read_recipe(write("my.yaml", MINIMAL), overrides)
        assert (recipe.schedule.max_steps, recipe.schedule.learning_rate) == (10, 1e-6)
        assert recipe.train.lora.targets == ("q_proj", "v_proj")
        assert (recipe.train.vision_tower.mode, recipe.train.vision_tower.learning_rate) == ("lora", 2e-6)
        assert recipe.compute.compile
        assert recipe.data.max_tokens is None
        assert recipe.output == Path("2026-01-31")
        assert recipe.data.sources[0].json_path == Path("x=y.json")

    def test_later_ones_win_and_mappings_merge(self) -> None:
        overrides = ["frames={count: 1, sampling: fps}", "frames.count=2", "frames={count: 3}"]
        frames = read_recipe(write("my.yaml", MINIMAL), overrides).frames
        assert (frames.count, frames.sampling) == (3, "fps")

    def test_a_section_that_is_not_there_is_made(self) -> None:
        recipe = read_recipe(write("my.yaml", MINIMAL), ["distillation.teacher=t"])
        assert recipe.distillation is not None
        assert recipe.distillation.teacher == "t"

    def test_numbers_in_settings_of_the_compressor_are_numbers(self) -> None:
        recipe = read_recipe(write("my.yaml", MINIMAL), ["model.compressor.norm_eps=1e-5"])
        assert isinstance(recipe.model, Checkpoint)
        assert recipe.model.compressor is not None
        assert recipe.model.compressor["norm_eps"] == 1e-5

    def test_another_start_replaces_the_model(self) -> None:
        overrides = ["model.start=parts", "model.vision=v", "model.language=l"]
        assert read_recipe(write("my.yaml", MINIMAL), overrides).model == Parts(start="parts", vision="v", language="l")

    def test_another_type_replaces_the_compressor(self) -> None:
        recipe = read_recipe("ablation/no_norm", ["model.compressor.type=pooling", "frames.count=1"])
        assert isinstance(recipe.model, Parts)
        assert recipe.model.compressor == {"type": "pooling"}

    def test_what_transformers_checks_may_be_set_at_any_depth(self) -> None:
        recipe = read_recipe("cpu", ["model.config.text_config.rope_parameters.rope_theta=5000"])
        assert isinstance(recipe.model, Scratch)
        assert recipe.model.config["text_config"]["rope_parameters"] == {"rope_theta": 5000}

    @pytest.mark.parametrize(
        ("override", "meant"),
        [
            ("schedule.max_step=1", "schedule.max_steps"),
            ("learning_rate=1", "schedule.learning_rate"),
            ("lora.rank=1", "train.lora.rank"),
            ("data.sources.1.json_path=x", "data.sources.0.json_path"),
            ("data.sources.0.jsonpath=x", "data.sources.0.json_path"),
            ("model.pth=x", "model.path"),
            ("model.compressor.query_positions=end", "model.compressor.query_position"),
            ("model.settings.temporal_poolin=2", "model.settings.temporal_pooling"),
        ],
    )
    def test_an_unknown_key_suggests_the_nearest_in_full(self, override: str, meant: str) -> None:
        problem = problem_of(MINIMAL, override)
        assert f"{override.partition('=')[0]} (command line) is unknown; did you mean {meant}?" in problem

    def test_an_unknown_key_that_is_like_none_lists_what_is_there(self) -> None:
        assert "known there: count, sampling, time_sentence, backend." in problem_of(MINIMAL, "frames.zzz=1")
        assert "known are output, model, train" in problem_of(MINIMAL, "zzz.yyy.xxx=1")

    @pytest.mark.parametrize("override", ["schedule.max_steps", "=3", ""])
    def test_without_key_or_value_it_is_refused(self, override: str) -> None:
        assert "is not KEY=VALUE" in problem_of(MINIMAL, override)

    def test_a_value_that_is_no_yaml_is_refused(self) -> None:
        assert "override 'log.to=[a':1 is not YAML" in problem_of(MINIMAL, "log.to=[a")

    def test_a_key_below_a_single_value_is_refused(self) -> None:
        assert "frames.count cannot be set: frames is 3" in problem_of(f"{MINIMAL}frames: 3\n", "frames.count=1")


@pytest.mark.usefixtures("folder")
class TestYaml:
    def test_anchors_and_merges_work_and_are_not_shared_afterwards(self) -> None:
        text = f"{MINIMAL}train:\n  vision_tower: &part {{mode: lora}}\n  projector: *part\n"
        recipe = read_recipe(write("my.yaml", text + "  compressor: {<<: *part, learning_rate: 1}\n"), [
            "train.projector.mode=full"
        ])  # fmt: skip
        assert (recipe.train.vision_tower.mode, recipe.train.part("projector").mode) == ("lora", "full")
        assert (recipe.train.part("compressor").mode, recipe.train.part("compressor").learning_rate) == ("lora", 1)

    def test_two_merges_in_a_mapping_are_one_too_many(self) -> None:
        with pytest.raises(InputError, match="<< is there twice"):
            read_recipe(write("my.yaml", "a: &a {b: 1}\nc:\n  <<: *a\n  <<: *a\n"))


PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())
NESTED = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
RATES = st.none() | st.floats(min_value=1e-12, max_value=10)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    part = st.fixed_dictionaries({"mode": st.sampled_from(["full", "lora"]), "learning_rate": RATES})
    models = st.one_of(
        st.builds(lambda path: {"start": "checkpoint", "path": path}, st.text(min_size=1)),
        st.builds(lambda path: {"start": "parts", "vision": path, "language": "1e-6"}, st.text(min_size=1)),
        st.builds(lambda config: {"start": "scratch", "config": {"text_config": config}}, NESTED),
    )
    paths = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
    values: dict[str, Any] = {
        "output": draw(paths),
        "model": draw(models),
        "train": {"projector": draw(part), "lora": {"targets": draw(st.just("all-linear") | st.lists(st.text()))}},
        "data": {
            "sources": draw(
                st.lists(
                    st.one_of(
                        st.builds(lambda path: {"json_path": path, "sampling_strategy": "random:5%"}, paths),
                        st.builds(lambda fps: {"needles": {"folder": "n", "options": {"fps": fps}}}, NESTED),
                    ),
                    min_size=1,
                    max_size=3,
                )
            )
        },
        "schedule": {"learning_rate": draw(st.floats(min_value=1e-12, max_value=10)), "scheduler": draw(st.text())},
        "distillation": draw(st.none() | st.just({"teacher": "null"})),
        "log": {"to": draw(st.sampled_from([[], ["wandb"], ["tensorboard", "wandb"]]))},
    }
    return Recipe.model_validate(values)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recipe=recipes())
@pytest.mark.usefixtures("folder")
def test_a_recipe_that_was_written_out_is_read_as_it_was(recipe: Recipe) -> None:
    assert read_recipe(write("again.yaml", recipe_as_yaml(recipe))) == recipe


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text("ab:-?&*!<>[]{}|#'\"%@01.e+=,~ \n\t\\", max_size=40))
@pytest.mark.usefixtures("folder")
def test_any_text_is_refused_in_words(text: str) -> None:
    with pytest.raises(InputError):
        read_recipe(write("any.yaml", text))


@pytest.mark.usefixtures("folder")
def test_every_default_is_written_out() -> None:
    recipe = read_recipe(write("my.yaml", MINIMAL))
    values = yaml.safe_load(recipe_as_yaml(recipe))
    assert list(values) == list(Recipe.model_fields)
    assert values["schedule"]["betas"] == [0.9, 0.999]
    assert values["model"]["start"] == "checkpoint"


def test_a_value_that_yaml_does_not_have_is_refused() -> None:
    recipe = Recipe.model_validate(
        {
            "output": "x",
            "model": {"start": "scratch", "config": {"text_config": object()}},
            "data": {"sources": [{"mixture": "m"}]},
        }
    )
    with pytest.raises(InputError, match="cannot be written to a recipe"):
        recipe_as_yaml(recipe)


@pytest.mark.usefixtures("folder")
class TestDifferences:
    def test_none_between_equal_recipes(self) -> None:
        assert differences(read_recipe("cpu"), read_recipe("cpu")) == []

    def test_each_key_is_named_with_both_values(self) -> None:
        name = write("my.yaml", MINIMAL)
        one = read_recipe(name, ["schedule.learning_rate=1e-6"])
        overrides = ["train.lora.targets=all-linear", "distillation.teacher=t", "data.sources.0.json_path=ä"]
        assert differences(one, read_recipe(name, overrides)) == [
            'train.lora.targets is ["q_proj", "v_proj"] there and "all-linear" here',
            'data.sources.0.json_path is "a.json" there and "ä" here',
            "schedule.learning_rate is 1e-06 there and 1e-05 here",
            "distillation is null there and absent here",
            'distillation.teacher is absent there and "t" here',
            "distillation.base is absent there and null here",
            "distillation.weight is absent there and 0.5 here",
            "distillation.temperature is absent there and 1.0 here",
            "distillation.top_k is absent there and null here",
        ]
