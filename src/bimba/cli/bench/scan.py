"""`bimba bench scan`: a size in; how fast each way to run the selective scan is, and how far from the limits, out."""

from typing import TYPE_CHECKING, Annotated

import typer

from bimba.cli import options
from bimba.cli.ask import print_json
from bimba.cli.progress import bars, waiting

if TYPE_CHECKING:
    from bimba.cli.bench.scan_run import ScanReport

LABELS = {"check": "checking", "rounds": "measuring"}


def scan(
    size: Annotated[
        str, typer.Option(metavar="SIZE", help="small, released, paper, or LxExN: steps, channels, state entries.")
    ] = "small",
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    dtype: Annotated[str, typer.Option(metavar="NAME", help="float32, bfloat16 or float16.")] = "float32",
    rounds: Annotated[int, typer.Option(metavar="N", help="In each round every contender runs once.")] = 5,
    backward: Annotated[
        bool | None,
        typer.Option(
            "--backward/--no-backward",
            help="Only forward + backward, or only forward.",
            show_default="one after the other",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this contender; may be given several times.", show_default=False),
    ] = None,
    patience: Annotated[
        float, typer.Option(metavar="SECONDS", help="Leave out what would take longer for one run.")
    ] = 10.0,
    json_: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare the selective scan with a torch loop, mambapy, transformers and mamba-ssm.

    All run in one process and take turns.
    Each is compared with the definition first; what is wrong gets no number.
    What does not fit into memory or would take too long is left out, with the reason.
    """
    hushed = quiet or json_
    with waiting("looking for contenders", quiet=hushed):
        from bimba.cli.bench.scan_run import measure_scan
    with bars(LABELS, quiet=hushed) as report:
        result: ScanReport = measure_scan(
            size,
            device=device,
            dtype=dtype,
            rounds=rounds,
            backward=backward,
            only=only or (),
            patience=patience,
            report=report,
        )
    if json_:
        print_json(result.to_record())
        return
    from rich.console import Console

    from bimba.cli.bench.tables import scan_page

    Console(highlight=False).print(*scan_page(result), sep="\n")
