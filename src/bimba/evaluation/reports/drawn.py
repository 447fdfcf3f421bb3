"""Results in, a picture of every score with its interval out."""

from pathlib import Path
from typing import Any

from bimba.evaluation.pictures import Dot, draw_dots

PICTURE_NAME = "accuracy.png"


def draw_results(results: dict[str, Any], path: Path) -> None:
    """Draw the scores, with what papers report of the same metric, then every group; nothing if there are none."""
    dots = []
    for name, found in results["scores"].items():
        if found is not None:
            reported = tuple(each["value"] / 100 for each in results["reported"] if each["metric"] == name)
            dots.append(Dot(found["title"], found["value"], found["low"], found["high"], reported))
    for tag, groups in results["by"].items():
        dots += [
            Dot(f"{tag}: {group}".replace("_", " "), found["value"], found["low"], found["high"], ())
            for group, found in groups.items()
        ]
    if not dots:
        path.unlink(missing_ok=True)
        return
    settings = results["settings"]
    subtitle = f"{results['covers']['scored']:,} questions"
    if "frames" in settings:
        answers = "answers in words" if settings["score"] == "generate" else "likeliest letters"
        subtitle += f", {settings['frames']} frames, {answers}"
    title = f"{Path(settings['model']).name}: {results['title']}"
    each = "reported by papers" if any(dot.values for dot in dots) else ""
    # Breakdowns are of the benchmark's own score, the first, and so is the line.
    own = next((found for found in results["scores"].values() if found is not None), None)
    draw_dots(path, title, subtitle, dots, each=each, chance=None if own is None else own["chance"])
