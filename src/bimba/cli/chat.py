"""`bimba chat`: a video in, encoded once; questions typed in, answers on the terminal as they are generated."""

import difflib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bimba.cli import looking, options
from bimba.cli.ask import LABELS, answer_settings, print_dry_run, print_json, print_stream
from bimba.cli.grouping import grouped
from bimba.cli.naming import model_or_default, remark_on_answer
from bimba.cli.plan import draw_frames
from bimba.cli.planning import QUESTION
from bimba.cli.progress import bars, hush_transformers, waiting
from bimba.cli.units import at_time, in_count, in_seconds
from bimba.errors import BimbaError, InputError
from bimba.files import write_whole

if TYPE_CHECKING:
    from bimba.inference import Answer, Chat, VideoQA
    from bimba.inference.encoded import EncodedVideo
    from bimba.video.source import Video

PROMPT = "> "
_HELP = """\
Type a question, or:
  /frames [FILE.png]  when the frames are that the model saw; or a picture
  /reset              forget the conversation; the video stays
  /save FILE          write it all down: Markdown, or JSON if it ends in .json
  /help               this
  /quit               leave (so does Ctrl-D)
Ctrl-C stops an answer."""


@grouped
def chat(
    video: options.VideoPath,
    *,
    model: options.ModelOptions,
    look: looking.LookOptions,
    span: options.TimedOptions,
    reading: options.ReadingOptions,
    answering: options.AnswerOptions,
    dry_run: looking.DryRun = False,
    printing: options.PrintOptions,
) -> None:
    """Ask several questions about a video, which is read and encoded once.

    Questions are lines of the standard input, so that a script may send them, too; with --json each answer is one JSON
    object in a line.
    """
    options.check_numbers(answering.max_new_tokens, answering.seed)
    wanted = looking.look_at(look, model.temporal_pooling)
    if str(video) == "-":
        raise InputError(
            "chat reads questions from the standard input, so that no video can come through it.",
            fix="write the video to a file first.",
        )
    hushed = printing.hushed
    named = model_or_default(model.model, quiet=hushed)
    model = replace(model, model=named)
    with waiting("reading the video", quiet=hushed):
        opened = options.open_either(video, span, reading)
    with opened:
        asked = looking.Asked(QUESTION, span.time_sentence, answering.max_new_tokens)
        settled = looking.settle(wanted, opened, asked, model, quiet=hushed, outlined=dry_run, several=True)
        if dry_run:
            print_dry_run(settled, options.source_of(opened), asked, model, printing)
            return
        with waiting("loading the model", quiet=hushed):
            hush_transformers(quiet=True)
            qa = options.load_model(named, model, settled.temporal_pooling)
        settings = answer_settings(answering)
        conversation = _encode(qa, opened, settled, span.time_sentence, hushed=hushed)
        session = Session(named, conversation, opened, settings, as_json=printing.json_, quiet=printing.quiet)
        session.greet()
        session.run(questions(hushed=hushed))


def _encode(
    qa: "VideoQA", video: "Video | EncodedVideo", settled: looking.Settled, time_sentence: bool, *, hushed: bool
) -> "Chat":
    with bars(LABELS, quiet=hushed) as report:
        qa.progress = report
        conversation = qa.chat(
            video, num_frames=settled.num_frames, sampling=settled.sampling, time_sentence=time_sentence
        )
    qa.progress = None
    return conversation


def questions(*, hushed: bool) -> Iterator[str]:
    """Lines of the standard input, with a prompt and the arrow keys where somebody types them."""
    if sys.stdin is None:
        return
    is_typed = sys.stdin.isatty()
    if is_typed:
        _allow_editing()
    prompt = PROMPT if is_typed and not hushed else ""
    while True:
        try:
            yield input(prompt)
        except EOFError:
            if prompt:
                print()
            return
        except KeyboardInterrupt:  # at the prompt: the line is given up, as in a shell
            print("\n(/quit or Ctrl-D leaves)", file=sys.stderr)


def _allow_editing() -> None:
    try:
        import readline  # input() edits lines once it is imported
    except ImportError:  # not on every system; typing works without
        return
    readline.set_history_length(1000)


@dataclass
class Session:
    """One chat at a terminal.

    Args:
        model: its name.
        chat: the conversation.
        video: what it is about.
        settings: options of each answer.
        as_json: print JSON objects.
        quiet: print answers only.
    """

    model: str
    chat: "Chat"
    video: "Video | EncodedVideo"
    settings: dict[str, Any]
    as_json: bool
    quiet: bool

    def greet(self) -> None:
        """Say what was seen, and what can be done."""
        clip = self.chat.clip
        if self.quiet or self.as_json or clip is None:
            return
        length = f" of {in_seconds(clip.duration_seconds)}" if clip.has_times else ""
        if clip.frame_seconds and (self.video.start, self.video.end) != (None, None):
            length = f" from {at_time(clip.frame_seconds[0])} to {at_time(clip.frame_seconds[-1])}"
        took = in_seconds(sum(self.chat.timings.values()))
        print(
            f"{options.path_of(self.video).name}: {in_count(clip.num_frames)} frames{length} as "
            f"{in_count(self.chat.num_video_tokens)} tokens, in {took}.\nAsk a question, or type /help.",
            file=sys.stderr,
        )

    def run(self, lines: Iterator[str]) -> None:
        """Answer lines until they end, or one of them leaves."""
        for line in lines:
            words = line.strip()
            if not words:
                continue
            try:
                if not words.startswith("/"):
                    self._answer(words)
                elif not self._obey(words):
                    return
            except BimbaError as error:
                self._complain(error)
            except KeyboardInterrupt:
                self._remark("(stopped)")

    def _answer(self, question: str) -> None:
        try:
            stream = self.chat.stream(question, **self.settings)
            print_stream(stream, to_stdout=not self.as_json)
        except KeyboardInterrupt:
            self._remark("(stopped; this question and its answer are forgotten)")
            return
        answer: Answer = stream.answer
        remark_on_answer(self.model, answer.text, quiet=self.quiet or self.as_json)
        if self.as_json:
            print_json({"question": question} | answer.to_dict())

    def _obey(self, words: str) -> bool:
        """Do what a line with a slash says; False to leave."""
        name, _, argument = words.partition(" ")
        commands: dict[str, Callable[[str], None]] = {
            "/frames": self._frames, "/reset": self._reset, "/save": self._save, "/help": self._help,
        }  # fmt: skip
        if name in ("/quit", "/exit"):
            return False
        if name not in commands:
            near = difflib.get_close_matches(name, [*commands, "/quit"], n=1)
            raise InputError(f"{name} is no command.", fix=f"did you mean {near[0]}?" if near else "/help lists them.")
        commands[name](argument.strip())
        return True

    def _frames(self, file: str) -> None:
        clip = self.chat.clip
        if clip is None:
            raise InputError("there is no video.", fix="name one: bimba chat VIDEO")
        if file:
            path = _new_file(file)
            hushed = self.quiet or self.as_json
            draw_frames(options.source_of(self.video), list(clip.indices), list(clip.frame_seconds), path, quiet=hushed)
            self._remark(f"wrote {path}")
        elif self.as_json:
            print_json({"frame_seconds": list(clip.frame_seconds)})
        elif clip.frame_seconds:
            print("  ".join(at_time(seconds) for seconds in clip.frame_seconds))
        else:
            print(f"{clip.num_frames} pictures without times")

    def _reset(self, _: str) -> None:
        self.chat.reset()
        self._remark("(the conversation is forgotten; the video stays)")

    def _help(self, _: str) -> None:
        print(_HELP, file=sys.stderr)

    def _save(self, file: str) -> None:
        if not file:
            raise InputError("/save needs the name of a file.", fix="e.g. /save talk.md, or talk.json")
        path = _new_file(file)
        text = self._as_json() if path.suffix == ".json" else self._as_markdown()
        try:
            write_whole(path, text)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror}.", fix="name a file elsewhere.") from error
        self._remark(f"wrote {path}")

    def _as_json(self) -> str:
        clip = self.chat.clip
        record = {
            "video": str(options.path_of(self.video)),
            "frame_seconds": [] if clip is None else list(clip.frame_seconds),
            "turns": [{"role": turn.role, "content": turn.content} for turn in self.chat.turns],
        }
        return json.dumps(record, indent=2, ensure_ascii=False) + "\n"

    def _as_markdown(self) -> str:
        heads = {"user": "**You:** ", "assistant": "**Model:** "}
        turns = [f"{heads.get(turn.role, '')}{turn.content.strip()}" for turn in self.chat.turns]
        return "\n\n".join([f"# {options.path_of(self.video).name}", *turns]) + "\n"

    def _remark(self, text: str) -> None:
        if not (self.quiet or self.as_json):
            print(text, file=sys.stderr)

    def _complain(self, error: BimbaError) -> None:
        """Say what is wrong and go on; a script learns it from its JSON."""
        if self.as_json:
            print_json({"error": {"problem": error.problem, "fix": error.fix}})
        else:
            print(f"error: {error.problem}\n  fix: {error.fix}", file=sys.stderr)


def _new_file(name: str) -> Path:
    """The path of a file that is not there yet.

    Raises:
        InputError: it is there, or cannot be.
    """
    try:
        path = Path(name).expanduser()
        exists = path.exists()
    except (OSError, RuntimeError, ValueError) as error:  # too long, no rights, no such user
        raise InputError(f"{name} cannot be written: {error}.", fix="name a file elsewhere.") from error
    if exists:
        raise InputError(f"{path} exists already.", fix="name another file.")
    return path
