"""Train bimba-nano from nothing, measure it, and write its page; or ship what is trained and measured."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.nano.commands import INTERRUPTED, Stopped
from benchmarks.nano.figures import FIGURES, NanoFigures, read_figures, write_figures
from benchmarks.nano.measuring import LAST_STAGE, LENGTHS, SHIPPED, measure
from benchmarks.nano.page import COMMAND, write_page
from benchmarks.nano.pictures import draw_pictures
from benchmarks.nano.shipping import ship
from benchmarks.nano.training import train_stages
from bimba.errors import BimbaError
from bimba.training.loop.run_folder import RESULT_NAME

_USER_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; returns the exit code."""
    given = _parser().parse_args(arguments)
    try:
        if given.ship:
            print(f"shipped: {ship(given.runs / LAST_STAGE / RESULT_NAME, read_figures())}")
            return 0
        if not given.report:
            train_stages(given.runs)
            measure(given.runs, given.haystack)
            if given.compare is not None:
                measure(given.compare, None, only=tuple(one for one in LENGTHS if one.name == SHIPPED))
        report(given.runs, given.compare)
    except Stopped:
        print("stopped. Everything is in place; the same command goes on from here.", file=sys.stderr)
        return INTERRUPTED
    except BimbaError as error:
        print(f"error: {error}", file=sys.stderr)
        return _USER_ERROR
    return 0


def report(runs: Path, again: Path | None) -> None:
    """Write figures, pictures and page of what there is.

    Raises:
        InputError: there is no run, a recipe or results are damaged, or there is nothing to compare.
    """
    figures = NanoFigures.of(runs, again)
    if FIGURES.is_file():
        figures = figures.and_known_before(read_figures())
    write_figures(figures)
    draw_pictures(figures)
    write_page(figures)
    for words in figures.unfinished:
        print(words)
    print("written: benchmarks/results/nano.json, docs/nano.md and its pictures")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/nano"), help="folder of the stages (runs/nano)")
    parser.add_argument("--haystack", type=Path, help="measure in a folder of your own videos, too")
    parser.add_argument("--compare", type=Path, help="runs of a second training; tell the differences by kind")
    parser.add_argument("--report", action="store_true", help="only write the page, of whatever is there")
    parser.add_argument("--ship", action="store_true", help="only copy the measured model into the package")
    return parser


if __name__ == "__main__":
    sys.exit(main())
