"""What a conversion wrote, and where a converted folder keeps what it was made of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

KEPT = "released"
"""Sub-folder of a converted model with what its own files do not hold."""

KEPT_BASE, LAYOUT_NAME, CONFIG_NAME = "base", "layout.json", "config.json"

Layout = Literal["ours", "released base", "released pair", "released, merged", "released Vamba"]
"""One folder for from_pretrained; one folder; `base/` and `adapter/` in the folder; one folder, the adapter merged into
the base; one folder."""


@dataclass(frozen=True)
class Conversion:
    """What was written.

    Args:
        folder: where.
        layout: of it.
        num_tensors: tensors written.
        note: what the user should know.
    """

    folder: Path
    layout: Layout
    num_tensors: int
    note: str = ""
