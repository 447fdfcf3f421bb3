"""Copies of the golden pair that tests may spoil, and what a refusal looks like."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

import bimba
from bimba.checkpoints.tensors import read_json
from bimba.errors import CheckpointError


def edit_json(path: Path, /, **changes: Any) -> None:
    path.write_text(json.dumps(read_json(path) | changes))


def edit_safetensors(path: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def refused(model: Path, *words: str, base: Path | None = None, error: type[Exception] = CheckpointError) -> str:
    with pytest.raises(error) as caught:
        bimba.load(model, base=base, device="cpu")
    message = str(caught.value)
    assert "fix:" in message
    for word in words:
        assert word in message, message
    return message
