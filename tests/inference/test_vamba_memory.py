"""What a plan says of a Vamba's memory, against what its stages take.

Memory is that of a process of its own, in which nothing else happens: `python test_vamba_memory.py` is it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch

from bimba.cli.bench.peak import begin_peak, peak_bytes
from bimba.inference import free_memory
from bimba.inference.clip import Clip
from bimba.inference.encoder import encode_clip
from bimba.inference.memory import MemoryPlan
from bimba.inference.stopwatch import Stopwatch
from bimba.inference.vamba_memory import plan_vamba_memory
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.context import KeysValues, VideoContext
from bimba.models.vamba.layer import VideoStep
from bimba.models.vamba.modeling import VambaForConditionalGeneration
from bimba.models.vamba.patches import Patches
from bimba.models.vamba.pixels import PatchSettings, make_patches, normalise
from bimba.models.vamba.tiny import tiny_vamba

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SHORT, LONG = 16, 256
FRAME = (112, 224)
TOKENS_A_FRAME = 16
NUM_TEXT = 1024
_MMAPPED_BYTES = 2**17

T = TypeVar("T")


class SmallFrames:
    """What encoding needs of a processor, with frames that stay small."""

    temporal_patch_size = 2

    settings = PatchSettings(
        longest_edge=224, shortest_edge=56, min_pixels=56 * 56, max_pixels=28 * 28 * 16384, patch_size=14,
        temporal_patch_size=2, merge_size=2, image_mean=(0.5, 0.5, 0.5), image_std=(0.5, 0.5, 0.5),
    )  # fmt: skip

    def resize_frames(self, frames: Any) -> Patches:
        return Patches(*make_patches(frames, self.settings))

    def normalise(self, patches: Patches) -> Patches:
        return patches._replace(values=normalise([patches.values], self.settings))


def wide_config() -> VambaConfig:
    """So wide that what it holds can be seen in the memory of a process."""
    text = {
        "vocab_size": 64, "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 6,
        "num_attention_heads": 8, "num_key_value_heads": 2, "bos_token_id": None, "eos_token_id": 0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [8, 12, 12]},
    }  # fmt: skip
    vision = {"depth": 2, "embed_dim": 512, "hidden_size": 512, "num_heads": 8}
    return VambaConfig(text_config=text, vision_config=vision, mixer={"d_state": 16})


def planned(num_frames: int, dtype: torch.dtype) -> MemoryPlan:
    return plan_vamba_memory(
        wide_config(),
        num_parameters=0,
        num_frames=num_frames,
        frame_size=FRAME,
        num_video_tokens=num_frames * TOKENS_A_FRAME,
        num_tokens=NUM_TEXT,
        itemsize=dtype.itemsize,
    )


@pytest.fixture(scope="module")
def taken() -> dict[str, dict[str, int]]:
    """Bytes of each stage, by dtype, as a process of its own measures them."""
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("only Linux forgets a peak of memory")
    # Large tensors go back to the system when they are freed, so that what is measured is in use.
    settings = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(_MMAPPED_BYTES)}
    command = [sys.executable, __file__]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2], env=settings
    )
    measured: dict[str, dict[str, int]] = json.loads(done.stdout.splitlines()[-1])
    return measured


@pytest.mark.parametrize("dtype", DTYPES)
def test_stages_take_what_is_planned(dtype: str, taken: dict[str, dict[str, int]]) -> None:
    plan = planned(SHORT, DTYPES[dtype])
    assert 0.8 < taken[dtype]["vision"] / plan.vision < 1.1
    # What a GPU's scan holds of steps side by side is counted on top: six float32 for each entry of the inner width.
    scan = SHORT * TOKENS_A_FRAME * 2 * wide_config().text_config.hidden_size * 6 * 4
    assert 0.85 < taken[dtype]["mix"] / (plan.compress - scan) < 1.15
    kept_text = NUM_TEXT / (SHORT * TOKENS_A_FRAME) * plan.kept
    assert plan.answer is not None
    assert 0.8 < taken[dtype]["answer"] / (plan.answer - kept_text) < 1.15


@pytest.mark.parametrize("dtype", DTYPES)
def test_keys_and_values_are_what_a_longer_video_takes(dtype: str, taken: dict[str, dict[str, int]]) -> None:
    short, long = planned(SHORT, DTYPES[dtype]), planned(LONG, DTYPES[dtype])
    assert taken[dtype]["kept"] == long.kept
    assert long.kept == LONG / SHORT * short.kept
    growth = taken[dtype]["whole"] - taken[dtype]["short"]
    pieces = long.pixels - short.pixels  # that wait
    assert 0.9 < growth / (long.kept - short.kept + pieces) < 1.15
    assert 0.75 < taken[dtype]["whole"] / (long.total - long.weights) < 1.1


def clip_of(num_frames: int) -> Clip:
    def frames() -> Iterator[np.ndarray]:
        for number in range(num_frames):
            yield np.full((*FRAME, 3), number % 256, dtype=np.uint8)

    return Clip(num_frames, frames, (), (), 0.0, frame_size=FRAME)


def growth(work: Callable[[], T]) -> tuple[T, int]:
    """A result, and by how much memory grew at most."""
    free_memory.return_free_memory()
    before = begin_peak()
    result = work()
    peak = peak_bytes()
    assert before is not None
    assert peak is not None
    return result, peak - before


def encoded(model: VambaForConditionalGeneration, num_frames: int) -> VideoContext:
    processor: Any = SmallFrames()
    context = encode_clip(model, processor, clip_of(num_frames), Stopwatch(torch.device("cpu")))
    assert isinstance(context, VideoContext)
    return context


@torch.no_grad()
def stages_of(dtype: torch.dtype) -> dict[str, int]:
    model = tiny_vamba(wide_config())
    model.to(dtype)  # type: ignore[arg-type] # the wrapper in transformers hides the signature
    processor = SmallFrames()
    pixels = processor.normalise(processor.resize_frames(clip_of(SHORT).frames()))
    grid = torch.tensor([pixels.grid])
    ids = torch.zeros(1, NUM_TEXT, dtype=torch.int64)

    def read(context: VideoContext) -> None:
        model(ids, video_features=context, use_cache=False, logits_to_keep=1)

    def measured() -> dict[str, int]:
        seen, vision = growth(lambda: model.get_vision_tokens(pixels.values, grid))
        step = VideoStep(keep_state=True)
        _, mix = growth(lambda: model.model.layers[0](None, seen[None], video_step=step))
        _, short = growth(lambda: encoded(model, SHORT))
        context, whole = growth(lambda: encoded(model, LONG))
        # Text reads as many tokens as a short video has.
        parts = [KeysValues(*(part[:, :, : SHORT * TOKENS_A_FRAME] for part in layer)) for layer in context.layers]
        few = VideoContext(parts, torch.tensor([SHORT * TOKENS_A_FRAME]))
        _, answer = growth(lambda: read(few))
        kept = context.num_bytes
        return {"vision": vision, "mix": mix, "answer": answer, "short": short, "whole": whole, "kept": kept}

    measured()  # the libraries' buffers are not what is measured
    return measured()


def main() -> None:
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps({name: stages_of(dtype) for name, dtype in DTYPES.items()}) + "\n")


if __name__ == "__main__":
    main()
