"""`bimba eval show`: the folder of an evaluation in, its tables on the terminal out."""

from pathlib import Path
from typing import Annotated

import typer

from bimba.cli import options
from bimba.cli.ask import print_json


def show(
    folder: Annotated[Path, typer.Argument(help="What `bimba eval run` wrote.", show_default=False)],
    json_: options.Json = False,
) -> None:
    """Print the tables of an evaluation again."""
    from bimba.evaluation.needles import read_results

    results = read_results(folder)
    if json_:
        print_json(results)
        return
    from bimba.cli.eval.printed import print_results

    print_results(results)
