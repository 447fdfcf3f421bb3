"""A trained and measured model in, the folder that comes with the package out: weights, small files and model card."""

import json
import shutil
from pathlib import Path

from benchmarks.nano.card import model_card
from benchmarks.nano.figures import NanoFigures
from benchmarks.nano.measuring import SHIPPED
from benchmarks.nano.weights import WEIGHTS_NAME, Weights
from bimba.checkpoints.source import OUR_MODEL_TYPE
from bimba.errors import CheckpointError

PLACE = Path(__file__).resolve().parents[2] / "src" / "bimba" / "shipped" / "bimba-nano"
MOST_BYTES = 20_000_000
"""Of weights in a wheel."""
CARD_NAME = "README.md"
_NEEDED = (WEIGHTS_NAME, "config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json")
_OPTIONAL = ("generation_config.json", "chat_template.jinja")
"""What else a model folder may hold tells of the run, with paths that mean nothing elsewhere; the card tells it all."""


def ship(model: Path, figures: NanoFigures, place: Path = PLACE) -> Path:
    """Copy a model folder to where the package has it, and write its card; an earlier one is replaced.

    Args:
        model: of the last stage.
        figures: of these weights.
        place: of the shipped folder.

    Raises:
        CheckpointError: the folder is no model of ours, its weights are too large, or the figures are not theirs.
    """
    image_size = _checked(model, figures)
    place.parent.mkdir(parents=True, exist_ok=True)
    partial, old = (place.with_name(f".{place.name}-{what}") for what in ("partial", "old"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    for name in (*_NEEDED, *_OPTIONAL):
        if (model / name).is_file():
            shutil.copyfile(model / name, partial / name)
    (partial / CARD_NAME).write_text(model_card(figures, image_size), encoding="utf-8")
    if place.exists():
        place.rename(old)
    partial.rename(place)
    shutil.rmtree(old, ignore_errors=True)
    return place


def _checked(model: Path, figures: NanoFigures) -> int:
    """Refuse what must not be shipped.

    Returns:
        pixels of a frame's side as the model sees it.
    """
    missing = [name for name in _NEEDED if not (model / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{model} is no model in one safetensors file: {', '.join(missing)} missing.",
            fix="name the runs of a training that is finished: --runs DIR.",
        )
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    if config.get("model_type") != OUR_MODEL_TYPE:
        raise CheckpointError(
            f"{model} is a {config.get('model_type')!r} model.", fix="name the runs of bimba-nano: --runs DIR."
        )
    size = (model / WEIGHTS_NAME).stat().st_size
    if size > MOST_BYTES:
        raise CheckpointError(
            f"the weights of {model} are {size:,} bytes; at most {MOST_BYTES:,} are shipped.",
            fix="train a smaller model, or convert the weights to bfloat16.",
        )
    digest = Weights.of(model).sha256
    if figures.weights is None or figures.weights.sha256 != digest or SHIPPED not in figures.measured:
        raise CheckpointError(
            f"the figures are not of these weights ({digest}).",
            fix="measure them and write the page first: python -m benchmarks.nano",
        )
    return int(config["vision_config"]["image_size"])
