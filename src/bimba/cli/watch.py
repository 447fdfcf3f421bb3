"""`bimba watch`: a video that goes on in; questions about everything so far in, answers on the terminal, at any time.

One thread reads frames and hands them to the model, one reads lines, and the main one answers.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bimba.cli import options
from bimba.cli.ask import answer_settings, print_json, print_stream
from bimba.cli.chat import PROMPT, questions
from bimba.cli.grouping import grouped
from bimba.cli.lines import GLANCE_SECONDS, Lines, terminal_kept, typed_so_far
from bimba.cli.naming import model_or_default, remark_on_answer
from bimba.cli.progress import hush_transformers, waiting
from bimba.cli.units import at_time, in_count
from bimba.errors import BimbaError, InputError

if TYPE_CHECKING:
    from bimba.inference import Answer, LiveVideo
    from bimba.video.live import LiveSource

_HELP = """\
Type a question; it is answered about everything so far. Or:
  /now    how far the video has been seen
  /help   this
  /quit   leave (so does Ctrl-D)
Ctrl-C leaves at once."""

Source = Annotated[
    str,
    typer.Argument(
        help="A file that is being written, a named pipe, a camera (with --format), or an address (rtsp://, http://, "
        "...).",
        show_default=False,
    ),
]
Fps = Annotated[
    float,
    typer.Option("--fps", metavar="RATE", help="Look at so many frames a second.", rich_help_panel="The video"),
]
Patience = Annotated[
    float,
    typer.Option(
        metavar="SECONDS", help="The video has ended when nothing comes for so long.", rich_help_panel="The video"
    ),
]
DeviceFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="SOURCE is a camera of this kind: v4l2 (Linux), avfoundation (macOS), dshow (Windows).",
        rich_help_panel="The video",
    ),
]
MaxVideoTokens = Annotated[
    int | None,
    typer.Option(
        "--max-video-tokens",
        metavar="N",
        help="At most so many tokens of the video are read; old frames are thinned out when there are more. Else as "
        "many as 64 frames take.",
        rich_help_panel="The video",
    ),
]
Question = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Ask this at the end, and read no questions.",
        rich_help_panel="The answer",
        show_default=False,
    ),
]
Every = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="Ask the --question whenever so many more seconds of the video were seen, too.",
        rich_help_panel="The answer",
        show_default=False,
    ),
]


@grouped
def watch(
    source: Source,
    *,
    fps: Fps = 1.0,
    patience: Patience = 10.0,
    format_: DeviceFormat = None,
    max_video_tokens: MaxVideoTokens = None,
    time_sentence: options.TimeSentence = True,
    question: Question = None,
    every: Every = None,
    model: options.ModelOptions,
    answering: options.AnswerOptions,
    printing: options.PrintOptions,
) -> None:
    """Watch a video that goes on, and ask about everything so far at any time.

    Questions are lines of the standard input, or one --question that is asked at the end, or --every so often. Each
    answer begins with the time up to which the video was seen; with --json each is one JSON object in a line.
    """
    options.check_numbers(answering.max_new_tokens, answering.seed)
    _check(question, every)
    from bimba.video.live import LiveSource

    opened = LiveSource(source, fps=fps, patience=patience, device_format=format_)
    named = model_or_default(model.model, quiet=printing.hushed)
    with waiting("loading the model", quiet=printing.hushed):
        hush_transformers(quiet=True)
        qa = options.load_model(named, model, model.temporal_pooling)
    live = qa.watch(
        max_video_tokens=max_video_tokens, time_sentence=time_sentence, max_new_tokens=answering.max_new_tokens
    )
    settings = answer_settings(answering)
    session = Watching(named, live, opened, settings, as_json=printing.json_, quiet=printing.quiet)
    try:
        with session.reading():
            if question is not None:
                session.ask_by_itself(question, every)
            else:
                session.answer_lines()
    finally:
        session.say_how_it_ended()


def _check(question: str | None, every: float | None) -> None:
    """Refuse options that mean nothing together, before a model is read.

    Raises:
        InputError: they do.
    """
    if question is not None and not question.strip():
        raise InputError("the question is empty.", fix='ask something, e.g. --question "What happens?"')
    if every is not None and question is None:
        raise InputError("--every is given without a --question.", fix='add one: --question "What happens now?"')
    if every is not None and not 0 < every < float("inf"):
        raise InputError(f"--every is {every}.", fix="take a number of seconds above 0, e.g. --every 30.")


class Watching:
    """One video that is watched at a terminal.

    Args:
        model: its name.
        live: takes the frames, and is asked.
        source: gives them.
        settings: options of each answer.
        as_json: print JSON objects.
        quiet: print answers only.
    """

    def __init__(
        self,
        model: str,
        live: "LiveVideo",
        source: "LiveSource",
        settings: dict[str, Any],
        *,
        as_json: bool,
        quiet: bool,
    ) -> None:
        self._model, self._live, self._source, self._settings = model, live, source, settings
        self._as_json, self._quiet = as_json, quiet
        self._error: BaseException | None = None
        self._has_ended = threading.Event()
        self._told_of_thinning = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Frames come in a thread of their own; the block's end stops it.

        Raises:
            BimbaError: the source failed; when all that was asked until then is answered.
        """
        self._remark(
            f"watching {self._source.name}; at most {in_count(self._live.max_video_tokens)} tokens of it are read"
        )
        reader = threading.Thread(target=self._read, name="bimba-watch", daemon=True)
        reader.start()
        try:
            yield
        except KeyboardInterrupt:
            self._remark("(stopped)")
            self._source.stop()
            return
        self._source.stop()
        if self._error is not None:
            raise self._error

    def answer_lines(self) -> None:
        """Answer lines of the standard input until they end; and, unless they are typed, until the video has ended.

        Whoever sits at a terminal may go on asking when the video has ended.
        """
        is_typed = sys.stdin is not None and sys.stdin.isatty()
        hushed = self._quiet or self._as_json
        self._remark("Type a question, or /help." if is_typed else "questions are read from the standard input")
        with terminal_kept():
            lines = Lines(questions(hushed=hushed), one_by_one=is_typed)
            give_up = self._give_up(is_typed)
            while (line := lines.next(give_up)) is not None:
                if not self._obey(line.strip()):
                    return

    def ask_by_itself(self, question: str, every: float | None) -> None:
        """Ask one question at the end, and whenever the video has gone on by so many seconds."""
        asked_at: float | None = None
        due = every
        while not self._has_ended.wait(GLANCE_SECONDS):
            if every is not None and due is not None and (self._live.seconds or 0.0) >= due and self._live.can_be_asked:
                asked_at = self._answer(question)
                # The next whole multiple, however long the answer took.
                due = (asked_at // every + 1) * every
        if self._wait_for_frames() and asked_at != self._live.seconds:
            self._answer(question)

    def say_how_it_ended(self) -> None:
        """Tell what was seen, and what could not be."""
        source, seconds = self._source, self._live.seconds
        if self._as_json:
            print_json(
                {
                    "ended": {
                        "reason": source.end or "it was left",
                        "seconds": seconds,
                        "num_frames": source.num_frames,
                        "num_damaged": source.num_damaged,
                        "num_restarts": source.num_restarts,
                    }
                }
            )
            return
        damage = f"; {in_count(source.num_damaged)} damaged parts were left out" if source.num_damaged else ""
        restarts = f"; times began anew {in_count(source.num_restarts)} times" if source.num_restarts else ""
        frames = f"{in_count(source.num_frames)} frames" + ("" if seconds is None else f" up to {at_time(seconds)}")
        self._remark(f"{source.name}: {source.end or 'left'}; saw {frames}{damage}{restarts}")

    def _read(self) -> None:
        """Hand frames to the model until they end; runs in a thread of its own."""
        try:
            for frame in self._source.frames(self._live.catch_up):
                self._live.push(frame.picture, frame.seconds)
            self._live.catch_up()
        except BaseException as error:  # noqa: BLE001 - it is raised again where answers are given
            self._error = error
        finally:
            self._has_ended.set()

    def _give_up(self, is_typed: bool) -> Callable[[bool], bool]:
        """Whether nobody is waited for any more; says once to somebody who types that the video is all there."""
        told = False

        def give_up(is_prompted: bool) -> bool:
            nonlocal told
            if not self._has_ended.is_set():
                return False
            is_broken = self._error is not None and not isinstance(self._error, BimbaError)
            if not is_typed or is_broken or not self._live.can_be_asked:
                return True
            if not told:
                why = self._error.problem if isinstance(self._error, BimbaError) else self._source.end
                # In one piece, since another thread may be at the terminal, and with the prompt that it pushes away.
                again = f"\n{PROMPT}{typed_so_far()}" if is_prompted else "\n"
                self._remark(f"\n(the video has ended: {why}; ask on, or /quit){again}", end="")
                told = True
            return False

        return give_up

    def _obey(self, words: str) -> bool:
        """Answer a line, or do what it says; False to leave."""
        if words in ("/quit", "/exit"):
            return False
        try:
            if words == "/help":
                print(_HELP, file=sys.stderr)
            elif words == "/now":
                self._tell_now()
            elif words.startswith("/"):
                raise InputError(f"{words.split()[0]} is no command.", fix="/help lists them.")
            elif words and self._wait_for_frames():
                self._answer(words)
        except BimbaError as error:
            self._complain(error)
        return True

    def _wait_for_frames(self) -> bool:
        """Wait until something can be asked; whether it can."""
        while not (self._live.can_be_asked or self._has_ended.is_set()):
            self._has_ended.wait(GLANCE_SECONDS)
        if not self._live.can_be_asked and self._error is None:
            raise InputError("the video ended before there were frames enough.", fix="watch a longer one.")
        return self._live.can_be_asked

    def _answer(self, question: str) -> float:
        """Answer about everything so far; returns up to when that is."""
        stream = self._live.stream(question, **self._settings)
        seconds = stream.frame_seconds[-1]
        if not self._as_json:
            print(f"[{at_time(seconds)}] ", end="", flush=True)
        print_stream(stream, to_stdout=not self._as_json)
        answer: Answer = stream.answer
        remark_on_answer(self._model, answer.text, quiet=self._quiet or self._as_json)
        if self._as_json:
            print_json({"question": question, "seconds": seconds} | answer.to_dict())
        if self._live.is_thinned and not self._told_of_thinning:
            self._told_of_thinning = True
            self._remark("(there are more frames than the budget has room for: old ones are thinned out)")
        return seconds

    def _tell_now(self) -> None:
        seconds, frames = self._live.seconds, self._live.num_frames
        if self._as_json:
            print_json({"seconds": seconds, "num_frames": frames, "has_ended": self._has_ended.is_set()})
        else:
            print("nothing was seen yet" if seconds is None else f"{at_time(seconds)}, {in_count(frames)} frames")

    def _remark(self, text: str, end: str = "\n") -> None:
        if not (self._quiet or self._as_json):
            print(text, end=end, file=sys.stderr, flush=True)

    def _complain(self, error: BimbaError) -> None:
        """Say what is wrong and go on; a script learns it from its JSON."""
        if self._as_json:
            print_json({"error": {"problem": error.problem, "fix": error.fix}})
        else:
            print(f"error: {error.problem}\n  fix: {error.fix}", file=sys.stderr)
