"""A folder of annotations in; questions.jsonl, whose counts are those that were published, and where it is from out.

The folder that is written:

    questions.jsonl     a line each (`question`)
    prepared.json       benchmark and version, the files that were read with their hashes, counts
"""

import fnmatch
import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from bimba.errors import InputError
from bimba.evaluation.benchmarks.benchmark import Benchmark, find_benchmark
from bimba.evaluation.benchmarks.formats import READERS, simplified
from bimba.evaluation.benchmarks.formats.houreval import SOURCE
from bimba.evaluation.benchmarks.formats.rows import read_json
from bimba.evaluation.benchmarks.question import (
    Question,
    check_questions,
    oddities,
    read_questions,
    write_questions,
)
from bimba.evaluation.folder import make_folder
from bimba.evaluation.metrics import METRICS
from bimba.files import write_whole

QUESTIONS_NAME, PREPARED_NAME = "questions.jsonl", "prepared.json"
PLACE = "BIMBA_BENCHMARKS"
"""Environment variable that names the folder of prepared benchmarks."""
_ONE_TRY = "there is one try of each question, while the score needs four"


class Prepared(BaseModel):
    """Where a benchmark's questions are from.

    Attributes:
        benchmark: its name.
        version: of the benchmark's file.
        form: "as published", or "simplified".
        files: sha256 of each file that was read, by name.
        num_questions: that there are.
        num_answers: that are public.
        num_videos: that they are about.
        deviations: what differs from the published counts; none unless that was allowed.
        oddities: what is strange in the annotations as they are.
        questions_sha256: of questions.jsonl.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark: str
    version: int
    form: str
    files: dict[str, str]
    num_questions: int
    num_answers: int
    num_videos: int
    deviations: tuple[str, ...]
    oddities: tuple[str, ...]
    questions_sha256: str


def default_place(benchmark: Benchmark) -> Path:
    """Folder of a prepared benchmark where none is named."""
    root = os.environ.get(PLACE)
    return (Path(root) if root else Path.home() / ".cache" / "bimba" / "benchmarks") / benchmark.name


def prepare(benchmark: Benchmark, source: Path, out: Path, *, any_count: bool = False) -> Prepared:
    """Turn annotations into questions.jsonl.

    Args:
        benchmark: which they are of.
        source: folder of the files as published, or of a file in the short form; or one of these files.
        out: folder for the result.
        any_count: take annotations of another size than the published one; it is told in every result.

    Raises:
        InputError: nothing fitting is there, a record is damaged, or counts are not the published ones.
    """
    form, files, questions = _read(benchmark, source)
    check_questions(questions, ", ".join(file.name for file in files))
    deviations = _deviations(benchmark, questions) + _deviations_of_parts(benchmark, files, questions)
    if deviations and not any_count:
        wanted = f"the file with all four tries of each ({', '.join(benchmark.files)})"
        raise InputError(
            f"{source} is not all of {benchmark.title}: {'; '.join(deviations)}.",
            fix=f"get {wanted if _ONE_TRY in deviations else 'the whole'} from {benchmark.source}, or pass --any-count "
            "to go on with these.",
        )
    make_folder(out)
    write_questions(out / QUESTIONS_NAME, questions)
    counts = _counts(questions)
    prepared = Prepared(
        benchmark=benchmark.name,
        version=benchmark.version,
        form=form,
        files={file.name: _sha256(file) for file in files},
        num_questions=counts["questions"],
        num_answers=counts["public answers"],
        num_videos=counts["videos"],
        deviations=tuple(deviations),
        oddities=tuple(oddities(questions)),
        questions_sha256=_sha256(out / QUESTIONS_NAME),
    )
    write_whole(out / PREPARED_NAME, json.dumps(prepared.model_dump(mode="json"), indent=2) + "\n")
    return prepared


def prepared_questions(benchmark: Benchmark, folder: Path | None = None) -> tuple[Prepared, list[Question]]:
    """Read what `prepare` wrote.

    Args:
        benchmark: which.
        folder: where it is; the default place if not given.

    Raises:
        InputError: it is not there, is of another benchmark or version, or was changed.
    """
    folder = default_place(benchmark) if folder is None else folder
    fix = f"make it: bimba eval prepare {benchmark.name} --from DIR"
    file = folder / PREPARED_NAME
    if not file.is_file():
        raise InputError(f"{benchmark.title} is not prepared: {file} is not there.", fix=fix)
    try:
        prepared = Prepared.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is none of ours, or damaged.", fix=fix) from error
    found, wanted = (prepared.benchmark, prepared.version), (benchmark.name, benchmark.version)
    if found != wanted:
        raise InputError(f"{folder} holds {found[0]} version {found[1]}, not {wanted[0]} version {wanted[1]}.", fix=fix)
    questions = read_questions(folder / QUESTIONS_NAME)
    if _sha256(folder / QUESTIONS_NAME) != prepared.questions_sha256:
        raise InputError(f"{folder / QUESTIONS_NAME} was changed since it was made.", fix=fix)
    return prepared, questions


def _read(benchmark: Benchmark, source: Path) -> tuple[str, list[Path], list[Question]]:
    """Form, files and questions of a folder or a file."""
    if not source.exists():
        raise InputError(f"{source} is not there.", fix=f"name the folder of the annotations; {benchmark.source}")
    if source.is_dir():
        return _read_folder(benchmark, source)
    if source.suffix == ".json" and _is_short(source):
        return "simplified", [source], _simplified(benchmark, source)
    form, files, questions = _read_folder(benchmark, source.parent)
    if source not in files:
        raise InputError(
            f"{source} is none of the annotations of {benchmark.title}; {source.parent} holds "
            f"{', '.join(file.name for file in files)}.",
            fix=f"name the folder, or one of {', '.join(benchmark.files)}.",
        )
    return form, files, questions


def _read_folder(benchmark: Benchmark, folder: Path) -> tuple[str, list[Path], list[Question]]:
    files = _published(benchmark, folder)
    if files:
        return "as published", files, READERS[benchmark.format](benchmark, files)
    short = [file for file in sorted(folder.glob("*.json")) if _is_short(file)]
    if benchmark.short_form_lacks and not short:
        missing = [pattern for pattern in benchmark.files if not _called(pattern, _below(folder))]
        raise InputError(
            f"{folder} does not hold all annotations of {benchmark.title}: {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing.",
            fix=f"get them: {benchmark.source}",
        )
    if not short:
        raise InputError(
            f"{folder} holds no annotations of {benchmark.title}: neither {', '.join(benchmark.files)} nor a JSON file "
            "in the short form (id, video, question, candidates, answer).",
            fix=f"get them: {benchmark.source}",
        )
    read = [(file, _simplified(benchmark, file)) for file in short]
    fitting = [(file, questions) for file, questions in read if not _deviations(benchmark, questions)]
    if len(read) > 1 and len(fitting) != 1:
        sizes = ", ".join(f"{file.name} ({len(questions):,} questions)" for file, questions in read)
        raise InputError(
            f"{folder} holds several files in the short form, and not one of {benchmark.title}'s size: {sizes}.",
            fix="name the file: --from FILE.json",
        )
    file, questions = (fitting or read)[0]
    return "simplified", [file], questions


def _simplified(benchmark: Benchmark, file: Path) -> list[Question]:
    """Questions of a file in the short form."""
    lacks = "names no subtitles, and {} is asked with them" if benchmark.subtitles else ""
    if benchmark.short_form_lacks:
        lacks = f"lacks {benchmark.short_form_lacks}, which {{}} needs"
    if lacks:
        raise InputError(
            f"{file} is in the short form, which {lacks.format(benchmark.title)}.",
            fix=f"take the annotations as published ({', '.join(benchmark.files)}) from {benchmark.source}",
        )
    return simplified.read(benchmark, [file])


def _published(benchmark: Benchmark, folder: Path) -> list[Path]:
    """Files as published, at any depth; none if one is missing, or if they are in the short form."""
    paths = _below(folder)
    if not all(_called(pattern, paths) for pattern in benchmark.files):
        return []
    files = benchmark.own_files(paths)
    per_pattern = len(benchmark.files)
    if len(files) != per_pattern:
        raise InputError(
            f"{folder} holds {len(files)} files of {benchmark.title}, which has {per_pattern}: "
            f"{', '.join(path.name for path in files)}.",
            fix="name a folder that holds each once.",
        )
    may_be_short = not benchmark.short_form_lacks
    return [] if may_be_short and any(path.suffix == ".json" and _is_short(path) for path in files) else files


def _below(folder: Path) -> list[Path]:
    """All files of a folder, at any depth."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))


def _called(pattern: str, paths: Sequence[Path]) -> bool:
    """Whether one of these files is called so."""
    return any(fnmatch.fnmatch(path.name, pattern) for path in paths)


def _is_short(file: Path) -> bool:
    """Whether a JSON file is in the short form, by its first record."""
    try:
        content = read_json(file)
    except InputError:
        return False
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and {"id", "video", "question", "candidates"} <= first.keys()


def _counts(questions: Sequence[Question]) -> dict[str, int]:
    return {
        "questions": len(questions),
        "public answers": sum(question.answer is not None for question in questions),
        "videos": len({question.video for question in questions}),
    }


def _deviations(benchmark: Benchmark, questions: Sequence[Question]) -> list[str]:
    """What differs from the published sizes."""
    published = (benchmark.num_questions, benchmark.num_answers, benchmark.num_videos)
    found = [
        f"{count:,} {name}, not {wanted:,}"
        for (name, count), wanted in zip(_counts(questions).items(), published, strict=True)
        if wanted is not None and count != wanted
    ]
    numbers = Counter(len(question.options) for question in questions)
    others = sorted(set(numbers) - set(benchmark.num_options))
    if others:
        wanted_numbers = " or ".join(map(str, benchmark.num_options))
        found.append(f"{numbers[others[0]]:,} questions with {others[0]} options, not {wanted_numbers}")
    found += _deviations_of_groups(benchmark, questions)
    if benchmark.metric == "all_tries":
        tries = Counter(Counter(question.item for question in questions).values())
        if set(tries) == {1}:
            found.append(_ONE_TRY)
        elif set(tries) != {4}:
            found.append("not every question is asked four times")
    return found


def _deviations_of_groups(benchmark: Benchmark, questions: Sequence[Question]) -> list[str]:
    """Which groups that the metric averages over have another size than the published one."""
    over, wanted = METRICS[benchmark.metric].over, benchmark.num_per_group
    if over is None or wanted is None:
        return []
    sizes = Counter(str(question.tags.get(over)) for question in questions)
    return [f"{count:,} questions of {group}, not {wanted:,}" for group, count in sizes.items() if count != wanted]


def _deviations_of_parts(benchmark: Benchmark, files: Sequence[Path], questions: Sequence[Question]) -> list[str]:
    """What differs from the published sizes of the benchmarks from which questions are chosen, and how many are."""
    found = []
    chosen = Counter(question.tags.get(SOURCE) for question in questions)
    for part in benchmark.parts:
        source = find_benchmark(part.benchmark)
        own = source.own_files(files)
        found += [f"{source.title}: {each}" for each in _deviations(source, READERS[source.format](source, own))]
        if part.num_questions not in (None, chosen[source.name]):
            found.append(f"{chosen[source.name]:,} questions chosen from {source.title}, not {part.num_questions:,}")
    return found


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
