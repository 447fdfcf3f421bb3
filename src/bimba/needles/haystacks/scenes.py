"""The haystack of one video: settings and its seed go in, one haystack or several with cuts between them come out."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bimba.needles.haystacks.leaves import DeadLeaves, TexturedLeaves
from bimba.needles.haystacks.photos import Panned, list_photos, open_photo
from bimba.needles.haystacks.procedural import PROCEDURAL, FrameArray, Haystack
from bimba.needles.haystacks.videos import FromVideo, list_videos
from bimba.needles.settings import NeedleSettings

DRAWN = {**PROCEDURAL, "dead_leaves": DeadLeaves, "textured_leaves": TexturedLeaves}
"""Haystacks that need no files, by name."""
MOST_LIKE_PHOTOS, THEIR_SHARE = "textured_leaves", 0.4
"""A model is to answer about its users' videos: this one of the drawn haystacks comes oftener than the others."""


class Scene(NamedTuple):
    """A haystack and when its scene begins, in seconds."""

    begins: float
    haystack: Haystack


class Scenes:
    """Haystacks one after the other, with a cut between them."""

    def __init__(self, scenes: Sequence[Scene]) -> None:
        self._scenes = tuple(scenes)
        self.kind = " | ".join(scene.haystack.kind for scene in scenes)

    def frame(self, seconds: float) -> FrameArray:
        """Return the frame uint8 ``[H, W, 3]`` at a time in seconds."""
        return self._at(seconds).frame(seconds)

    def _at(self, seconds: float) -> Haystack:
        return next(scene.haystack for scene in reversed(self._scenes) if scene.begins <= seconds)


def frames_of(haystack: Haystack, times: Sequence[float]) -> Iterator[FrameArray]:
    """Yield frames uint8 ``[H, W, 3]`` at times in seconds; videos are decoded many frames at a time."""
    if isinstance(haystack, FromVideo):
        yield from haystack.frames(times)
    else:
        yield from (haystack.frame(seconds) for seconds in times)


def check_haystack(settings: NeedleSettings) -> None:
    """Check that there is something to hide needles in.

    Raises:
        InputError: a folder of videos or photos holds none.
    """
    if settings.haystack is not None:
        list_videos(settings.haystack)
    if settings.photos is not None:
        list_photos(settings.photos)


def choose_haystack(rng: np.random.Generator, settings: NeedleSettings) -> Haystack:
    """Return the haystack of a video.

    Args:
        rng: of this video alone, so that no other video has the same haystack.
        settings: of the run.

    Raises:
        InputError: a folder of videos or photos holds none.
        VideoError: a file of it cannot be opened.
    """
    low, high = settings.scenes
    num_scenes = int(rng.integers(low, high + 1))
    if num_scenes == 1 or settings.haystack is not None:
        return _one(rng, settings)
    cuts = np.sort(rng.uniform(0, settings.seconds, size=num_scenes - 1))
    return Scenes([Scene(float(begins), _one(rng, settings)) for begins in (0.0, *cuts)])


def _one(rng: np.random.Generator, settings: NeedleSettings) -> Haystack:
    width, height = settings.width, settings.height
    if settings.haystack is not None:
        videos = list_videos(settings.haystack)
        return FromVideo(rng, width, height, videos[int(rng.integers(len(videos)))])
    if settings.photos is not None:
        photos = list_photos(settings.photos)
        photo = open_photo(photos[int(rng.integers(len(photos)))])
        return Panned(rng, width, height, photo, "photo")
    others = sorted(DRAWN.keys() - {MOST_LIKE_PHOTOS})
    kind = MOST_LIKE_PHOTOS if rng.random() < THEIR_SHARE else others[int(rng.integers(len(others)))]
    return DRAWN[kind](rng, width, height)
