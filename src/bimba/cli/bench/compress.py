"""`bimba bench compress`: a size in; what it saves to compute a compressor's queries only, in time and memory, out."""

from typing import TYPE_CHECKING, Annotated

import typer

from bimba.cli import options
from bimba.cli.ask import print_json
from bimba.cli.progress import bars, waiting

if TYPE_CHECKING:
    from bimba.cli.bench.compress_run import CompressReport

LABELS = {"check": "checking", "rounds": "measuring", "memory": "measuring memory"}


def compress(
    size: Annotated[
        str, typer.Option(metavar="SIZE", help="tiny, small, released, paper, or TxHxWxD: the video's tokens.")
    ] = "small",
    pool: Annotated[
        str | None,
        typer.Option(metavar="TxHxW", help="What makes one query; 1x2x2, and 4x2x2 for paper.", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[str, typer.Option(metavar="NAME", help="float32, bfloat16 or float16.")] = "float32",
    rounds: Annotated[int, typer.Option(metavar="N", help="In each round both ways run once.")] = 5,
    patience: Annotated[
        float, typer.Option(metavar="SECONDS", help="Leave out what would take longer for one run.")
    ] = 300.0,
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare two ways through the compressor's block: every output, or the queries' only.

    Both have the same weights and the same scan, and take turns.
    Both are compared with float64 first; what is wrong gets no number.
    Memory is measured in a process of its own for each.
    """
    hushed = quiet or json_
    with waiting("making a compressor", quiet=hushed):
        from bimba.cli.bench.compress_run import measure_compress
    with bars(LABELS, quiet=hushed) as report:
        result: CompressReport = measure_compress(
            size, pool=pool, device=device, dtype=dtype, rounds=rounds, patience=patience, report=report
        )
    if json_:
        print_json(result.to_record())
        return
    from rich.console import Console

    from bimba.cli.bench.tables import compress_page

    Console(highlight=False).print(*compress_page(result), sep="\n")
