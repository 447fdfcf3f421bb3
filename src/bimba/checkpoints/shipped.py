"""Models that come with the package: a name in, its folder out; and the names of those that are fetched."""

from pathlib import Path

_PLACE = Path(__file__).resolve().parents[1] / "shipped"

NANO = "bimba-nano"
"""The small model that every installation has; docs/nano.md tells what it is."""

NANO_KNOWS = (
    "knows shapes, digits, letters, captions and pictures, as `bimba needles make` hides them in videos, and no more"
)
"""What is said of it wherever it answers."""

RELEASED = "mmiemon/BIMBA-LLaVA-Qwen2-7B"
"""Hub id of the released adapter."""

RELEASED_VAMBA = "TIGER-Lab/Vamba-Qwen2-VL-7B"
"""Hub id of the released Vamba."""


def shipped_models() -> dict[str, Path]:
    """Folders of the models that come with the package, by name."""
    return {config.parent.name: config.parent for config in sorted(_PLACE.glob("*/config.json"))}
