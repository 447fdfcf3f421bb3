"""`bimba eval score`: stored answers in, wherever they were made; the benchmark's scores, with a report, out."""

from pathlib import Path
from typing import Annotated

import typer

from bimba.cli import options
from bimba.cli.ask import print_json


def score(
    benchmark: Annotated[str, typer.Argument(help="Name of the benchmark.", metavar="BENCHMARK", show_default=False)],
    answers: Annotated[
        Path,
        typer.Argument(
            help="Lines of JSON with id and prediction; or a folder of `bimba eval run`.",
            metavar="ANSWERS.jsonl",
            show_default=False,
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder for report.md, results.json and accuracy.png.")] = None,
    name: Annotated[str | None, typer.Option(help="What made the answers; else the file's name.")] = None,
    extract: Annotated[str | None, typer.Option(help="Read answers by option, or by the released rule.")] = None,
    prepared: Annotated[Path | None, typer.Option(metavar="DIR", help="What `bimba eval prepare --out` wrote.")] = None,
    json_: options.Json = False,
) -> None:
    """Score stored answers again, or answers that something else made."""
    from bimba.cli.eval.scores import print_scores
    from bimba.errors import InputError
    from bimba.evaluation.benchmarks import find_benchmark
    from bimba.evaluation.folder import make_folder
    from bimba.evaluation.reports import whole_results, write_report
    from bimba.evaluation.reports.stored import read_answers_file, read_run

    known = find_benchmark(benchmark)
    if extract not in {None, "option", "released"}:
        raise InputError(f"--extract is {extract!r}.", fix="use option or released.")
    if answers.is_dir():
        stored = read_run(answers, prepared)
        if stored.benchmark != known:
            raise InputError(f"{answers} is a run of {stored.benchmark.name}, not {known.name}.", fix="name that one.")
        if extract is not None:
            stored.run["settings"]["extract"] = extract
    else:
        given = answers.stem if name is None else name
        stored = read_answers_file(known, answers, name=given, extract=extract or "option", prepared=prepared)
    if out is None:
        results = whole_results(stored.run, known, stored.questions, stored.answers)
    else:
        make_folder(out)
        results = write_report(out, stored.run, known, stored.questions, stored.answers)
    if json_:
        print_json(results)
        return
    print_scores(results)
    if out is not None:
        print(f"report.md, results.json and accuracy.png are in {out}")
