"""Distances of keyframes go in; ten-minute H.264 files of the same pictures come out, kept for the next run.

The pictures are textured, pan, turn into others every 20 seconds, and carry objects and noise, so that decoding them
costs about what a film does.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer
from av.video.stream import VideoStream

WIDTH, HEIGHT, FPS = 640, 360, 25
NUM_FRAMES = 10 * 60 * FPS
_SCENE_FRAMES = 20 * FPS
_TEXTURE = 1024
_NUM_NOISES = 16
_REPORT_EVERY = 60 * FPS
# Changed when the pictures change.
_VERSION = 1

Planes = npt.NDArray[np.uint8]
Texture = npt.NDArray[np.int16]


def write_videos(keyframes_every: Sequence[int]) -> list[Path]:
    """Paths of the files, one for each distance of keyframes; those that are missing are written first."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"moving-{_VERSION}-{every}.mp4" for every in keyframes_every]
    missing = {path: every for path, every in zip(paths, keyframes_every, strict=True) if not path.is_file()}
    if missing:
        _write(missing)
    return paths


def cache_folder() -> Path:
    """Where videos are kept for the next run."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "bimba" / "benchmarks"


def _write(keyframes_every: dict[Path, int]) -> None:
    temporary = {path: path.with_suffix(".tmp") for path in keyframes_every}
    with ExitStack() as stack:
        outputs: list[tuple[OutputContainer, VideoStream]] = []
        for path, every in keyframes_every.items():
            container = stack.enter_context(av.open(temporary[path], "w", format="mp4"))
            outputs.append((container, _add_stream(container, every)))
        for number, planes in enumerate(pictures()):
            if number % _REPORT_EVERY == 0:
                print(f"  writing the videos: {number:,} of {NUM_FRAMES:,} frames", file=sys.stderr, flush=True)
            for container, stream in outputs:
                frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
                frame.pts = number
                container.mux(stream.encode(frame))
        for container, stream in outputs:
            container.mux(stream.encode(None))
    for path, written in temporary.items():
        written.replace(path)


def _add_stream(container: OutputContainer, keyframes_every: int) -> VideoStream:
    # Without scene cuts, which would add keyframes.
    options = {"preset": "veryfast", "g": str(keyframes_every), "sc_threshold": "0", "keyint_min": str(keyframes_every)}
    stream = container.add_stream("libx264", rate=FPS, options=options)
    assert isinstance(stream, av.VideoStream)
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    return stream


def pictures() -> Iterator[Planes]:
    """Luma and, below it, both chroma planes of each picture, uint8 [H * 3 / 2, W]."""
    chance = np.random.default_rng(0)
    noises = chance.normal(0, 3, (_NUM_NOISES, HEIGHT, WIDTH)).round().astype(np.int16)
    texture = _texture(chance)
    for number in range(NUM_FRAMES):
        scene, place = divmod(number, _SCENE_FRAMES)
        if place == 0:
            texture = _texture(chance)
            speed = chance.uniform(-0.6, 0.6, 2)
        luma = _window(texture, speed * place, HEIGHT, WIDTH) + noises[chance.integers(_NUM_NOISES)]
        for object_number in range(4):  # objects with a texture of their own, each on its own way
            angle = place / (30 + 20 * object_number) + scene
            top, left = (np.array([HEIGHT - 80, WIDTH - 80]) * (np.sin([angle, 1.3 * angle]) + 1) / 2).astype(int)
            luma[top : top + 80, left : left + 80] = 255 - texture[object_number * 90 :, 500:][:80, :80]
        colours = [
            _window(part, speed * place / 2, HEIGHT // 2, WIDTH // 2) // 2 + 64 for part in (texture.T, -texture)
        ]
        colours[1] += 128
        planes = np.concatenate([luma.ravel(), *(colour.ravel() for colour in colours)])
        yield planes.clip(0, 255).astype(np.uint8).reshape(HEIGHT * 3 // 2, WIDTH)


def _window(texture: Texture, shift: npt.NDArray[np.float64], height: int, width: int) -> Texture:
    """A part of a texture that moves on with the shift, in whole pixels."""
    top, left = (np.array([(_TEXTURE - height) // 2, (_TEXTURE - width) // 2]) + shift / 2).astype(int)
    return texture[max(top, 0) :, max(left, 0) :][:height, :width].copy()


def _texture(chance: np.random.Generator) -> Texture:
    """Noise of all sizes, coarse ones strongest, as in pictures of the world; int16 [1024, 1024] of 0 to 255."""
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(_TEXTURE), np.fft.fftfreq(_TEXTURE)))
    spectrum = np.fft.fft2(chance.normal(size=(_TEXTURE, _TEXTURE))) / np.maximum(frequencies, 1 / _TEXTURE) ** 1.2
    values = np.fft.ifft2(spectrum).real
    texture: Texture = np.clip(values / values.std() * 50 + 128, 0, 255).astype(np.int16)
    return texture
