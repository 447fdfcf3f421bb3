"""A benchmark's questions and answers to them in; scores with intervals, beside the reported ones, as files out.

`outcomes` reads what was said, `results` counts, `markdown` and `drawn` show it; `compared` sets two runs side by side,
`submission` writes what a server scores.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bimba.evaluation.benchmarks import Benchmark, Question
from bimba.evaluation.folder import RESULTS_NAME, write_json
from bimba.evaluation.reports.drawn import PICTURE_NAME, draw_results
from bimba.evaluation.reports.markdown import REPORT_NAME, report_text
from bimba.evaluation.reports.outcomes import Said, outcomes_of
from bimba.evaluation.reports.results import results_of
from bimba.files import write_whole
from bimba.provenance import code_and_machine

__all__ = [
    "PICTURE_NAME",
    "REPORT_NAME",
    "Said",
    "outcomes_of",
    "results_of",
    "scored_with",
    "whole_results",
    "write_report",
]


def scored_with() -> dict[str, Any]:
    """The code that counts: an older run may be scored again by a newer version."""
    code = code_and_machine()
    return {name: code[name] for name in ("bimba", "code", "python", "versions")}


def whole_results(
    run: dict[str, Any], benchmark: Benchmark, questions: Sequence[Question], answers: Sequence[Said]
) -> dict[str, Any]:
    """Everything that results.json holds: of `write_report`, without a folder."""
    scored = results_of(benchmark, questions, answers, run["settings"]) | {"scored_with": scored_with()}
    results: dict[str, Any] = json.loads(json.dumps(run | scored))
    return results


def write_report(
    out: Path, run: dict[str, Any], benchmark: Benchmark, questions: Sequence[Question], answers: Sequence[Said]
) -> dict[str, Any]:
    """Write results.json, report.md and accuracy.png into a folder.

    Args:
        out: the folder.
        run: what made the answers (run.json); it goes into the results.
        benchmark: that was asked.
        questions: all of its questions.
        answers: to some or all of them.

    Returns:
        the contents of results.json.
    """
    results = whole_results(run, benchmark, questions, answers)
    write_json(out / RESULTS_NAME, results)
    write_whole(out / REPORT_NAME, report_text(results))
    draw_results(results, out / PICTURE_NAME)
    return results
