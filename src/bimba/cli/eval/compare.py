"""`bimba eval compare`: two runs of one benchmark in, how far they differ and whether that may be chance out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bimba.cli import options
from bimba.cli.ask import print_json

_LEVEL = 0.05
"""Of the p-value below which a difference is called one."""


def compare(
    first: Annotated[Path, typer.Argument(help="Folder of `bimba eval run`.", metavar="RUN", show_default=False)],
    second: Annotated[Path, typer.Argument(help="Another, of the same benchmark.", metavar="RUN", show_default=False)],
    prepared: Annotated[Path | None, typer.Option(metavar="DIR", help="What `bimba eval prepare --out` wrote.")] = None,
    json_: options.Json = False,
) -> None:
    """Compare two runs question by question: the paired difference, its interval and its significance."""
    from bimba.errors import InputError
    from bimba.evaluation.reports import scored_with
    from bimba.evaluation.reports.compared import compared
    from bimba.evaluation.reports.stored import read_run

    one, two = read_run(first, prepared), read_run(second, prepared)
    if one.benchmark != two.benchmark:
        raise InputError(
            f"{first} is of {one.benchmark.name}, {second} of {two.benchmark.name}.",
            fix="compare two runs of the same benchmark.",
        )
    found = compared(one.benchmark, one.outcomes, two.outcomes)
    if json_:
        runs = [{"folder": str(folder)} | _made_by(run.run) for folder, run in ((first, one), (second, two))]
        print_json({"first": runs[0], "second": runs[1], "compared_with": scored_with()} | found)
        return
    told = [f"{folder} ({_in_words(run.run['settings'])})" for folder, run in ((first, one), (second, two))]
    _print(one.benchmark.title, told, found)


def _made_by(run: dict[str, Any]) -> dict[str, Any]:
    """What a run's answers depend on."""
    names = ("settings", "benchmark_version", "prompt_version", "bimba", "model_sha256", "questions_sha256", "sessions")
    return {name: run[name] for name in names if name in run}


def _in_words(settings: dict[str, Any]) -> str:
    """Model, frames and prompt of a run."""
    told = [str(settings["model"])]
    if "frames" in settings:
        told += [f"{settings['frames']} frames", f"{settings['prompt']} prompt", settings["score"]]
    return ", ".join(told)


def _print(title: str, runs: list[str], found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    print(f"{title}: {found['shared']:,} questions that both answered")
    for which, told in zip(("first ", "second"), runs, strict=True):
        print(f"  {which} {told}")
    table = Table("", "first", "second", "difference", "95%", "p", "only first", "only second", "of")
    for each in found["scores"].values():
        _add(table, each["title"], each)
    for tag, groups in found["by"].items():
        table.add_section()
        for group, each in groups.items():
            _add(table, f"{tag}: {group}".replace("_", " "), each)
    console.print(table)
    for each in list(found["scores"].values())[:1]:
        is_clear = each["p_value"] < _LEVEL
        better = "second" if each["difference"] > 0 else "first"
        print(f"the {better} is better, beyond what chance gives" if is_clear else "they may be equally good")


def _add(table: Any, label: str, each: dict[str, Any]) -> None:
    p_value = f"{each['p_value']:.4f}" if each["p_value"] >= 0.0005 else "<0.0005"
    table.add_row(
        label,
        f"{each['first']:.1%}",
        f"{each['second']:.1%}",
        f"{100 * each['difference']:+.1f}",
        f"{100 * each['low']:+.1f} to {100 * each['high']:+.1f}",
        p_value,
        f"{each['only_first']:,}",
        f"{each['only_second']:,}",
        f"{each['count']:,}",
    )
