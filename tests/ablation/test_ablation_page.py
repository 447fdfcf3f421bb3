"""`benchmarks.ablation_page`: an ablation's folder in, the figures, pictures and page of the documentation out."""

import json
from pathlib import Path

import pytest
from ablation_runs import SHARED, result
from benchmarks.ablation_page import COMMAND, KEPT, PAGE, PICTURES, drawn, generated, main, publish
from benchmarks.marked_page import marks, parts_of

from bimba.ablation.contents import contents_of
from bimba.errors import InputError

SEEDS = range(3)
CONTENDERS = ("selective_scan", "pooling")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    runs = [result(name, seed, 0.5 + seed / (10 + number)) for number, name in enumerate(CONTENDERS) for seed in SEEDS]
    for run in runs:
        run["provenance"]["system"] = "Linux 6.1-somebodys-kernel x86_64"
    made = tmp_path / "somebodys-folder"
    made.mkdir()
    (made / "results.json").write_text(json.dumps(contents_of(runs, SHARED)), encoding="utf-8")
    return made


@pytest.fixture
def page(tmp_path: Path) -> Path:
    begin, end = marks(COMMAND)
    made = tmp_path / "docs" / "ablation.md"
    made.parent.mkdir()
    made.write_text(f"# By hand\n\n{begin}\n{end}\n\nAlso by hand.\n", encoding="utf-8")
    return made


def test_the_page_in_the_repository_is_made_of_the_kept_figures(tmp_path: Path) -> None:
    """Nobody wrote into it by hand, and each picture that it shows is there."""
    content = json.loads(KEPT.read_text(encoding="utf-8"))
    places = drawn(content, tmp_path / PICTURES.relative_to(PAGE.parent), tmp_path / PAGE.name)
    assert parts_of(PAGE, COMMAND)[1] == generated(content, places)
    assert sorted(path.name for path in PICTURES.iterdir()) == sorted(places)


def test_a_folder_becomes_a_page(folder: Path, page: Path, tmp_path: Path) -> None:
    kept, pictures = tmp_path / "ablation.json", page.parent / "pictures" / "ablation"
    pictures.mkdir(parents=True)
    (pictures / "compression_all_kinds.png").write_bytes(b"of an earlier ablation")
    publish(folder, kept, page, pictures)
    before, text, after = parts_of(page, COMMAND)
    assert (before, after) == ("# By hand\n\n", "\n\nAlso by hand.\n")
    assert "### Order within one window" in text
    assert "| pooling | 32 | 10 | 3 | 0.591 (0.365 to 0.817) |" in text
    assert "(pictures/ablation/within_window.png)" in text
    assert [path.name for path in sorted(pictures.iterdir())] == ["all_kinds.png", "training.png", "within_window.png"]
    assert "pooling is not separated from the selective scan" in text
    told = text + kept.read_text(encoding="utf-8")
    assert "somebodys" not in told
    assert "Linux x86_64" in told


def test_what_is_no_ablation_changes_nothing(folder: Path, page: Path, tmp_path: Path) -> None:
    kept, pictures = tmp_path / "ablation.json", page.parent / "pictures"
    with pytest.raises(InputError, match="no finished run"):
        publish(tmp_path, kept, page, pictures)
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(InputError, match="no marks"):
        publish(folder, kept, page, pictures)
    (folder / "results.json").write_text("{}", encoding="utf-8")
    page.write_text("".join(marks(COMMAND)), encoding="utf-8")
    with pytest.raises(InputError, match="made with"):
        publish(folder, kept, page, pictures)
    assert not kept.exists()
    assert not pictures.exists()
    assert page.read_text(encoding="utf-8") == "".join(marks(COMMAND))


def test_a_wrong_folder_is_an_error_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} holds no finished run")
