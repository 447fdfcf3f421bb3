"""`bimba convert`: a released model in, one folder that from_pretrained opens out; `--reverse` goes back."""

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from bimba.cli.progress import bars, hush_transformers
from bimba.errors import InputError


def convert(
    model: Annotated[str, typer.Argument(help="The released adapter (or a base alone); with --reverse, our folder.")],
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    base: Annotated[
        str | None, typer.Option(help="Folder or hub id of the adapter's base, if not the one it names.")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Write the released layout back.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, and no text at the end.")] = False,
) -> None:
    """Convert a released model into one safetensors folder, or back.

    The folder is complete or not there at all.
    """
    if reverse and base is not None:
        raise InputError("--reverse takes no --base.", fix="leave it out; the folder knows what it was made of.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already.", fix="name a new folder, or remove that one first.")
    from bimba.checkpoints import convert as conversion

    hush_transformers(quiet=True)
    with bars({"write": "writing weights"}, quiet=quiet or json_, unit="bytes") as report:

        def on_tensors(done: int, total: int) -> None:
            report("write", done, total)

        if reverse:
            result = conversion.reverse(model, out, on_tensors=on_tensors)
        else:
            result = conversion.convert(model, out, base=base, on_tensors=on_tensors)
    if json_:
        record = {"folder": str(result.folder), "layout": result.layout, "num_tensors": result.num_tensors}
        print(json.dumps(record | {"note": result.note}))
    elif not quiet:
        print(f"wrote {result.folder} ({result.layout}, {result.num_tensors} tensors)")
        if result.note:
            print(result.note)
        if not reverse:
            print(f'next: bimba ask VIDEO "What happens?" --model {shlex.quote(str(result.folder))}')
