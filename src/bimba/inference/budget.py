"""What is wanted of a video and what may be read of it in; how many frames and how many of them become one out.

Counts only: nothing is opened. Letters: n frames chosen, k frames pooled into one (a group, whose queries are those of
one picture), V tokens of the video with its separators.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from math import floor, log10
from typing import Literal, Protocol

from bimba.errors import InputError
from bimba.models.bimba.configuration import NewlinePosition
from bimba.models.bimba.separators import num_video_tokens
from bimba.ops.pool import PoolMode, pooled_shape
from bimba.video.sampling import SamplingOrRate, choose_frames, every_nth, frame_step, wanted_rate

AUTO: Literal["auto"] = "auto"
"""In the place of a number of frames: as many as make sense and fit."""

DEFAULT_FRAMES = 64
"""Frames where nobody says how many; with "auto" no video that has so many is looked at less."""

AUTO_FPS = 1.0
"""Frames a second that "auto" takes at most of a video that is longer than that."""

MOST_POOLED = 4
"""Frames that "auto" pools into one, at most; more are far from what models are trained on."""

ANSWERS_IN_A_CHAT = 4
"""For which a budget leaves room when a video is encoded for several questions."""

ROOM_FOR_ANSWERS = ANSWERS_IN_A_CHAT * 512
"""Tokens of those answers, each as long as an answer may be if nobody asks for a longer one."""

CountText = Callable[[int, SamplingOrRate], int]
"""Tokens of the prompt beside the video's, with so many frames chosen so: their times are written there, too."""


class PoolsFrames(Protocol):
    """What decides how many tokens frames become; models' configs and processors have it."""

    @property
    def patches_per_side(self) -> int:
        """H = W, patches along a side of a frame."""

    @property
    def spatial_pooling(self) -> int:
        """As in `BimbaConfig`."""

    @property
    def temporal_pooling(self) -> int:
        """As in `BimbaConfig`: k, unless a budget asks for more."""

    @property
    def pool_mode(self) -> PoolMode:
        """As in `BimbaConfig`."""

    @property
    def newline_position(self) -> NewlinePosition:
        """As in `BimbaConfig`."""


@dataclass(frozen=True)
class Wanted:
    """A video, and how much of it is wanted.

    Args:
        num_available: frames that it has.
        average_fps: its frames a second; None where they have no times.
        frames: at most so many, or "auto".
        fps: so many a second: all of them, or with "auto" that many at most; None if no rate is named.
        sampling: "uniform", "fps" or "middle", how a number of frames is chosen.
        max_video_tokens: V at most; None for whatever the language model can read.
        may_pool: whether more frames may be pooled into one than the model does by itself.
        most_groups: that its compressor can make; None for any number.
    """

    num_available: int
    average_fps: float | None
    frames: int | Literal["auto"] = DEFAULT_FRAMES
    fps: float | None = None
    sampling: str = "uniform"
    max_video_tokens: int | None = None
    may_pool: bool = True
    most_groups: int | None = None


@dataclass(frozen=True)
class Room:
    """What the language model can read.

    Args:
        context_length: tokens at most; None for no limit.
        num_answer_tokens: of them are kept for the answer.
        count_text: tokens of the text.
    """

    context_length: int | None
    num_answer_tokens: int
    count_text: CountText

    def left(self, num_frames: int, sampling: SamplingOrRate) -> int | None:
        """Tokens that are left for a video, below 0 if the text alone is too long; None for no limit."""
        if self.context_length is None:
            return None
        return self.context_length - self.num_answer_tokens - self.count_text(num_frames, sampling)


@dataclass(frozen=True)
class Fit:
    """What a budget comes to.

    Args:
        num_frames: n.
        sampling: how they are chosen, as `VideoQA.ask` takes it.
        temporal_pooling: k.
        num_video_tokens: V.
    """

    num_frames: int
    sampling: SamplingOrRate
    temporal_pooling: int
    num_video_tokens: int


def fit_budget(wanted: Wanted, model: PoolsFrames, room: Room) -> Fit:
    """Choose how many frames are taken and how many of them are pooled into one, so that everything can be read.

    A rate or a number of frames is kept, and as few of them are pooled as fit. "auto" takes one frame a second at most,
    and `DEFAULT_FRAMES` at least, of pictures without times all; it pools `MOST_POOLED` at most, and beyond that takes
    fewer frames. No frame of "auto" is left without a group: their number is a multiple of k.

    Args:
        wanted: the video, and how much of it.
        model: how it pools; k is never below its own.
        room: what the language model can read.

    Raises:
        InputError: it does not fit in any way, nothing limits "auto", or there are fewer frames than are pooled.
    """
    # Every k that is tried asks for the same text, which takes long to tokenize where there are many times.
    budget = _Budget(wanted, model, replace(room, count_text=cache(room.count_text)))
    return budget.auto() if isinstance(wanted.frames, str) else budget.kept(wanted.frames)


@dataclass(frozen=True)
class _Budget:
    wanted: Wanted
    model: PoolsFrames
    room: Room

    def kept(self, most: int) -> Fit:
        """The frames that are asked for, pooled as little as they fit."""
        num_frames, sampling = self._asked(most)
        self._check_pooling(num_frames)
        for pooling in self._poolings(num_frames):
            if self._fits(num_frames, pooling, sampling):
                return self._fit(num_frames, pooling, sampling)
        raise self._refusal(num_frames, sampling)

    def auto(self) -> Fit:
        """As many frames as make sense and fit, spread over the video."""
        if self.room.context_length is None and self.wanted.max_video_tokens is None:
            raise InputError(
                "the language model reads texts of any length, so that nothing says how many frames are enough.",
                fix="name a budget: --max-video-tokens 13440; or a number of frames (--frames 64, num_frames=64).",
            )
        most = self._most_frames()
        self._check_pooling(most)
        poolings = self._poolings(min(most, MOST_POOLED))
        for pooling in poolings:
            num_frames = most - most % pooling
            if self._fits(num_frames, pooling, "uniform"):
                return self._fit(num_frames, pooling, "uniform")
        pooling = poolings[-1]
        low, high = 0, most // pooling
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._fits(middle * pooling, pooling, "uniform") else (low, middle)
        if not low:
            raise self._refusal(pooling, "uniform")
        return self._fit(low * pooling, pooling, "uniform")

    def _asked(self, most: int) -> tuple[int, SamplingOrRate]:
        """How many frames a rate or a number comes to, and how they are chosen."""
        wanted = self.wanted
        if wanted.fps is not None:
            return self._num_at(wanted.fps), wanted.fps
        if wanted_rate(wanted.sampling) is None or wanted.average_fps is None:
            return min(most, wanted.num_available), wanted.sampling
        choice = choose_frames(wanted.num_available, wanted.average_fps, most, sampling=wanted.sampling)
        return len(choice.indices), wanted.sampling

    def _most_frames(self) -> int:
        """Frames that "auto" takes if they fit."""
        wanted = self.wanted
        if wanted.average_fps is None:
            return wanted.num_available
        if wanted.fps is not None:
            return self._num_at(wanted.fps)
        return min(wanted.num_available, max(DEFAULT_FRAMES, self._num_at(AUTO_FPS)))

    def _num_at(self, fps: float) -> int:
        """Frames at a rate."""
        if self.wanted.average_fps is None:
            raise InputError("these pictures have no times.", fix="tell how many a second with --image-fps.")
        return len(every_nth(self.wanted.num_available, self.wanted.average_fps, fps))

    def _poolings(self, most: int) -> range:
        """Values of k that may be tried, the smallest first."""
        own = self.model.temporal_pooling
        return range(own, max(own, most) + 1 if self.wanted.may_pool else own + 1)

    def _fits(self, num_frames: int, pooling: int, sampling: SamplingOrRate) -> bool:
        if self.wanted.most_groups is not None and num_frames // pooling > self.wanted.most_groups:
            return False
        num_tokens, left = self._tokens(num_frames, pooling), self.room.left(num_frames, sampling)
        within = self.wanted.max_video_tokens is None or num_tokens <= self.wanted.max_video_tokens
        return within and (left is None or num_tokens <= left)

    def _tokens(self, num_frames: int, pooling: int) -> int:
        """V."""
        side, model = self.model.patches_per_side, self.model
        pool = (pooling, model.spatial_pooling, model.spatial_pooling)
        return num_video_tokens(pooled_shape(num_frames, side, side, pool, model.pool_mode), model.newline_position)

    def _fit(self, num_frames: int, pooling: int, sampling: SamplingOrRate) -> Fit:
        return Fit(num_frames, sampling, pooling, self._tokens(num_frames, pooling))

    def _check_pooling(self, num_frames: int) -> None:
        own = self.model.temporal_pooling
        if num_frames < own:
            raise InputError(
                f"{num_frames} frames are fewer than the {own} that temporal pooling averages.",
                fix=f"take at least {own} frames (--frames, --fps), or pool fewer (--temporal-pooling).",
            )

    def _refusal(self, num_frames: int, sampling: SamplingOrRate) -> InputError:
        """Why frames do not fit however they may be pooled, and what to do."""
        pooling = self._poolings(num_frames)[-1]
        least, limit, groups = self._tokens(num_frames, pooling), self.wanted.max_video_tokens, self.wanted.most_groups
        ways = self._other_ways(num_frames)
        if groups is not None and num_frames // pooling > groups:
            problem = (
                f"{num_frames:,} frames are more than the {groups * pooling:,} for which the model learned queries."
            )
            return InputError(problem, fix=_sentence(ways))
        how = f"{num_frames:,} frames" + (f", {pooling:,} pooled into one," if pooling > 1 else "")
        if limit is not None and least > limit:
            return InputError(
                f"{how} are {least:,} tokens of the video, and {limit:,} may be taken (--max-video-tokens).",
                # One group has so many tokens whatever the number of frames.
                fix=_sentence([f"allow {least:,} or more", *(ways if num_frames // pooling > 1 else [])]),
            )
        text, answer = self.room.count_text(num_frames, sampling), self.room.num_answer_tokens
        left = max(self.room.left(num_frames, sampling) or 0, 0)
        return InputError(
            f"the language model reads {self.room.context_length:,} tokens: {text:,} of the text, with the times of "
            f"{num_frames:,} frames, and {answer:,} of the answer leave {left:,} "
            f"for the video; {how} are {least:,}.",
            fix=_sentence(
                ["leave the times out (--no-time-sentence)", "allow a shorter answer (--max-new-tokens)", *ways]
            ),
        )

    def _other_ways(self, num_frames: int) -> list[str]:
        """What else can be done so that fewer tokens come of the frames and their times."""
        wanted = self.wanted
        ways = [] if wanted.may_pool else ["pool more frames into one (--temporal-pooling)"]
        if wanted.fps is not None and not isinstance(wanted.frames, str):
            rate = self._fitting_rate(num_frames)
            ways.append("take fewer frames a second" + ("" if rate is None else f" (--fps {rate:g} fits)"))
        elif num_frames > self.model.temporal_pooling:
            ways.append("take fewer frames (--frames)")
        return ways

    def _fitting_rate(self, num_frames: int) -> float | None:
        """The highest rate in three digits that fits with no more frames in a group than "auto" takes; or None."""
        fps, average = self.wanted.fps, self.wanted.average_fps
        if fps is None or average is None:
            return None
        low, high = frame_step(average, fps), num_frames * frame_step(average, fps)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._fits_at(average / middle) else (middle, high)
        unit = 10.0 ** (floor(log10(average / high)) - 2)
        rate = floor(average / high / unit) * unit
        return rate if self._fits_at(rate) else None

    def _fits_at(self, fps: float) -> bool:
        num_frames = self._num_at(fps)
        poolings = self._poolings(min(num_frames, MOST_POOLED))
        return num_frames >= poolings[-1] and self._fits(num_frames, poolings[-1], fps)


def _sentence(ways: list[str]) -> str:
    return ", or ".join(ways) + "."
