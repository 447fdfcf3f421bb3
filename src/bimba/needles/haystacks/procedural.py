"""Drawn haystacks: parameters drawn once from a random generator, then a time in seconds in, a frame out.

Shapes: H height, W width. A frame is uint8 ``[H, W, 3]``, RGB. A haystack keeps no state between frames, so frame n
can be drawn without frames 0..n-1, and an hour costs no more memory than a second.
"""

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FrameArray = NDArray[np.uint8]

PALETTES: tuple[tuple[str, str, str, str], ...] = (
    ("2b3a55", "5f7c9d", "a9bcc9", "6d7f8f"),  # rain
    ("2f4a3f", "5d7f64", "a8b89a", "6f8a78"),  # moss
    ("5b4a42", "9a7f6b", "d3c0a9", "a68f7d"),  # sand
    ("3d3350", "6f6088", "b3a6bf", "857598"),  # dusk
    ("274b53", "4f8087", "9fc0bd", "6b9795"),  # lagoon
    ("54414a", "8d6f78", "c9b1b0", "9d8189"),  # clay
    ("34404a", "66727a", "b4bbb9", "858f92"),  # slate
    ("4b4a35", "85835f", "c3bf9d", "98956f"),  # olive
)
"""Muted colours, dark to light and half way back, so that a needle of full colour stands out on each of them."""
RANDOM_PALETTES = 0.4
"""Share of haystacks whose colours nobody chose."""


class Haystack(Protocol):
    """What moves behind the needles."""

    @property
    def kind(self) -> str:
        """Its name in the JSON."""

    def frame(self, seconds: float) -> FrameArray:
        """Return the frame uint8 ``[H, W, 3]`` at a time in seconds; the same time gives the same frame."""


class DriftingGradient:
    """Broad bands of colour that drift across the frame and bend slowly."""

    kind = "drifting_gradient"
    levels = 1024
    """Steps of the colour wheel; a power of two, so that wrapping is a bit mask."""

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        self._wheel = _colour_wheel(_palette(rng), self.levels)
        angle = rng.uniform(0, 2 * math.pi)
        bands = rng.uniform(0.7, 1.3)
        self._x = np.linspace(0, 1, width)
        self._y = np.linspace(0, height / width, height)
        slope_x, slope_y = bands * math.cos(angle), bands * math.sin(angle)
        # Four turns of the wheel added, so that places stay positive and cutting their fraction off rounds one way.
        self._still = self.levels * (4 + slope_x * self._x[None, :] + slope_y * self._y[:, None])
        self._cycles_a_second = rng.uniform(0.10, 0.18) * rng.choice([-1, 1])
        self._bend = rng.uniform(0.10, 0.18, size=2)
        self._bend_phase = rng.uniform(0, 2 * math.pi, size=2)
        self._bend_speed = rng.uniform(0.5, 0.9, size=2)

    def frame(self, seconds: float) -> FrameArray:
        """Return the frame uint8 ``[H, W, 3]`` at a time in seconds."""
        # The bends are a function of x plus a function of y: two short vectors instead of a sine for every pixel.
        turn_x, turn_y = self._bend_phase + self._bend_speed * seconds
        bend_x = self._bend[0] * np.sin(2 * math.pi * self._x + turn_x)
        bend_y = self._bend[1] * np.sin(2 * math.pi * self._y + turn_y) + self._cycles_a_second * seconds % 1.0
        place = self._still + self.levels * (bend_x[None, :] + bend_y[:, None])
        frame: FrameArray = np.take(self._wheel, place.astype(np.int64) & (self.levels - 1), axis=0)
        return frame


class MovingBlobs:
    """Soft lights that wander over a dark ground."""

    kind = "moving_blobs"
    num_blobs = 7
    cells = 72
    """Blobs are so soft that a small picture, this many cells on its longer side, holds all there is to see."""

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        self._size = (width, height)
        longer = max(width, height)
        self._x = np.linspace(0, width / longer, max(8, round(self.cells * width / longer)))
        self._y = np.linspace(0, height / longer, max(8, round(self.cells * height / longer)))
        palette = _palette(rng)
        self._ground = palette[0]
        self._colours = palette[rng.integers(1, len(palette), size=self.num_blobs)]
        self._radius = rng.uniform(0.10, 0.2, size=self.num_blobs)
        self._phase = rng.uniform(0, 2 * math.pi, size=(self.num_blobs, 2))
        self._speed = rng.uniform(0.35, 0.8, size=(self.num_blobs, 2)) * rng.choice([-1, 1], size=(self.num_blobs, 2))

    def frame(self, seconds: float) -> FrameArray:
        """Return the frame uint8 ``[H, W, 3]`` at a time in seconds."""
        sway = 0.5 + 0.5 * np.sin(self._phase + self._speed * seconds)
        centre_x, centre_y = sway[:, 0] * self._x[-1], sway[:, 1] * self._y[-1]
        spread = 2 * self._radius[:, None] ** 2
        weight_x = np.exp(-((self._x[None, :] - centre_x[:, None]) ** 2) / spread)
        weight_y = np.exp(-((self._y[None, :] - centre_y[:, None]) ** 2) / spread)
        weights = weight_y[:, :, None] * weight_x[:, None, :]
        light = np.zeros((len(self._y), len(self._x), 3)) + self._ground
        for weight, colour in zip(weights, self._colours, strict=True):
            light += weight[:, :, None] * 0.85 * (colour - light)
        small = Image.fromarray(np.rint(light).astype(np.uint8))
        return np.asarray(small.resize(self._size, Image.Resampling.BICUBIC))


class ScrollingTexture:
    """A clouded texture without seams that scrolls past."""

    kind = "scrolling_texture"

    def __init__(self, rng: np.random.Generator, width: int, height: int) -> None:
        self._size = (width, height)
        # Half of the resolution is plenty for clouds, and a tile of the frame's size never shows itself twice at once.
        self._tile = (math.ceil(width / 2), math.ceil(height / 2))
        wheel = _colour_wheel(_palette(rng), 512)
        clouds = _clouds(rng, *self._tile)
        tile = wheel[np.clip(np.rint(clouds * 255), 0, 255).astype(np.int64)]
        # The tile repeated once to the right and below: every offset is then one rectangle.
        self._texture = Image.fromarray(np.tile(tile, (2, 2, 1)))
        angle = rng.uniform(0, 2 * math.pi)
        speed = rng.uniform(0.10, 0.18) * min(self._tile)
        self._velocity = (speed * math.cos(angle), speed * math.sin(angle))

    def frame(self, seconds: float) -> FrameArray:
        """Return the frame uint8 ``[H, W, 3]`` at a time in seconds."""
        width, height = self._tile
        left, top = self._velocity[0] * seconds % width, self._velocity[1] * seconds % height
        box = (left, top, left + width, top + height)
        return np.asarray(self._texture.resize(self._size, Image.Resampling.BILINEAR, box=box))


PROCEDURAL: dict[str, Callable[[np.random.Generator, int, int], Haystack]] = {
    DriftingGradient.kind: DriftingGradient,
    MovingBlobs.kind: MovingBlobs,
    ScrollingTexture.kind: ScrollingTexture,
}


def _palette(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the four colours ``[4, 3]`` of a palette, 0..255: one of the muted ones, or one that nobody chose."""
    if rng.random() < RANDOM_PALETTES:
        drawn: NDArray[np.float64] = rng.uniform(10, 245, size=(4, 3))
        return drawn
    texts = PALETTES[int(rng.integers(len(PALETTES)))]
    return np.array([[int(text[i : i + 2], 16) for i in (0, 2, 4)] for text in texts], dtype=np.float64)


def _colour_wheel(palette: NDArray[np.float64], levels: int) -> FrameArray:
    """Return the palette ``[4, 3]`` as a smooth ring of colours, uint8 ``[levels, 3]``; the last joins the first."""
    place = np.arange(levels) * len(palette) / levels
    before = place.astype(np.int64) % len(palette)
    share = place % 1.0
    share = (share * share * (3 - 2 * share))[:, None]
    mixed = palette[before] * (1 - share) + palette[(before + 1) % len(palette)] * share
    wheel: FrameArray = np.rint(mixed).astype(np.uint8)
    return wheel


def _clouds(rng: np.random.Generator, width: int, height: int) -> NDArray[np.float64]:
    """Return noise ``[height, width]`` in 0..1 that repeats without a seam: many waves, the longer the stronger."""
    rows = np.fft.fftfreq(height)[:, None] * height
    columns = np.fft.rfftfreq(width)[None, :] * width
    # Cycles across the shorter side, so that clouds are as round in a wide frame as in a square one.
    shorter = min(width, height)
    frequency = np.hypot(rows * shorter / height, columns * shorter / width)
    strength = np.where(frequency > 0, np.exp(-frequency / 9) / np.maximum(frequency, 1) ** 1.2, 0.0)
    phase = rng.uniform(0, 2 * math.pi, size=strength.shape)
    noise = np.fft.irfft2(strength * np.exp(1j * phase), s=(height, width))
    low, high = float(noise.min()), float(noise.max())
    return (noise - low) / (high - low)
