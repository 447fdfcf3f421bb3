"""Models that come with the package: a name in, its folder out."""

from pathlib import Path

_PLACE = Path(__file__).resolve().parents[1] / "shipped"

NANO = "bimba-nano"
"""The small model that every installation has; docs/nano.md tells what it is."""


def shipped_models() -> dict[str, Path]:
    """Folders of the models that come with the package, by name."""
    return {config.parent.name: config.parent for config in sorted(_PLACE.glob("*/config.json"))}
