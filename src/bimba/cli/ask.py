"""`bimba ask`: a video and a question in, the answer on the terminal as it is generated."""

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bimba.cli import looking, options
from bimba.cli.naming import model_or_default, remark_on_answer
from bimba.cli.plan_page import plan_lines
from bimba.cli.planning import UNTIMED, make_plan
from bimba.cli.progress import bars, hush_transformers, waiting
from bimba.errors import InputError

if TYPE_CHECKING:
    from bimba.inference import Answer, AnswerStream, VideoQA
    from bimba.inference.encoded import EncodedVideo
    from bimba.inference.plan import Plan
    from bimba.video.source import Video

LABELS = {"frames": "reading frames", "vision": "looking at frames", "compress": "compressing"}


def ask(
    video: options.VideoPath,
    question: Annotated[str, typer.Argument(help="What you want to know.", show_default=False)],
    model: options.ModelName = None,
    base: options.Base = None,
    frames: looking.Frames = None,
    fps: looking.Fps = None,
    max_video_tokens: looking.MaxVideoTokens = None,
    sampling: looking.SamplingMode = None,
    start: options.Start = None,
    end: options.End = None,
    time_sentence: options.TimeSentence = True,
    video_stream: options.VideoStream = None,
    image_fps: options.ImageFps = None,
    allow_truncated: options.AllowTruncated = False,
    backend: options.BackendName = options.Backend.pyav,
    isolate: options.Isolate = False,
    max_new_tokens: options.MaxNewTokens = 512,
    temperature: options.Temperature = None,
    top_p: options.TopP = None,
    seed: options.Seed = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    attn_implementation: options.AttnImplementation = None,
    quantization: options.Quantization = None,
    temporal_pooling: options.TemporalPooling = None,
    dry_run: looking.DryRun = False,
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Ask a question about a video.

    The answer goes to stdout as it is generated, progress to stderr.
    """
    options.check_numbers(max_new_tokens, seed)
    look = looking.look_at(frames, fps, sampling, max_video_tokens, temporal_pooling)
    if not question.strip():
        raise InputError("the question is empty.", fix='ask something, e.g. "What happens in this video?"')
    hushed = quiet or json_
    named = model_or_default(model, quiet=hushed)
    with waiting("reading the video", quiet=hushed):
        opened = options.open_either(video, start, end, video_stream, image_fps, allow_truncated, str(backend), isolate)
    with opened:
        settled = looking.settle(
            look,
            opened,
            question,
            named,
            base,
            time_sentence=time_sentence,
            max_new_tokens=max_new_tokens,
            quiet=hushed,
            outlined=dry_run,
        )
        if dry_run:
            print_dry_run(
                settled,
                options.source_of(opened),
                question,
                named,
                time_sentence=time_sentence,
                max_new_tokens=max_new_tokens,
                device=device,
                dtype=dtype,
                attn_implementation=attn_implementation,
                quantization=quantization,
                as_json=json_,
                quiet=hushed,
            )
            return
        begun = time.perf_counter()
        with waiting("loading the model", quiet=hushed):
            hush_transformers(quiet=True)
            qa = options.load_model(
                named, base, device, dtype, attn_implementation, quantization, settled.temporal_pooling
            )
        load_seconds = time.perf_counter() - begun
        settings = {
            "num_frames": settled.num_frames,
            "sampling": settled.sampling,
            "time_sentence": time_sentence,
            "max_new_tokens": max_new_tokens,
        }
        settings |= sampling_settings(temperature, top_p, seed)
        answer = answer_on_terminal(qa, opened, question, settings, hushed=hushed, to_stdout=not json_)
    remark_on_answer(named, answer.text, quiet=hushed)
    if json_:
        timings = {"load": load_seconds} | answer.timings
        record = {"model": named, "video": str(video), "question": question} | answer.to_dict()
        print_json(record | {"timings": timings})


def sampling_settings(temperature: float | None, top_p: float | None, seed: int | None) -> dict[str, Any]:
    """What `VideoQA.ask` takes of the options that draw by chance; the seed is set here."""
    if seed is not None:
        import torch

        torch.manual_seed(seed)
    given = {"temperature": temperature, "top_p": top_p}
    return {name: value for name, value in given.items() if value is not None}


def answer_on_terminal(
    qa: "VideoQA",
    video: "Video | EncodedVideo",
    question: str,
    settings: dict[str, Any],
    *,
    hushed: bool,
    to_stdout: bool,
) -> "Answer":
    """Ask with progress bars, print the pieces of the answer as they come, and return it whole."""
    with bars(LABELS, quiet=hushed) as report:
        qa.progress = report
        stream = qa.stream(video, question, **settings)
    qa.progress = None
    print_stream(stream, to_stdout=to_stdout)
    return stream.answer


def print_stream(stream: "AnswerStream", *, to_stdout: bool) -> None:
    """Print the pieces of an answer as they come, and a line's end after the last, even if it was not the last."""
    try:
        for piece in stream:
            if to_stdout:
                print(piece, end="", flush=True)
    finally:
        if to_stdout:
            print(flush=True)


def print_dry_run(
    settled: looking.Settled,
    video: "Video",
    question: str,
    model: str,
    *,
    time_sentence: bool,
    max_new_tokens: int,
    device: str,
    dtype: str,
    attn_implementation: str | None,
    quantization: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Print what asking comes to, in the place of asking."""
    plan = make_plan(
        settled,
        video,
        question,
        time_sentence=time_sentence,
        max_new_tokens=max_new_tokens,
        device=device,
        dtype=dtype,
        attn_implementation=attn_implementation,
        timed=quantization is None,
        quiet=quiet,
    )
    if quantization is not None and not quiet:
        print("the memory is that of weights that are not quantized; quantized ones take less", file=sys.stderr)
    print_plan(plan, model, UNTIMED["unknown" if quantization is None else "quantized"], as_json=as_json)


def print_plan(plan: "Plan", model: str | None, untimed: str | None, *, as_json: bool) -> None:
    """Print what a question comes to.

    Args:
        plan: what it comes to.
        model: its name; None for the sizes of the released one.
        untimed: why the plan has no time, if it has none; None where nobody asked for it.
        as_json: as one JSON object.
    """
    if as_json:
        print_json({"model": model} | plan.to_dict())
        return
    for line in plan_lines(plan, model, untimed):
        print(line)


def print_json(record: dict[str, Any]) -> None:
    """Print one JSON object in one line, in letters that the terminal has."""
    print(json.dumps(record, ensure_ascii=not sys.stdout.encoding.lower().startswith("utf")), flush=True)
