"""Figures in, the pictures of the page out: curves of training, a heat map of length and place, bars of each kind."""

from pathlib import Path

from benchmarks.nano.curves import draw_curves
from benchmarks.nano.figures import NanoFigures
from benchmarks.nano.measuring import LENGTHS, SHIPPED, Measured, Way
from bimba.evaluation.needles.drawn import WAYS, place_names
from bimba.evaluation.pictures import Axis, Bar, Cell, draw_bars, draw_heat_map

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pictures"
CURVES, PLACES, KINDS = "nano-curves.svg", "nano-places.png", "nano-kinds.png"


def draw_pictures(figures: NanoFigures, folder: Path = FOLDER) -> list[Path]:
    """Draw what there are figures for; pictures of what there are none for are removed.

    Returns:
        the pictures that are there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (CURVES, PLACES, KINDS):
        (folder / name).unlink(missing_ok=True)
    if any(stage.curve for stage in figures.stages):
        (folder / CURVES).write_text(draw_curves(figures.stages), encoding="utf-8")
    lengths = [figures.measured[length.name] for length in LENGTHS if length.name in figures.measured]
    if any(measured.open.by_place for measured in lengths):
        _draw_places(lengths, folder / PLACES)
    if SHIPPED in figures.measured:
        _draw_kinds(figures.measured[SHIPPED], folder / KINDS)
    return [folder / name for name in (CURVES, PLACES, KINDS) if (folder / name).exists()]


def _draw_places(lengths: list[Measured], path: Path) -> None:
    cells = {
        (row, int(tenth)): Cell(share.accuracy, share.count)
        for row, measured in enumerate(lengths)
        for tenth, share in measured.open.by_place.items()
    }
    rows = Axis("frames", [str(measured.frames) for measured in lengths])
    columns = Axis("place of the needle in the video (0% is the beginning)", place_names())
    subtitle = "test split, answers in words; questions about a single needle, by the video's length and its place"
    draw_heat_map(path, "bimba-nano: right answers", subtitle, rows, columns, cells)


def _draw_kinds(measured: Measured, path: Path) -> None:
    choice = measured.choice
    groups = [(kind, (_bar(measured.open, kind), _bar(choice, kind))) for kind in sorted(measured.open.by_kind)]
    subtitle = f"test split, {measured.frames} frames; kinds of questions"
    draw_bars(path, "bimba-nano: right answers", subtitle, (WAYS["open"], WAYS["choice"]), groups)


def _bar(way: Way | None, kind: str) -> Bar | None:
    if way is None or kind not in way.by_kind:
        return None
    share = way.by_kind[kind]
    return Bar(share.accuracy, share.low, share.high, share.count, way.guess_by_kind.get(kind))
