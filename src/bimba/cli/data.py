"""`bimba data`: a training recipe in; what is wrong with its samples, one of them, or features of all of them out."""

import itertools
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bimba.cli import options
from bimba.cli.ask import print_json
from bimba.cli.progress import bars, hush_transformers, waiting
from bimba.cli.training_progress import watching
from bimba.cli.units import at_time, in_bytes, in_count
from bimba.errors import InputError

if TYPE_CHECKING:
    from bimba.inference.clip import Clip
    from bimba.training.data import Description, ExampleDataset, Piece, Report, Spread
    from bimba.training.features.filling import Filled, Plan
    from bimba.training.recipe.settings import Recipe

app = typer.Typer(help="Look at training data before a run does.", no_args_is_help=True)

_STAGES = {"needles": "making needle videos", "read": "reading sources", "check": "reading samples"}
_LEARNED = "bold green"

RecipeName = Annotated[
    str, typer.Argument(help="A recipe: a YAML file, or the name of a shipped one.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Other settings than the recipe's, e.g. frames.count=8."),
]


@app.callback()
def _data() -> None:
    """Look at training data before a run does."""


@app.command(epilog="Example: bimba data check recipe.yaml frames.count=8")
def check(
    recipe: RecipeName, overrides: Overrides = None, json_: options.Json = False, quiet: options.Quiet = False
) -> None:
    """Read every sample of a recipe as training would, and name those that cannot be read.

    The exit code is 1 if there are any.
    """
    hushed = quiet or json_
    dataset, settings = _dataset(recipe, overrides, hushed=hushed)
    from bimba.training.data import check_samples

    with bars(_STAGES, quiet=hushed) as report:
        result = check_samples(
            dataset,
            workers=settings.data.workers,
            on_progress=lambda done, total: report("check", done, total),
        )
    if json_:
        print_json(result.to_dict())
    else:
        _print_report(result, quiet=quiet)
    if result.failures:
        raise typer.Exit(1)


@app.command(epilog="Example: bimba data show recipe.yaml --index 12 --sheet frames.png")
def show(
    recipe: RecipeName,
    overrides: Overrides = None,
    index: Annotated[int, typer.Option(metavar="N", help="Which sample, from 0.", min=0)] = 0,
    sheet: Annotated[
        Path | None, typer.Option(help="Also draw the chosen frames: a .png or .jpg file.", show_default=False)
    ] = None,
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show a sample of a recipe as the model will see it.

    What is learned is coloured, or [in brackets] where there are no colours. The exit code is 1 if the sample cannot
    be read.
    """
    hushed = quiet or json_
    dataset, _ = _dataset(recipe, overrides, hushed=hushed)
    if index >= len(dataset):
        raise InputError(f"--index is {index}, but there are {len(dataset)} samples.", fix="count from 0.")
    from bimba.training.data import Failure

    found = dataset.describe(index)
    if isinstance(found, Failure):
        if json_:
            print_json(asdict(found))
        else:
            print(f"{found.name}: {found.reason}")
        raise typer.Exit(1)
    pieces = dataset.pieces(found)
    if sheet is not None:
        _draw(found, sheet, quiet=hushed)
    if json_:
        print_json(_record(found, pieces))
        return
    for key, text in _facts(found):
        print(f"{key:<8}{text}")
    print()
    _print_text(pieces)


@app.command(epilog="Example: bimba data cache recipe.yaml data.cache=features --dry-run")
def cache(
    recipe: RecipeName,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell how large the cache becomes, and make nothing.")
    ] = False,
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compute the features of a frozen vision tower that training with data.cache reads instead of videos.

    Training does so by itself; what is there already is kept. For several GPUs: torchrun --nproc-per-node N -m bimba
    data cache RECIPE.
    """
    is_first = os.environ.get("RANK", "0") == "0"  # launchers set it
    hushed = quiet or json_ or not is_first
    with waiting("reading the recipe", quiet=hushed):
        from bimba.training.features.caching import cache_features, plan_features
        from bimba.training.recipe.reading import read_recipe

        hush_transformers(quiet=True)
        settings = read_recipe(recipe, overrides or ())
    with watching(quiet=hushed) as watcher:
        if dry_run:
            plan, made = plan_features(settings, watcher), None
            failures = plan.failures
        else:
            made = cache_features(settings, watcher)
            plan, failures = made.plan, made.failures
    if not is_first:
        return
    record = _cache_record(settings, plan, made)
    if json_:
        print_json(record | {"failures": [asdict(failure) for failure in failures]})
        return
    for name, text in _cache_facts(record):
        print(f"{name:<8}{text}")
    for failure in failures:
        print(f"{failure.name}: {failure.reason}")


def _dataset(recipe: str, overrides: list[str] | None, *, hushed: bool) -> "tuple[ExampleDataset, Recipe]":
    """The samples of a recipe, and the recipe."""
    with waiting("reading the recipe and the model's small files", quiet=hushed):
        from bimba.training.data import prepare_sources, read_samples
        from bimba.training.data.opening import open_dataset
        from bimba.training.model.start import read_outline_of
        from bimba.training.recipe.reading import read_recipe

        hush_transformers(quiet=True)
        settings = read_recipe(recipe, overrides or ())
        config, processor = read_outline_of(settings)
    with bars(_STAGES, quiet=hushed) as report:
        prepare_sources(settings.data.sources, report)
        store = read_samples(settings.data.sources, settings.schedule.seed, on_progress=report)
    return open_dataset(settings, store, config, processor), settings


def _cache_record(settings: "Recipe", plan: "Plan", made: "Filled | None") -> dict[str, Any]:
    """What `cache` did, or would do, as plain values."""
    from bimba.training.features.caching import cache_folder
    from bimba.training.features.filling import free_bytes

    folder = cache_folder(settings)
    return {
        "folder": str(folder),
        "num_clips": plan.num_clips,
        "num_cached": plan.num_clips - len(plan.missing),
        "num_missing": len(plan.missing),
        "num_made": 0 if made is None else made.num_made,
        "expected_bytes": plan.num_bytes,
        "written_bytes": 0 if made is None else made.num_bytes,
        "free_bytes": free_bytes(folder),
        "dry_run": made is None,
    }


def _cache_facts(record: dict[str, Any]) -> list[tuple[str, str]]:
    done = (
        f"{in_count(record['num_missing'])} to be made: {in_bytes(record['expected_bytes'])}"
        if record["dry_run"]
        else f"{in_count(record['num_made'])} made: {in_bytes(record['written_bytes'])}"
    )
    return [
        ("folder", f"{record['folder']}, {in_bytes(record['free_bytes'])} left"),
        ("clips", f"{in_count(record['num_clips'])}, {in_count(record['num_cached'])} of them were there; {done}"),
    ]


def _print_report(report: "Report", *, quiet: bool) -> None:
    if not quiet:
        from rich.console import Console
        from rich.table import Table

        kinds = ", ".join(f"{in_count(count)} {kind}" for kind, count in sorted(report.num_by_kind.items()))
        spreads = {"tokens": report.tokens, "learned": report.learned, "frames": report.frames}
        rows = [(name, *_columns(spread)) for name, spread in spreads.items() if spread is not None]
        table = Table("", "least", "median", "most", "all", title=f"{in_count(report.num_samples)} samples: {kinds}")
        for row in rows:
            table.add_row(*row)
        if rows:  # of unreadable samples nothing is known
            Console().print(table)
    for failure in report.failures:
        print(f"{failure.name}: {failure.reason}")
    if not quiet:
        print(f"{in_count(len(report.failures))} of {in_count(report.num_samples)} samples cannot be read")


def _columns(spread: "Spread") -> list[str]:
    return [in_count(spread.least), f"{spread.median:,g}", in_count(spread.most), in_count(spread.total)]


def _draw(found: "Description", sheet: Path, *, quiet: bool) -> None:
    """Draw all chosen frames of a sample into a picture file."""
    from bimba.video.contact_sheet import contact_sheet, save_picture

    labels = [label for clip in found.clips for label in _frame_labels(clip)]
    if not labels:
        raise InputError(f"{found.sample.name} has no frames to draw.", fix="leave --sheet out.")
    with waiting("reading frames", quiet=quiet):
        frames = itertools.chain.from_iterable(clip.frames() for clip in found.clips)
        save_picture(contact_sheet(frames, labels), sheet)


def _frame_labels(clip: "Clip") -> list[str]:
    if clip.has_times:
        return [at_time(seconds) for seconds in clip.frame_seconds]
    return [f"frame {index}" for index in clip.indices]


def _record(found: "Description", pieces: "list[Piece]") -> dict[str, Any]:
    """What `show` prints, as plain values."""
    media = [
        {
            "path": str(path),
            "frame_indices": list(clip.indices),
            "frame_seconds": list(clip.frame_seconds),
            "num_video_tokens": count,
        }
        for path, clip, count in zip(found.sample.media, found.clips, found.num_video_tokens, strict=True)
    ]
    return {
        "name": found.sample.name,
        "kind": found.sample.kind,
        "media": media,
        "num_tokens": len(found.ids),
        "num_learned": found.num_learned,
        "pieces": [asdict(piece) for piece in pieces],
    }


def _facts(found: "Description") -> list[tuple[str, str]]:
    facts = [("name", found.sample.name), ("kind", found.sample.kind)]
    for path, clip in zip(found.sample.media, found.clips, strict=True):
        facts += [("media", str(path)), ("frames", f"{clip.num_frames}: {', '.join(_frame_labels(clip))}")]
    of_frames = in_count(sum(found.num_video_tokens))
    place = f"{of_frames} of them of frames" if found.holds_videos else f"and {of_frames} of frames beside them"
    counts = f"{in_count(len(found.ids))}, {place}; {in_count(found.num_learned)} are learned"
    return [*facts, ("tokens", counts)]


def _print_text(pieces: "list[Piece]") -> None:
    """Print what the model reads, with colours where the terminal has them and brackets elsewhere."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    text = Text()
    for piece in pieces:
        if piece.num_video_tokens:
            text.append(f"{piece.text} x {piece.num_video_tokens}", style="cyan")
        elif piece.learned:
            text.append(piece.text if console.color_system else f"[{piece.text}]", style=_LEARNED)
        else:
            text.append(piece.text)
    console.print(text, soft_wrap=True)
