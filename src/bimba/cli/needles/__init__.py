"""`bimba needles`: makes videos with hidden pictures, shows what one of them holds, and counts what is asked.

`choices` are the options that the commands share; `sheet` and `counting` are what `show` draws and `stats` counts.
"""

import typer

from bimba.cli.needles.make import make
from bimba.cli.needles.show import show
from bimba.cli.needles.stats import stats

app = typer.Typer(help="Videos with hidden pictures and questions whose answers are known.", no_args_is_help=True)


@app.callback()
def _needles() -> None:
    """Videos with hidden pictures and questions whose answers are known."""


app.command(epilog="Example: bimba needles make --seed 7 --out needles --videos 3 --seconds 120 --needles 2-6")(make)
app.command(epilog="Example: bimba needles show needles 2 --out needles.png")(show)
app.command(epilog="Example: bimba needles stats needles")(stats)

__all__ = ["app", "make"]
