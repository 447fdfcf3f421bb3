"""A plain Qwen2-VL becomes a Vamba: what is copied, what is fresh, and that a folder and memory hold the same."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForImageTextToText
from typer.testing import CliRunner

from bimba.checkpoints.loading import LoadOptions, load_model
from bimba.checkpoints.qwen2_vl import convert_to_vamba, find_qwen2_vl, load_qwen2_vl, open_qwen2_vl
from bimba.cli import app
from bimba.errors import CheckpointError
from vamba_runs import MIXER, plain_qwen2_vl


@pytest.fixture(scope="module")
def qwen(vamba_numbers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plain_qwen2_vl(vamba_numbers, tmp_path_factory.mktemp("qwen") / "Qwen2-VL-tiny")


def weights(folder: Path, seed: int = 0) -> dict[str, Tensor]:
    model, _ = load_qwen2_vl(folder, mixer=MIXER, seed=seed, dtype=torch.float32)
    return model.state_dict()


@pytest.mark.parametrize("newer_names", [False, True], ids=["hub", "transformers 5"])
@pytest.mark.parametrize("tied", [False, True], ids=["own head", "tied head"])
def test_what_is_copied_and_what_is_new_is_as_released(
    newer_names: bool, tied: bool, vamba_numbers: Path, tmp_path: Path
) -> None:
    folder = plain_qwen2_vl(vamba_numbers, tmp_path / "qwen", newer_names=newer_names, tied=tied)
    told = json.loads((vamba_numbers / "init" / "init_cross_attn_from_self_attn.json").read_text())
    found = weights(folder)
    golden = load_file(vamba_numbers / "init" / "cross_attn_after_init.safetensors")
    for name, tensor in golden.items():
        assert torch.equal(found[name], tensor), name
    for target, source in told["copy_map_target_from_source"].items():
        assert torch.equal(found[target], found[source])
        assert found[target].data_ptr() != found[source].data_ptr(), "trained apart"
    stored = load_file(folder / "model.safetensors")
    known = {name.replace("model.language_model.", "model.").replace("model.visual.", "visual.") for name in stored}
    head = {"lm_head.weight"} if tied else set()
    assert found.keys() - known - head == set(told["newly_initialised_keys"])
    assert torch.equal(found["lm_head.weight"], found["model.embed_tokens.weight"]) == tied


def test_fresh_weights_are_of_the_released_distributions(qwen: Path, vamba_numbers: Path) -> None:
    """Bounds are the released ones, and no number of the released run is farther out."""
    released = json.loads((vamba_numbers / "init" / "init_report.json").read_text())["fresh_init_stats_fp32_seed123"]
    found = weights(qwen)
    layers, inner, taps = 3, 128, 4
    bounds = {
        "mixer.out_proj.weight": (-1 / math.sqrt(inner * layers), 1 / math.sqrt(inner * layers)),
        "mixer.conv1d.weight": (-1 / math.sqrt(taps), 1 / math.sqrt(taps)),
        "mixer.conv1d.bias": (-1 / math.sqrt(taps), 1 / math.sqrt(taps)),
        "mixer.A_log": (0.0, math.log(16)),
        "mixer.dt_bias": (math.log(math.expm1(1e-3)), math.log(math.expm1(0.1))),
    }
    assert released.keys() <= found.keys()
    for name, told in released.items():
        tensor, end = found[name], name.partition("vision_mixer.")[2]
        assert list(tensor.shape) == told["shape"]
        if told["min"] == told["max"]:
            assert torch.all(tensor == told["min"]), name  # alpha, D, norms
        elif end == "mixer.in_proj.weight":
            assert tensor.std().item() == pytest.approx(told["std"], rel=0.03)
            assert abs(tensor.mean().item()) < 5 * told["std"] / math.sqrt(tensor.numel())
        else:
            low, high = bounds[end]
            slack = 1e-5 * (high - low)
            assert low - slack <= min(told["min"], tensor.min().item()), name
            assert max(told["max"], tensor.max().item()) <= high + slack, name
            together = torch.cat([found[f"model.layers.{n}.vision_mixer.{end}"].flatten() for n in range(layers)])
            assert together.max() - together.min() > 0.6 * (high - low), name


def test_the_fresh_weights_depend_on_the_seed_and_nothing_else(qwen: Path) -> None:
    torch.manual_seed(5)
    first = weights(qwen, seed=1)
    torch.manual_seed(6)
    again, other = weights(qwen, seed=1), weights(qwen, seed=2)
    name = "model.layers.{}.vision_mixer.mixer.in_proj.weight"
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first[name.format(0)], other[name.format(0)])
    assert not torch.equal(first[name.format(0)], first[name.format(1)])


def test_nothing_is_read_before_it_is_asked_for(qwen: Path) -> None:
    opened = open_qwen2_vl(qwen, mixer=MIXER)
    lazy = opened.tensors["model.layers.1.vision_mixer.mixer.in_proj.weight"]
    assert (lazy.shape, lazy.dtype) == ((296, 64), torch.float32)
    assert torch.equal(lazy.row(3), lazy[...][3])


def test_text_alone_is_read_as_the_qwen2_vl_reads_it(qwen: Path) -> None:
    """Without a video self-attention has all the weight, whatever alpha is."""
    ours, _ = load_qwen2_vl(qwen, mixer=MIXER, dtype=torch.float32)
    theirs = AutoModelForImageTextToText.from_pretrained(qwen, dtype=torch.float32)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        assert torch.equal(ours(input_ids=ids).logits, theirs(input_ids=ids).logits)


def test_the_written_folder_holds_what_memory_would(
    qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = convert_to_vamba(qwen, "out", mixer=MIXER, seed=7)
    assert told.num_tensors == 121
    loaded, processor = load_model("out", None, LoadOptions(device="cpu", dtype="auto"))
    assert loaded.dtype == torch.float32
    assert processor.tokenizer.get_vocab()
    expected, found = weights(qwen, seed=7), loaded.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_in_half_precision_decay_rates_stay_exact(qwen: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    folder.mkdir()
    for file in qwen.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    stored = load_file(qwen / "model.safetensors")
    save_file({name: tensor.bfloat16() for name, tensor in stored.items()}, folder / "model.safetensors")
    convert_to_vamba(folder, tmp_path / "out", mixer=MIXER, seed=7)
    dtypes = {name: tensor.dtype for name, tensor in load_file(tmp_path / "out" / "model.safetensors").items()}
    rates = {name for name in dtypes if name.endswith("A_log")}
    assert len(rates) == 3
    assert {dtypes[name] for name in rates} == {torch.float32}
    assert {dtype for name, dtype in dtypes.items() if name not in rates} == {torch.bfloat16}


def damaged(qwen: Path, place: Path, name: str, tensor: Tensor | None) -> Path:
    """The folder with one tensor another, or gone."""
    place.mkdir()
    for file in qwen.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    tensors = load_file(qwen / "model.safetensors")
    tensors.pop(name, None)
    extra = {} if tensor is None else {name: tensor}
    save_file(tensors | extra, place / "model.safetensors")
    return place


@pytest.mark.parametrize(
    ("name", "tensor", "problem"),
    [
        ("model.layers.1.self_attn.q_proj.weight", None, "missing   model.layers.1.self_attn.q_proj.weight"),
        ("visual.merger.ln_q.weight", torch.zeros(3), "misshapen visual.merger.ln_q.weight [3], the model has [32]"),
        ("visual.more.weight", torch.zeros(3), "unknown   visual.more.weight [3]"),
        ("lm_head.weight", None, "missing   lm_head.weight"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused_and_nothing_is_written(
    name: str, tensor: Tensor | None, problem: str, qwen: Path, tmp_path: Path
) -> None:
    folder = damaged(qwen, tmp_path / "damaged", name, tensor)
    with pytest.raises(CheckpointError) as caught:
        convert_to_vamba(folder, tmp_path / "out", mixer=MIXER)
    assert problem in caught.value.problem
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged"]


@pytest.mark.parametrize("mixer", [{"headdim": 48}, {"d_stat": 4}], ids=["does not fit", "unknown"])
def test_mixers_that_cannot_be_are_refused(mixer: dict[str, Any], qwen: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot become a Vamba"):
        open_qwen2_vl(qwen, mixer=mixer)


def test_a_vamba_is_no_plain_qwen2_vl(vamba_numbers: Path, tmp_path: Path) -> None:
    vamba = vamba_numbers / "tiny_vamba" / "config_a_default"
    assert find_qwen2_vl(vamba) is None
    with pytest.raises(CheckpointError, match="no plain Qwen2-VL"):
        convert_to_vamba(vamba, tmp_path / "out")


class TestCommand:
    def test_it_writes_a_folder_and_says_what_comes_next(self, qwen: Path, tmp_path: Path) -> None:
        result = CliRunner().invoke(app, ["convert", str(qwen), str(tmp_path / "out"), "--to", "vamba"])
        assert result.exit_code == 0, result.output
        assert "not trained yet" in result.output
        assert "next: bimba train vamba/1-align model.path=" in result.output
        assert load_model(tmp_path / "out", None, LoadOptions(device="cpu"))[0].config.model_type == "vamba"

    @pytest.mark.parametrize(
        "options", [["--to", "vamba", "--reverse"], ["--to", "vamba", "--base", "x"], ["--seed", "3"]]
    )
    def test_options_that_mean_nothing_together_are_refused(
        self, options: list[str], qwen: Path, tmp_path: Path
    ) -> None:
        result = CliRunner().invoke(app, ["convert", str(qwen), str(tmp_path / "out"), *options])
        assert result.exit_code != 0
        assert not (tmp_path / "out").exists()
