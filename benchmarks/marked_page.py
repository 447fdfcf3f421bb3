"""A page and the part of it that a script writes in; the page with that part, and all else as it was, out."""

from pathlib import Path

from bimba.errors import InputError
from bimba.files import write_whole


def marks(command: str) -> tuple[str, str]:
    """The lines between which a command writes.

    Args:
        command: as people type it.
    """
    return f"<!-- written by {command}: begin -->", f"<!-- written by {command}: end -->"


def write_between(page: Path, command: str, text: str) -> None:
    """Put a text between a command's marks, in the place of what stands there.

    Raises:
        InputError: the page has no marks.
    """
    begin, end = marks(command)
    before, _, after = parts_of(page, command)
    write_whole(page, f"{before}{begin}\n\n{text}\n\n{end}{after}")


def parts_of(page: Path, command: str) -> tuple[str, str, str]:
    """What stands before a command's marks, between them, and behind them.

    Raises:
        InputError: the page has no marks.
    """
    begin, end = marks(command)
    text = page.read_text(encoding="utf-8")
    before, found_begin, rest = text.partition(begin)
    between, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise InputError(f"{page} has no marks to write between.", fix=f"put {begin} and {end} into it.")
    return before, between.strip(), after
