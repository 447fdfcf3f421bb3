"""Settings and a folder in; questions asked, one line each, and at the end tables and pictures in the folder out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bimba.errors import InputError
from bimba.evaluation.answering import Asker
from bimba.evaluation.folder import RESULTS_NAME, RUN_NAME, alone_in, claim, read_any_results, read_json, write_json
from bimba.evaluation.needles.asked import AskedVideo, asked_videos
from bimba.evaluation.needles.described import BENCHMARK, BENCHMARK_VERSION, described
from bimba.evaluation.needles.drawn import draw_results
from bimba.evaluation.needles.lines import LINES_NAME, Line, append_lines, cut_torn_line, read_lines
from bimba.evaluation.needles.settings import NeedleEvaluation
from bimba.evaluation.needles.tables import tables
from bimba.evaluation.provenance import session
from bimba.inference import VideoQA, load


@dataclass(frozen=True)
class Progress:
    """How far an evaluation is.

    Attributes:
        questions: that are answered.
        done: frames of videos that are through; of a run with a limit, questions.
        total: all of them.
    """

    questions: int
    done: int
    total: int


@dataclass(frozen=True)
class Outcome:
    """What came of an evaluation.

    Attributes:
        folder: where everything is.
        results: the contents of results.json.
        num_asked: questions that were asked now.
        num_there: questions that were answered before.
    """

    folder: Path
    results: dict[str, Any]
    num_asked: int
    num_there: int


def evaluate_needles(
    settings: NeedleEvaluation,
    out: Path,
    *,
    device: str = "auto",
    batch_size: int = 16,
    limit: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Outcome:
    """Ask a model about needle videos; a run that was interrupted is continued.

    Args:
        settings: what is asked, and of which model.
        out: folder for the results.
        device: as of `bimba.load`.
        batch_size: prompts that the language model reads at a time; it changes nothing beyond rounding.
        limit: at most so many questions are asked, the first ones.
        on_progress: told after each video.

    Raises:
        InputError: the folder holds another run, settings do not fit the model, or a number is below one.
        CheckpointError: the model cannot be loaded.
        VideoError: a picture or a haystack cannot be opened.
    """
    for name, number in (("batch_size", batch_size), ("limit", limit)):
        if number is not None and number < 1:
            raise InputError(f"{name} is {number}.", fix="take at least one.")
    with alone_in(out):
        run = claim(out, described(settings), has_answers=lambda: bool(read_lines(out / LINES_NAME)))
        file = out / LINES_NAME
        cut_torn_line(file)
        lines = read_lines(file)
        evaluation = _Evaluation(settings, out, run, device, batch_size)
        num_asked = evaluation.go_on(lines, limit, on_progress or (lambda _: None))
        return Outcome(out, _write_results(out, lines), num_asked, len(lines) - num_asked)


def read_results(folder: Path) -> dict[str, Any]:
    """Read the results of an evaluation.

    Raises:
        InputError: there are none, or not of this version.
    """
    found = read_any_results(folder)
    check_results(found, folder)
    return found


def check_results(results: dict[str, Any], folder: Path) -> None:
    """Refuse results that are not of this version of the benchmark.

    Raises:
        InputError: they are not.
    """
    which = results.get("benchmark"), results.get("benchmark_version")
    if which != (BENCHMARK, BENCHMARK_VERSION):
        raise InputError(
            f"{folder / RESULTS_NAME} is of {which[0]} version {which[1]}; this bimba reads {BENCHMARK} version "
            f"{BENCHMARK_VERSION}.",
            fix="read it with the bimba that wrote it, or run the evaluation again.",
        )


class _Evaluation:
    """Asks what is not answered yet; the model is loaded when there is something to ask."""

    def __init__(
        self, settings: NeedleEvaluation, out: Path, run: dict[str, Any], device: str, batch_size: int
    ) -> None:
        self._settings, self._out, self._run = settings, out, run
        self._device, self._batch_size = device, batch_size
        self._asker: Asker | None = None

    def go_on(self, lines: list[Line], limit: int | None, report: Callable[[Progress], None]) -> int:
        """Answer what is missing, at most up to the limit; lines are added to those that are there.

        Returns:
            how many were asked.
        """
        before = len(lines)
        there = {line.id for line in lines}
        total_frames = sum(self._settings.frames) * self._settings.videos
        num_seen = frames = 0
        for asked in asked_videos(self._settings):
            if limit is not None and num_seen >= limit:
                break
            wanted = asked.questions[: None if limit is None else limit - num_seen]
            num_seen += len(wanted)
            frames += asked.video.record.num_frames
            missing = {question.id for question in wanted} - there
            if missing:
                lines += self._answer(asked, missing)
            done, total = (frames, total_frames) if limit is None else (num_seen, limit)
            report(Progress(len(lines), done, total))
        return len(lines) - before

    def _answer(self, asked: AskedVideo, missing: set[str]) -> list[Line]:
        """Ask all about a video, as if none were answered: batches are those of a run without a break."""
        asker = self._ready()
        features = asker.look(asked.video.frames())
        replies = asker.answer(features, [question.query for question in asked.questions])
        pairs = zip(asked.questions, replies, strict=True)
        lines = [Line.of(question, reply) for question, reply in pairs if question.id in missing]
        append_lines(self._out / LINES_NAME, lines)
        return lines

    def _ready(self) -> Asker:
        if self._asker is None:
            settings = self._settings
            qa = load(
                settings.model,
                base=settings.base,
                device=self._device,
                dtype=settings.dtype,
                config_overrides=settings.config_overrides,
            )
            self._asker = Asker(qa, max_new_tokens=settings.max_new_tokens, batch_size=self._batch_size)
            for frames in settings.frames:
                self._asker.check(frames)
            self._note(qa)
        return self._asker

    def _note(self, qa: VideoQA) -> None:
        """Write down where the run goes on, if that was not known."""
        now = session(qa.model.input_device, qa.model.dtype)
        if all(now | {"time": then["time"]} != then for then in self._run["sessions"]):
            self._run["sessions"].append(now)
            write_json(self._out / RUN_NAME, self._run)


def _write_results(out: Path, lines: Sequence[Line]) -> dict[str, Any]:
    """Write results.json and the pictures.

    Raises:
        InputError: there is nothing to count.
    """
    if not lines:
        raise InputError(
            "these videos allow none of the questions that are asked for.", fix="ask for other kinds of questions."
        )
    results = read_json(out / RUN_NAME) | {"num_questions": len(lines)} | tables(lines)
    write_json(out / RESULTS_NAME, results)
    draw_results(results, out)
    return results
