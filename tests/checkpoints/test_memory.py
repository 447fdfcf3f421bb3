"""Weights are read tensor by tensor: converting and loading a pair takes little more memory than the result."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from bimba.checkpoints.released_config import read_released_config
from bimba.checkpoints.released_names import released_names
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from peak_memory import growth, needs_proc

LARGER = {
    "hidden_size": 768,
    "intermediate_size": 8192,
    "num_hidden_layers": 8,
    "num_attention_heads": 12,
    "num_key_value_heads": 6,
    "vocab_size": 32000,
    "torch_dtype": "bfloat16",
}
MOST = 1.2
MEASURE = """
import sys
from pathlib import Path
import torch
import bimba
from bimba.checkpoints.convert import convert

job, tiny, pair, out = sys.argv[1], *map(Path, sys.argv[2:])
options = {"device": "cpu"}
bimba.load(tiny / "tiny_lora", base=tiny / "tiny_base", **options)  # what imports take is not the weights'
convert(tiny / "tiny_lora", out.with_name("warm"), base=tiny / "tiny_base")
before = peak()
if job == "convert":
    convert(pair / "lora", out, base=pair / "base")
else:
    qa = bimba.load(pair / "lora", base=pair / "base", **options)
    checked = [p.max() for p in qa.model.parameters()]  # read every page of every weight
print(peak() - before)
"""


def random_tensors(base: Path, adapter: Path | None) -> dict[str, Tensor]:
    """Random tensors of a released model under public names."""
    with torch.device("meta"):
        state = BimbaForConditionalGeneration(read_released_config(base, adapter)).state_dict()
    tensors = {}
    for name, parts in released_names(state).items():
        shape = (sum(state[part].shape[0] for part in parts), *state[parts[0]].shape[1:])
        tensors[name] = torch.full(shape, 0.01, dtype=torch.bfloat16)
    return tensors


@pytest.fixture(scope="module")
def pair(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A released pair of a few hundred megabytes, in shards as they come."""
    place = tmp_path_factory.mktemp("larger")
    shutil.copytree(golden / "tiny_base", place / "base")
    shutil.copytree(golden / "tiny_lora", place / "lora")
    config = json.loads((place / "base" / "config.json").read_text()) | LARGER
    (place / "base" / "config.json").write_text(json.dumps(config))
    (place / "base" / "model.safetensors").unlink()
    base = random_tensors(place / "base", None)
    weight_map = {}
    for shard in range(3):
        file = f"model-{shard + 1:05d}-of-00003.safetensors"
        part = dict(list(base.items())[shard::3])
        save_file(part, place / "base" / file, {"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    (place / "base" / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    prefix = "base_model.model."
    whole = random_tensors(place / "base", place / "lora")
    trained = {prefix + name: tensor for name, tensor in whole.items() if name not in base or "mm_projector" in name}
    torch.save(trained, place / "lora" / "non_lora_trainables.bin")
    lora = {}
    for name, tensor in base.items():
        if name.endswith(("q_proj.weight", "v_proj.weight")):
            module = prefix + name.removesuffix(".weight")
            lora[f"{module}.lora_A.weight"] = torch.full((8, tensor.shape[1]), 0.01)
            lora[f"{module}.lora_B.weight"] = torch.full((tensor.shape[0], 8), 0.01)
    torch.save(lora, place / "lora" / "adapter_model.bin")
    return place


@needs_proc
@pytest.mark.parametrize("job", ["convert", "load"])
def test_peak_memory_stays_below_the_bar(job: str, golden: Path, pair: Path, tmp_path: Path) -> None:
    grown = growth(MEASURE, job, golden, pair, tmp_path / "out")
    weights = sum(path.stat().st_size for path in (pair / "base").glob("*.safetensors"))
    assert weights > 200e6
    assert grown < MOST * weights, f"{job}: {grown / weights:.2f} x the size of the weights"
