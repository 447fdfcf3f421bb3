"""The folder of a run in, every figure of the page and the card out: as one JSON file, and back."""

import json
from pathlib import Path
from typing import Self

from pydantic import Field, ValidationError

from benchmarks.nano.comparing import Reproduction, asked, reproduction
from benchmarks.nano.measuring import LAST_STAGE, SHIPPED, Measured, read_measured
from benchmarks.nano.plain import Figures
from benchmarks.nano.stages import STAGES, Stage, State, read_stage
from benchmarks.nano.weights import Weights
from bimba.errors import InputError
from bimba.training.loop.run_folder import RESULT_NAME

FIGURES = Path(__file__).resolve().parents[1] / "results" / "nano.json"


class NanoFigures(Figures):
    """All that the logs tell of a run.

    Attributes:
        stages: of the training.
        weights: of the last stage; None before it is finished.
        measured: by the measurement's name.
        reproduction: the same again, if it was done.
    """

    stages: tuple[Stage, ...]
    weights: Weights | None = None
    measured: dict[str, Measured] = Field(default={})
    reproduction: Reproduction | None = None

    @classmethod
    def of(cls, runs: Path, again: Path | None = None) -> Self:
        """Read a run, and another that repeats it.

        Raises:
            InputError: there is no run, a recipe or results are damaged, or there is nothing to compare.
        """
        stages = tuple(read_stage(runs / name, name) for name in STAGES)
        if all(stage.state is State.MISSING for stage in stages):
            raise InputError(f"{runs} holds no stage of a training.", fix="name the folder that does: --runs DIR.")
        measured = read_measured(runs)
        last = runs / LAST_STAGE / RESULT_NAME
        return cls(
            stages=stages,
            weights=Weights.of(last) if stages[-1].state is State.FINISHED else None,
            measured=measured,
            reproduction=None if again is None else reproduction(measured, read_measured(again)),
        )

    def and_known_before(self, before: Self) -> Self:
        """With the repetition that was known of the same weights and questions, if none is named now."""
        then, now = before.measured.get(SHIPPED), self.measured.get(SHIPPED)
        if self.reproduction is not None or then is None or now is None:
            return self
        if (then.model_sha256, asked(then)) != (now.model_sha256, asked(now)):
            return self
        return self.model_copy(update={"reproduction": before.reproduction})

    @property
    def unfinished(self) -> list[str]:
        """Stages that are not trained to their end, in words."""
        return [stage.in_words for stage in self.stages if stage.state is not State.FINISHED]


def write_figures(figures: NanoFigures, file: Path = FIGURES) -> None:
    """Write the file whole or not at all."""
    partial = file.with_name(f".{file.name}.partial")
    file.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(
        json.dumps(figures.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    partial.replace(file)


def read_figures(file: Path = FIGURES) -> NanoFigures:
    """Read what was written.

    Raises:
        InputError: there is no such file, or it is damaged.
    """
    if not file.is_file():
        raise InputError(f"{file} is missing.", fix="write it: python -m benchmarks.nano --report")
    try:
        return NanoFigures.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}.", fix="take it from git again, or remove it.") from error
