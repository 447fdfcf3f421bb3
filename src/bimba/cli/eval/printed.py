"""Results of an evaluation in, its tables on the terminal out."""

from typing import Any

from rich.console import Console
from rich.table import Table

from bimba.evaluation.needles.drawn import WAYS, place_names

_SHARES = {
    "by_variant": "how the needle is shown",
    "by_held_out": "pictures where the training split has them, and where not",
    "by_num_needles": "needles in the video",
}
"""Tables of single shares, as people read their names."""

_Share = dict[str, float]


def print_results(results: dict[str, Any]) -> None:
    """Print what was asked, then every table."""
    console = Console(highlight=False)
    settings = results["settings"]
    asked = f"{results['num_questions']:,} questions, seed {settings['seed']}, split {settings['split']}"
    print(f"{results['benchmark']} version {results['benchmark_version']}: {settings['model']}, {asked}")
    _print_kinds(console, results)
    for way, words in WAYS.items():
        found = results[way]
        if found is None:
            continue
        _print_grid(
            console, f"{words}: kind by frames", found["by_kind_and_frames"], sorted(found["by_frames"], key=int)
        )
        tenths = {str(tenth): f"{name.partition('-')[0]}%" for tenth, name in enumerate(place_names())}
        places = found["by_frames_and_place"]
        _print_grid(console, f"{words}: frames by tenth of the video, from", places, list(tenths), tenths)
        for name, title in _SHARES.items():
            _print_shares(console, f"{words}: {title}", found[name])
    refusals = results["refusals"]
    if refusals is not None:
        print(
            f"\nrefused {refusals['refused']} of {refusals['count']} questions that the video answers "
            f"({refusals['share']:.1%}, {refusals['low']:.1%} to {refusals['high']:.1%})"
        )


def _print_kinds(console: Console, results: dict[str, Any]) -> None:
    """Every kind, then all of them; both ways of asking side by side."""
    ways = (column for words in ("in words", "by option") for column in (words, "95%", "of"))
    table = Table("kind", *ways, "guessing")
    choice = results["choice"] or {"by_kind": {}}
    chance = choice.get("chance", {"by_kind": {}})
    for kind, share in results["open"]["by_kind"].items():
        guess = chance["by_kind"].get(kind)
        table.add_row(
            kind, *_cells(share), *_cells(choice["by_kind"].get(kind)), "" if guess is None else f"{guess:.1%}"
        )
    table.add_section()
    alls = [results["open"]["all"], choice.get("all"), chance.get("all")]
    means = [None if each is None else each["mean_over_kinds"] for each in alls]
    words = ["" if mean is None else f"{mean:.1%}" for mean in means]
    table.add_row("mean of kinds", words[0], "", "", words[1], "", "", words[2])
    micro = [None if each is None else each["micro"] for each in alls]
    guess = "" if micro[2] is None else f"{micro[2]:.1%}"
    table.add_row("all questions", *_cells(micro[0]), *_cells(micro[1]), guess)
    console.print(table)


def _print_grid(
    console: Console,
    title: str,
    rows: dict[str, dict[str, _Share]],
    columns: list[str],
    names: dict[str, str] | None = None,
) -> None:
    if not rows:
        return
    table = Table("", *(column if names is None else names[column] for column in columns))
    for label, shares in rows.items():
        table.add_row(label, *(_percent(shares.get(column)) for column in columns))
    print(f"\n{title}")
    console.print(table)


def _print_shares(console: Console, title: str, shares: dict[str, _Share]) -> None:
    if not shares:
        return
    table = Table("", "right", "95%", "of")
    for label, share in shares.items():
        table.add_row(label, *_cells(share))
    print(f"\n{title}")
    console.print(table)


def _cells(share: _Share | None) -> tuple[str, str, str]:
    """Accuracy, interval and count of a share; nothing of none."""
    if share is None:
        return "", "", ""
    return f"{share['accuracy']:.1%}", f"{100 * share['low']:.0f}-{share['high']:.0%}", f"{share['count']:,}"


def _percent(share: _Share | None) -> str:
    return "" if share is None else f"{share['accuracy']:.0%}"
