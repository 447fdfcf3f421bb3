"""Drawn pictures with the statistics of photos, and a camera that pans over them: things that hide one another.

Shapes: H height, W width. A frame is uint8 ``[H, W, 3]``, RGB.
"""

import colorsys
import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from bimba.needles.haystacks.photos import Panned
from bimba.needles.haystacks.procedural import FrameArray

ROUND = 28
"""Corners of the outline of a round thing, which is drawn so small that they do not show."""


class DeadLeaves(Panned):
    """A camera that pans over dead leaves."""

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        super().__init__(rng, width, height, dead_leaves(rng, 2 * width, 2 * height), "dead_leaves")


class Thing(NamedTuple):
    """Something that wanders before the scene: its picture (RGBA), and the phase and speed of its way, ``[2]`` each."""

    picture: Image.Image
    phase: NDArray[np.float64]
    speed: NDArray[np.float64]


class TexturedLeaves(Panned):
    """A camera that pans over textured things; some stand before it and move by themselves, some scenes are shaken."""

    most_things = 3
    shaken_scenes, shaken_share = 0.35, 0.35
    """Share of scenes that are shaken at times, and for which share of their time; they are smeared then."""

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        sheets = [_texture(rng, width * 3 // 2, height * 3 // 2) for _ in range(3)]
        super().__init__(rng, width, height, _compose(rng, sheets), "textured_leaves")
        self._things = [
            Thing(_cut(rng, sheets, rng.uniform(0.1, 0.45) * height), *rng.uniform((0, 0.1), (6.3, 1.2), (2, 2)).T)
            for _ in range(int(rng.integers(self.most_things + 1)))
        ]
        is_shaken = rng.random() < self.shaken_scenes
        self._shake = (rng.uniform(0, 6.3), rng.uniform(1.0, 3.0)) if is_shaken else None
        self._smear = int(rng.integers(3, 9)), int(rng.integers(1, 3))

    def frame(self, seconds: float) -> FrameArray:
        """Return the frame uint8 ``[H, W, 3]`` at a time in seconds."""
        width, height = self._size
        picture = Image.fromarray(super().frame(seconds))
        for thing in self._things:
            x, y = 0.5 + 0.6 * np.sin(thing.phase + thing.speed * seconds)
            place = round(x * width - thing.picture.width / 2), round(y * height - thing.picture.height / 2)
            picture.paste(thing.picture, place, thing.picture)
        if self._shake is not None and math.sin(self._shake[0] + self._shake[1] * seconds) > 1 - 2 * self.shaken_share:
            across, down = self._smear
            small = picture.resize((max(1, width // across), max(1, height // down)), Image.Resampling.BOX)
            picture = small.resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(picture)


def dead_leaves(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Return discs, boxes and slabs that hide one another, of all sizes: edges and surfaces as common as in photos.

    Sizes follow a power law, as in the dead leaves model of natural images (Lee, Mumford and Huang 2001).
    """
    ground = rng.integers(30, 226, size=3)
    picture = Image.new("RGB", (width, height), tuple(int(v) for v in ground))
    draw = ImageDraw.Draw(picture)
    base = rng.uniform(0, 255, size=(6, 3))
    for _ in range(140):
        radius = min(width, height) * 0.03 / rng.uniform(0.06, 1.0)
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        colour = np.clip(base[int(rng.integers(6))] + rng.normal(0, 28, size=3), 0, 255)
        fill = tuple(int(v) for v in colour)
        kind = rng.integers(3)
        if kind == 0:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius * rng.uniform(0.5, 1.2)), fill=fill)
        elif kind == 1:
            draw.rectangle((x - radius, y - radius * 0.6, x + radius, y + radius * 0.7), fill=fill)
        else:
            turn = rng.uniform(0, math.pi)
            along = np.array([math.cos(turn), math.sin(turn)]) * radius * 1.6
            over = np.array([-along[1], along[0]]) * rng.uniform(0.1, 0.5)
            middle = np.array([x, y])
            corners = [middle + a * along + b * over for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1))]
            draw.polygon([(float(px), float(py)) for px, py in corners], fill=fill)
    return picture


def _compose(rng: np.random.Generator, sheets: list[Image.Image]) -> Image.Image:
    """Textured things of all sizes on a textured ground, lit from somewhere, now and then out of focus."""
    picture = sheets[0].copy()
    width, height = picture.size
    for _ in range(int(rng.integers(3, 36))):
        thing = _cut(rng, sheets, min(width, height) * min(0.6, 0.05 / rng.uniform(0.07, 1.0)))
        place = int(rng.integers(-thing.width // 2, width)), int(rng.integers(-thing.height // 2, height))
        picture.paste(thing, place, thing)
    # Light from somewhere: a few grey values, blown up to the size of the picture.
    light = rng.uniform(0.55, 1.3, size=(3, 3)).astype(np.float32)
    shade = np.asarray(Image.fromarray(light).resize(picture.size, Image.Resampling.BICUBIC))
    lit = Image.fromarray(np.clip(np.asarray(picture) * shade[:, :, None], 0, 255).astype(np.uint8))
    return lit.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 4.0))) if rng.random() < 0.3 else lit


def _cut(rng: np.random.Generator, sheets: list[Image.Image], radius: float) -> Image.Image:
    """A thing of about this radius in pixels, RGBA: a piece of one of the sheets, lighter or darker than it."""
    is_round = rng.random() < 0.65
    even = np.linspace(0, 2 * math.pi, ROUND if is_round else 5, endpoint=False)
    turns = even if is_round else even + rng.uniform(0, 1.2, size=5)
    # Three waves around a circle make it a leaf, a stone or a limb; around a few corners, a splinter or a board.
    waves = sum(
        rng.normal(0, 0.22 / count) * np.cos(count * turns + rng.uniform(0, 2 * math.pi)) for count in (2, 3, 5)
    )
    reach = radius * np.clip(1 + waves, 0.25, 2)
    tilt, slim = rng.uniform(0, math.pi), rng.uniform(0.15, 1.0)
    along, over = reach * np.cos(turns), reach * np.sin(turns) * slim
    x = along * math.cos(tilt) - over * math.sin(tilt)
    y = along * math.sin(tilt) + over * math.cos(tilt)
    sheet = sheets[int(rng.integers(len(sheets)))]
    width = min(sheet.width, max(2, math.ceil(float(np.ptp(x)))))
    height = min(sheet.height, max(2, math.ceil(float(np.ptp(y)))))
    mask = Image.new("L", (width, height))
    corners = zip((x - x.min()).tolist(), (y - y.min()).tolist(), strict=True)
    ImageDraw.Draw(mask).polygon(list(corners), fill=255)
    left, top = int(rng.integers(sheet.width - width + 1)), int(rng.integers(sheet.height - height + 1))
    gain = float(rng.uniform(0.5, 1.5))
    thing = sheet.crop((left, top, left + width, top + height)).point(lambda value: min(255, int(value * gain)))
    thing.putalpha(mask)
    return thing


def _texture(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A sheet of one stuff: from smooth walls to foliage, some with a grain, some with stripes."""
    rows = np.fft.fftfreq(height)[:, None] * height * 2.0 ** rng.normal(0, 0.8)
    columns = np.fft.rfftfreq(width)[None, :] * width * 2.0 ** rng.normal(0, 0.8)
    frequency = np.maximum(np.hypot(rows, columns), 1.0)
    # Amplitudes fall with a power of the frequency, as in photos (Field 1987); the power tells foliage from sky.
    strength = frequency ** -rng.uniform(0.6, 2.0)
    strength[0, 0] = 0
    noise = np.fft.irfft2(strength * np.exp(2j * math.pi * rng.random(strength.shape)), s=(height, width))
    noise /= noise.std()
    if rng.random() < 0.15:
        angle, cycles = rng.uniform(0, math.pi), rng.uniform(4, 40)
        x, y = np.arange(width)[None, :] / width, np.arange(height)[:, None] / width
        noise = 0.5 * noise + 1.5 * np.sin(2 * math.pi * cycles * (x * math.cos(angle) + y * math.sin(angle)))
    # Most of what is in photos has little colour.
    base = 255 * np.array(colorsys.hsv_to_rgb(rng.random(), rng.beta(1.3, 2.5), rng.beta(2.0, 2.0)))
    tint = rng.uniform(6, 60) * rng.normal(1, 0.2, size=3)
    sheet = base + noise[:, :, None] * tint
    return Image.fromarray(np.clip(sheet, 0, 255).astype(np.uint8))
