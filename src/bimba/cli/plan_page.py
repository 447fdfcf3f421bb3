"""A plan in, the lines that tell it on a terminal out."""

import re
import textwrap
from typing import TYPE_CHECKING

from bimba.checkpoints.shipped import RELEASED
from bimba.cli.units import at_time, in_bytes, in_count, in_seconds, in_words

if TYPE_CHECKING:
    from bimba.inference.calibration import TimePlan
    from bimba.inference.plan import Plan

_WIDTH = 80
_KEY_WIDTH = 9
_MOST_TIMES = 4
_DENSE_SECONDS = 0.2
_LONGEST_PROMPT = 2000
# A number and its unit stay in one line.
_HARD_SPACE = "\N{NO-BREAK SPACE}"
_UNIT = re.compile(r"(?<=\d) (?=(?:bytes|kB|MB|GB|TB|s|min|h)\b)")
_STAGES = {
    "vision": "vision tower", "project": "projector", "compress": "compressor", "mix": "mixers",
}  # fmt: skip
# The list of times in a prompt, of which only the first three and the last are shown.
_MANY_TIMES = re.compile(r"((?:\d+\.\d+s,){3})(?:\d+\.\d+s,)+(\d+\.\d+s)")


def plan_lines(plan: "Plan", model: str | None, untimed: str | None) -> list[str]:
    """Say what a question about a video comes to, a line or a few for each thing.

    Args:
        plan: what it comes to.
        model: its name; None for the sizes of the released one.
        untimed: why no time was estimated; None where nobody is told.
    """
    lines = [
        entry("video", _video(plan)),
        entry("frames", _frames(plan)),
        entry("tokens", _tokens(plan)),
        entry("model", _model(plan, model)),
        entry("memory", _memory(plan)),
    ]
    if plan.time is not None:
        lines.append(entry("time", _time(plan.time)))
    elif untimed is not None:
        lines.append(entry("time", untimed))
    return [*lines, entry("prompt", _prompt(plan))]


def entry(key: str, text: str) -> str:
    """A key and its text, which is wrapped beside it."""
    indent = " " * _KEY_WIDTH
    wrapped = [
        piece.replace(_HARD_SPACE, " ")
        for line in _UNIT.sub(_HARD_SPACE, text).splitlines()
        for piece in textwrap.wrap(line, _WIDTH - _KEY_WIDTH, drop_whitespace=True) or [""]
    ]
    return f"{key:<{_KEY_WIDTH}}" + f"\n{indent}".join(wrapped)


def _video(plan: "Plan") -> str:
    facts = [f"{plan.codec} {plan.kind}", f"{plan.width} x {plan.height}"]
    if plan.duration_seconds is not None and plan.average_fps is not None:
        facts.append(f"{in_seconds(plan.duration_seconds)} at {plan.average_fps:.5g} frames a second")
    elif plan.kind == "folder":
        facts.append("no times (--image-fps tells the rate)")
    return f"{plan.path}\n" + ", ".join(facts)


def _frames(plan: "Plan") -> str:
    count = len(plan.frame_indices)
    text = f"{in_count(count)} of {in_count(plan.num_video_frames)}"
    if plan.seconds_between is not None:
        text += f", one every {in_seconds(plan.seconds_between)}"
    if plan.frame_seconds and plan.kind != "image":
        is_dense = plan.seconds_between is not None and plan.seconds_between < _DENSE_SECONDS
        times = [at_time(seconds, hundredths=is_dense) for seconds in plan.frame_seconds]
        shown = times if len(times) <= _MOST_TIMES else [*times[: _MOST_TIMES - 1], "...", times[-1]]
        text += f", at {', '.join(shown)}"
    return text


def _tokens(plan: "Plan") -> str:
    text = f"{in_count(plan.num_patches)} patches -> {in_count(plan.num_video_tokens)} tokens of the video"
    if not plan.video_in_prompt:
        text += ", none of which is dropped:\nthey are read beside the prompt, in every layer"
    if plan.num_text_tokens is None:
        text += "\n+ the text's (name a --model, whose tokenizer counts them)"
    elif plan.video_in_prompt:
        text += f" + {in_count(plan.num_text_tokens)} of the text"
    else:
        text += f"\n{in_count(plan.num_text_tokens)} of the text"
    text += f" + up to {in_count(plan.max_new_tokens)} of the answer"
    if plan.temporal_pooling > 1:
        text = f"{in_count(plan.temporal_pooling)} frames pooled into one: {text}"
    if plan.context_length is not None:
        verdict = {True: "fits into", False: "is MORE than", None: "may fit into"}[plan.fits]
        text += f"\n{verdict} the {in_count(plan.context_length)} that the language model reads"
    if plan.fits is False and plan.video_in_prompt:
        text += "; take fewer --frames, or --frames auto, or a larger --temporal-pooling"
    elif plan.fits is False:
        text += "; ask a shorter question, or allow fewer --max-new-tokens"
    return text


def _model(plan: "Plan", model: str | None) -> str:
    name = model or f"sizes of {RELEASED}"
    return f"{name}\n{in_words(plan.num_parameters)} parameters, {plan.dtype}"


def _memory(plan: "Plan") -> str:
    memory = plan.memory
    parts = [f"weights {in_bytes(memory.weights)}"]
    if memory.kept:
        parts.append(f"keys and values of the video {in_bytes(memory.kept)}")
    parts += [
        f"frames {in_bytes(memory.pixels)}",
        f"vision tower {in_bytes(memory.vision)}",
        f"{'compressor' if plan.video_in_prompt else 'mixers'} {in_bytes(memory.compress)}",
    ]
    parts.append("language model unknown" if memory.answer is None else f"language model {in_bytes(memory.answer)}")
    return f"about {in_bytes(memory.total)} at the peak (estimated)\n" + ", ".join(parts)


def _time(time: "TimePlan") -> str:
    parts = [
        f"frames {in_seconds(time.decode + time.pixels)}",
        *(f"{_STAGES[name]} {in_seconds(seconds)}" for name, seconds in time.looking.items()),
        f"language model {in_seconds(time.first_token)}",
    ]
    begins = (
        f"about {in_seconds(time.until_answer)} until the answer begins, then {1 / time.next_token:.2g} tokens a second"
    )
    return f"{begins} (estimated)\n" + ", ".join(parts)


def _prompt(plan: "Plan") -> str:
    text = _MANY_TIMES.sub(r"\1 ... ,\2", plan.prompt)
    text = text.replace("<image>", f"[{in_count(plan.num_video_tokens)} tokens of the video]\n")
    if len(text) > _LONGEST_PROMPT:
        half = _LONGEST_PROMPT // 2
        text = f"{text[:half]} [...] {text[-half:]}"
    return text.rstrip()
