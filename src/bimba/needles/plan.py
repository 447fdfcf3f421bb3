"""One video before it is a file: settings and an index go in, a plan comes out that renders any of its frames."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from bimba.needles.backgrounds import Background, FrameArray, choose_background
from bimba.needles.contents import Content, Picture, choose_contents
from bimba.needles.drawing import draw_needle, paste
from bimba.needles.records import Box, Needle
from bimba.needles.schedule import schedule_needles
from bimba.needles.seeds import generator, video_seed
from bimba.needles.settings import NeedleSettings

SCALES = (0.34, 0.46)
"""Least and greatest size of a needle as a share of the frame's shorter side: a person sees it at once."""


@dataclass(frozen=True)
class PlannedNeedle:
    """A needle: what it shows, how large, and its record for the JSON."""

    content: Content
    scale: float
    record: Needle


@dataclass(frozen=True)
class VideoPlan:
    """All that decides the pixels of one video; `needles` are in order of time and do not overlap."""

    seed: int
    width: int
    height: int
    fps: Fraction
    num_frames: int
    background: Background
    needles: tuple[PlannedNeedle, ...]

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return float(self.num_frames / self.fps)

    def needle_at(self, frame_index: int) -> PlannedNeedle | None:
        """Return the needle that is visible in a frame, or None where the background is bare."""
        for needle in self.needles:
            if needle.record.first_frame <= frame_index <= needle.record.last_frame:
                return needle
        return None


def plan_video(settings: NeedleSettings, index: int, pictures: Sequence[Picture] = ()) -> VideoPlan:
    """Plan video `index` of a run; the plan depends on the settings and the index, not on how many videos there are.

    Args:
        settings: of the run.
        index: of the video, from 0.
        pictures: of the user, as `contents.read_pictures` lists them; needed when the settings' kinds have picture.

    Raises:
        InputError: the needles do not fit into the video.
        VideoError: a picture file cannot be opened.
        ValueError: the settings' kinds have picture, but no pictures were passed.
    """
    if "picture" in settings.kinds and not pictures:
        raise ValueError("the settings ask for picture needles, but no pictures were passed")
    seed = video_seed(settings.seed, index)
    contents = choose_contents(
        generator(seed, "contents"), num_needles=settings.num_needles, kinds=settings.kinds, pictures=pictures
    )
    first_frames = schedule_needles(
        generator(seed, "schedule"),
        num_needles=settings.num_needles,
        num_frames=settings.num_frames,
        needle_frames=settings.needle_frames,
        fps=settings.fps,
    )
    places = generator(seed, "places")
    return VideoPlan(
        seed=seed,
        width=settings.width,
        height=settings.height,
        fps=settings.fps,
        num_frames=settings.num_frames,
        background=choose_background(generator(seed, "background"), settings.width, settings.height),
        needles=tuple(
            _place(places, content, first_frame, settings)
            for content, first_frame in zip(contents, first_frames, strict=True)
        ),
    )


def render_frame(plan: VideoPlan, frame_index: int) -> FrameArray:
    """Return frame `frame_index` of a video, uint8 ``[H, W, 3]``, without rendering any other.

    Raises:
        ValueError: the video has no such frame.
    """
    if not 0 <= frame_index < plan.num_frames:
        raise ValueError(f"frame {frame_index} of a video with {plan.num_frames} frames")
    needle = plan.needle_at(frame_index)
    return _render(plan, frame_index, needle, None if needle is None else _draw(plan, needle))


def render_frames(plan: VideoPlan) -> Iterator[FrameArray]:
    """Yield all frames of a video in order, each uint8 ``[H, W, 3]``; one at a time is in memory."""
    drawn: PlannedNeedle | None = None
    tile: NDArray[np.uint8] | None = None
    waiting = list(reversed(plan.needles))
    for frame_index in range(plan.num_frames):
        if waiting and frame_index == waiting[-1].record.first_frame:
            drawn = waiting.pop()
            tile = _draw(plan, drawn)
        elif drawn is not None and frame_index > drawn.record.last_frame:
            drawn = tile = None
        yield _render(plan, frame_index, drawn, tile)


def _render(
    plan: VideoPlan, frame_index: int, needle: PlannedNeedle | None, tile: NDArray[np.uint8] | None
) -> FrameArray:
    frame = plan.background.frame(float(frame_index / plan.fps))
    return frame if needle is None or tile is None else paste(frame, tile, needle.record.box)


def _draw(plan: VideoPlan, needle: PlannedNeedle) -> NDArray[np.uint8]:
    return draw_needle(needle.content, plan.width, plan.height, needle.scale)


def _place(rng: np.random.Generator, content: Content, first_frame: int, settings: NeedleSettings) -> PlannedNeedle:
    """Give a needle a size and a place inside the frame, and write down when it is visible."""
    scale = float(rng.uniform(*SCALES))
    tile_height, tile_width = draw_needle(content, settings.width, settings.height, scale).shape[:2]
    left = int(rng.integers(0, settings.width - tile_width + 1))
    top = int(rng.integers(0, settings.height - tile_height + 1))
    box: Box = (left, top, left + tile_width, top + tile_height)
    end_frame = first_frame + settings.needle_frames
    record = Needle(
        kind=content.kind,
        description=content.description,
        attributes=content.attributes,
        start_seconds=float(first_frame / settings.fps),
        end_seconds=float(end_frame / settings.fps),
        first_frame=first_frame,
        last_frame=end_frame - 1,
        box=box,
    )
    return PlannedNeedle(content=content, scale=scale, record=record)
