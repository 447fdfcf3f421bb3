"""`bimba plan`: a video in; what asking about it would look at, ask and need out. No weight is read."""

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bimba.cli import options
from bimba.cli.ask import print_json
from bimba.cli.naming import RELEASED
from bimba.cli.progress import bars, hush_transformers, waiting
from bimba.cli.units import at_time, in_bytes, in_count, in_seconds, in_words

if TYPE_CHECKING:
    from bimba.inference.plan import Plan
    from bimba.video.source import Video

_WIDTH = 80
_KEY_WIDTH = 9
_MOST_TIMES = 4
_DENSE_SECONDS = 0.2
_LONGEST_PROMPT = 2000
# A number and its unit stay in one line.
_HARD_SPACE = "\N{NO-BREAK SPACE}"
_UNIT = re.compile(r"(?<=\d) (?=(?:bytes|kB|MB|GB|TB|s|min|h)\b)")
# The list of times in a prompt, of which only the first three and the last are shown.
_MANY_TIMES = re.compile(r"((?:\d+\.\d+s,){3})(?:\d+\.\d+s,)+(\d+\.\d+s)")


def plan(
    video: options.VideoPath,
    question: Annotated[
        str, typer.Argument(help="What you would ask; its length counts.")
    ] = "What happens in this video?",
    model: options.SizesOfModel = None,
    base: options.Base = None,
    frames: options.Frames = 64,
    sampling: options.SamplingMode = options.Sampling.uniform,
    start: options.Start = None,
    end: options.End = None,
    time_sentence: options.TimeSentence = True,
    video_stream: options.VideoStream = None,
    image_fps: options.ImageFps = None,
    allow_truncated: options.AllowTruncated = False,
    isolate: options.Isolate = False,
    max_new_tokens: options.MaxNewTokens = 512,
    temporal_pooling: options.TemporalPooling = None,
    picture: Annotated[
        Path | None,
        typer.Option(help="Also draw the chosen frames with their times: a .png or .jpg file.", show_default=False),
    ] = None,
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show what a question about a video comes to: frames, tokens, memory, prompt.

    No weight is read. Without --model, the sizes of the released model are taken.
    """
    options.check_numbers(frames, max_new_tokens)
    hushed = quiet or json_
    with waiting("reading the video", quiet=hushed):
        opened = options.open_video(video, start, end, video_stream, image_fps, allow_truncated, "pyav", isolate)
    with opened:
        with waiting("reading the model's small files", quiet=hushed):
            from bimba.checkpoints.outline import read_outline
            from bimba.inference.plan import plan as make_plan

            hush_transformers(quiet=True)
            outline = read_outline(model, base, options.pooling_override(temporal_pooling))
            result = make_plan(
                opened,
                question,
                outline,
                num_frames=frames,
                sampling=str(sampling),
                time_sentence=time_sentence,
                max_new_tokens=max_new_tokens,
            )
        if picture is not None:
            draw_frames(opened, result.frame_indices, result.frame_seconds, picture, quiet=hushed)
    if json_:
        print_json({"model": model} | result.to_dict())
        return
    for line in _lines(result, model):
        print(line)
    if picture is not None and not quiet:
        print(_entry("picture", str(picture)))


def draw_frames(video: "Video", indices: list[int], seconds: list[float], picture: Path, *, quiet: bool) -> None:
    """Draw frames of a video, each with its time, into a picture file."""
    from bimba.video.contact_sheet import contact_sheet, save_picture

    width, height = video.info.display_size
    labels = [at_time(value) for value in seconds] or [f"frame {index}" for index in indices]
    with bars({"frames": "reading frames"}, quiet=quiet) as report:
        frames = video.frames(indices, on_frame=lambda done: report("frames", done, len(indices)))
        save_picture(contact_sheet(frames, labels, aspect=width / height), picture)


def _lines(plan: "Plan", model: str | None) -> list[str]:
    return [
        _entry("video", _video(plan)),
        _entry("frames", _frames(plan)),
        _entry("tokens", _tokens(plan)),
        _entry("model", _model(plan, model)),
        _entry("memory", _memory(plan)),
        _entry("prompt", _prompt(plan)),
    ]


def _entry(key: str, text: str) -> str:
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
    if plan.num_text_tokens is None:
        text += "\n+ the text's (name a --model, whose tokenizer counts them)"
    else:
        text += f" + {in_count(plan.num_text_tokens)} of the text"
    text += f" + up to {in_count(plan.max_new_tokens)} of the answer"
    if plan.context_length is not None:
        verdict = {True: "fits into", False: "is MORE than", None: "may fit into"}[plan.fits]
        text += f"\n{verdict} the {in_count(plan.context_length)} that the language model reads"
        if plan.fits is False:
            text += "; take fewer --frames, or a larger --temporal-pooling"
    return text


def _model(plan: "Plan", model: str | None) -> str:
    name = model or f"sizes of {RELEASED}"
    return f"{name}\n{in_words(plan.num_parameters)} parameters, {plan.dtype}"


def _memory(plan: "Plan") -> str:
    memory = plan.memory
    parts = [
        f"weights {in_bytes(memory.weights)}",
        f"frames {in_bytes(memory.pixels)}",
        f"vision tower {in_bytes(memory.vision)}",
        f"compressor {in_bytes(memory.compress)}",
    ]
    parts.append("language model unknown" if memory.answer is None else f"language model {in_bytes(memory.answer)}")
    return f"about {in_bytes(memory.total)} at the peak (estimated)\n" + ", ".join(parts)


def _prompt(plan: "Plan") -> str:
    text = _MANY_TIMES.sub(r"\1 ... ,\2", plan.prompt)
    text = text.replace("<image>", f"[{in_count(plan.num_video_tokens)} tokens of the video]\n")
    if len(text) > _LONGEST_PROMPT:
        half = _LONGEST_PROMPT // 2
        text = f"{text[:half]} [...] {text[-half:]}"
    return text.rstrip()
