"""`bimba eval`: a model in; how well it answers the questions of a benchmark, with intervals and provenance, out.

`list` names the benchmarks, `prepare` reads their annotations, `bimba eval run NAME` asks (`needles` and `benchmark`),
`show` prints the tables of a folder again (`printed` those of needles, `scores` those of the others), `score` scores
stored answers, `compare` sets two runs side by side, `submit` writes what a server scores, `lmms` a task of lmms-eval.
"""

from typing import Any

import typer
from typer.core import TyperGroup, TyperOption

from bimba.cli.eval.benchmark import benchmark
from bimba.cli.eval.compare import compare
from bimba.cli.eval.list_ import list_benchmarks
from bimba.cli.eval.lmms import lmms
from bimba.cli.eval.needles import needles
from bimba.cli.eval.prepare import prepare
from bimba.cli.eval.score import score
from bimba.cli.eval.several import several
from bimba.cli.eval.show import show
from bimba.cli.eval.submit import submit

app = typer.Typer(help="Measure how well a model answers.", no_args_is_help=True)


class _AnyBenchmark(TyperGroup):
    """Takes `run videomme` for `run benchmark videomme`, and `run FILE.yaml` for `run several FILE.yaml`.

    Options may stand in front of the name.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take options that stand in front of the name for those of the command that it names."""
        place = self._place_of_name(args)
        if "--help" in args[:place]:
            args = ["--help"]
        elif place < len(args):
            args = [args[place], *args[:place], *args[place + 1 :]]
        elif args and not ctx.resilient_parsing:
            ctx.fail("No benchmark is named.")
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the words name."""
        names_command = not args or args[0] in self.commands or args[0].startswith("-")
        if not names_command:
            args = ["several" if args[0].endswith((".yaml", ".yml")) else "benchmark", *args]
        return super().resolve_command(ctx, args)

    def _place_of_name(self, args: list[str]) -> int:
        """Where the first word is that is neither an option nor its value."""
        with_value = {
            name
            for command in self.commands.values()
            for option in command.params
            if isinstance(option, TyperOption) and not option.is_flag
            for name in option.opts
        }
        place = 0
        while place < len(args) and args[place].startswith("-"):
            place += 2 if args[place] in with_value else 1
        return min(place, len(args))


run = typer.Typer(help="Ask a model the questions of a benchmark.", no_args_is_help=True, cls=_AnyBenchmark)


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
run.command(epilog="Example: bimba eval run tempcompass --videos videos --out results --limit 4 --frames 8")(benchmark)
run.command(epilog="Example: bimba eval run recipe.yaml --videos videos --out results --limit 2")(several)
app.add_typer(run, name="run")
app.command(epilog="Example: bimba eval show results")(show)
app.command(epilog="Example: bimba eval score tempcompass answers.jsonl --out scored")(score)
app.command(epilog="Example: bimba eval compare results others")(compare)
app.command(epilog="Example: bimba eval submit egoschema results")(submit)
app.command(epilog="Example: bimba eval lmms tempcompass --videos videos --out lmms-tasks")(lmms)

__all__ = ["app"]
