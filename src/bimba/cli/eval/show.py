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
    from bimba.evaluation.folder import read_any_results
    from bimba.evaluation.needles import check_results
    from bimba.evaluation.needles.described import BENCHMARK

    results = read_any_results(folder)
    is_needles = results.get("benchmark") == BENCHMARK
    if is_needles:
        check_results(results, folder)
    if json_:
        print_json(results)
    elif is_needles:
        from bimba.cli.eval.printed import print_results

        print_results(results)
    else:
        from bimba.cli.eval.scores import print_scores

        print_scores(results)
