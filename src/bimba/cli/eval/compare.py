"""`bimba eval compare`: two runs of one benchmark in, how far they differ and whether that may be chance out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bimba.cli import options
from bimba.cli.ask import print_json


def compare(
    first: Annotated[Path, typer.Argument(help="Folder of `bimba eval run`.", metavar="RUN", show_default=False)],
    second: Annotated[Path, typer.Argument(help="Another, of the same benchmark.", metavar="RUN", show_default=False)],
    prepared: Annotated[Path | None, typer.Option(metavar="DIR", help="What `bimba eval prepare --out` wrote.")] = None,
    json_: options.Json = False,
) -> None:
    """Compare two runs question by question: the paired difference, its interval and its significance."""
    from bimba.errors import InputError
    from bimba.evaluation.reports.compared import compared
    from bimba.evaluation.reports.stored import read_run

    one, two = read_run(first, prepared), read_run(second, prepared)
    if one.benchmark != two.benchmark:
        raise InputError(
            f"{first} is of {one.benchmark.name}, {second} of {two.benchmark.name}.",
            fix="compare two runs of the same benchmark.",
        )
    found = compared(one.benchmark, one.outcomes, two.outcomes)
    names = [run.run["settings"]["model"] for run in (one, two)]
    if json_:
        print_json({"first": str(first), "second": str(second), "models": names} | found)
        return
    _print(one.benchmark.title, (first, second), names, found)


def _print(title: str, folders: tuple[Path, Path], names: list[str], found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    print(f"{title}: {found['shared']:,} questions that both answered")
    for which, folder, name in zip(("first ", "second"), folders, names, strict=True):
        print(f"  {which} {folder} ({name})")
    table = Table("", "first", "second", "difference", "95%", "p", "only first", "only second", "of")
    for each in found["scores"].values():
        _add(table, each["title"], each)
    for tag, groups in found["by"].items():
        table.add_section()
        for group, each in groups.items():
            _add(table, f"{tag}: {group}".replace("_", " "), each)
    console.print(table)
    for each in list(found["scores"].values())[:1]:
        is_clear = each["low"] > 0 or each["high"] < 0
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
