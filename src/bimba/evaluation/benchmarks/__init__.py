"""A benchmark's annotations as they are published in, its questions in one form out, and how they are put to a model.

The flow, one module a step: benchmark (the small files of `catalogue`) -> formats (annotations as published) ->
prepare (counts are checked, questions.jsonl is written) -> videos (which can be read) -> prompts and subtitles (what a
model is asked).
"""

from bimba.evaluation.benchmarks.benchmark import Benchmark, benchmark_names, find_benchmark
from bimba.evaluation.benchmarks.prepare import Prepared, prepare, prepared_questions
from bimba.evaluation.benchmarks.prompts import PROMPTS, write_question
from bimba.evaluation.benchmarks.question import Footage, Question, Segment, read_questions
from bimba.evaluation.benchmarks.videos import VideoCheck, check_videos, find_video, open_footage

__all__ = [
    "PROMPTS",
    "Benchmark",
    "Footage",
    "Prepared",
    "Question",
    "Segment",
    "VideoCheck",
    "benchmark_names",
    "check_videos",
    "find_benchmark",
    "find_video",
    "open_footage",
    "prepare",
    "prepared_questions",
    "read_questions",
    "write_question",
]
