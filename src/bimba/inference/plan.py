"""A video, a question and a model's small files in; what would be looked at, asked and needed out, without weights."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bimba.checkpoints.outline import ModelOutline
from bimba.inference.budget import CountText, Fit, Room, Wanted, fit_budget
from bimba.inference.budget_of_frames import fit_frames
from bimba.inference.calibration import TimePlan
from bimba.inference.clip import Clip, ClipFile
from bimba.inference.looked_at import LookedAt, count_tokens
from bimba.inference.memory import MemoryPlan, plan_memory
from bimba.inference.request import RequestBuilder, checked_turns, context_length, messages_about, most_groups
from bimba.inference.vamba_memory import plan_vamba_memory
from bimba.models.vamba.configuration import VambaConfig
from bimba.text.prompts import Message, chatml
from bimba.video.sampling import SamplingOrRate
from bimba.video.source import Video


@dataclass(frozen=True)
class Plan:
    """What a question about a video comes to.

    Attributes:
        path: the video.
        kind: "video", "image", "animation" or "folder".
        codec: name of its coding.
        width: of the upright picture as a player shows it, in pixels.
        height: of the same.
        num_video_frames: frames of the whole video.
        average_fps: frames a second; None without times.
        duration_seconds: length of the whole video; None without times.
        frame_indices: the chosen frames.
        frame_seconds: their times; empty without times.
        temporal_pooling: frames that are pooled into one.
        num_patches: vision tokens that the compressor reads.
        num_video_tokens: tokens of the video that the language model reads.
        video_in_prompt: whether they stand in the prompt, as BIMBA's do; Vamba's are read beside it, in every layer.
        num_text_tokens: tokens of the prompt beside those; None where no tokenizer is at hand.
        max_new_tokens: room for the answer.
        context_length: tokens that the language model reads at most; None for no limit.
        fits: whether it all fits into that; None where the text's length is unknown.
        num_parameters: of the model.
        dtype: of its weights.
        memory: estimated bytes.
        prompt: what the language model reads, with one placeholder for the video.
        time: estimated seconds; None where nothing was measured.
    """

    path: str
    kind: str
    codec: str
    width: int
    height: int
    num_video_frames: int
    average_fps: float | None
    duration_seconds: float | None
    frame_indices: list[int]
    frame_seconds: list[float]
    temporal_pooling: int
    num_patches: int
    num_video_tokens: int
    video_in_prompt: bool
    num_text_tokens: int | None
    max_new_tokens: int
    context_length: int | None
    fits: bool | None
    num_parameters: int
    dtype: str
    memory: MemoryPlan
    prompt: str
    time: TimePlan | None = None

    @property
    def seconds_between(self) -> float | None:
        """Average distance of the chosen frames."""
        if len(self.frame_seconds) < 2:
            return None
        return (self.frame_seconds[-1] - self.frame_seconds[0]) / (len(self.frame_seconds) - 1)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        memory = asdict(self.memory) | {"total": self.memory.total}
        seconds = None if self.time is None else self.time.to_dict()
        return asdict(self) | {"seconds_between": self.seconds_between, "memory": memory, "time": seconds}


def plan(
    video: Video | str | Path,
    question: str,
    outline: ModelOutline,
    *,
    num_frames: int = 64,
    sampling: SamplingOrRate = "uniform",
    time_sentence: bool = True,
    max_new_tokens: int = 512,
    measure: Callable[[Clip, int], TimePlan | None] | None = None,
) -> Plan:
    """Say what asking would do, without doing it.

    Args:
        video: a file, a folder of pictures or a pipe.
        question: what would be asked.
        outline: the model without its weights.
        num_frames: as in `VideoQA.ask`.
        sampling: as in `VideoQA.ask`.
        time_sentence: as in `VideoQA.ask`.
        max_new_tokens: as in `VideoQA.ask`.
        measure: estimates the time that the chosen frames and a prompt of so many tokens take, if that is wanted; see
            `bimba.inference.calibration.calibrate`.

    Raises:
        VideoError: the video cannot be read.
        InputError: an argument is out of range.
    """
    file = ClipFile(video if isinstance(video, Video) else Video(video))
    info, config = file.info, outline.config
    clip = file.choose(num_frames, sampling)
    seen = count_tokens(outline, clip)
    turns = checked_turns(question, has_video=True)
    messages = messages_about(clip, turns, time_sentence and config.time_sentence)
    prompt, num_text_tokens = chatml(messages), None
    if outline.processor is not None:
        request = RequestBuilder(outline.processor, file, turns, sampling, time_sentence).about(clip)
        prompt, num_text_tokens = request.prompt, len(request.input_ids) - seen.num_in_prompt
    limit = context_length(config)
    num_all = seen.num_in_prompt + (num_text_tokens or 0) + max_new_tokens
    width, height = info.display_size
    return Plan(
        path=str(info.path),
        kind=info.kind,
        codec=info.codec,
        width=width,
        height=height,
        num_video_frames=info.num_frames,
        average_fps=info.average_fps if info.is_timed else None,
        duration_seconds=info.duration_seconds if info.is_timed else None,
        frame_indices=list(clip.indices),
        frame_seconds=list(clip.frame_seconds),
        temporal_pooling=seen.temporal_pooling,
        num_patches=seen.num_patches,
        num_video_tokens=seen.num_tokens,
        video_in_prompt=seen.num_in_prompt > 0,
        num_text_tokens=num_text_tokens,
        max_new_tokens=max_new_tokens,
        context_length=limit,
        fits=_fits(num_all, limit, is_exact=num_text_tokens is not None),
        num_parameters=outline.num_parameters,
        dtype=str(outline.dtype).removeprefix("torch."),
        memory=_memory(outline, clip, seen, num_all),
        prompt=prompt,
        time=None if measure is None else measure(clip, seen.num_in_prompt + (num_text_tokens or len(prompt.encode()))),
    )


def _memory(outline: ModelOutline, clip: Clip, seen: LookedAt, num_tokens: int) -> MemoryPlan:
    """Bytes of everything, with so many tokens of prompt and answer."""
    num_parameters, itemsize = outline.num_parameters, outline.dtype.itemsize
    if isinstance(outline.config, VambaConfig):
        if clip.frame_size is None:
            raise ValueError("what a Vamba takes depends on the size of the frames, which is not known.")
        return plan_vamba_memory(
            outline.config,
            num_parameters=num_parameters,
            num_frames=clip.num_frames,
            frame_size=clip.frame_size,
            num_video_tokens=seen.num_tokens,
            num_tokens=num_tokens,
            itemsize=itemsize,
        )
    return plan_memory(
        outline.config,
        num_parameters=num_parameters,
        num_frames=clip.num_frames,
        num_tokens=num_tokens,
        itemsize=itemsize,
    )


def fit(
    video: Video | str | Path,
    question: str,
    outline: ModelOutline,
    *,
    frames: int | Literal["auto"] = 64,
    fps: float | None = None,
    sampling: str = "uniform",
    max_video_tokens: int | None = None,
    keep_pooling: bool = False,
    time_sentence: bool = True,
    num_answer_tokens: int = 512,
) -> Fit:
    """Choose frames and their pooling so that the language model can read them; see `fit_budget`.

    Args:
        video: a file, a folder of pictures or a pipe.
        question: what would be asked; its length counts.
        outline: the model without its weights. Where it has no tokenizer, a token for each byte of the text is
            reckoned with, which no tokenizer of bytes exceeds.
        frames: at most so many, or "auto".
        fps: take so many a second.
        sampling: as in `VideoQA.ask`, "uniform", "fps" or "middle".
        max_video_tokens: at most so many tokens of the video; None for what the language model can read.
        keep_pooling: pool no more frames into one than the outline says.
        time_sentence: as in `VideoQA.ask`.
        num_answer_tokens: room for the answer.

    Raises:
        VideoError: the video cannot be read.
        InputError: it does not fit in any way, or an argument is out of range.
    """
    file = ClipFile(video if isinstance(video, Video) else Video(video))
    if fps is not None or sampling == "fps":
        file.check_timed()
    config = outline.config
    if isinstance(config, VambaConfig):
        wanted = Wanted(
            num_available=file.num_available,
            average_fps=file.average_fps,
            frames=frames,
            fps=fps,
            sampling=sampling,
            max_video_tokens=max_video_tokens,
        )
        return fit_frames(wanted, lambda count: count_tokens(outline, file.shortened(count, "uniform")).num_tokens)
    wanted = Wanted(
        num_available=file.num_available,
        average_fps=file.average_fps,
        frames=frames,
        fps=fps,
        sampling=sampling,
        max_video_tokens=max_video_tokens,
        may_pool=not keep_pooling and config.compressor["type"] != "none",
        most_groups=most_groups(config),
    )
    turns = checked_turns(question, has_video=True)
    count_text = _count_bytes(file, turns, time_sentence and config.time_sentence)
    if outline.processor is not None:
        count_text = RequestBuilder(outline.processor, file, turns, sampling, time_sentence).num_text_tokens
    return fit_budget(wanted, config, Room(context_length(config), num_answer_tokens, count_text))


def _count_bytes(file: ClipFile, turns: tuple[Message, ...], tell_times: bool) -> CountText:
    """Counts the bytes of a prompt."""

    def count(num_frames: int, sampling: SamplingOrRate) -> int:
        return len(chatml(messages_about(file.shortened(num_frames, sampling), turns, tell_times)).encode())

    return count


def _fits(num_tokens: int, limit: int | None, *, is_exact: bool) -> bool | None:
    if limit is None:
        return True
    if num_tokens > limit:
        return False
    return True if is_exact else None
