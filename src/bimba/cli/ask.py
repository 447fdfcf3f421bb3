"""`bimba ask`: a video and a question in, the answer on the terminal as it is generated."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bimba.cli import looking, options
from bimba.cli.evidence_page import evidence_lines
from bimba.cli.grouping import grouped
from bimba.cli.naming import model_or_default, remark_on_answer
from bimba.cli.plan_page import plan_lines
from bimba.cli.planning import UNTIMED, make_plan
from bimba.cli.progress import bars, hush_transformers, waiting
from bimba.errors import InputError

if TYPE_CHECKING:
    from bimba.inference import AnswerStream, VideoQA
    from bimba.inference.encoded import EncodedVideo
    from bimba.inference.plan import Plan
    from bimba.video.source import Video

_PICTURES = (".png", ".jpg", ".jpeg")
LABELS = {"frames": "reading frames", "vision": "looking at frames", "compress": "compressing"}


@grouped
def ask(
    video: options.VideoPath,
    question: Annotated[str, typer.Argument(help="What you want to know.", show_default=False)],
    *,
    model: options.ModelOptions,
    look: looking.LookOptions,
    span: options.TimedOptions,
    reading: options.ReadingOptions,
    answering: options.AnswerOptions,
    evidence: Annotated[
        bool,
        typer.Option(
            "--evidence",
            help="Also print the moments of the video that the answer rests on.",
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = False,
    evidence_picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw them over time, with frames of the video: a .png or .jpg file.",
            show_default=False,
            rich_help_panel=options.OUTPUT_PANEL,
        ),
    ] = None,
    dry_run: looking.DryRun = False,
    printing: options.PrintOptions,
) -> None:
    """Ask a question about a video.

    The answer goes to stdout as it is generated, progress to stderr.
    """
    options.check_numbers(answering.max_new_tokens, answering.seed)
    wanted = looking.look_at(look, model.temporal_pooling)
    if not question.strip():
        raise InputError("the question is empty.", fix='ask something, e.g. "What happens in this video?"')
    hushed, to_stdout = printing.hushed, not printing.json_
    named = model_or_default(model.model, quiet=hushed)
    model = replace(model, model=named)
    with waiting("reading the video", quiet=hushed):
        opened = options.open_either(video, span, reading)
    with opened:
        if evidence_picture is not None:
            check_picture(evidence_picture, opened)
        asked = looking.Asked(question, span.time_sentence, answering.max_new_tokens)
        settled = looking.settle(wanted, opened, asked, model, quiet=hushed, outlined=dry_run)
        if dry_run:
            print_dry_run(settled, options.source_of(opened), asked, model, printing)
            return
        begun = time.perf_counter()
        with waiting("loading the model", quiet=hushed):
            hush_transformers(quiet=True)
            qa = options.load_model(named, model, settled.temporal_pooling)
        load_seconds = time.perf_counter() - begun
        looked = {"num_frames": settled.num_frames, "sampling": settled.sampling, "time_sentence": span.time_sentence}
        settings = looked | answer_settings(answering)
        stream = answer_on_terminal(qa, opened, question, settings, hushed=hushed, to_stdout=to_stdout)
        answer = stream.answer
        remark_on_answer(named, answer.text, quiet=hushed)
        record = {"model": named, "video": str(video), "question": question} | answer.to_dict()
        record["timings"] = {"load": load_seconds} | answer.timings
        try:
            if evidence or evidence_picture is not None:
                record |= tell_evidence(stream, evidence_picture, opened, question, hushed=hushed, to_stdout=to_stdout)
        finally:  # whatever becomes of the evidence, the answer is not lost
            if printing.json_:
                print_json(record)


def answer_settings(answering: options.AnswerOptions) -> dict[str, Any]:
    """What `VideoQA.ask` takes of the options; the seed is set here."""
    if answering.seed is not None:
        import torch

        torch.manual_seed(answering.seed)
    given = {"temperature": answering.temperature, "top_p": answering.top_p}
    drawn = {name: value for name, value in given.items() if value is not None}
    return {"max_new_tokens": answering.max_new_tokens} | drawn


def answer_on_terminal(
    qa: "VideoQA",
    video: "Video | EncodedVideo",
    question: str,
    settings: dict[str, Any],
    *,
    hushed: bool,
    to_stdout: bool,
) -> "AnswerStream":
    """Ask with progress bars, and print the pieces of the answer as they come.

    Returns:
        the stream, which has come to its end.
    """
    with bars(LABELS, quiet=hushed) as report:
        qa.progress = report
        stream = qa.stream(video, question, **settings)
    qa.progress = None
    print_stream(stream, to_stdout=to_stdout)
    return stream


def check_picture(picture: Path, video: "Video | EncodedVideo") -> None:
    """Refuse a picture that could not be drawn in the end, before anything is asked.

    Raises:
        InputError: its name is of no kind of picture, or its folder is missing.
        VideoError: the video was encoded, and is not at hand.
    """
    if picture.suffix.lower() not in _PICTURES:
        raise InputError(f"{picture} does not name a kind of picture.", fix="name a .png or .jpg file.")
    if not picture.parent.is_dir():
        raise InputError(f"there is no folder {picture.parent}.", fix="make it, or name a file elsewhere.")
    options.source_of(video)


def tell_evidence(
    stream: "AnswerStream",
    picture: Path | None,
    video: "Video | EncodedVideo",
    question: str,
    *,
    hushed: bool,
    to_stdout: bool,
) -> dict[str, Any]:
    """Find what the answer rests on, print it, and draw it if there is a picture to draw.

    Returns:
        what --json prints of it.
    """
    with waiting("looking for what the answer rests on", quiet=hushed):
        found = stream.evidence()
    if to_stdout:
        for line in evidence_lines(found):
            print(line)
    if picture is not None and stream.clip is not None:
        from bimba.cli.evidence_picture import draw_evidence
        from bimba.video.contact_sheet import save_picture

        width, height = options.source_of(video).info.display_size
        with waiting("drawing", quiet=hushed):
            save_picture(draw_evidence(found, stream.clip.frames(), question, aspect=width / height), picture)
        if not hushed:
            print(f"picture: {picture}")
    return {"evidence": found.to_dict()}


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
    asked: looking.Asked,
    model: options.ModelOptions,
    printing: options.PrintOptions,
) -> None:
    """Print what asking comes to, in the place of asking."""
    is_quantized = model.quantization is not None
    plan = make_plan(settled, video, asked, model, timed=not is_quantized, quiet=printing.hushed)
    if is_quantized and not printing.hushed:
        print("the memory is that of weights that are not quantized; quantized ones take less", file=sys.stderr)
    print_plan(plan, model.model, UNTIMED["quantized" if is_quantized else "unknown"], as_json=printing.json_)


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
