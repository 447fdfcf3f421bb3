"""A prepared benchmark and the folder of its videos in, a task that lmms-eval takes with `--include_path` out.

The folder that is written:

    NAME.yaml        the task; NAME is bimba_vnbench, say
    NAME.jsonl       a record a question (see `functions`)
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bimba.errors import InputError
from bimba.evaluation.benchmarks import (
    Benchmark,
    Footage,
    Question,
    find_video,
    prepared_questions,
    write_question,
)
from bimba.evaluation.benchmarks.prompts import prompt_version
from bimba.evaluation.benchmarks.videos import checked_folder
from bimba.evaluation.folder import make_folder
from bimba.evaluation.lmms import functions
from bimba.files import write_whole
from bimba.text.prompts import VIDEO_TOKEN

MAX_NEW_TOKENS = 16
_MODULE = functions.__name__
_NUM_NAMED = 3


def write_task(
    benchmark: Benchmark, videos: Path, out: Path, *, prompt: str = "released", prepared: Path | None = None
) -> Path:
    """Write a task; what was there of it is replaced.

    Args:
        benchmark: which.
        videos: folder of its videos.
        out: folder for the task.
        prompt: "released" or "official".
        prepared: folder of the prepared benchmark, if not the default one.

    Returns:
        the YAML file; its stem is the task's name.

    Raises:
        InputError: the benchmark is not prepared, has subtitles or asks about parts of videos, the videos are not
            there, or no answer is public.
    """
    if benchmark.subtitles:
        raise InputError(
            f"{benchmark.title} needs the times of the frames, which a task does not know.",
            fix=f"use bimba eval run {benchmark.name}.",
        )
    source, questions = prepared_questions(benchmark, prepared)
    if not any(question.answer for question in questions):
        raise InputError(
            f"no answer of {benchmark.title} is public, so that lmms-eval could not score it.",
            fix=f"use bimba eval run {benchmark.name}, and bimba eval submit.",
        )
    if any(question.footage != Footage(question.video) for question in questions):
        raise InputError(
            f"{benchmark.title} asks about parts of videos or folders of pictures, which not all of lmms-eval's models "
            "can be shown.",
            fix=f"use bimba eval run {benchmark.name}.",
        )
    name = f"bimba_{benchmark.name.replace('-', '_')}"
    records = list(_records(benchmark, questions, checked_folder(videos), prompt))
    make_folder(out)
    lines = out.resolve() / f"{name}.jsonl"
    write_whole(lines, _lines(json.dumps(record, ensure_ascii=False) for record in records))
    version = f"benchmark {source.version}, prompt {prompt_version(benchmark, prompt)}"
    task = out / f"{name}.yaml"
    write_whole(task, _lines(_yaml(benchmark, name, lines, version)))
    return task


def _records(
    benchmark: Benchmark, questions: Iterable[Question], videos: Path, prompt: str
) -> Iterator[dict[str, str]]:
    """A record a question.

    Raises:
        InputError: videos are missing.
    """
    names = dict.fromkeys(question.video for question in questions)
    files = {name: find_video(videos, Footage(name), benchmark) for name in names}
    missing = [name for name, file in files.items() if file is None]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(files)} videos are not in {videos}: {', '.join(missing[:_NUM_NAMED])} ...",
            fix="name the folder that holds them all (--videos DIR).",
        )
    for question in questions:
        turn = write_question(benchmark, question, prompt)
        yield {
            "id": question.id,
            "benchmark": benchmark.name,
            "video": str((files[question.video] or Path()).resolve()),
            "prompt": turn.replace(VIDEO_TOKEN, "", 1),
            "target": question.answer or "",
            "question": json.dumps(question.model_dump(mode="json"), ensure_ascii=False),
        }


def _yaml(benchmark: Benchmark, name: str, lines: Path, version: str) -> Iterator[str]:
    """The task's file; values are JSON, which YAML contains, and functions have a tag of lmms-eval's own."""
    plain: dict[str, Any] = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(lines)}},
        "test_split": "test",
        "output_type": "generate_until",
        "generation_kwargs": {"max_new_tokens": MAX_NEW_TOKENS, "do_sample": False},
        "metadata": [{"version": version}],
    }
    yield f"# {benchmark.title}, with the questions, prompts and scores of bimba; written by `bimba eval lmms`."
    for key, value in plain.items():
        yield f"{key}: {json.dumps(value, ensure_ascii=False)}"
    for key in ("doc_to_visual", "doc_to_text", "doc_to_target", "process_results"):
        yield f"{key}: !function {_MODULE}.{key}"
    yield "metric_list:"
    for metric in functions.metrics_of(benchmark.name):
        yield f"  - metric: {metric}"
        yield f"    aggregation: !function {_MODULE}.{metric}"
        yield "    higher_is_better: true"


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
