"""One video before it is a file: settings and an index go in, a plan comes out that renders any of its frames."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from bimba.errors import InputError
from bimba.needles.contents import Content, Picture, choose_contents
from bimba.needles.drawing import draw_needle, fill_frame, paste
from bimba.needles.haystacks import FrameArray, Haystack, choose_haystack
from bimba.needles.haystacks.scenes import frames_of
from bimba.needles.records import Box, Needle
from bimba.needles.schedule import schedule_needles, schedule_pair
from bimba.needles.seeds import generator, is_held_out, place_in_time, video_seed
from bimba.needles.settings import NeedleSettings

SCALES = (0.42, 0.6)
"""Least and greatest size of a needle as a share of the frame's shorter side: a person sees it at once."""
MOST_TRIES = 100


@dataclass(frozen=True)
class PlannedNeedle:
    """A needle: what it shows, how large, on which plate if it has the frame to itself, and its record."""

    content: Content
    scale: float
    plate: tuple[int, int, int]
    record: Needle


@dataclass(frozen=True)
class VideoPlan:
    """All that decides the pixels of one video; `needles` are in order of time and do not overlap."""

    seed: int
    width: int
    height: int
    fps: Fraction
    num_frames: int
    draw_haystack: Callable[[], Haystack]
    needles: tuple[PlannedNeedle, ...]

    @cached_property
    def haystack(self) -> Haystack:
        """What moves behind the needles; it is drawn when it is first looked at, which takes longer than all the rest.

        Raises:
            InputError: a folder of videos or photos holds none.
            VideoError: a file of it cannot be opened.
        """
        return self.draw_haystack()

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return float(self.num_frames / self.fps)

    def needle_at(self, frame_index: int) -> PlannedNeedle | None:
        """Return the needle that is visible in a frame, or None where the haystack is bare."""
        for needle in self.needles:
            if needle.record.first_frame <= frame_index <= needle.record.last_frame:
                return needle
        return None


def plan_video(settings: NeedleSettings, index: int, pictures: Sequence[Picture] = ()) -> VideoPlan:
    """Plan video `index` of a run; the plan depends on the settings and the index, not on how many videos there are.

    Args:
        settings: of the run.
        index: of the video, from 0.
        pictures: as `contents.pictures_of` lists them; needed when the settings' kinds have picture.

    Raises:
        InputError: the needles do not fit into the video.
        VideoError: a picture file cannot be opened.
        ValueError: the settings' kinds have picture, but no pictures were passed.
    """
    if "picture" in settings.kinds and not pictures:
        raise ValueError("the settings ask for picture needles, but no pictures were passed")
    seed = video_seed(settings.seed, index, settings.split)
    first_frames, lengths = _schedule(generator(seed, "schedule"), settings)
    moments = [
        place_in_time((first + length / 2) / settings.num_frames)
        for first, length in zip(first_frames, lengths, strict=True)
    ]
    contents = _contents(generator(seed, "contents"), settings, pictures, moments)
    places = generator(seed, "places")
    return VideoPlan(
        seed=seed,
        width=settings.width,
        height=settings.height,
        fps=settings.fps,
        num_frames=settings.num_frames,
        draw_haystack=partial(_haystack, seed, settings),
        needles=tuple(
            _place(places, content, first, length, settings)
            for content, first, length in zip(contents, first_frames, lengths, strict=True)
        ),
    )


def _haystack(seed: int, settings: NeedleSettings) -> Haystack:
    """The haystack of the video with a seed, the same each time."""
    return choose_haystack(generator(seed, "haystack"), settings)


def render_frame(plan: VideoPlan, frame_index: int) -> FrameArray:
    """Return frame `frame_index` of a video, uint8 ``[H, W, 3]``, without rendering any other.

    Raises:
        ValueError: the video has no such frame.
    """
    return next(render_frames(plan, [frame_index]))


def render_frames(plan: VideoPlan, indices: Sequence[int] | None = None) -> Iterator[FrameArray]:
    """Yield frames of a video in order, each uint8 ``[H, W, 3]``; few at a time are in memory.

    Args:
        plan: of the video.
        indices: of the frames, ascending; all of them if None.

    Raises:
        ValueError: the video has no such frame.
    """
    wanted: Sequence[int] = range(plan.num_frames) if indices is None else indices
    if len(wanted) and not 0 <= min(wanted) <= max(wanted) < plan.num_frames:
        raise ValueError(f"frames {min(wanted)} to {max(wanted)} of a video with {plan.num_frames} frames")
    bare = frames_of(plan.haystack, [float(index / plan.fps) for index in wanted])
    drawn: PlannedNeedle | None = None
    tile: NDArray[np.uint8] | None = None
    for index, frame in zip(wanted, bare, strict=True):
        needle = plan.needle_at(index)
        if needle is None:
            yield frame
            continue
        if needle is not drawn or tile is None:
            drawn, tile = needle, _draw(plan, needle)
        if needle.record.inserted:
            yield tile
            continue
        for box in needle.record.boxes:
            frame = paste(frame, tile, box)
        yield frame


def _draw(plan: VideoPlan, needle: PlannedNeedle) -> NDArray[np.uint8]:
    """What a needle puts into a frame: a tile ``[h, w, 4]``, or the whole frame ``[H, W, 3]`` of an inserted one."""
    if needle.record.inserted:
        return fill_frame(needle.content, plan.width, plan.height, needle.plate)
    return draw_needle(needle.content, plan.width, plan.height, needle.scale)


def _schedule(rng: np.random.Generator, settings: NeedleSettings) -> tuple[list[int], list[int]]:
    """First frame and length of each needle, in order of time."""
    low, high = settings.num_needles
    shortest, longest = settings.needle_frames
    count = int(rng.integers(low, high + 1))
    lengths = [int(length) for length in rng.integers(shortest, longest + 1, size=count)]
    shared = {"num_frames": settings.num_frames, "gap": settings.gap_frames}
    if settings.pair_window is not None:
        return schedule_pair(rng, lengths=lengths, window=settings.pair_window, fps=settings.fps, **shared)
    return schedule_needles(rng, lengths=lengths, fps=settings.fps, **shared), lengths


def _contents(
    rng: np.random.Generator, settings: NeedleSettings, pictures: Sequence[Picture], moments: Sequence[int]
) -> list[Content]:
    """What each needle shows; outside of the test split nothing stands in a third where it is held out."""
    count = len(moments)
    repeated = count >= 2 and settings.pair_window is None and rng.random() < settings.repeats
    num_repeats = int(rng.integers(2, count + 1)) if repeated else 1
    for _ in range(MOST_TRIES):
        contents = choose_contents(
            rng, num_needles=count, kinds=settings.kinds, pictures=pictures, num_repeats=num_repeats
        )
        if settings.split == "test" or not any(map(_stands_out, contents, moments)):
            return contents
    raise InputError(
        f"no {count} needles were found of which none is held out at its moment.",
        fix="show more pictures or fewer needles, or use the test split (--split test), where nothing is held out.",
    )


def _stands_out(content: Content, moment: int) -> bool:
    return content.kind == "picture" and is_held_out(content.description, moment)


def _place(
    rng: np.random.Generator, content: Content, first_frame: int, length: int, settings: NeedleSettings
) -> PlannedNeedle:
    """Give a needle a size and places inside the frame, and write down when it is visible."""
    scale = float(rng.uniform(*SCALES))
    inserted = bool(rng.random() < settings.inserted)
    plate = (int(rng.integers(40, 256)), int(rng.integers(40, 256)), int(rng.integers(40, 256)))
    if inserted:
        boxes: tuple[Box, ...] = ((0, 0, settings.width, settings.height),)
    else:
        num_copies = int(rng.integers(settings.copies[0], settings.copies[1] + 1))
        scale /= num_copies**0.5  # where there are several, they are smaller, so that there is room for them
        tile_height, tile_width = draw_needle(content, settings.width, settings.height, scale).shape[:2]
        boxes = _boxes(rng, num_copies, (tile_width, tile_height), settings)
    end_frame = first_frame + length
    moment = place_in_time((first_frame + length / 2) / settings.num_frames)
    record = Needle(
        kind=content.kind,
        description=content.description,
        attributes=content.attributes,
        start_seconds=float(first_frame / settings.fps),
        end_seconds=float(end_frame / settings.fps),
        first_frame=first_frame,
        last_frame=end_frame - 1,
        inserted=inserted,
        boxes=boxes,
        held_out=_stands_out(content, moment),
    )
    return PlannedNeedle(content=content, scale=scale, plate=plate, record=record)


def _boxes(rng: np.random.Generator, count: int, size: tuple[int, int], settings: NeedleSettings) -> tuple[Box, ...]:
    """Places for the copies of a needle that do not overlap; fewer where no room is found."""
    boxes: list[Box] = []
    for _ in range(MOST_TRIES):
        left = int(rng.integers(0, settings.width - size[0] + 1))
        top = int(rng.integers(0, settings.height - size[1] + 1))
        box = (left, top, left + size[0], top + size[1])
        if all(box[2] <= b[0] or b[2] <= box[0] or box[3] <= b[1] or b[3] <= box[1] for b in boxes):
            boxes.append(box)
        if len(boxes) == count:
            break
    return tuple(boxes)
