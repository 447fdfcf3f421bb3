"""The documents keep their word: their code runs, their links lead somewhere, their versions are right."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import bimba
from bimba.inference import VideoQA
from bimba.models.bimba.tiny import tiny_model
from bimba.needles import make_needles
from documents import DOCUMENTS, README, ROOT, Block, MarkerError, blocks_in, blocks_of, links_of

BIMBA = Path(sys.executable).with_name("bimba")
WITH_CODE = [path for path in DOCUMENTS if any(block.language in ("python", "console") for block in blocks_of(path))]
DEVELOPERS_PATH = re.compile(r"(?<![\w.~$}-])/(?:home|root|work|Users)/[\w.]")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def short_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_needles(
        tmp_path_factory.mktemp("talk"), seed=3, seconds=3, size="160x120", fps=10, needles=2, needle_seconds=0.5
    )
    return run.folder / run.manifest.videos[0].file


@pytest.fixture
def readers_folder(tmp_path: Path, short_video: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a document's code runs: the reader's video is `talk.mp4`, and the clone's golden data is there."""
    shutil.copyfile(short_video, tmp_path / "talk.mp4")
    shutil.copytree(ROOT / "tests/data/golden/tiny_base", tmp_path / "tests/data/golden/tiny_base")
    shutil.copytree(ROOT / "tests/data/golden/tiny_lora", tmp_path / "tests/data/golden/tiny_lora")
    vamba = "tests/data/golden/vamba/config_a_default"
    shutil.copytree(ROOT / vamba, tmp_path / vamba)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", WITH_CODE, ids=name_of)
def test_code_runs(path: Path, readers_folder: Path) -> None:
    """Python blocks share their names and find a model as `qa`; `$ bimba` lines are run between them."""
    namespace: dict[str, Any] = {"__name__": "__main__", "qa": VideoQA(*tiny_model(seed=0))}
    for block in blocks_of(path):
        if block.reason is not None:
            continue
        if block.language == "python":
            run_python(block, namespace)
        elif block.language == "console":
            run_commands(block, readers_folder)


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.ipynb")), ids=name_of)
def test_notebook_runs_and_prints_what_it_shows(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its cells share their names; what they print is what the file shows, to the digits that every machine gives."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert cells
    for number, cell in enumerate(cells, start=1):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            exec(compile("".join(cell["source"]), f"{path.name} cell {number}", "exec"), namespace)
        stored = "".join(line for output in cell["outputs"] for line in output.get("text", []))
        assert rounded(capsys.readouterr().out) == rounded(stored)
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"])


def rounded(text: str) -> str:
    """A text whose decimal numbers have two digits."""
    return re.sub(r"\d+\.\d+", lambda match: f"{float(match[0]):.2f}", text)


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    # Empty lines in front make tracebacks name the document's own lines.
    code = compile("\n" * (block.line - 1) + block.code, str(block.path), "exec")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(code, namespace)


def run_commands(block: Block, folder: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "BIMBA_MODEL": ""}
    for command in block.commands():
        words = shlex.split(command)
        if words[0] != "bimba":
            continue
        done = subprocess.run(
            [BIMBA, *words[1:]], cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8"
        )
        assert done.returncode == 0, f"{name_of(block.path)}:{block.line}: {command}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_code_that_is_not_run_says_why(path: Path) -> None:
    for block in blocks_of(path):
        assert block.reason is None or len(block.reason.split()) > 1, f"{name_of(path)}:{block.line}"


@pytest.mark.parametrize("marker", ["<!-- not run -->", "<!-- not run: -->", "<!--not run:  -->"])
def test_a_marker_without_a_reason_is_refused(marker: str) -> None:
    with pytest.raises(MarkerError, match="REASON"):
        blocks_in(f"Text.\n\n{marker}\n```python\n1 / 0\n```\n", README)


def test_a_marker_without_a_block_is_refused() -> None:
    with pytest.raises(MarkerError, match="before no block"):
        blocks_in("<!-- not run: it is far away -->\n\nText.\n\n```python\n1 / 0\n```\n", README)


def test_a_marker_holds_for_the_next_block_only() -> None:
    text = "<!-- not run: needs a moon -->\n```python\n1 / 0\n```\n\n```console\n$ bimba --version\nbimba 1\n```\n"
    moon, version = blocks_in(text, README)
    assert (moon.reason, moon.line, moon.code) == ("needs a moon", 3, "1 / 0\n")
    assert (version.reason, version.language, version.commands()) == (None, "console", ["bimba --version"])


def test_code_runs_with_warnings_as_errors_and_at_the_documents_lines() -> None:
    [block] = blocks_in("Text.\n\n```python\nimport warnings\nwarnings.warn('no')\n```\n", README)
    with pytest.raises(UserWarning, match="no") as raised:
        run_python(block, {})
    assert (Path(raised.traceback[-1].path).name, raised.traceback[-1].lineno + 1) == ("README.md", 5)


def test_a_command_that_fails_is_told_with_its_output(tmp_path: Path) -> None:
    [block] = blocks_in("```console\n$ bimba nonsense\n```\n", README)
    with pytest.raises(AssertionError, match=r"README\.md:2: bimba nonsense"):
        run_commands(block, tmp_path)


def test_the_two_commands_for_a_fresh_machine_are_targets_of_the_makefile() -> None:
    text = README.read_text(encoding="utf-8")
    [between] = re.findall(r"<!-- ci: begin -->(.*?)<!-- ci: end -->", text, re.DOTALL)
    [block] = blocks_in(between, README)
    assert block.code.splitlines() == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in block.code.splitlines():
        target = command.removeprefix("make ")
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"the Makefile has no target {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_to_files_lead_to_files(path: Path) -> None:
    missing = [target for target in links_of(path) if not (path.parent / target).is_file()]
    assert not missing


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in DOCUMENTS if ROOT / "docs" in path.parents]
    assert [page for page in pages if page not in navigation] == []


def test_citation_and_changelog_name_the_version() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [bimba.__version__]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"\b{re.escape(bimba.__version__)}\b", changelog)


def test_no_tracked_file_names_a_path_of_a_developers_machine() -> None:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("git, or the repository's history, is not here to list the tracked files")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = []
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" in content:
            continue  # weights and pictures
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
            if DEVELOPERS_PATH.search(line):
                found.append(f"{name}:{number}")
    assert not found
