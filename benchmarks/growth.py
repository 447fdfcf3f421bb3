"""Values against numbers of frames in, a picture of their charts out, one above the other, both axes logarithmic."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path

from PIL import Image

from bimba.evaluation.pictures.curves import Point, Scale, Series, draw_curves


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        title: in large letters.
        unit: of the values.
        values: by line, and by number of frames.
    """

    title: str
    unit: str
    values: Mapping[str, Mapping[int, float]]


def draw_growth(path: Path, subtitle: str, counts: Sequence[int], charts: Sequence[Chart]) -> None:
    """Draw charts into a PNG file.

    Args:
        path: of the file.
        subtitle: in small letters below each title.
        counts: numbers of frames that are marked, ascending.
        charts: from top to bottom.
    """
    with tempfile.TemporaryDirectory() as folder:
        parts = [Path(folder) / f"{number}.png" for number in range(len(charts))]
        for part, chart in zip(parts, charts, strict=True):
            _draw(part, subtitle, counts, chart)
        images = [Image.open(part).copy() for part in parts]
    whole = Image.new("RGB", (images[0].width, sum(image.height for image in images)), "white")
    for number, image in enumerate(images):
        whole.paste(image, (0, number * image.height))
    whole.save(path)


def _draw(path: Path, subtitle: str, counts: Sequence[int], chart: Chart) -> None:
    heights = [height for line in chart.values.values() for height in line.values()]
    lines = [
        Series(name, [Point(_place(count, counts), log(height)) for count, height in line.items()])
        for name, line in chart.values.items()
    ]
    across = Scale("frames", [(_place(count, counts), f"{count:,}") for count in counts])
    up = Scale(chart.unit, [(log(mark), f"{mark:,g}") for mark in _marks(heights)])
    draw_curves(path, chart.title, subtitle, across, up, lines)


def _place(count: int, counts: Sequence[int]) -> float:
    """Place of a number of frames on the lower axis, 0 to 1."""
    if len(counts) == 1:
        return 0.5
    # Some way from the ends, so that marks do not lie on the axes.
    return 0.03 + 0.94 * log(count / counts[0]) / log(counts[-1] / counts[0])


def _marks(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 times powers of ten, from the last below all values to the first above."""
    marks = [factor * 10.0**power for power in range(-4, 8) for factor in (1, 2, 5)]
    first = max(index for index, mark in enumerate(marks) if mark <= min(values))
    last = min(index for index, mark in enumerate(marks) if mark >= max(values) and index > first)
    return marks[first : last + 1]
