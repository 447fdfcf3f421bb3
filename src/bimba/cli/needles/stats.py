"""`bimba needles stats`: needle videos in; what they show, what is asked, and what guessing gives, in numbers out."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import typer

from bimba.cli import options
from bimba.cli.ask import print_json
from bimba.cli.grouping import grouped
from bimba.cli.needles import choices
from bimba.cli.progress import bars
from bimba.cli.units import in_count, in_seconds

if TYPE_CHECKING:
    from bimba.needles import VideoRecord

_BAR = 40
"""Characters of the longest bar."""


@grouped
def stats(
    context: typer.Context,
    source: choices.Source = None,
    *,
    seed: choices.Seed = 0,
    videos: choices.Videos = 1,
    drawn: choices.VideoOptions,
    printing: options.PrintOptions,
) -> None:
    """Count needles and questions, and tell how often a guess is right.

    The two guesses are the answer that is right most often among all questions of a kind, and any of the options.
    """
    from bimba.cli.needles.counting import count

    choices.check_source(context, source)
    if source is not None:
        from bimba.needles import read_needles

        counts = count(read_needles(source).videos)
    else:
        stream = choices.open_stream(seed, videos, drawn)
        records = (streamed.record for streamed in stream)
        counts = count(_reported(records, videos, quiet=printing.hushed))
    if printing.json_:
        print_json(counts.to_dict())
    else:
        _print(counts.to_dict())


def _reported(records: "Iterable[VideoRecord]", total: int, *, quiet: bool) -> "Iterator[VideoRecord]":
    """Hand records on and report each."""
    with bars({"videos": "planning videos"}, quiet=quiet) as report:
        for done, record in enumerate(records, start=1):
            report("videos", done, total)
            yield record


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    print(f"{'videos':<10}{in_count(found['num_videos'])}, {in_seconds(found['seconds'])} in all")
    needles = ", ".join(f"{in_count(number)} {kind}" for kind, number in found["needles"].items())
    print(f"{'needles':<10}{in_count(found['num_needles'])}: {needles}")
    copies = ", ".join(f"{number} of {in_count(times)}" for number, times in found["copies"].items())
    if set(found["copies"]) != {"1"}:
        print(f"{'copies':<10}{copies}")
    print(f"{'inserted':<10}{found['inserted_share']:.1%} of the needles have the frame to themselves")
    print(f"{'held out':<10}{found['held_out_share']:.1%} of the needles stand where they do not in train")
    print(f"{'when':<10}needles in each tenth of the video")
    most = max(found["place_in_time"])
    for tenth, number in enumerate(found["place_in_time"]):
        print(f"{tenth * 10:>4} to {tenth * 10 + 10:>3}%  {'#' * round(_BAR * number / max(1, most)):<{_BAR}} {number}")
    table = Table("kind", "questions", "how", "answers", "most often right", "", "any option")
    for kind, row in found["questions"].items():
        variants = ", ".join(f"{in_count(number)} {name}" for name, number in row["variants"].items())
        shares = (f"{row['most_common_share']:.1%}", f"{row['any_option_share']:.1%}")
        counts = (in_count(row["count"]), variants, in_count(row["num_answers"]))
        table.add_row(kind, *counts, row["most_common_answer"], *shares)
    console.print(table)
