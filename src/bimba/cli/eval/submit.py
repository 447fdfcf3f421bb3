"""`bimba eval submit`: a finished run in, the file that a server scores and the command that sends it out."""

from pathlib import Path
from typing import Annotated

import typer

from bimba.cli import options
from bimba.cli.ask import print_json

_SHOWN = 10


def submit(
    benchmark: Annotated[str, typer.Argument(help="Name: egoschema.", metavar="BENCHMARK", show_default=False)],
    run: Annotated[Path, typer.Argument(help="Folder of `bimba eval run`.", metavar="RUN", show_default=False)],
    prepared: Annotated[Path | None, typer.Option(metavar="DIR", help="What `bimba eval prepare --out` wrote.")] = None,
    json_: options.Json = False,
) -> None:
    """Write the answers as the server wants them, and print the command that sends them. Nothing is sent."""
    from bimba.errors import InputError
    from bimba.evaluation.benchmarks import find_benchmark
    from bimba.evaluation.reports.stored import read_run
    from bimba.evaluation.reports.submission import INSTEAD, write_submission

    known, stored = find_benchmark(benchmark), read_run(run, prepared)
    if stored.benchmark != known:
        raise InputError(f"{run} is a run of {stored.benchmark.name}, not {known.name}.", fix="name that one.")
    written = write_submission(known, stored.questions, stored.answers, stored.extract, run)
    if json_:
        print_json(
            {
                "file": str(written.file),
                "rows": written.num_rows,
                "unparsed": list(written.unparsed),
                "command": written.command,
            }
        )
        return
    print(f"{written.num_rows:,} rows written to {written.file}")
    if written.unparsed:
        print(f"{len(written.unparsed):,} answers name no option and stand there as {INSTEAD}:")
        for name in written.unparsed[:_SHOWN]:
            print(f"  {name}")
        if len(written.unparsed) > _SHOWN:
            print(f"  and {len(written.unparsed) - _SHOWN:,} more (--json lists all)")
    print(f"next: {written.command}")
