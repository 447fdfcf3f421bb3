"""Settings, videos and a folder in; every question asked once, whoever asks, and a report in the folder out."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

import bimba
from bimba.checkpoints.source import foreign_folder
from bimba.errors import InputError, VideoError
from bimba.evaluation.answering import Query
from bimba.evaluation.benchmarks import Footage, Question, find_video, write_question
from bimba.evaluation.benchmarks.prompts import prompt_version
from bimba.evaluation.benchmarks.subtitles import at_frames, read_subtitles
from bimba.evaluation.extraction import LETTERS
from bimba.evaluation.folder import RESULTS_NAME, RUN_NAME, claim, read_json, write_json
from bimba.evaluation.provenance import model_sha256
from bimba.evaluation.reports import write_report
from bimba.evaluation.running.answerers import Answerer, BimbaAnswerer
from bimba.evaluation.running.checking import Checked, check_run
from bimba.evaluation.running.claims import claims
from bimba.evaluation.running.pieces import Answer, Pieces
from bimba.evaluation.running.reading import Reader, Reading
from bimba.evaluation.running.settings import BenchmarkEvaluation
from bimba.evaluation.running.units import Unit, own_first, units_of
from bimba.inference import load
from bimba.inference.clip import Clip
from bimba.inference.encoded import EncodedVideo
from bimba.inference.opening import Opened

_LOCK_NAME, _LOCK_SECONDS = ".setup.lock", 600.0
MakeAnswerer = Callable[[], Answerer]


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        answered: questions, by all processes.
        total: questions.
        failed: questions about videos that could not be read.
    """

    answered: int
    total: int
    failed: int


@dataclass(frozen=True)
class Ran:
    """What came of a run.

    Attributes:
        folder: where everything is.
        results: the contents of results.json; None where other processes are still at work.
        num_asked: questions that this process asked.
        num_there: questions that were answered before.
    """

    folder: Path
    results: dict[str, Any] | None
    num_asked: int
    num_there: int


def run_benchmark(
    settings: BenchmarkEvaluation,
    out: Path,
    videos: Path,
    *,
    prepared: Path | None = None,
    subtitles: Path | None = None,
    device: str = "auto",
    batch_size: int = 8,
    limit: int | None = None,
    answerer: MakeAnswerer | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_reader_start: Callable[[], None] | None = None,
) -> Ran:
    """Ask a model the questions of a benchmark; a run that was interrupted is continued.

    Several processes may do so with the same folder (`torchrun`, `accelerate launch`, or started by hand): each takes
    videos that no other has, and the last one writes the report.

    Args:
        settings: what is asked, and of which model.
        out: folder for the answers and the report.
        videos: folder of the benchmark's videos.
        prepared: folder of the prepared benchmark, if not the default one.
        subtitles: folder of the subtitles, for benchmarks that tell them.
        device: as of `bimba.load`.
        batch_size: prompts that the language model reads at a time; it changes nothing beyond rounding.
        limit: only the first so many questions.
        answerer: makes what answers, instead of loading the model that the settings name.
        on_progress: told after each video.
        on_reader_start: called in the thread that reads videos.

    Raises:
        InputError: the benchmark is not prepared, the folder holds another run, no video is there, subtitles are asked
            for and no folder of them is given, or a prompt is too long for the model.
        CheckpointError: the model cannot be loaded.
    """
    checked = check_run(settings, videos, prepared=prepared, subtitles=subtitles, batch_size=batch_size, limit=limit)
    described = describe(settings, checked)
    with _Setup(out) as pieces:
        claim(out, described, has_answers=lambda: bool(pieces.answers))
    run = _Run(settings, checked, out, videos, subtitles, pieces)
    make = answerer or (lambda: _load(settings, device, batch_size))
    num_there = len(run.answered())
    num_asked = run.go_on(make, on_progress or (lambda _: None), on_reader_start)
    pieces.refresh()
    results = None if run.is_open() else _finish(out, checked, pieces)
    return Ran(out, results, num_asked, num_there)


def _finish(out: Path, checked: Checked, pieces: Pieces) -> dict[str, Any]:
    """Merge what all processes wrote, and write the report; the first that gets here does, the others find it."""
    with FileLock(out / _LOCK_NAME, timeout=_LOCK_SECONDS):
        if pieces.merge([question.id for question in checked.questions]) or not (out / RESULTS_NAME).is_file():
            run, answers = read_json(out / RUN_NAME), list(pieces.answers.values())
            return write_report(out, run, checked.benchmark, checked.questions, answers)
        return read_json(out / RESULTS_NAME)


def describe(settings: BenchmarkEvaluation, checked: Checked) -> dict[str, Any]:
    """What decides the answers, as run.json holds it."""
    benchmark, source = checked.benchmark, checked.source
    told = {} if checked.with_subtitles is None else {"questions_with_subtitles": checked.with_subtitles}
    return {
        "benchmark": benchmark.name,
        "benchmark_version": benchmark.version,
        "prompt_version": prompt_version(benchmark, settings.prompt),
        "bimba": bimba.__version__,
        "settings": settings.model_dump(mode="json"),
        "model_sha256": model_sha256(settings.model, settings.base),
        "questions_sha256": source.questions_sha256,
        "annotations": {"form": source.form, "deviations": list(source.deviations)},
        "sessions": [],
        **told,
    }


class _Setup:
    """The folder, while nobody else sets it up."""

    def __init__(self, out: Path) -> None:
        self._out = out
        try:
            out.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(out / _LOCK_NAME, timeout=_LOCK_SECONDS)
        except OSError as error:
            raise InputError(f"{out} cannot be written: {error}.", fix="name a folder you may write to.") from error

    def __enter__(self) -> Pieces:
        self._lock.acquire()
        return Pieces(self._out)

    def __exit__(self, *reason: object) -> None:
        self._lock.release()


def _load(settings: BenchmarkEvaluation, device: str, batch_size: int) -> Answerer:
    if device == "auto" and "LOCAL_RANK" in os.environ and torch.cuda.is_available():
        device = f"cuda:{os.environ['LOCAL_RANK']}"  # a process of torchrun's has a GPU of its own
    foreign = foreign_folder(settings.model) if settings.base is None else None
    if foreign is not None:
        from bimba.evaluation.running.rivals import TransformersAnswerer

        if settings.config_overrides is not None:
            raise InputError(
                f"{settings.model} is none of our models, whose compressor could pool more.",
                fix="leave --temporal-pooling out.",
            )
        return TransformersAnswerer(
            foreign,
            device=device,
            dtype=settings.dtype,
            max_new_tokens=settings.max_new_tokens,
            frames_as=settings.frames_as,
        )
    qa = load(
        settings.model,
        base=settings.base,
        device=device,
        dtype=settings.dtype,
        config_overrides=settings.config_overrides,
    )
    return BimbaAnswerer(qa, max_new_tokens=settings.max_new_tokens, batch_size=batch_size)


class _Run:
    """Asks what is not answered yet; the model is loaded when there is something to ask."""

    def __init__(
        self,
        settings: BenchmarkEvaluation,
        checked: Checked,
        out: Path,
        videos: Path,
        subtitles: Path | None,
        pieces: Pieces,
    ) -> None:
        self._settings, self._benchmark, self._questions = settings, checked.benchmark, checked.wanted
        self._out, self._videos, self._subtitles, self._pieces = out, videos, subtitles, pieces
        self._units = units_of(checked.wanted)
        self._asked: set[str] = set()

    def answered(self) -> list[str]:
        """Questions that a model answered."""
        there = self._pieces.answers
        return [each.id for each in self._questions if each.id in there and there[each.id].failed is None]

    def is_open(self) -> bool:
        """Whether something is neither answered nor about a video that failed."""
        return any(map(self._is_open, self._units))

    def go_on(
        self,
        make: MakeAnswerer,
        report: Callable[[Progress], None],
        on_reader_start: Callable[[], None] | None,
    ) -> int:
        """Take videos until none is left; returns how many questions were asked."""
        rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        report(self._progress())
        if not self.is_open():
            return 0
        answerer = make()
        answerer.check(self._settings.frames)
        self._note(answerer)
        taken = claims(self._out, own_first(self._units, rank, world_size), self._is_open_on_disk)
        reader = Reader(
            taken,
            find=lambda footage: self._find(footage) or self._videos / footage.video,
            choose=lambda opened: self._choose(answerer, opened),
            make=answerer.chunks,
            on_start=on_reader_start,
        )
        with reader:
            for reading in reader:
                self._pieces.append(self._answers(answerer, reading))
                reading.claim.release()
                report(self._progress())
        return len(self._asked)

    def _choose(self, answerer: Answerer, opened: Opened) -> Clip:
        """The frames that are asked for."""
        if isinstance(opened, EncodedVideo):
            answerer.accept(opened, self._settings.frames, self._settings.sampling)
        return opened.choose(self._settings.frames, self._settings.sampling)

    def _answers(self, answerer: Answerer, reading: Reading[Any]) -> list[Answer]:
        """Answers to what is missing, as if nothing were answered: batches are those of a run without a break."""
        unit, clip = reading.claim.unit, reading.clip
        problem = reading.problem
        there = set(self.answered())
        missing = [question for question in unit.questions if question.id not in there]
        if clip is not None:
            try:
                answers = self._ask(answerer, unit, clip, reading.chunks)
            except VideoError as error:
                problem = error.problem
            else:
                self._asked |= {question.id for question in missing}
                return [answers[question.id] for question in missing]
        failed = problem or "the video cannot be read"
        return [Answer(id=each.id, prediction=None, failed=failed, stamp=reading.stamp) for each in missing]

    def _ask(self, answerer: Answerer, unit: Unit, clip: Clip, chunks: Iterator[Any]) -> dict[str, Answer]:
        questions = unit.questions
        queries = [Query(question.question, turn=self._turn(question, clip)) for question in questions]
        if self._settings.score == "generate":
            said = answerer.say(chunks, queries)
            return {
                question.id: Answer(id=question.id, prediction=words, num_frames=clip.num_frames)
                for question, words in zip(questions, said, strict=True)
            }
        letters = LETTERS[: max(len(question.options) for question in questions)]
        found = {}
        for question, scores in zip(questions, answerer.choose(chunks, queries, letters), strict=True):
            mine = tuple(scores[: len(question.options)])
            best = max(mine)
            found[question.id] = Answer(
                id=question.id,
                prediction=LETTERS[mine.index(best)],
                scores=mine,
                tied=mine.count(best) > 1,
                num_frames=clip.num_frames,
            )
        return found

    def _turn(self, question: Question, clip: Clip) -> str:
        tells_times = self._settings.time_sentence and clip.has_times
        return write_question(
            self._benchmark,
            question,
            self._settings.prompt,
            duration_seconds=clip.duration_seconds if tells_times else None,
            frame_seconds=clip.printed_seconds if tells_times else (),
            subtitles=self._subtitles_of(question, clip),
        )

    def _subtitles_of(self, question: Question, clip: Clip) -> str:
        if question.subtitles is None or self._subtitles is None:
            return ""
        file = self._subtitles / question.subtitles
        if not file.is_file():  # as in the benchmarks' own evaluations: not every video has some
            return ""
        return at_frames(read_subtitles(file), clip.frame_seconds, start_seconds=question.subtitles_start_seconds)

    def _is_open_on_disk(self, unit: Unit) -> bool:
        self._pieces.refresh()
        return self._is_open(unit)

    def _is_open(self, unit: Unit) -> bool:
        answers = [self._pieces.answers.get(question.id) for question in unit.questions]
        if any(answer is None for answer in answers):
            return True
        failed = [answer for answer in answers if answer is not None and answer.failed is not None]
        return bool(failed) and failed[0].stamp != self._stamp(unit.footage)

    def _find(self, footage: Footage) -> Path | None:
        return find_video(self._videos, footage, self._benchmark)

    def _stamp(self, footage: Footage) -> str:
        path = self._find(footage)
        return "" if path is None else _stamp_of(path)

    def _progress(self) -> Progress:
        there = self._pieces.answers
        failed = sum(answer.failed is not None for answer in there.values())
        return Progress(len(self.answered()), len(self._questions), failed)

    def _note(self, answerer: Answerer) -> None:
        """Write down where the run goes on, if that was not known."""
        now = answerer.session()
        with FileLock(self._out / _LOCK_NAME, timeout=_LOCK_SECONDS):
            run = read_json(self._out / RUN_NAME)
            if all(now | {"time": then["time"]} != then for then in run["sessions"]):
                run["sessions"].append(now)
                write_json(self._out / RUN_NAME, run)


def _stamp_of(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size}-{status.st_mtime_ns}"
