"""`bimba demo`: nothing in; a video made here, a question about it, and a tiny model's words about it out."""

from pathlib import Path
from typing import Annotated

import typer

from bimba.cli.ask import answer_on_terminal
from bimba.cli.progress import hush_transformers, waiting

NO_MEANING = (
    "The model that spoke is tiny and has random weights: its words mean nothing yet. "
    "For answers that do, ask the released model:\n"
    '  bimba ask {video} "{question}" --model mmiemon/BIMBA-LLaVA-Qwen2-7B'
)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the video; a second run reuses it.")] = Path("bimba-demo"),
    seed: Annotated[
        int, typer.Option(help="Another seed, another video (with --overwrite, or in another folder).")
    ] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another video in the folder.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress bars.")] = False,
) -> None:
    """Make a video with hidden things and ask a tiny model about it: the whole way from file to text, in seconds."""
    with waiting("making a video and a tiny model", quiet=quiet):
        from bimba.inference import VideoQA
        from bimba.models.bimba.tiny import tiny_model
        from bimba.needles import make_needles

        hush_transformers(quiet=True)
        run = make_needles(out, seed=seed, seconds=20.0, overwrite=overwrite)
        qa = VideoQA(*tiny_model(seed))
    video = run.manifest.videos[0]
    asked = video.questions[0]
    path = run.folder / video.file
    print(f"video:    {path} ({video.seconds:.0f} s; look at it at {asked.evidence[0].start_seconds:.1f} s)")
    print(f"question: {asked.question}")
    print(f"answer:   {asked.answer}")
    print("the model says: ", end="", flush=True)
    options = {"num_frames": 16, "max_new_tokens": 24}
    answer = answer_on_terminal(qa, path, asked.question, options, hushed=quiet, to_stdout=True)
    stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in answer.timings.items())
    print(f"looked at {len(answer.frame_seconds)} frames as {answer.num_video_tokens} tokens; seconds: {stages}\n")
    print(NO_MEANING.format(video=path, question=asked.question))
