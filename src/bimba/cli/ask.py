"""`bimba ask`: a video and a question in, the answer on the terminal as it is generated."""

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bimba.cli import options
from bimba.cli.naming import model_or_default, remark_on_answer
from bimba.cli.progress import bars, hush_transformers, waiting
from bimba.errors import InputError

if TYPE_CHECKING:
    from bimba.inference import Answer, AnswerStream, VideoQA
    from bimba.video.source import Video

LABELS = {"frames": "reading frames", "vision": "looking at frames", "compress": "compressing"}


def ask(
    video: options.VideoPath,
    question: Annotated[str, typer.Argument(help="What you want to know.", show_default=False)],
    model: options.ModelName = None,
    base: options.Base = None,
    frames: options.Frames = 64,
    sampling: options.SamplingMode = options.Sampling.uniform,
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
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Ask a question about a video.

    The answer goes to stdout as it is generated, progress to stderr.
    """
    options.check_numbers(frames, max_new_tokens, seed)
    if not question.strip():
        raise InputError("the question is empty.", fix='ask something, e.g. "What happens in this video?"')
    hushed = quiet or json_
    named = model_or_default(model, quiet=hushed)
    with waiting("reading the video", quiet=hushed):
        opened = options.open_video(video, start, end, video_stream, image_fps, allow_truncated, str(backend), isolate)
    with opened:
        begun = time.perf_counter()
        with waiting("loading the model", quiet=hushed):
            hush_transformers(quiet=True)
            qa = options.load_model(named, base, device, dtype, attn_implementation, quantization, temporal_pooling)
        load_seconds = time.perf_counter() - begun
        settings = {
            "num_frames": frames,
            "sampling": str(sampling),
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
    qa: "VideoQA", video: "Video", question: str, settings: dict[str, Any], *, hushed: bool, to_stdout: bool
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


def print_json(record: dict[str, Any]) -> None:
    """Print one JSON object in one line, in letters that the terminal has."""
    print(json.dumps(record, ensure_ascii=not sys.stdout.encoding.lower().startswith("utf")), flush=True)
