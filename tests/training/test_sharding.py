"""A model whose weights are spread over processes (torch's FSDP2) learns what one that is whole learns.

On the CPU with gloo, and without the compiled loops for CPUs: they look at weights as arrays of numpy, whose memory
torch may not free between layers. GPUs have none of that.
"""

import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_model
from bimba.training.model.parts import prepare_parts
from bimba.training.recipe.train_settings import BIMBA_PARTS, Lora, Part, Train
from processes import in_a_group, outcomes

BAR = 1e-5
NUM_STEPS = 2
EVERY_LAYER = ("SiglipEncoderLayer", "Qwen2DecoderLayer", "CompressorLayer")
LANGUAGE_LAYERS = ("Qwen2DecoderLayer",)

FULL = Train.model_validate({part: {"mode": "full"} for part in BIMBA_PARTS})
LORA = Train(
    vision_tower=Part(mode="lora"),
    language_model=Part(mode="lora"),
    separators=Part(mode="full"),
    lora=Lora(rank=2, alpha=4, dropout=0),
)
FROZEN_TOWER = Train(language_model=Part(mode="full"))

Batch = dict[str, Any]


def model_of(train: Train) -> tuple[BimbaForConditionalGeneration, BimbaProcessor]:
    """The tiny model with its parts prepared; LoRA's second matrices are not zero, so that the first ones learn."""
    model, processor = tiny_model(seed=0)
    torch.manual_seed(1)
    prepare_parts(model, train)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(std=0.1)
    for module in model.modules():
        if hasattr(module, "scan_implementation"):
            module.scan_implementation = "reference"  # type: ignore[assignment] # a setting, no module
    model.train()
    return model, processor


def batch_of(frames: tuple[int, ...], processor: BimbaProcessor, seed: int) -> Batch:
    """A row for each video, of which the last tokens are learned; without frames, a row of text and a spare video."""
    random = torch.Generator().manual_seed(seed)
    rows = []
    for count in frames or (0,):
        text = torch.randint(10, 200, (9 + seed,), generator=random).tolist()
        tokens = processor.num_video_tokens(count) if count else 0
        rows.append([1, 2, *[processor.video_token_id] * tokens, *text])
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    labels = torch.full_like(ids, -100)
    for place, row in enumerate(rows):
        labels[place, len(row) - 5 - seed : len(row)] = ids[place, len(row) - 5 - seed : len(row)]
    shown = frames or (1,)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "labels": labels,
        "logits_to_keep": (labels[:, 1:] != -100).any(dim=0).nonzero().flatten(),
        "pixel_values_videos": torch.randn(sum(shown), 3, 70, 70, generator=random),
        "num_video_frames": torch.tensor(shown),
        "spare_videos": int(not frames),
    }


def whole(tensor: Tensor) -> Tensor:
    """A tensor of which each process holds a share, as all of them hold it together."""
    return (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach().clone()


def learn(train: Train, frames: list[tuple[int, ...]], place: Path, layers: tuple[str, ...] = ()) -> None:
    """Two steps: in a group, each process on its own batch and with its share of the weights; else all in one."""
    torch.manual_seed(0)
    rank = distributed.get_rank() if distributed.is_initialized() else None
    model, processor = model_of(train)
    if rank is not None:
        mesh = init_device_mesh("cpu", (len(frames),))
        for module in model.modules():
            if type(module).__name__ in layers:
                fully_shard(module, mesh=mesh)
        fully_shard(model, mesh=mesh)
    learned = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    optimizer = torch.optim.AdamW(learned.values(), lr=1e-2, eps=1e-4)
    batches = [batch_of(counts, processor, seed) for seed, counts in enumerate(frames)]
    num_items = sum(int((batch["labels"] != -100).sum()) for batch in batches)
    found: dict[str, Tensor] = {}
    # The module is hidden by the function of the same name.
    with patch.object(sys.modules["bimba.ops.causal_conv1d"], "why_unusable", return_value="left out"):
        for step in range(NUM_STEPS):
            optimizer.zero_grad()
            total = torch.zeros(())
            for batch in batches if rank is None else [batches[rank]]:
                loss = model(**batch, use_cache=False, num_items_in_batch=num_items).loss
                # Processes average their gradients, while losses are divided by the items of all of them.
                (loss if rank is None else loss * len(frames)).backward()
                total += loss.detach()
            if rank is not None:
                distributed.all_reduce(total)
            found[f"loss {step}"] = total
            for name, weight in learned.items():
                found[f"gradient {step} {name}"] = whole(weight.grad) if weight.grad is not None else torch.zeros(())
            optimizer.step()
    found |= {f"weight {name}": whole(weight) for name, weight in model.named_parameters()}
    if rank in (None, 0):
        torch.save(found, place)


def check_same(train: Train, frames: list[tuple[int, ...]], layers: tuple[str, ...], folder: Path) -> None:
    """Losses, gradients and weights of two processes are those of one."""
    outcomes(2, in_a_group, learn, train, frames, folder / "two.pt", layers)
    outcomes(1, learn, train, frames, folder / "one.pt")
    one, two = (torch.load(folder / f"{name}.pt", weights_only=True) for name in ("one", "two"))
    assert one.keys() == two.keys()
    assert one["loss 0"] != one["loss 1"], "it learns"
    for name, value in one.items():
        difference = (value - two[name]).abs().max()
        # Less than a millionth is rounding: a bias of keys moves all scores alike, and has no other gradient.
        assert difference <= BAR * max(float(value.abs().max()), 1e-3), f"{name}: {difference}"


@pytest.mark.parametrize("frames", [[(4,), (6,)], [(4,), ()]], ids=["two videos", "a video and a text"])
@pytest.mark.parametrize("train", [FULL, LORA], ids=["all weights", "LoRA"])
def test_shared_layers_learn_what_whole_ones_do(train: Train, frames: list[tuple[int, ...]], tmp_path: Path) -> None:
    """The weights of each layer of the vision tower, the compressor and the language model are gathered on use."""
    check_same(train, frames, EVERY_LAYER, tmp_path)


@pytest.mark.parametrize("train", [LORA, FROZEN_TOWER], ids=["LoRA", "a frozen tower"])
def test_processes_may_call_tower_and_compressor_unequally_often(train: Train, tmp_path: Path) -> None:
    """A frozen tower takes 16 frames at a time, and the compressor videos of one length.

    So only the language model's layers, which every batch goes through once, may be gathered on their own; the weights
    of all else are gathered once a batch.
    """
    check_same(train, [(4, 6), (20,)], LANGUAGE_LAYERS, tmp_path)
