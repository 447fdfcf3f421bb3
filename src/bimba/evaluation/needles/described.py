"""Settings in, everything that decides the results out, as run.json holds it."""

from typing import Any

import bimba
from bimba.evaluation.needles.settings import NeedleEvaluation
from bimba.evaluation.provenance import folder_sha256, model_sha256
from bimba.text.prompts import PROMPT_VERSION

BENCHMARK, BENCHMARK_VERSION = "needles", 1
"""The version changes with anything that changes what is asked, or what is right."""


def described(settings: NeedleEvaluation) -> dict[str, Any]:
    """What decides the results of an evaluation on needle videos, without what happened yet."""
    folders = {"haystack": settings.haystack, "photos": settings.photos, "pictures": settings.pictures}
    return {
        "benchmark": BENCHMARK,
        "benchmark_version": BENCHMARK_VERSION,
        "prompt_version": PROMPT_VERSION,
        "bimba": bimba.__version__,
        "settings": settings.model_dump(mode="json"),
        "model_sha256": model_sha256(settings.model, settings.base),
        "names_and_sizes_sha256": {
            name: folder_sha256(folder) for name, folder in folders.items() if folder is not None and folder.is_dir()
        },
        "sessions": [],
    }
