"""`bimba ask`: a video and a question in, the answer on the terminal as it is generated."""

import json
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bimba.cli.progress import bars, hush_transformers, waiting
from bimba.errors import InputError

if TYPE_CHECKING:
    from bimba.inference import Answer, VideoQA

LABELS = {"frames": "reading frames", "vision": "looking at frames", "compress": "compressing"}
RELEASED = "mmiemon/BIMBA-LLaVA-Qwen2-7B"


class Sampling(StrEnum):
    """How frames are chosen."""

    uniform = "uniform"
    fps = "fps"


def ask(
    video: Annotated[Path, typer.Argument(help="A video or image file.", readable=False)],
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    model: Annotated[
        str | None, typer.Option(envvar="BIMBA_MODEL", help="Folder or hub id of a model, or of a released adapter.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Folder or hub id of the adapter's base, if not the one it names.")
    ] = None,
    frames: Annotated[int, typer.Option(help="At most so many frames are looked at.")] = 64,
    sampling: Annotated[
        Sampling, typer.Option(help="uniform, or fps: one frame a second; uniform still if that is more than --frames.")
    ] = Sampling.uniform,
    time_sentence: Annotated[
        bool, typer.Option("--time-sentence/--no-time-sentence", help="Tell the model when the frames are.")
    ] = True,
    max_new_tokens: Annotated[int, typer.Option(help="At most so many tokens are answered.")] = 512,
    temperature: Annotated[
        float | None, typer.Option(help="Above 0: sample instead of taking the likeliest token.", min=0)
    ] = None,
    top_p: Annotated[float | None, typer.Option(help="Sample among the likeliest tokens of this total share.")] = None,
    seed: Annotated[int | None, typer.Option(help="Makes sampling repeatable.", min=0, max=2**63 - 1)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto (as stored), float32, bfloat16 or float16.")] = "auto",
    attn_implementation: Annotated[
        str | None, typer.Option(help="sdpa, eager, flash_attention_2, ... as transformers names them.")
    ] = None,
    quantization: Annotated[str | None, typer.Option(help="4bit or 8bit (needs a GPU and the extra gpu).")] = None,
    temporal_pooling: Annotated[
        int | None, typer.Option(help="Average so many frames into one: fewer tokens of the video.", min=1)
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars; only the answer.")] = False,
) -> None:
    """Ask a question about a video.

    The answer goes to stdout as it is generated, progress to stderr.
    """
    if model is None:
        raise InputError(
            "no model is named.",
            fix=f"--model {RELEASED} (released, 16 GB, fetched once), or a folder; or set BIMBA_MODEL.",
        )
    _check_before_loading(video, question, frames, max_new_tokens)
    hushed = quiet or json_
    start = time.perf_counter()
    with waiting("loading the model", quiet=hushed):
        from bimba import load

        hush_transformers(quiet=True)
        qa = load(
            model,
            base=base,
            device=device,
            dtype=dtype,
            attn_implementation=attn_implementation,
            quantization=quantization,
            config_overrides=None if temporal_pooling is None else {"temporal_pooling": temporal_pooling},
        )
    load_seconds = time.perf_counter() - start
    options: dict[str, Any] = {
        "num_frames": frames,
        "sampling": sampling.value,
        "time_sentence": time_sentence,
        "max_new_tokens": max_new_tokens,
    }
    options |= {name: value for name, value in (("temperature", temperature), ("top_p", top_p)) if value is not None}
    if seed is not None:
        import torch

        torch.manual_seed(seed)
    answer = answer_on_terminal(qa, video, question, options, hushed=hushed, to_stdout=not json_)
    if json_:
        timings = {"load": load_seconds} | answer.timings
        record = {"model": model, "video": str(video), "question": question} | answer.to_dict()
        print(json.dumps(record | {"timings": timings}, ensure_ascii=not sys.stdout.encoding.startswith("utf")))


def answer_on_terminal(
    qa: "VideoQA", video: Path, question: str, options: dict[str, Any], *, hushed: bool, to_stdout: bool
) -> "Answer":
    """Ask with progress bars, print the pieces of the answer as they come, and return it whole."""
    with bars(LABELS, quiet=hushed) as report:
        qa.progress = report
        stream = qa.stream(video, question, **options)
    qa.progress = None
    try:
        for piece in stream:
            if to_stdout:
                print(piece, end="", flush=True)
    finally:
        if to_stdout:
            print(flush=True)
    return stream.answer


def _check_before_loading(video: Path, question: str, frames: int, max_new_tokens: int) -> None:
    """Find what is wrong with the small things before a model of many gigabytes is read."""
    from bimba.video.probe import probe

    if frames < 1:
        raise InputError(f"--frames is {frames}.", fix="take at least one frame, e.g. --frames 64.")
    if max_new_tokens < 1:
        raise InputError(f"--max-new-tokens is {max_new_tokens}.", fix="allow at least one token.")
    if not question.strip():
        raise InputError("the question is empty.", fix='ask something, e.g. "What happens in this video?"')
    scheme, colon, rest = str(video).partition(":")
    if colon and rest.startswith("/") and scheme in ("http", "https", "ftp", "s3", "rtsp"):
        raise InputError(f"{scheme} addresses are not fetched.", fix="download the video first, and name the file.")
    probe(video)
