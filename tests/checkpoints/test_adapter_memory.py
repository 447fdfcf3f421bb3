"""Adapters and results go through memory tensor by tensor: no model lies there twice."""

from pathlib import Path

import pytest

import bimba
from adapted_models import train, write
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_config, tiny_tokenizer
from peak_memory import growth, needs_proc

LARGER = {
    "model_type": "qwen2",
    "hidden_size": 512,
    "intermediate_size": 6144,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
}
MOST = {"load": 1.2, "write": 0.5}
"""Growth as a share of the weights; to write takes a shard (a quarter) and one sum in float32."""

MEASURE = """
import sys
from pathlib import Path
import torch
import bimba
from bimba.checkpoints.adapter_writing import LoraSettings
from bimba.checkpoints.folder import new_folder
from bimba.checkpoints.merged_writing import fill_merged

def write(folder, place):
    import peft
    qa = bimba.load(folder, device="cpu")
    peft.inject_adapter_in_model(peft.LoraConfig(r=8, target_modules="all-linear"), qa.model)
    checked = [p.max() for p in qa.model.parameters()]  # read every page of every weight
    before = peak()
    with new_folder(place) as out:
        fill_merged(
            out, qa.model.state_dict(), lora=LoraSettings(8, 8), dtype=torch.bfloat16, config=qa.model.config,
            processor=qa.processor, generation_config=qa.model.generation_config,
        )
    return peak() - before

job, tiny, tiny_adapter, larger, adapter, out = sys.argv[1], *map(Path, sys.argv[2:])
if job == "write":
    write(tiny, out.with_name("warm"))  # what imports take is not the weights'
    print(write(larger, out))
else:
    bimba.load(tiny_adapter, device="cpu")
    before = peak()
    qa = bimba.load(adapter, device="cpu")
    checked = [p.max() for p in qa.model.parameters()]
    print(peak() - before)
"""


def save(place: Path, config: BimbaConfig) -> Path:
    processor = BimbaProcessor.from_config(config, tiny_tokenizer())
    BimbaForConditionalGeneration(config).bfloat16().save_pretrained(place)
    processor.save_pretrained(place)
    return place


def with_adapter(base: Path) -> Path:
    qa = bimba.load(base, device="cpu")
    train(qa.model, whole=("compressor",))
    return write(base.with_name(f"{base.name}_adapter"), qa.model, qa.processor, base, whole=("compressor",))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path, Path]:
    """A tiny model and a larger one, each with an adapter on it."""
    place = tmp_path_factory.mktemp("sizes")
    small = tiny_config(vocab_size=320)
    large = BimbaConfig(vision_config=small.vision_config, text_config=LARGER)
    tiny, larger = save(place / "tiny", small), save(place / "larger", large)
    return tiny, with_adapter(tiny), larger, with_adapter(larger)


@needs_proc
@pytest.mark.parametrize("job", ["load", "write"])
def test_peak_memory_stays_below_the_bar(job: str, folders: tuple[Path, Path, Path, Path], tmp_path: Path) -> None:
    grown = growth(MEASURE, job, *folders, tmp_path / "out")
    weights = sum(path.stat().st_size for path in folders[2].glob("*.safetensors"))
    assert weights > 200e6
    assert grown < MOST[job] * weights, f"{job}: {grown / weights:.2f} x the size of the weights"
