"""`python -m benchmarks.ablation_page runs/ablation`: an ablation's folder in; its part of docs/ablation.md out.

What the page and its pictures are made of is kept in results/ablation.json; a test makes the page of it again.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.marked_page import parts_of, write_between
from bimba.ablation.drawn import draw_tables
from bimba.ablation.folder import RESULTS_NAME, read_json
from bimba.ablation.report import made_with_part, report_parts
from bimba.errors import BimbaError, InputError
from bimba.files import write_whole

COMMAND = "python -m benchmarks.ablation_page"
KEPT = Path(__file__).parent / "results" / "ablation.json"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "ablation.md"
PICTURES = PAGE.parent / "pictures" / "ablation"
_USER_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Write what the folder holds; returns the exit code."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("folder", type=Path, help="of bimba bench ablation")
    try:
        publish(parser.parse_args(arguments).folder)
    except BimbaError as error:
        print(f"error: {error}", file=sys.stderr)
        return _USER_ERROR
    print("written: benchmarks/results/ablation.json, docs/ablation.md and its pictures")
    return 0


def publish(folder: Path, kept: Path = KEPT, page: Path = PAGE, pictures: Path = PICTURES) -> None:
    """Write figures, pictures and page.

    Args:
        folder: of an ablation.
        kept: file of the figures.
        page: with the marks.
        pictures: their folder, beside or below the page.

    Raises:
        InputError: the folder has no finished run, its tables are of an older bimba, or the page has no marks.
    """
    if not (folder / RESULTS_NAME).is_file():
        raise InputError(
            f"{folder} holds no finished run of an ablation.", fix="name the --out of bimba bench ablation."
        )
    parts_of(page, COMMAND)  # without its marks nothing is drawn
    content = told(read_json(folder / RESULTS_NAME))
    write_between(page, COMMAND, generated(content, drawn(content, pictures, page)))
    write_whole(kept, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def told(content: Mapping[str, Any]) -> dict[str, Any]:
    """What is told to everybody: without the versions of kernels, and with code and machines said once.

    Raises:
        InputError: an older bimba wrote the tables.
    """
    if not isinstance(content.get("made_with", {}).get("bimba"), list):
        raise InputError(
            f"{RESULTS_NAME} does not tell what its runs were made with, as this bimba does.",
            fix="run bimba bench ablation with the same options again: it writes the tables of finished runs anew.",
        )
    made = content["made_with"]
    systems = sorted({f"{system.split()[0]} {system.split()[-1]}" for system in made["system"]})
    kept = {name: value for name, value in content.items() if name != "provenance"}
    return kept | {"made_with": made | {"system": systems}}


def drawn(content: Mapping[str, Any], pictures: Path, page: Path) -> dict[str, str]:
    """Draw the pictures, and remove those of an earlier ablation; where each lies, seen from the page."""
    pictures.mkdir(parents=True, exist_ok=True)
    names = draw_tables(content, pictures)
    for path in pictures.glob("*.png"):
        if path.name not in names:
            path.unlink()
    return {name: (pictures / name).relative_to(page.parent).as_posix() for name in names}


def generated(content: Mapping[str, Any], pictures: Mapping[str, str]) -> str:
    """The part of the page."""
    return "\n\n".join([*report_parts(content, pictures, level=3), "### Made with", made_with_part(content)])


if __name__ == "__main__":
    sys.exit(main())
