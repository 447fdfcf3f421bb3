"""`bimba bench`: how fast our scan and our compressor are, and what the compressor buys, each beside others.

`ablation` trains small models and compares what they answer; the rest measures time and memory: `sizes` reads
`--size`, `contenders` are what is compared, `scan_check` compares them with the definition, `rounds` measures, `limits`
tells what the machine can do at most; `scan_run` and `compress_run` put that together, `tables` prints it.
"""

import typer

from bimba.cli.bench.ablation import ablation
from bimba.cli.bench.compress import compress
from bimba.cli.bench.scan import scan

app = typer.Typer(help="Measure the selective scan and the compressor, beside others.", no_args_is_help=True)


@app.callback()
def _bench() -> None:
    """Measure the selective scan and the compressor, beside others."""


app.command(epilog="Example: bimba bench scan --size 256x64x16 --rounds 1")(scan)
app.command(epilog="Example: bimba bench compress --size tiny --rounds 1")(compress)
app.command(
    epilog='Example: bimba bench ablation --start MODEL_DIR --contenders pooling --compressions "" --seeds 1 --steps 2 '
    "--videos 8"
)(ablation)

__all__ = ["ablation", "app", "compress", "scan"]
