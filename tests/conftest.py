"""What all tests share: one thread each, no network, the golden data, and the shared videos where they are."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.utils import logging as transformers_logging

from mixed_samples import make_media
from small_runs import make_videos

# Kernels for GPUs run on the CPU where there is no GPU, step by step; Triton reads this when it is imported.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

from bimba.inference import VideoQA
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_model
from bimba.needles import make_needles
from bimba.video.source import Video

torch.set_num_threads(1)  # the tests run side by side
transformers_logging.disable_progress_bar()

GOLDEN = Path(__file__).parent / "data" / "golden"
SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the numbers computed with the public implementation."""
    return GOLDEN


@pytest.fixture(scope="session")
def shared_videos() -> Path:
    """Folder of real videos; they are too large to be committed."""
    folder = SHARED / "video"
    if not folder.is_dir():
        pytest.skip("the shared videos are not beside the repository")
    return folder


@pytest.fixture(scope="session")
def example_video(shared_videos: Path) -> Path:
    """The video on which the golden numbers were computed."""
    return shared_videos / "example.mp4"


@pytest.fixture(scope="session")
def vamba_numbers() -> Path:
    """Folder of all numbers computed with the public Vamba; most are too large to be committed."""
    folder = SHARED / "golden" / "vamba"
    if not folder.is_dir():
        pytest.skip("the shared numbers of Vamba are not beside the repository")
    return folder


@pytest.fixture
def pair(golden: Path, tmp_path: Path) -> Path:
    """A folder with copies of the golden adapter and its base beside each other, to be spoilt."""
    for name in ("tiny_lora", "tiny_base"):
        shutil.copytree(golden / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope="session")
def tiny() -> VideoQA:
    """The tiny random model; tests do not change it."""
    return VideoQA(*tiny_model(seed=0))


@pytest.fixture(scope="session")
def model(tiny: VideoQA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model as a folder; tests that change it copy it first."""
    place = tmp_path_factory.mktemp("tiny") / "model"
    tiny.model.save_pretrained(place)
    tiny.processor.save_pretrained(place)
    return place


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds at ten frames a second, with one thing hidden."""
    folder = tmp_path_factory.mktemp("video")
    run = make_needles(folder, seconds=4.0, size="96x64", fps=10, needles=1, needle_seconds=1.0)
    return folder / run.manifest.videos[0].file


@pytest.fixture(scope="session")
def processor() -> BimbaProcessor:
    """The tiny model's, whose tokens are bytes; tests do not change it."""
    return tiny_model(seed=0)[1]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture of one colour."""
    path = tmp_path / "red.png"
    Image.fromarray(np.full((20, 30, 3), (200, 0, 0), dtype=np.uint8)).save(path)
    return path


@pytest.fixture(scope="session")
def needles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The videos of `small_runs.small_recipe`; tests do not change them."""
    folder = tmp_path_factory.mktemp("needles") / "videos"
    make_videos(folder)
    return folder


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos and images of `mixed_samples`; tests that change them copy them first."""
    folder = tmp_path_factory.mktemp("media") / "media"
    make_media(folder)
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are decoded, once each time."""
    names: list[str] = []
    original = Video.frames

    def frames(self: Video, indices: Any, **options: Any) -> Iterator[Any]:
        names.append(Path(str(self.source)).name)
        return original(self, indices, **options)

    monkeypatch.setattr(Video, "frames", frames)
    return names


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none, and say so."""
    if torch.cuda.is_available():
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
