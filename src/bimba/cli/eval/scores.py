"""Results of a benchmark in, its scores on the terminal out."""

from typing import Any

from rich.console import Console
from rich.table import Table


def print_scores(results: dict[str, Any]) -> None:
    """Print what was asked, the scores beside the reported ones, every breakdown, and what they cover."""
    from bimba.evaluation.reports.markdown import coverage, other_figures, ties_told, unparsed_told, without_scores

    console = Console(highlight=False)
    settings = results["settings"]
    words = f"{results['title']} version {results['benchmark_version']}: {settings['model']}"
    if "frames" in settings:
        words += f", {settings['frames']} frames, prompt {results['prompt_version']}, {settings['score']}"
    print(words)
    console.print(_scores(results))
    if not results["scores"]:
        print(without_scores(results))
    if other_figures(results):
        print(other_figures(results))
    for tag, groups in results["by"].items():
        if groups:
            _print_groups(console, tag, groups)
    print(coverage(results))
    if results["unparsed"]["count"]:
        print(unparsed_told(results))
    if results["tied"]:
        print(ties_told(results))


def print_overview(results: dict[str, dict[str, Any] | None]) -> None:
    """Print a line for each score of several benchmarks; None is one that other processes still work on."""
    table = Table("benchmark", "score", "", "95%", "of")
    for name, one in results.items():
        if one is None:
            table.add_row(name, "other processes are still at work", "", "", "")
            continue
        for found in one["scores"].values():
            if found is not None:
                table.add_row(name, found["title"], f"{found['value']:.2%}", *_rest(found))
        if not one["scores"]:
            why = "nothing was answered" if one["covers"]["public"] else "no public answers (bimba eval submit)"
            table.add_row(name, why, "", "", "")
    Console(highlight=False).print(table)


def _scores(results: dict[str, Any]) -> Table:
    table = Table("score", "", "95%", "of")
    for name, found in results["scores"].items():
        if found is None:
            table.add_row(name, "cannot be told from these annotations", "", "")
            continue
        table.add_row(found["title"], f"{found['value']:.2%}", *_rest(found))
        if found["chance"] is not None:
            table.add_row("  guessing", f"{found['chance']:.2%}", "", "")
        for each in results["reported"]:
            if each["metric"] == name:
                table.add_row(f"  reported: {each['model']}, {each['setting']}", f"{each['value']:.2f}%", "", "")
    return table


def _print_groups(console: Console, tag: str, groups: dict[str, dict[str, float]]) -> None:
    table = Table(tag.replace("_", " "), "right", "95%", "of")
    for group, found in groups.items():
        table.add_row(group, f"{found['value']:.1%}", *_rest(found))
    console.print(table)


def _rest(found: dict[str, Any]) -> tuple[str, str]:
    return f"{100 * found['low']:.1f}-{100 * found['high']:.1f}%", f"{found['count']:,}"
