"""What a process's first scan has to load is loaded while the first frames are read, not when it is needed."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bimba.inference import VideoQA
from bimba.inference.encoder import encode_clip
from bimba.inference.opening import open_video
from bimba.inference.stopwatch import Stopwatch
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.tiny import tiny_config
from vamba_model import save_tiny_vamba

LOOK = """
import sys
import bimba
from bimba.inference.encoder import encode_clip
from bimba.inference.opening import open_video
from bimba.inference.stopwatch import Stopwatch

def loaded():
    "Compiled loops and how often each was compiled or found on disk."
    modules = {name: vars(module) for name, module in list(sys.modules.items()) if name.startswith("bimba.ops")}
    return {
        (name, key): len(value.signatures)
        for name, content in modules.items() for key, value in content.items() if getattr(value, "signatures", None)
    }

def told(stage, done, total):
    if stage == "vision" and not known:
        known.append(loaded())

model, video = sys.argv[1:]
qa = bimba.load(model, device="cpu")
known, watch = [], Stopwatch(qa.model.input_device)
assert not loaded()
encode_clip(qa.model, qa.processor, open_video(video).choose(8, "uniform"), watch, progress=told, frames_per_step=2)
assert known[0], "nothing was loaded"
assert known[0] == loaded()
assert "kernels" in watch.seconds
"""


@pytest.mark.parametrize("kind", ["bimba", "vamba"])
def test_kernels_are_there_before_the_first_frames(
    kind: str, golden: Path, model: Path, video: Path, tmp_path: Path
) -> None:
    folder = model if kind == "bimba" else save_tiny_vamba(golden, tmp_path / "vamba")
    command = [sys.executable, "-c", LOOK, str(folder), str(video)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


def test_a_compressor_without_a_scan_needs_none(tiny: VideoQA, video: Path) -> None:
    config = tiny_config(320)
    pooled = BimbaConfig(
        vision_config=config.vision_config, text_config=config.text_config, compressor={"type": "pooling"}
    )
    watch = Stopwatch(torch.device("cpu"))
    model = BimbaForConditionalGeneration(pooled)
    encode_clip(model, tiny.processor, open_video(video).choose(3, "uniform"), watch)
    assert watch.seconds.keys() == {"decode", "pixels", "vision", "project", "compress"}
