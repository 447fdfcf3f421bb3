"""`bimba bench`: a size in; how fast our scan and our compressor are, beside others in the same run, out.

`sizes` reads `--size`, `contenders` are what is compared, `scan_check` compares them with the definition, `rounds`
measures, `limits` tells what the machine can do at most; `scan_run` and `compress_run` put that together, `tables`
prints it.
"""

import typer

from bimba.cli.bench.compress import compress
from bimba.cli.bench.scan import scan

app = typer.Typer(help="Measure the selective scan and the compressor, beside others.", no_args_is_help=True)


@app.callback()
def _bench() -> None:
    """Measure the selective scan and the compressor, beside others."""


app.command(epilog="Example: bimba bench scan --size 256x64x16 --rounds 1")(scan)
app.command(epilog="Example: bimba bench compress --size tiny --rounds 1")(compress)

__all__ = ["app", "compress", "scan"]
