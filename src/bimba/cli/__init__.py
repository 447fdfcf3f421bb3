"""The command `bimba`: words of the command line in, what was asked for on the terminal out.

One module a command. They import torch only when they run, so that `--help` is there at once.
"""

import logging
import os
import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from bimba import __version__
from bimba.cli import needles
from bimba.cli.ask import ask
from bimba.cli.convert import convert
from bimba.cli.demo import demo
from bimba.errors import BimbaError

DEBUG = "--debug"
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

app = typer.Typer(
    name="bimba",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Ask questions about long videos.",
    epilog='Example: bimba ask talk.mp4 "What is on the slide?" --model DIR',
)
app.command(epilog='Example: bimba ask talk.mp4 "What is on the slide?" --model mmiemon/BIMBA-LLaVA-Qwen2-7B')(ask)
app.command(epilog="Example: bimba convert ADAPTER_DIR OUT_DIR --base BASE_DIR")(convert)
app.command(epilog="Example: bimba demo --out bimba-demo")(demo)
app.add_typer(needles.app, name="needles")


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
    except SystemExit as leaving:
        if leaving.code != INTERRUPTED:
            raise
        # A token may be in the making in another thread; nobody waits for it after Ctrl-C.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)
