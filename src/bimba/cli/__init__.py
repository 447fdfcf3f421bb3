"""The command `bimba`: words of the command line in, what was asked for on the terminal out.

One module a command. They import torch only when they run, so that `--help` is there at once.
"""

import errno
import logging
import os
import sys
import threading
from contextlib import suppress
from io import TextIOWrapper
from typing import Annotated

import typer

from bimba import __version__
from bimba.cli import bench, data, needles
from bimba.cli import eval as evaluation
from bimba.cli.ask import ask
from bimba.cli.chat import chat
from bimba.cli.convert import convert
from bimba.cli.demo import demo
from bimba.cli.doctor import doctor
from bimba.cli.encode import encode
from bimba.cli.plan import plan
from bimba.cli.serve import serve
from bimba.cli.train import train
from bimba.cli.watch import watch
from bimba.errors import BimbaError

DEBUG = "--debug"

app = typer.Typer(
    name="bimba",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Ask questions about long videos.",
    epilog='Example: bimba ask talk.mp4 "What is on the slide?" --model DIR',
)
app.command(epilog='Example: bimba ask talk.mp4 "What is on the slide?" --model mmiemon/BIMBA-LLaVA-Qwen2-7B')(ask)
app.command(epilog="Example: bimba chat talk.mp4 --model mmiemon/BIMBA-LLaVA-Qwen2-7B")(chat)
app.command(epilog="Example: bimba watch recording.ts --model mmiemon/BIMBA-LLaVA-Qwen2-7B")(watch)
app.command(epilog='Example: bimba plan talk.mp4 "What is on the slide?" --frames 128')(plan)
app.command(epilog="Example: bimba encode talk.mp4 -o talk.bimba")(encode)
app.command(epilog="Example: bimba serve --media-root videos --port 8000")(serve)
app.command(epilog="Example: bimba train recipe.yaml schedule.max_steps=2 output=runs/first")(train)
app.command(epilog="Example: bimba convert ADAPTER_DIR OUT_DIR --base BASE_DIR")(convert)
app.command(epilog="Example: bimba demo --out bimba-demo")(demo)
app.command(epilog="Example: bimba doctor --json")(doctor)
app.add_typer(evaluation.app, name="eval")
app.add_typer(needles.app, name="needles")
app.add_typer(bench.app, name="bench")
app.add_typer(data.app, name="data")


def _print_version(value: bool) -> None:
    if value:
        print(f"bimba {__version__}")
        raise typer.Exit


@app.callback()
def _bimba(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[
        bool, typer.Option(DEBUG, help="Anywhere on the line: show tracebacks and log what is done.")
    ] = False,
) -> None:
    """Ask questions about long videos."""


def main() -> None:
    """Entry point of `bimba`: errors that the user can fix are printed without a traceback, with exit code 2."""
    debug = DEBUG in sys.argv[1:]
    arguments = [word for word in sys.argv[1:] if word != DEBUG]
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("PIL").setLevel(logging.INFO)  # it names every format it imports
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter is no reason to stop
    try:
        app(arguments)
    except BimbaError as error:
        if debug:
            raise
        print(f"error: {error.problem}\n  fix: {error.fix}", file=sys.stderr)
        sys.exit(2)
    except MemoryError as error:
        if debug:
            raise
        print(f"error: there is not enough memory. {error}".rstrip(), file=sys.stderr)
        print(
            "  fix: take fewer frames (--frames, frames.count of a recipe); bimba plan VIDEO tells how much they need.",
            file=sys.stderr,
        )
        _leave(2)
    except SystemExit as leaving:
        _leave(leaving.code)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"error: the output could not be written: {error.strerror}.\n  fix: free some space.", file=sys.stderr)
        _leave(2)


def _leave(code: str | int | None) -> None:
    """End the process with a code, at once if a token is still in the making in another thread.

    Nobody waits for it after Ctrl-C, or when the reader of a pipe is gone; ending Python around it would abort.
    """
    if threading.active_count() == 1:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
