"""`bimba demo`: nothing in; a video made here, a question about it, and a tiny model's words about it out."""

from pathlib import Path
from typing import Annotated

import typer

from bimba.cli.ask import answer_on_terminal, print_json
from bimba.cli.progress import hush_transformers, waiting
from bimba.cli.units import in_seconds

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
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Make a video with hidden things and ask a tiny model about it: the whole way from file to text, in seconds."""
    hushed = quiet or json_
    with waiting("making a video and a tiny model", quiet=hushed):
        from bimba.inference import VideoQA
        from bimba.models.bimba.tiny import tiny_model
        from bimba.needles import make_needles
        from bimba.video.source import Video

        hush_transformers(quiet=True)
        run = make_needles(out, seed=seed, seconds=20.0, overwrite=overwrite)
        qa = VideoQA(*tiny_model(seed))
    video = run.manifest.videos[0]
    asked = video.questions[0]
    path = run.folder / video.file
    if not json_:
        print(f"video:    {path} ({in_seconds(video.seconds)}; look at it at {asked.evidence[0].start_seconds:.1f} s)")
        print(f"question: {asked.question}")
        print(f"answer:   {asked.answer}")
        print("the model says: ", end="", flush=True)
    settings = {"num_frames": 16, "max_new_tokens": 24}
    answer = answer_on_terminal(qa, Video(path), asked.question, settings, hushed=hushed, to_stdout=not json_)
    if json_:
        truth = {"video": str(path), "question": asked.question, "answer": asked.answer}
        print_json(truth | {"model_says": answer.to_dict()})
        return
    stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in answer.timings.items())
    print(f"looked at {len(answer.frame_seconds)} frames as {answer.num_video_tokens} tokens; seconds: {stages}\n")
    print(NO_MEANING.format(video=path, question=asked.question))
