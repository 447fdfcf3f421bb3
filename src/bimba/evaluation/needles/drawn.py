"""Results in, their pictures out: heat maps of length and place in time, and bars of each kind of question."""

from pathlib import Path
from typing import Any

from bimba.evaluation.needles.tables import NUM_PLACES
from bimba.evaluation.pictures import Axis, Bar, Cell, draw_bars, draw_heat_map

WAYS = {"open": "answered in words", "choice": "likeliest of the options"}
"""Ways of asking, as people read them."""
HEAT_MAP_NAMES = {"open": "places_open.png", "choice": "places_choice.png"}
BARS_NAME = "kinds.png"


def draw_results(results: dict[str, Any], out: Path) -> None:
    """Draw every picture that the results have numbers for."""
    name = Path(results["settings"]["model"]).name
    for way in WAYS:
        found = results[way]
        if found is not None and found["by_frames_and_place"]:
            _draw_places(found["by_frames_and_place"], f"{name}: {WAYS[way]}", out / HEAT_MAP_NAMES[way])
    _draw_kinds(results, name, out / BARS_NAME)


def place_names() -> list[str]:
    """Tenths of a video: "0-10%", ..."""
    step = 100 // NUM_PLACES
    return [f"{tenth * step}-{(tenth + 1) * step}%" for tenth in range(NUM_PLACES)]


def _draw_places(table: dict[str, dict[str, dict[str, float]]], title: str, path: Path) -> None:
    lengths = sorted(table, key=int)
    cells = {
        (row, int(tenth)): Cell(share["accuracy"], int(share["count"]))
        for row, frames in enumerate(lengths)
        for tenth, share in table[frames].items()
    }
    subtitle = "needle videos; questions about a single needle, by the video's length and by where the needle stands"
    columns = Axis("place of the needle in the video (0% is the beginning)", place_names())
    draw_heat_map(path, title, subtitle, Axis("frames", lengths), columns, cells)


def _draw_kinds(results: dict[str, Any], name: str, path: Path) -> None:
    kinds = sorted(results["open"]["by_kind"])
    choice = results["choice"] or {"by_kind": {}, "chance": {"by_kind": {}}}
    groups = [
        (
            kind,
            (
                _bar(results["open"]["by_kind"][kind]),
                _bar(choice["by_kind"].get(kind), choice["chance"]["by_kind"].get(kind)),
            ),
        )
        for kind in kinds
    ]
    subtitle = "needle videos, all lengths; kinds of questions"
    draw_bars(path, f"{name}: right answers", subtitle, (WAYS["open"], WAYS["choice"]), groups)


def _bar(share: dict[str, float] | None, chance: float | None = None) -> Bar | None:
    if share is None:
        return None
    return Bar(share["accuracy"], share["low"], share["high"], int(share["count"]), chance)
