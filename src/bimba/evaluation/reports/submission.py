"""Questions and answers in, the file that a server scores out."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bimba.errors import InputError
from bimba.evaluation.benchmarks import Benchmark, Question
from bimba.evaluation.extraction import LETTERS
from bimba.evaluation.reports.outcomes import Said, read_answers
from bimba.files import write_whole

KAGGLE_COMPETITION = "egoschema-public"
INSTEAD = 0
"""Number of the option that stands for an answer that names none; its file's name says so."""


@dataclass(frozen=True)
class Submission:
    """What was written.

    Attributes:
        file: for the server.
        num_rows: questions.
        unparsed: of which the answer names no option.
        command: that sends it.
    """

    file: Path
    num_rows: int
    unparsed: tuple[str, ...]
    command: str


def write_submission(
    benchmark: Benchmark, questions: Sequence[Question], answers: Iterable[Said], extract: str, folder: Path
) -> Submission:
    """Write the file of EgoSchema's Kaggle competition: `q_uid,answer` with the option's number from 0.

    Args:
        benchmark: EgoSchema, whole.
        questions: all of it.
        answers: to all of them.
        extract: as of `read_answers`.
        folder: for the file.

    Raises:
        InputError: the benchmark is scored here, or not every question is answered.
    """
    if benchmark.submission != "egoschema":
        raise InputError(f"{benchmark.title} has no server that scores it.", fix="read its scores: bimba eval show RUN")
    if len(questions) != benchmark.num_questions:
        raise InputError(
            f"{len(questions):,} questions are prepared; a submission has all {benchmark.num_questions:,}.",
            fix=f"prepare the whole benchmark: bimba eval prepare {benchmark.name} --from DIR",
        )
    read = read_answers(questions, answers, extract)
    if len(read) != len(questions):
        raise InputError(
            f"{len(questions) - len(read):,} of {len(questions):,} questions have no answer; a submission has all.",
            fix="get the missing videos and run the evaluation again; it asks what is missing.",
        )
    unparsed = tuple(each.question.id for each in read if each.letter is None)
    name = f"submission_unparsed_as_{INSTEAD}.csv" if unparsed else "submission.csv"
    file = folder / name
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("q_uid", "answer"))
    for each in read:
        writer.writerow((each.question.id, INSTEAD if each.letter is None else LETTERS.index(each.letter)))
    write_whole(file, text.getvalue())
    message = f"{folder.name} ({len(unparsed)} unparsed as {INSTEAD})" if unparsed else folder.name
    command = f'kaggle competitions submit -c {KAGGLE_COMPETITION} -f "{file}" -m "{message}"'
    return Submission(file, len(read), unparsed, command)
