"""`bimba demo`: nothing in; a video made here, four questions about it and the small model's answers out.

With --page the questions are the visitor's: a server with its page starts, and a browser opens it.
"""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bimba.checkpoints.shipped import NANO, RELEASED
from bimba.cli.ask import print_json
from bimba.cli.progress import hush_transformers, waiting
from bimba.cli.units import at_time, in_seconds
from bimba.errors import InputError

if TYPE_CHECKING:
    from bimba.inference import Answer
    from bimba.needles import Question, VideoRecord

SEED = 1
"""A video with three kinds of needles whose four questions are answered rightly; docs/nano.md has the shares."""
SECONDS = 30.0
NEEDLES = 3
FRAMES = 60
KINDS = ("first", "colour", "count", "position", "order", "last", "after", "glyph", "retrieval", "list", "existence")
"""Of which the first four that the video has are asked."""
NUM_QUESTIONS = 4

NEXT = """Now you:
  look at it   {video}
  ask it       bimba ask {quoted} "List everything that appears in the video."
  make others  bimba needles make --out clips
{nano} knows needle videos like this one and nothing else. For videos of your own there is the released model
(16 GB, fetched once):
  bimba ask VIDEO "What happens?" --model {released}
In a browser, with the moments that an answer rests on: bimba demo --page"""


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the video; a second run reuses it.")] = Path("bimba-demo"),
    seed: Annotated[
        int, typer.Option(help="Another seed, another video (with --overwrite, or in another folder).")
    ] = SEED,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another video in the folder.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No spinners.")] = False,
    page: Annotated[
        bool, typer.Option("--page", help="Ask in a browser instead, on a page of this machine (extra serve).")
    ] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="With --page: tell its address, open nothing.")] = False,
) -> None:
    """Make a video with hidden things, ask the small model four questions about it, and check what it says."""
    if page:
        from bimba.cli.demo_page import show_page

        if json_:
            raise InputError("a page is no JSON.", fix="leave out --json or --page.")
        show_page(out, seed, overwrite=overwrite, opens=not no_open, quiet=quiet)
        return
    if no_open:
        raise InputError("--no-open is about a page.", fix="add --page, or leave it out.")
    hushed = quiet or json_
    with waiting("making a video", quiet=hushed):
        from bimba.evaluation.scoring import is_right

        path, video = demo_video(out, seed, overwrite=overwrite)
    if not json_:
        print(f"video  {path}, {in_seconds(video.seconds)}, with {NEEDLES} things that appear for two seconds each")
        print(f"model  {NANO}, which comes with bimba\n", flush=True)
    with waiting("loading the model", quiet=hushed):
        import bimba

        hush_transformers(quiet=True)
        qa = bimba.load(NANO)
    said: list[dict[str, Any]] = []
    begun = time.perf_counter()
    for question in four_questions(video):
        with waiting("looking", quiet=hushed):
            answer = qa.ask(path, question.question, num_frames=FRAMES)
        right = is_right(answer.text, question.answer)
        said.append(_record(question, answer, right))
        if not json_:
            print(_told(question, answer.text, right), flush=True)
    if json_:
        print_json({"video": str(path), "model": NANO, "answers": said})
        return
    num_right = sum(one["right"] for one in said)
    spent = in_seconds(time.perf_counter() - begun)
    print(f"\n{num_right} of {len(said)} right, in {spent}; {FRAMES} frames became {answer.num_video_tokens} tokens\n")
    print(NEXT.format(video=path, quoted=shlex.quote(str(path)), nano=NANO, released=RELEASED))


def demo_video(out: Path, seed: int = SEED, *, overwrite: bool = False) -> "tuple[Path, VideoRecord]":
    """The video of the demo, made if it is not there.

    Args:
        out: folder for it.
        seed: another one, another video.
        overwrite: replace another video.

    Raises:
        InputError: another video is there already, or the folder cannot be made.
    """
    from bimba.needles import make_needles

    run = make_needles(
        out, seed=seed, seconds=SECONDS, needles=NEEDLES, needle_seconds=2.0, scenes=2, overwrite=overwrite
    )
    video = run.manifest.videos[0]
    return run.folder / video.file, video


def four_questions(video: "VideoRecord") -> "list[Question]":
    """Questions of different kinds; fewer where the video does not have four kinds."""
    by_kind = {question.kind: question for question in reversed(video.questions)}
    return [by_kind[kind] for kind in KINDS if kind in by_kind][:NUM_QUESTIONS]


def _told(question: "Question", said: str, right: bool) -> str:
    """A question, what was said, whether that is right, and when to look for oneself."""
    moments = ", ".join(dict.fromkeys(at_time(one.start_seconds) for one in question.evidence))
    verdict = "right" if right else f"wrong; it is {question.answer!r}"
    seen = f" (see {moments})" if moments else ""
    return f"  {question.question}\n    {said}   <- {verdict}{seen}"


def _record(question: "Question", answer: "Answer", right: bool) -> dict[str, Any]:
    """What --json prints of a question."""
    asked = {"kind": question.kind, "question": question.question, "answer": question.answer}
    times = [[one.start_seconds, one.end_seconds] for one in question.evidence]
    return asked | {"evidence_seconds": times, "right": right, "model_says": answer.to_dict()}
