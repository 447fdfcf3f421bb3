"""`bimba eval prepare`: annotations of a benchmark as published in, questions in one form and what is missing out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bimba.cli import options
from bimba.cli.ask import print_json
from bimba.cli.progress import bars

_SHOWN = 10


def prepare(
    benchmark: Annotated[str, typer.Argument(help="Name, as `bimba eval list` has it.", show_default=False)],
    from_: Annotated[
        Path,
        typer.Option(
            "--from", metavar="DIR", help="Folder of the annotations, or one file of them.", show_default=False
        ),
    ],
    videos: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the videos: look for each and into each.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the questions, if not the one where `bimba eval run` looks.")
    ] = None,
    any_count: Annotated[
        bool, typer.Option("--any-count", help="Take annotations of another size than the published one.")
    ] = False,
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Read a benchmark's annotations as published, check their counts, and list videos that are missing or unreadable.

    The exit code is 1 if videos are missing or unreadable.
    """
    from bimba.evaluation.benchmarks import check_videos, find_benchmark, prepared_questions
    from bimba.evaluation.benchmarks import prepare as prepare_benchmark
    from bimba.evaluation.benchmarks.prepare import default_place
    from bimba.evaluation.benchmarks.videos import VideoCheck, checked_folder

    known = find_benchmark(benchmark)
    folder = None if videos is None else checked_folder(videos)
    place = default_place(known) if out is None else out
    prepared = prepare_benchmark(known, from_, place, any_count=any_count)
    checked: VideoCheck | None = None
    if folder is not None:
        _, questions = prepared_questions(known, place)
        with bars({"videos": "looking into videos"}, quiet=quiet or json_) as report:
            checked = check_videos(questions, folder, known, on_video=lambda done, all_: report("videos", done, all_))
    if json_:
        told: dict[str, Any] = {"out": str(place)} | prepared.model_dump(mode="json")
        if checked is not None:
            told["videos"] = {
                "found": len(checked.found), "missing": list(checked.missing), "unreadable": checked.unreadable
            }  # fmt: skip
        print_json(told)
    elif not quiet:
        _print(known.title, prepared.model_dump(), place, checked)
    if checked is not None and (checked.missing or checked.unreadable):
        raise typer.Exit(1)


def _print(title: str, prepared: dict[str, Any], place: Path, checked: Any) -> None:
    print(
        f"{title}: {prepared['num_questions']:,} questions ({prepared['num_answers']:,} with public answers) about "
        f"{prepared['num_videos']:,} videos, from {', '.join(prepared['files'])} ({prepared['form']})"
    )
    for words in prepared["deviations"]:
        print(f"  not as published: {words}")
    for words in prepared["oddities"]:
        print(f"  as published: {words}")
    if checked is not None:
        print(f"  videos: {len(checked.found):,} can be read")
        _print_some("missing", [str(name) for name in checked.missing])
        _print_some("unreadable", [f"{name}: {problem}" for name, problem in checked.unreadable.items()])
    print(f"  written to {place}")
    if checked is not None and (checked.missing or checked.unreadable):
        print("next: get these videos; a run leaves out what cannot be read, and its score says what it covers")
    else:
        print(f"next: bimba eval run {prepared['benchmark']} --model MODEL --videos DIR --out DIR")


def _print_some(what: str, names: list[str]) -> None:
    if names:
        print(f"  {len(names):,} {what}:")
        for name in names[:_SHOWN]:
            print(f"    {name}")
        if len(names) > _SHOWN:
            print(f"    and {len(names) - _SHOWN:,} more (--json lists all)")
