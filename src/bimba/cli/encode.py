"""`bimba encode`: a video or a folder of them in; files out that are asked about in place of the videos."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bimba.cli import looking, options
from bimba.cli.ask import LABELS, print_json
from bimba.cli.grouping import grouped
from bimba.cli.naming import model_or_default
from bimba.cli.progress import bars, hush_transformers, waiting
from bimba.cli.units import in_bytes, in_count
from bimba.errors import InputError

if TYPE_CHECKING:
    from bimba.inference.encoded.encoding import Encoding
    from bimba.inference.encoded.library import Entry, Outcome

_OUTPUT = "What is written"
_SOME_FAILED = 1


class Engine(StrEnum):
    """Who encodes."""

    local = "local"
    ray = "ray"


@grouped
def encode(
    video: Annotated[
        Path,
        typer.Argument(
            help="A video, or a folder of videos (below it, too), each of which becomes a file of its own.",
            show_default=False,
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="The file to write, else VIDEO.bimba here; for a folder of videos, the folder that holds the files.",
            show_default=False,
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace what another model encoded, or this one in another way.",
            rich_help_panel=_OUTPUT,
        ),
    ] = False,
    engine: Annotated[
        Engine,
        typer.Option(
            metavar="NAME",
            help="local, or ray: on all workers of a Ray cluster, or several on this machine (extra ray).",
            rich_help_panel=_OUTPUT,
        ),
    ] = Engine.local,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Of Ray, each with a model; else one on each GPU.",
            show_default=False,
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    model: options.ModelOptions,
    look: looking.LookOptions,
    span: options.SpanOptions,
    reading: options.ReadingOptions,
    printing: options.PrintOptions,
) -> None:
    """Encode a video once, to ask about it often: bimba ask talk.bimba, bimba chat talk.bimba.

    What is encoded already is left alone; what has changed since is encoded again. With --json each video is one JSON
    object in a line.
    """
    wanted = looking.look_at(look, model.temporal_pooling)
    if engine is Engine.ray and str(video) == "-":
        raise InputError("what comes through a pipe cannot be sent to workers.", fix="leave --engine out.")
    if workers is not None and (workers < 1 or engine is not Engine.ray):
        raise InputError(f"--workers is {workers}.", fix="take at least one, with --engine ray.")
    named = model_or_default(model.model, quiet=printing.hushed)
    entries, library = _entries(video, out)
    if library is None and str(video) != "-" and (video.is_file() or not video.exists()):
        # What is wrong with it is found before a model of many gigabytes is read; a pipe can be read only once.
        options.open_video(video, span, reading).close()
    hush_transformers(quiet=True)
    from bimba.inference.encoded.encoding import Encoding
    from bimba.inference.encoded.library import alone_in, sweep

    encoding = Encoding(
        options.loading_settings(named, model),
        wanted.frames,
        wanted.sampling,
        wanted.fps,
        wanted.max_video_tokens,
        wanted.temporal_pooling,
        options.video_settings(span, reading),
    )
    told = Told(as_json=printing.json_, quiet=printing.quiet, total=len(entries))
    with nullcontext() if library is None else alone_in(library):
        if library is not None:
            sweep(entries)
        if engine is Engine.ray:
            from bimba.inference.encoded.on_ray import encode_on_ray

            outcomes = encode_on_ray(entries, encoding, workers=workers, overwrite=overwrite)
        else:
            outcomes = _encode_here(entries, encoding, overwrite=overwrite, hushed=printing.hushed)
        for outcome in outcomes:
            told.take(outcome)
    told.end()


def _encode_here(entries: "list[Entry]", encoding: "Encoding", *, overwrite: bool, hushed: bool) -> "Iterator[Outcome]":
    """Encode one after the other in this process, with progress bars."""
    from bimba.inference.encoded.library import Outcome, encode_each, pending

    with waiting("loading the model", quiet=hushed):
        qa = encoding.load()
    with waiting("looking at what is there", quiet=hushed):
        todo = pending(entries, qa.encoder_identity, encoding.settings(qa), overwrite=overwrite)
    to_do = {entry.target for entry in todo}
    yield from (Outcome(entry, 0, was_there=True) for entry in entries if entry.target not in to_do)
    with bars(LABELS, quiet=hushed) as report:
        qa.progress = report
        yield from encode_each(todo, lambda path: encoding.encode(qa, path))


class Told:
    """What the terminal is told of videos that are encoded.

    Args:
        as_json: a JSON object for each.
        quiet: nothing, but what failed.
        total: how many there are.
    """

    def __init__(self, *, as_json: bool, quiet: bool, total: int) -> None:
        self._as_json, self._quiet, self._total = as_json, quiet, total
        self._done, self._there, self._failed = 0, 0, 0

    def take(self, outcome: "Outcome") -> None:
        """Tell of one."""
        self._done += 1
        self._failed += bool(outcome.problem)
        self._there += outcome.was_there
        target = outcome.entry.target
        count = f"[{self._done:,} of {self._total:,}] " if self._total > 1 else ""
        if self._as_json:
            print_json(_record(outcome))
        elif outcome.problem:
            print(f"{count}FAILED {outcome.entry.video}: {outcome.problem}\n  fix: {outcome.fix}", file=sys.stderr)
        elif self._quiet:
            return
        elif not outcome.was_there:
            size = in_bytes(target.stat().st_size)
            print(f"{count}{target}: {in_count(outcome.num_tokens)} tokens, {size}")
        elif self._total == 1:
            print(f"{target} is there already, and up to date")

    def end(self) -> None:
        """Tell how it went.

        Raises:
            Exit: some could not be encoded.
        """
        if self._there and self._total > 1 and not (self._quiet or self._as_json):
            print(f"{in_count(self._there)} of {in_count(self._total)} were there already, and up to date")
        if not self._failed:
            return
        if self._total > 1 and not self._as_json:
            failed = f"{in_count(self._failed)} of {in_count(self._total)} could not be encoded"
            print(f"{failed}; the same command tries them again", file=sys.stderr)
        raise typer.Exit(_SOME_FAILED)


def _record(outcome: "Outcome") -> dict[str, object]:
    entry = outcome.entry
    record: dict[str, object] = {"video": str(entry.video), "file": str(entry.target)}
    if outcome.problem:
        return record | {"error": {"problem": outcome.problem, "fix": outcome.fix}}
    size = entry.target.stat().st_size
    tokens = {} if outcome.was_there else {"num_video_tokens": outcome.num_tokens}
    return record | {"was_there": outcome.was_there, "num_bytes": size} | tokens


def _entries(video: Path, out: Path | None) -> "tuple[list[Entry], Path | None]":
    """What is to be encoded, and the library that it goes to, if it is a folder of videos."""
    from bimba.inference.encoded.library import Entry, has_videos, list_entries
    from bimba.inference.encoded.video import SUFFIX
    from bimba.inference.opening import is_encoded

    if is_encoded(video):
        raise InputError(f"{video} is encoded already.", fix="ask it: bimba ask, bimba chat; or name the video.")
    if str(video) == "-" and out is None:
        raise InputError("what comes through a pipe has no name.", fix="name the file to write: -o talk.bimba")
    if has_videos(video):
        if out is None:
            raise InputError(f"{video} is a folder of videos.", fix="name the folder for the files: --out LIBRARY")
        if out.is_file():
            raise InputError(f"{out} is a file.", fix="name a folder (--out LIBRARY), since there are several videos.")
        return list_entries(video, out), out
    name = Path(video.resolve().name if str(video) != "-" else "video").with_suffix(SUFFIX)
    target = name if out is None else out
    if target.is_dir():
        target /= name
    if target.suffix.lower() != SUFFIX:
        raise InputError(f"{target} does not end in {SUFFIX}.", fix=f"name it {target.name}{SUFFIX}, say.")
    return [Entry(video, target)], None
