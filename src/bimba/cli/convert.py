"""`bimba convert`: a released model in, one folder that from_pretrained opens out; `--reverse` goes back.

`--to vamba` makes an untrained Vamba of a plain Qwen2-VL.
"""

import json
import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bimba.cli.progress import bars, hush_transformers
from bimba.errors import InputError

if TYPE_CHECKING:
    from bimba.checkpoints.conversion import Conversion


class Target(StrEnum):
    """What a model can be made into."""

    VAMBA = "vamba"


def convert(
    model: Annotated[str, typer.Argument(help="The released adapter (or a base alone); with --reverse, our folder.")],
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    base: Annotated[
        str | None, typer.Option(help="Folder or hub id of the adapter's base, if not the one it names.")
    ] = None,
    to: Annotated[
        Target | None,
        typer.Option(help="vamba: the model is a plain Qwen2-VL, and becomes a Vamba that training starts from."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the fresh mixers, with --to vamba.", min=0)] = 0,
    reverse: Annotated[bool, typer.Option("--reverse", help="Write the released layout back.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, and no text at the end.")] = False,
) -> None:
    """Convert a released model into one safetensors folder, or back; or a plain Qwen2-VL into an untrained Vamba.

    The folder is complete or not there at all.
    """
    _check(out, base=base, to=to, seed=seed, reverse=reverse)
    hush_transformers(quiet=True)
    with bars({"write": "writing weights"}, quiet=quiet or json_, unit="bytes") as report:
        from bimba.checkpoints import convert as conversion
        from bimba.checkpoints import qwen2_vl

        def on_tensors(done: int, total: int) -> None:
            report("write", done, total)

        if to is not None:
            result = qwen2_vl.convert_to_vamba(model, out, seed=seed, on_tensors=on_tensors)
        elif reverse:
            result = conversion.reverse(model, out, on_tensors=on_tensors)
        else:
            result = conversion.convert(model, out, base=base, on_tensors=on_tensors)
    if json_:
        record = {"folder": str(result.folder), "layout": result.layout, "num_tensors": result.num_tensors}
        print(json.dumps(record | {"note": result.note}))
    elif not quiet:
        _print_result(result, to=to, reverse=reverse)


def _check(out: Path, *, base: str | None, to: Target | None, seed: int, reverse: bool) -> None:
    """Refuse options that mean nothing together, and a place that is taken, before anything is imported."""
    if reverse and base is not None:
        raise InputError("--reverse takes no --base.", fix="leave it out; the folder knows what it was made of.")
    if to is not None and (reverse or base is not None):
        raise InputError("--to takes neither --reverse nor --base.", fix="leave them out: a Qwen2-VL is one folder.")
    if seed and to is None:
        raise InputError("--seed is for --to vamba; nothing else here is random.", fix="leave it out.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already.", fix="name a new folder, or remove that one first.")


def _print_result(result: "Conversion", *, to: Target | None, reverse: bool) -> None:
    print(f"wrote {result.folder} ({result.layout}, {result.num_tensors} tensors)")
    if result.note:
        print(result.note)
    if to is not None:
        print(f"next: bimba train vamba/1-align model.path={shlex.quote(str(result.folder))}")
    elif not reverse:
        print(f'next: bimba ask VIDEO "What happens?" --model {shlex.quote(str(result.folder))}')
