"""Settings and folders in, the questions of a run out, or what is wrong with them; before a model is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bimba.checkpoints.outline import read_outline
from bimba.checkpoints.source import foreign_folder
from bimba.errors import InputError
from bimba.evaluation.benchmarks import Benchmark, Prepared, Question, find_benchmark, find_video, prepared_questions
from bimba.evaluation.benchmarks.subtitles import read_subtitles
from bimba.evaluation.benchmarks.videos import checked_folder, refuse_encoded_part
from bimba.evaluation.running.settings import BenchmarkEvaluation


@dataclass(frozen=True)
class Checked:
    """What a run will ask.

    Attributes:
        benchmark: that is asked.
        source: where its questions are from.
        questions: all of them.
        wanted: those that are asked.
        with_subtitles: how many of all questions have subtitles; None for benchmarks without.
    """

    benchmark: Benchmark
    source: Prepared
    questions: list[Question]
    wanted: list[Question]
    with_subtitles: int | None


def check_run(
    settings: BenchmarkEvaluation,
    videos: Path,
    *,
    prepared: Path | None = None,
    subtitles: Path | None = None,
    batch_size: int = 1,
    limit: int | None = None,
) -> Checked:
    """Check everything that can be checked without the model.

    Args:
        settings: of the run.
        videos: folder of the benchmark's videos.
        prepared: folder of the prepared benchmark, if not the default one.
        subtitles: folder of the subtitles.
        batch_size: prompts that are read at a time.
        limit: only the first so many questions.

    Raises:
        InputError: a number is below 1, the benchmark is not prepared, no video is there, a part is asked about of one
            that was encoded as a whole, or subtitles are missing or damaged.
    """
    for name, number in (("batch_size", batch_size), ("limit", limit)):
        if number is not None and number < 1:
            raise InputError(f"{name} is {number}.", fix="take at least one.")
    benchmark = find_benchmark(settings.benchmark)
    source, questions = prepared_questions(benchmark, prepared)
    wanted = questions if limit is None else questions[:limit]
    folder = checked_folder(videos)
    if not any(find_video(folder, question.footage, benchmark) for question in wanted):
        raise InputError(
            f"{videos} holds none of the videos of {benchmark.title}, which are called {benchmark.videos}.",
            fix="name the folder that holds them (--videos DIR).",
        )
    for footage in dict.fromkeys(question.footage for question in wanted if question.segment is not None):
        path = find_video(folder, footage, benchmark)
        if path is not None:
            refuse_encoded_part(path, footage)
    return Checked(benchmark, source, questions, wanted, _count_subtitles(benchmark, questions, subtitles))


def _count_subtitles(benchmark: Benchmark, questions: Sequence[Question], folder: Path | None) -> int | None:
    """Read all subtitles once, so that a damaged file shows now; how many questions have some.

    Raises:
        InputError: there is no folder, nothing in it, or a file is damaged.
    """
    if not benchmark.subtitles:
        return None
    if folder is None or not folder.is_dir():
        told = "none is named" if folder is None else f"{folder} is none"
        raise InputError(
            f"{benchmark.title} needs a folder of subtitles, called {benchmark.subtitles}; {told}.",
            fix="name it (--subtitles DIR).",
        )
    files = {name: folder / name for name in {question.subtitles for question in questions} if name is not None}
    there = {name for name, file in files.items() if file.is_file()}
    if not there:
        raise InputError(
            f"{folder} holds none of the subtitles of {benchmark.title}, which are called {benchmark.subtitles}.",
            fix="name the folder that holds them (--subtitles DIR).",
        )
    for name in sorted(there):
        read_subtitles(files[name])
    return sum(question.subtitles in there for question in questions)


def check_model(settings: BenchmarkEvaluation) -> None:
    """Find the model that the settings name and read its small files, not its weights.

    Raises:
        CheckpointError: it is not there, or is no model.
    """
    if settings.base is None and foreign_folder(settings.model) is not None:
        return
    read_outline(settings.model, settings.base, settings.config_overrides)
