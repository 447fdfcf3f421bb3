"""Recipes of runs that take a second, for the tests: a few needle videos and the tiny model."""

from pathlib import Path
from typing import Any

from bimba.models.bimba.tiny import tiny_config
from bimba.needles import make_needles
from bimba.training.recipe.settings import Recipe

NEEDLES: dict[str, Any] = {
    "videos": 3,
    "seconds": 2,
    "size": "96x64",
    "fps": 10,
    "needles": 2,
    "needle_seconds": 0.5,
    "kinds": ["shape"],
}


def make_videos(folder: Path) -> None:
    """The videos of `small_recipe`, made once."""
    make_needles(folder, **NEEDLES)


def plain(config: Any) -> dict[str, Any]:
    """The settings of a config that are not defaults."""
    settings: dict[str, Any] = config.to_diff_dict()
    del settings["transformers_version"]
    return settings


def small_settings(output: Path, needles: Path) -> dict[str, Any]:
    """A recipe as a file would say it; tests change what they are about."""
    config = tiny_config(320)
    return {
        "output": str(output),
        "model": {
            "start": "scratch",
            "config": {
                "vision_config": plain(config.vision_config),
                "text_config": plain(config.text_config),
            },
        },
        "train": {part: {"mode": "full"} for part in ("vision_tower", "separators", "language_model")},
        "data": {
            "sources": [{"needles": {"folder": str(needles), "options": NEEDLES}}],
            "workers": 0,
            "labels": "assistant_only",
        },
        "frames": {"count": 4, "time_sentence": False},
        "schedule": {"max_steps": 8, "batch_size": 2, "learning_rate": 1e-3, "weight_decay": 0.1},
        "compute": {"precision": "float32", "gradient_checkpointing": False, "device": "cpu"},
        "save": {"every": 2},
    }


def small_recipe(output: Path, needles: Path, **changes: Any) -> Recipe:
    """A recipe of that kind; `schedule__max_steps=3` changes one setting of a section."""
    settings = small_settings(output, needles)
    for name, value in changes.items():
        section, _, key = name.partition("__")
        if key:
            settings.setdefault(section, {})[key] = value
        else:
            settings[section] = value
    return Recipe.model_validate(settings)
