"""Which model answers: the one that was named or, if none was, the small one that comes with the package."""

import sys

from bimba.checkpoints.shipped import NANO, NANO_KNOWS, RELEASED, shipped_models

_INSTEAD = f"--model {RELEASED} (released, 16 GB, fetched once), or a folder; or set BIMBA_MODEL."


def model_or_default(model: str | None, *, quiet: bool = True) -> str:
    """The name of a model; a remark on stderr says which, if none was named."""
    if model is not None:
        return model
    if not quiet:
        print(f"model: {NANO}, since none is named; it {NANO_KNOWS}", file=sys.stderr)
    return NANO


def remark_on_answer(model: str, answer: str, *, quiet: bool) -> None:
    """Say on stderr who could tell what the small model says it cannot.

    Args:
        model: its name.
        answer: what it said.
        quiet: say nothing.
    """
    if quiet or model not in shipped_models():
        return
    from bimba.needles.questions import cannot_tell  # not at the start of every command

    if cannot_tell(answer):
        print(f"{model} {NANO_KNOWS}. For everything else: {_INSTEAD}", file=sys.stderr)
