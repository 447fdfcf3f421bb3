"""An ablation's folder: claimed for these settings, or refused; and the results of its runs, written and read.

The folder:

    ablation.json               what all runs share
    runs/NAME/                  a training run (see `bimba.training.loop.run_folder`); its checkpoints go when it is
                                measured
    features/SEED/              what the vision tower makes of a seed's videos, until the runs of the seed are finished
    runs/NAME/measured/         its answers (see `bimba.evaluation.needles`)
    runs/NAME/result.json       what came out, with recipe and provenance; a run that has it is finished
    results.json, report.md     tables over all finished runs
    *.png                       pictures of them
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bimba
from bimba.ablation.measuring import measurements
from bimba.ablation.plan import RUNS, Run
from bimba.ablation.settings import Settings
from bimba.errors import InputError
from bimba.evaluation.folder import write_json
from bimba.evaluation.needles.described import BENCHMARK_VERSION
from bimba.text.prompts import PROMPT_VERSION
from bimba.training.recipe.settings import Recipe

VERSION = 1
"""The version changes with anything that changes what is compared."""
ABLATION_NAME, RESULT_NAME, RESULTS_NAME, REPORT_NAME = "ablation.json", "result.json", "results.json", "report.md"
_NOT_LEARNED_FROM = (
    "output", "log.", "save.", "data.workers", "data.prefetch", "data.cache", "schedule.seed", "model.path",
    "model.base",
)  # fmt: skip
"""Settings of a recipe that change nothing, or that are named beside it: a model counts by its hash."""
_ABSENT = "nothing"


class _DamagedError(InputError):
    """A file holds no JSON."""


def shared_facts(settings: Settings, start_sha256: str) -> dict[str, str]:
    """What all runs of a folder have in common, as flat text.

    Args:
        settings: of the ablation.
        start_sha256: hash of the model that runs start from.
    """
    facts = {
        "version": str(VERSION),
        "bimba": bimba.__version__,
        "needles": str(BENCHMARK_VERSION),
        "prompts": PROMPT_VERSION,
        "start": start_sha256,
        "steps": str(settings.steps),
        "videos": str(settings.videos),
    }
    for name, asked in measurements("model", settings.videos).items():
        facts |= _flat(asked.model_dump(mode="json", exclude={"model", "base"}), name)
    return facts


def run_facts(run: Run, recipe: Recipe, shared: Mapping[str, str]) -> dict[str, str]:
    """What decides the result of a run, as flat text."""
    learned = {
        name: text
        for name, text in _flat(recipe.model_dump(mode="json"), "").items()
        if not name.startswith(_NOT_LEARNED_FROM)
    }
    named = {"contender": run.contender, "compression": str(run.compression), "seed": str(run.seed)}
    return {**shared, **named, **{f"recipe.{name}": text for name, text in learned.items()}}


def fingerprint(facts: Mapping[str, str]) -> str:
    """Hash of what decides a result."""
    return hashlib.sha256(json.dumps(dict(sorted(facts.items()))).encode()).hexdigest()


def claim(out: Path, settings: Settings, shared: Mapping[str, str]) -> None:
    """Make a folder this ablation's, or find that it is.

    Where its file is damaged it is written again, if a finished run tells what it said.

    Raises:
        InputError: it holds runs of other settings, or something else.
    """
    file = out / ABLATION_NAME
    if not file.exists():
        others = sorted(path.name for path in out.iterdir() if not path.name.startswith("."))
        if others:
            raise InputError(
                f"{out} is there already, and is no ablation: {others[0]}.", fix="name a new folder (--out)."
            )
    else:
        differing = _differences(_shared_there(out, shared), shared)
        if differing and (out / RUNS).exists():
            raise InputError(
                f"{out} holds runs of other settings:\n    " + "\n    ".join(differing),
                fix="name another folder (--out DIR), or give the same options to go on.",
            )
    write_json(file, {"start": settings.start, "shared": dict(shared)})


def _shared_there(out: Path, shared: Mapping[str, str]) -> Mapping[str, str]:
    """What the runs of a folder have in common.

    Raises:
        InputError: its file is damaged, and there is no finished run.
    """
    try:
        found: Mapping[str, str] = read_json(out / ABLATION_NAME).get("shared", {})
    except _DamagedError as error:
        results = sorted((out / RUNS).glob(f"*/{RESULT_NAME}"))
        if not results:
            raise InputError(error.problem, fix="name a new folder (--out).") from error
        facts = read_json(results[0]).get("facts", {})
        found = {name: facts[name] for name in shared if name in facts}
    return found


def read_result(out: Path, run: Run, facts: Mapping[str, str]) -> dict[str, Any] | None:
    """The result of a run, None if it is not finished.

    Args:
        out: folder of the ablation.
        run: of the plan.
        facts: what decides the result now.

    Raises:
        InputError: it was made with other settings, or is damaged.
    """
    file = out / RUNS / run.name / RESULT_NAME
    if not file.exists():
        return None
    result = read_json(file)
    if result.get("fingerprint") != fingerprint(facts):
        differing = _differences(result.get("facts", {}), facts)
        raise InputError(
            f"the run {file.parent} was made with other settings:\n    " + "\n    ".join(differing),
            fix="name another folder (--out DIR), or remove that run.",
        )
    return result


def write_result(out: Path, run: Run, result: Mapping[str, Any]) -> None:
    """Write the result of a run, whole or not at all."""
    write_json(out / RUNS / run.name / RESULT_NAME, dict(result))


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON file of an ablation.

    Raises:
        InputError: it is damaged.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _DamagedError(f"{file} is damaged: {error}.", fix="remove it, and run the same command again.") from error
    if not isinstance(content, dict):
        raise InputError(f"{file} is none of ours.", fix="name another folder (--out DIR).")
    return content


def _differences(there: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What two sets of facts do not share, a line each."""
    names = sorted(there.keys() | now.keys())
    pairs = {name: (there.get(name, _ABSENT), now.get(name, _ABSENT)) for name in names}
    return [f"{name}: {old} there, {new} now" for name, (old, new) in pairs.items() if old != new]


def _flat(value: Any, place: str) -> dict[str, str]:
    """Values by their dotted places, as text."""
    inner: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        inner = [(str(number), item) for number, item in enumerate(value)]
    else:
        return {place: json.dumps(value, ensure_ascii=False)}
    found: dict[str, str] = {}
    for name, below in inner:
        found |= _flat(below, f"{place}.{name}" if place else str(name))
    return found
