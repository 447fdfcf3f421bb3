"""`bimba eval`: a model in; how well it answers the questions of a benchmark, with intervals and provenance, out.

`list` names the benchmarks, `prepare` reads their annotations, `bimba eval run NAME` asks, `show` prints the tables of
a folder again, `printed` writes them.
"""

import typer

from bimba.cli.eval.list_ import list_benchmarks
from bimba.cli.eval.needles import needles
from bimba.cli.eval.prepare import prepare
from bimba.cli.eval.show import show

app = typer.Typer(help="Measure how well a model answers.", no_args_is_help=True)
run = typer.Typer(help="Ask a model the questions of a benchmark.", no_args_is_help=True)


@app.callback()
def _eval() -> None:
    """Measure how well a model answers."""


@run.callback()
def _run() -> None:
    """Ask a model the questions of a benchmark."""


run.command(
    epilog="Example: bimba eval run needles --model mmiemon/BIMBA-LLaVA-Qwen2-7B --out results --frames 64 --videos 2"
)(needles)
app.command("list", epilog="Example: bimba eval list videomme")(list_benchmarks)
app.command(epilog="Example: bimba eval prepare egoschema-subset --from EgoSchema")(prepare)
app.add_typer(run, name="run")
app.command(epilog="Example: bimba eval show results")(show)

__all__ = ["app"]
