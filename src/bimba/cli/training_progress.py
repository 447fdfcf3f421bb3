"""What a training run reports in; a bar with figures on a terminal, or now and then a line in a log file, out.

All of it goes to stderr.
"""

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from bimba.cli.units import in_bytes, in_count, in_seconds

if TYPE_CHECKING:
    from bimba.training.loop.watching import Report, Watcher

STAGES = {
    "needles": "making needle videos",
    "read": "reading sources",
    "lengths": "measuring samples",
    "files": "hashing files",
    "features": "computing features",
    "write": "writing the model",
}
_IN_BYTES = "write"
_BETWEEN = "preparing"

_OFTEN, _SELDOM = 30.0, 600.0
"""Seconds between lines of a log: at least, and at most if there is something to say."""
_LONG = 5.0
"""Seconds from which on a stage is worth a line; what is there already is only looked at."""
_SHARE = 0.01
"""Of a run's steps, between lines that come earlier than at most: a short run has a hundred lines, a long one six an
hour."""
_KEPT = 0.9
"""Of the smoothed loss, with each report."""


class Course:
    """Reports one after the other in; what people read off them out."""

    def __init__(self) -> None:
        self._sum = self._weight = 0.0
        self._first: tuple[float, int] | None = None
        self._left: float | None = None

    def take(self, report: "Report") -> None:
        """Go on by a report."""
        now = time.monotonic()
        self._sum = _KEPT * self._sum + (1 - _KEPT) * report.values["loss"]
        self._weight = _KEPT * self._weight + 1 - _KEPT
        if self._first is None:
            self._first = (now, report.step)  # how long the steps up to here took is not known
            return
        begin, step = self._first
        if report.step > step:
            self._left = (now - begin) / (report.step - step) * (report.num_steps - report.step)

    @property
    def left(self) -> str:
        """Time that remains; nothing before it can be told, and at the end."""
        return f"{in_seconds(self._left)} left" if self._left else ""

    def figures(self, report: "Report") -> list[str]:
        """Loss, learning rate, speeds, counts, memory."""
        values = report.values
        figures = [
            f"loss {self._sum / self._weight:.4g} (last {values['loss']:.4g})",
            f"learning rate {values['learning_rate']:.2g}",
        ]
        if "tokens_per_second" in values:
            figures += [
                f"{values['tokens_per_second']:,.0f} tokens/s",
                f"{values['samples_per_second']:.3g} samples/s",
                f"{values['waiting_share']:.0%} waiting for data",
                f"{in_count(int(values['samples_seen']))} samples seen",
                f"{in_count(int(values['samples_failed']))} failed",
                f"memory {in_bytes(values['memory_gb'] * 1e9)} at most",
            ]
        return figures


class LogLines:
    """A watcher for log files: whole lines, and few of them."""

    def __init__(self) -> None:
        self._course = Course()
        self._stage = ""
        self._due = self._said = 0.0
        self._step = 0

    def stage(self, name: str, done: int, total: int) -> None:
        """A line when a stage takes long, and one every few minutes while it lasts."""
        now = time.monotonic()
        if name != self._stage:
            self._stage, self._due = name, now + _LONG
        elif now >= self._due:
            self._due = now + _SELDOM
            self.say(f"{STAGES.get(name, name)}: {_amount(name, done, total)}")

    def say(self, message: str) -> None:
        """One line."""
        self._said = time.monotonic()
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}", file=sys.stderr, flush=True)

    def report(self, report: "Report") -> None:
        """A line for the first step and the last, and for few between."""
        self._course.take(report)
        waited, steps = time.monotonic() - self._said, report.step - self._step
        due = waited >= _SELDOM or (waited >= _OFTEN and steps >= _SHARE * report.num_steps)
        if self._step and not due and report.step < report.num_steps:
            return
        self._step = report.step
        figures = [*self._course.figures(report), *filter(None, [self._course.left])]
        share = report.step / report.num_steps
        self.say(f"step {in_count(report.step)} of {in_count(report.num_steps)} ({share:.0%}): {', '.join(figures)}")


class Screen:
    """A watcher for terminals: a bar for what goes on, figures below it, and what is said above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True, highlight=False)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[amount]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._progress = Progress(*columns, console=self._console)
        self._figures: list[str] = []
        self._course = Course()
        self._shown = ""
        self._task: Any = None
        self.live = Live(
            get_renderable=self._drawn,
            console=self._console,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
        )
        self._show(_BETWEEN)

    def stage(self, name: str, done: int, total: int) -> None:
        """Move the bar of a stage; when it is over, something else begins that reports nothing."""
        if done >= total:
            self._show(_BETWEEN)
        else:
            self._show(STAGES.get(name, name), done, total, _amount(name, done, total))

    def say(self, message: str) -> None:
        """One line above the bar."""
        self._console.print(message, markup=False)

    def report(self, report: "Report") -> None:
        """Move the bar of the training, and show new figures."""
        self._course.take(report)
        self._figures = self._course.figures(report)
        amount = f"{in_count(report.step)} of {in_count(report.num_steps)} steps"
        self._show("training", report.step, report.num_steps, amount, self._course.left)

    def _show(self, what: str, done: int = 0, total: int | None = None, amount: str = "", left: str = "") -> None:
        """Show one bar; each has a clock of its own."""
        if what != self._shown:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(what, total=total, amount=amount, left=left)
            self._shown = what
        self._progress.update(self._task, completed=done, amount=amount, left=left)

    def _drawn(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        lines = packed(self._figures, self._console.width) if self._shown == "training" else []
        return Group(self._progress, *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))


def packed(words: list[str], width: int) -> list[str]:
    """Figures in as few lines as they need, none broken."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 3 + len(word) <= width:
            lines[-1] += f" · {word}"
        else:
            lines.append(word)
    return lines


def _amount(stage: str, done: int, total: int) -> str:
    if stage == _IN_BYTES:
        return f"{in_bytes(done)} of {in_bytes(total)}"
    return f"{in_count(done)} of {in_count(total)}"


@contextmanager
def watching(*, quiet: bool) -> "Iterator[Watcher]":
    """A watcher that shows a run on stderr, or one that shows nothing."""
    from bimba.training.loop.watching import Silent

    if quiet:
        yield Silent()
    elif not sys.stderr.isatty():
        yield LogLines()
    else:
        screen = Screen()
        before = sys.stderr
        with screen.live, _above(before):
            yield screen


@contextmanager
def _above(before: TextIO) -> Iterator[None]:
    """While the bar is drawn, have log messages written by what is `sys.stderr` now, which puts them above the bar.

    Processes that are forked get the plain stream back: the bar is not theirs to draw, and its lock may be held by a
    thread that they do not have.
    """
    handlers = [
        handler
        for logger in (logging.getLogger(), logging.getLogger("transformers"))
        for handler in logger.handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is before
    ]
    for handler in handlers:
        handler.setStream(sys.stderr)
    _plain.update(stream=before, handlers=handlers)
    try:
        yield
    finally:
        _plain.clear()
        for handler in handlers:
            handler.setStream(before)


_plain: dict[str, Any] = {}
"""While a bar is drawn: the stream from before, and the handlers that wrote to it."""


def _forget_the_bar() -> None:
    if _plain:
        sys.stderr = _plain["stream"]
        for handler in _plain["handlers"]:
            handler.stream = _plain["stream"]  # setStream would flush the bar's


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_forget_the_bar)
