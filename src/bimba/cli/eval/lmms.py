"""`bimba eval lmms`: a prepared benchmark in, a task for lmms-eval and the command that runs it out."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from bimba.checkpoints.shipped import NANO
from bimba.cli import options
from bimba.cli.ask import print_json


def lmms(
    benchmark: Annotated[
        str, typer.Argument(help="Name, as `bimba eval list` has it.", metavar="BENCHMARK", show_default=False)
    ],
    videos: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the videos.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder for the task.")] = Path("lmms-tasks"),
    prompt: Annotated[str, typer.Option(help="Whose wording: released, or official (the benchmark's).")] = "released",
    prepared: Annotated[Path | None, typer.Option(metavar="DIR", help="What `bimba eval prepare --out` wrote.")] = None,
    json_: options.Json = False,
) -> None:
    """Write a benchmark as a task of lmms-eval, on the files that lie here; any of its models can run it.

    lmms-eval's own tasks run on our models, too: bimba adds `--model bimba` to it.
    """
    from bimba.errors import InputError
    from bimba.evaluation.benchmarks import PROMPTS, find_benchmark
    from bimba.evaluation.lmms import MODEL_NAME
    from bimba.evaluation.lmms.tasks import write_task

    if prompt not in PROMPTS:
        raise InputError(f"--prompt is {prompt!r}.", fix=f"use {' or '.join(PROMPTS)}.")
    task = write_task(find_benchmark(benchmark), videos, out, prompt=prompt, prepared=prepared)
    command = [
        "python",
        "-m",
        "lmms_eval",
        "--model",
        MODEL_NAME,
        "--model_args",
        f"pretrained={NANO},num_frames=64,time_sentence=False",
    ]
    command += ["--tasks", task.stem, "--include_path", str(out), "--batch_size", "1", "--output_path", "lmms-results"]
    if json_:
        print_json({"task": task.stem, "file": str(task), "command": command})
        return
    print(f"task {task.stem} written to {out}")
    print(f"next: {shlex.join(command)}")
