"""What would be asked in, its plan out: what `bimba plan` shows, and `ask` and `chat` with --dry-run."""

from typing import TYPE_CHECKING

from bimba.cli.looking import Asked, Settled, with_dtype
from bimba.cli.options import AttendingModel
from bimba.cli.progress import waiting

if TYPE_CHECKING:
    from bimba.inference.calibration import TimePlan
    from bimba.inference.clip import Clip
    from bimba.inference.plan import Plan
    from bimba.video.source import Video

QUESTION = "What happens in this video?"
"""Stands for whatever will be asked."""

UNTIMED = {
    "quantized": "not estimated: of quantized weights nothing is known before they are read",
    "unnamed": "not estimated for a model that is not named (--model, or --time for the released sizes)",
    "unknown": "not estimated: this kind of model keeps its layers where they cannot be timed",
}
"""Why a plan has no time."""


def make_plan(
    settled: Settled, video: "Video", asked: Asked, model: AttendingModel, *, timed: bool, quiet: bool
) -> "Plan":
    """Say what a question comes to; nothing is asked.

    Args:
        settled: what is looked at, with the model's outline.
        video: the video.
        asked: what would be asked.
        model: how it would be loaded.
        timed: estimate the time, too.
        quiet: no spinner.

    Raises:
        VideoError: a frame cannot be decoded.
        InputError: an option is unknown, or there is no such device here.
        ValueError: there is no outline.
    """
    from bimba.checkpoints.loading import named_device
    from bimba.inference.calibration import calibrate
    from bimba.inference.plan import plan

    if settled.outline is None:
        raise ValueError("a plan needs the model's outline")
    outline, place = with_dtype(settled.outline, model.dtype), named_device(model.device)

    def measure(clip: "Clip", num_prompt_tokens: int) -> "TimePlan | None":
        return calibrate(outline, clip, num_prompt_tokens, device=place, attn_implementation=model.attn_implementation)

    with waiting("timing this machine" if timed else "counting", quiet=quiet):
        return plan(
            video,
            asked.question,
            outline,
            num_frames=settled.num_frames,
            sampling=settled.sampling,
            time_sentence=asked.time_sentence,
            max_new_tokens=asked.max_new_tokens,
            measure=measure if timed else None,
        )
