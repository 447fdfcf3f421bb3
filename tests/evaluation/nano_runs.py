"""Runs of bimba-nano that took no time, for the tests: the folders that training and evaluation leave, made by hand."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.nano.measuring import LENGTHS, NEEDLE_KINDS, Measurement
from benchmarks.nano.stages import STAGES
from evaluation_runs import line

from bimba.evaluation.needles import Line, NeedleEvaluation
from bimba.evaluation.needles.described import BENCHMARK, BENCHMARK_VERSION
from bimba.evaluation.needles.tables import tables
from bimba.evaluation.provenance import model_sha256
from bimba.provenance import code_and_machine
from bimba.training.loop.counting import Counts
from bimba.training.recipe.reading import read_recipe, recipe_as_yaml

PROVENANCE: dict[str, Any] = code_and_machine() | {"system": "Linux 9.9.9-somebodys-kernel x86_64"}
KINDS = ("colour", "count", "first", "glyph", "last", "order", "position", "retrieval")


def make_stage(runs: Path, name: str, model: Path | None, *, steps: int = 100, **overrides: str) -> Path:
    """The folder of a stage: finished if a model is given, whose folder is copied, else interrupted."""
    folder = runs / name
    folder.mkdir(parents=True)
    given = [f"output={folder}", *(f"{key.replace('__', '.')}={value}" for key, value in overrides.items())]
    recipe = read_recipe(f"nano/{name}", given)
    (folder / "recipe.yaml").write_text(recipe_as_yaml(recipe), encoding="utf-8")
    logged = [
        {"step": step, "loss": 8.0 / step}
        | ({"words_loss": 8.0 / step, "answers_loss": 0.0} if recipe.objective.words else {})
        | {"samples_per_second": 4.0, "samples_seen": 8 * step, "memory_gb": 1.0 + step / 1000}
        for step in range(25, steps + 1, 25)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in logged), encoding="utf-8")
    if model is not None:
        counts = Counts(samples=8 * steps, tokens=800 * steps, video_tokens=64 * 8 * steps)
        (folder / "counts.json").write_text(json.dumps(asdict(counts)), encoding="utf-8")
        shutil.copytree(model, folder / "model")
        (folder / "model" / "provenance.json").write_text(json.dumps(PROVENANCE), encoding="utf-8")
    return folder


def make_run(runs: Path, model: Path) -> Path:
    """All stages, finished."""
    for name in STAGES:
        make_stage(runs, name, model)
    return runs


def lines_of(frames: int, shares: dict[str, float], count: int = 20) -> list[Line]:
    """Answers of which a share is right, in words; all are right by likelihood."""
    return [
        line("red" if number < round(share * count) else "blue", id=f"{kind}-{number}", kind=kind, frames=frames)
        for kind, share in shares.items()
        for number in range(count)
    ]


def measure_as(
    runs: Path, measurement: Measurement, lines: Sequence[Line], *, haystack: Path | None = None
) -> dict[str, Any]:
    """Write the results of a measurement as the evaluation writes them."""
    model = runs / STAGES[-1] / "model"
    digest = model_sha256(str(model), None)
    settings = NeedleEvaluation.checked(
        {"model": str(model), "frames": [measurement.frames], "videos": measurement.videos}
        | {"needle_kinds": NEEDLE_KINDS, "haystack": haystack}
    )
    results = {
        "benchmark": BENCHMARK,
        "benchmark_version": BENCHMARK_VERSION,
        "settings": settings.model_dump(mode="json"),
        "model_sha256": digest,
        "names_and_sizes_sha256": {} if haystack is None else {"haystack": "0" * 64},
        "sessions": [PROVENANCE],
        "num_questions": len(lines),
    } | tables(lines)
    out = runs / "measured" / digest[:12] / measurement.name
    out.mkdir(parents=True, exist_ok=True)
    (out / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return results


def measure_all(runs: Path, share: float = 0.9) -> None:
    """All lengths, with the same share of right answers everywhere."""
    for measurement in LENGTHS:
        measure_as(runs, measurement, lines_of(measurement.frames, dict.fromkeys(KINDS, share)))
