"""The tiny Vamba of the golden data, in both of its settings, and how to read the numbers of the public code."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from bimba.models.vamba.modeling import VambaForConditionalGeneration


@pytest.fixture(scope="session")
def vamba_golden() -> Path:
    """Numbers of the public implementation; they are too many to be committed."""
    folder = Path(__file__).resolve().parents[4] / "shared" / "golden" / "vamba"
    if not folder.is_dir():
        pytest.skip("the numbers of the public Vamba are not beside the repository")
    return folder


@pytest.fixture(scope="session")
def vamba_folders(vamba_golden: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Released folders: "a" with the class defaults, "b" with position embeddings and layer norm of its own."""
    opposite = tmp_path_factory.mktemp("vamba") / "config_b"
    shutil.copytree(vamba_golden / "tiny_vamba" / "config_b_opposite", opposite)
    default = vamba_golden / "tiny_vamba" / "config_a_default"
    shutil.copy(default / "model.safetensors", opposite)
    return {"a": default, "b": opposite}


@pytest.fixture
def load_vamba(vamba_folders: dict[str, Path]) -> Callable[..., VambaForConditionalGeneration]:
    """Loads one of the two models, ready to answer."""

    def load(name: str, implementation: str = "sdpa") -> VambaForConditionalGeneration:
        model = VambaForConditionalGeneration.from_pretrained(
            vamba_folders[name], attn_implementation=implementation
        )
        return model.eval()  # type: ignore[no-any-return] # untyped there

    return load


@pytest.fixture
def read_golden(vamba_golden: Path) -> Callable[[str], dict[str, Tensor]]:
    """Reads tensors of end-to-end runs."""
    return lambda name: load_file(vamba_golden / "e2e" / f"{name}.safetensors")


@pytest.fixture
def told_golden(vamba_golden: Path) -> Callable[[str], Any]:
    """Reads what is told of end-to-end runs."""
    return lambda name: json.loads((vamba_golden / "e2e" / f"{name}.json").read_text())
