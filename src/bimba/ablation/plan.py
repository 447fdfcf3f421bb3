"""Settings in, every run with its recipe out."""

from dataclasses import dataclass
from pathlib import Path

from bimba.ablation.contenders import COMPRESSED, COMPRESSION, SHAPES
from bimba.ablation.settings import Settings
from bimba.errors import InputError
from bimba.shipped_recipes import shipped_ablation
from bimba.training.recipe.reading import read_recipe
from bimba.training.recipe.settings import Checkpoint, Recipe

RUNS, FEATURES = "runs", "features"
"""Folders of all runs within that of an ablation, and of what the vision tower makes of their videos."""


@dataclass(frozen=True)
class Run:
    """One training run, and the measuring of what it leaves.

    Attributes:
        contender: name of its recipe.
        compression: how many times fewer tokens its pooling leaves; of `none` what the others have.
        seed: of weights and of the order of videos.
    """

    contender: str
    compression: int
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.contender}-{self.compression}x-{self.seed}"


def plan_runs(settings: Settings) -> list[Run]:
    """Every run: all contenders at one compression seed by seed, then the scan and pooling at the other ones.

    A table of the first seed is there early, and each further seed is complete before the next one begins.
    """
    factors = [factor for factor in settings.compressions if factor != COMPRESSION]
    others = [name for name in COMPRESSED if name in settings.contenders]
    runs = [Run(name, COMPRESSION, seed) for seed in range(settings.seeds) for name in settings.contenders]
    runs += [Run(name, factor, seed) for seed in range(settings.seeds) for factor in factors for name in others]
    return runs


def recipe_of(run: Run, settings: Settings, out: Path) -> Recipe:
    """The recipe of a run: the shipped one of its contender, with what the settings say.

    Runs of a seed see the same videos through the same tower, so that they share its features.

    Args:
        run: of the plan.
        settings: of the ablation.
        out: its folder.

    Raises:
        InputError: the recipe is not there, or does not hold.
    """
    recipe = _shipped(run.contender)
    if not isinstance(recipe.model, Checkpoint):
        raise InputError(
            f"the recipe {run.contender} starts from {recipe.model.start}.", fix="let it start from a path."
        )
    changed = dict(recipe.model.settings)
    if run.compression != COMPRESSION:
        frames, patches = SHAPES[run.compression]
        changed |= {"temporal_pooling": frames, "spatial_pooling": patches}
    return recipe.model_copy(
        update={
            "output": out / RUNS / run.name,
            "model": recipe.model.model_copy(update={"path": settings.start, "settings": changed}),
            "data": recipe.data.model_copy(update={"cache": features_of(run.seed, out)}),
            "schedule": recipe.schedule.model_copy(update={"seed": run.seed, "max_steps": settings.steps}),
        }
    )


def features_of(seed: int, out: Path) -> Path:
    """Where the features of a seed's videos are kept until its runs are finished."""
    return out / FEATURES / str(seed)


def _shipped(contender: str) -> Recipe:
    files = shipped_ablation()
    if contender not in files:
        raise InputError(
            f"the recipe {contender} of the ablation is not installed.",
            fix="install the package anew, with its recipes.",
        )
    return read_recipe(files[contender])
