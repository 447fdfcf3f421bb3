"""`bimba eval list`: nothing in, the benchmarks that are known out; of one, everything that is known about it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from bimba.cli import options
from bimba.cli.ask import print_json


def list_benchmarks(
    benchmark: Annotated[
        str | None, typer.Argument(help="Tell everything about this one.", metavar="BENCHMARK", show_default=False)
    ] = None,
    json_: options.Json = False,
) -> None:
    """List the benchmarks, or tell where one is from, how it asks, how it is scored, and which figures are reported."""
    from bimba.evaluation.benchmarks import benchmark_names, find_benchmark
    from bimba.evaluation.benchmarks.prepare import PREPARED_NAME, default_place

    if benchmark is not None:
        one = find_benchmark(benchmark)
        if json_:
            print_json(one.model_dump(mode="json"))
        else:
            _print_one(one.model_dump(), default_place(one) / PREPARED_NAME)
        return
    found = [find_benchmark(name) for name in benchmark_names()]
    if json_:
        print_json({"benchmarks": [each.model_dump(mode="json") for each in found]})
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("benchmark", "questions", "videos", "metric", "prepared")
    for each in found:
        ready = "yes" if (default_place(each) / PREPARED_NAME).is_file() else ""
        table.add_row(each.name, _count(each.num_questions), _count(each.num_videos), each.metric, ready)
    Console(highlight=False).print(table)
    print("next: bimba eval list BENCHMARK tells where to get one; bimba eval prepare BENCHMARK --from DIR reads it")


def _count(number: int | None) -> str:
    """A size, as the table tells it."""
    return "unknown" if number is None else f"{number:,}"


def _size(one: dict[str, Any]) -> str:
    """All sizes in words; authors do not tell every one."""
    questions, answers, videos = (
        "an unpublished number of" if one[name] is None else f"{one[name]:,}"
        for name in ("num_questions", "num_answers", "num_videos")
    )
    public = "" if one["num_answers"] is None else f" ({answers} with public answers)"
    return f"{questions} questions{public} about {videos} videos"


def _print_one(one: dict[str, Any], place: Path) -> None:
    from bimba.evaluation.metrics import METRICS

    print(f"{one['title']} ({one['name']}, version {one['version']}; {one['paper']}, {one['homepage']})")
    rows = {
        "source": one["source"],
        "licence": one["licence"],
        "files": ", ".join(one["files"]),
        "videos": one["videos"],
        "subtitles": one["subtitles"],
        "size": _size(one),
        "score": METRICS[one["metric"]].title,
        "by": ", ".join(one["breakdowns"]),
        "notes": one["notes"],
        "prepared": str(place.parent) if place.is_file() else "no",
    }
    for name, words in rows.items():
        if words:
            print(f"  {name:<10} {words}")
    for each in one["reported"]:
        print(f"  reported   {each['model']} {each['value']:.2f} % ({each['metric']}; {each['setting']})")
    print(f"  official prompt, version {one['prompt']['version']} ({one['prompt']['official_source']}):")
    for line in one["prompt"]["official"].split("\n"):
        print(f"    {line}")
