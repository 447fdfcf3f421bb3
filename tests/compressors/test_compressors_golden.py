"""The compressor against the public one: outputs, every gradient, and its names, in eight golden cases.

Every case runs with each implementation of the scan, and with the sequence read in chunks of several sizes.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bimba.compressors import SelectiveScanCompressor

FOLDER = Path(__file__).parents[1] / "data/golden/compressor"
CASES = sorted(path.stem for path in FOLDER.glob("?_*.safetensors"))
OUR_NAMES = {
    "d_model": "dim",
    "n_layer": "num_layers",
    "use_norm": "norm",
    "use_res": "residual",
    "d_state": "state_dim",
    "d_conv": "conv_width",
    "expand": "expand",
    "bimamba": "bidirectional",
    "multi_scale": "multi_scale",
}
POOLS = {"b_temporal": (4, 2, 2)}
"""Pooling of the cases that average frames; the others pool (1, 2, 2)."""

WAYS: dict[str, dict[str, Any]] = {
    "reference": {"scan_implementation": "reference"},
    "cpu": {"scan_implementation": "cpu"},
    "triton": {"scan_implementation": "triton"},
    "chunks of 1": {"chunk_size": 1},
    "chunks of 7": {"chunk_size": 7},
    "chunks of 64": {"chunk_size": 64},
    "whole": {"chunk_size": 10**6},
}
"""Ways to run a compressor that must not change what it gives."""

every_case = pytest.mark.parametrize("name", CASES)
every_way = pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, marks=pytest.mark.gpu if torch.cuda.is_available() else pytest.mark.interpreted)
        if way == "triton"
        else way
        for way in WAYS
    ],
)


@dataclass(frozen=True)
class GoldenCase:
    """One case: our compressor with the public weights, and what the public one made of the inputs."""

    compressor: SelectiveScanCompressor
    tensors: dict[str, Tensor]

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Tensors below a prefix, without it."""
        return {key.removeprefix(prefix): value for key, value in self.tensors.items() if key.startswith(prefix)}


def read_case(name: str, way: str = "whole") -> GoldenCase:
    if way == "triton":
        pytest.importorskip("triton", reason="the extra kernels is not installed")
    tensors = load_file(FOLDER / f"{name}.safetensors")
    constructor = json.loads((FOLDER / f"{name}.json").read_text())["constructor"]
    constructor.pop("fp32")  # the residual's dtype under bfloat16, of no consequence in float32
    how: dict[str, Any] = {OUR_NAMES[key]: value for key, value in constructor.items()}
    compressor = SelectiveScanCompressor(**how, **WAYS[way], pool=POOLS.get(name, (1, 2, 2)))
    case = GoldenCase(compressor, tensors)
    compressor.load_public_state_dict(case.group("state_dict."))
    return case


def public_gradients(compressor: SelectiveScanCompressor) -> dict[str, Tensor]:
    """Gradients under the public names: those of a compressor whose weights are the gradients."""
    gradients = {}
    for name, parameter in compressor.named_parameters():
        assert parameter.grad is not None, name
        gradients[name] = parameter.grad
    values = {name: parameter.detach().clone() for name, parameter in compressor.named_parameters()}
    compressor.load_state_dict(gradients)
    public = {name: tensor.clone() for name, tensor in compressor.public_state_dict().items()}
    compressor.load_state_dict(values)
    return public


def test_all_cases_are_there() -> None:
    assert [name[0] for name in CASES] == list("abcdefgi")


@every_case
@every_way
def test_golden_output(name: str, way: str) -> None:
    case = read_case(name, way)
    with torch.no_grad():
        output = case.compressor(case.tensors["input.space_time_tokens"], case.tensors["input.queries"])
    torch.testing.assert_close(output, case.tensors["output"], rtol=0.0, atol=1e-5)


@every_case
def test_golden_output_with_queries_pooled_by_the_compressor(name: str) -> None:
    case = read_case(name)
    tokens = case.tensors["input.space_time_tokens"]
    with torch.no_grad():
        output = case.compressor(tokens)
    assert output.shape[1:4] == case.compressor.output_grid(*tokens.shape[1:4])
    torch.testing.assert_close(output.flatten(2, 3), case.tensors["output"], rtol=0.0, atol=2e-5)


@every_case
@every_way
def test_golden_gradients_of_every_weight_and_input(name: str, way: str) -> None:
    case = read_case(name, way)
    tokens = case.tensors["input.space_time_tokens"].requires_grad_()
    queries = case.tensors["input.queries"].requires_grad_()
    (case.compressor(tokens, queries) * case.tensors["grad_output"]).sum().backward()
    assert tokens.grad is not None
    assert queries.grad is not None
    actual = public_gradients(case.compressor) | {"space_time_tokens": tokens.grad, "queries": queries.grad}
    golden = case.group("grad.")
    assert golden.keys() <= actual.keys()
    for key, gradient in actual.items():
        expected = golden.get(key, torch.zeros_like(gradient))  # zero gradients are left out of the file
        largest = expected.abs().max().item()
        assert gradient.shape == expected.shape, key
        assert (gradient - expected).abs().max().item() <= max(1e-4 * largest, 1e-7), key


def test_golden_gradients_are_complete_but_where_the_last_projection_is_zero() -> None:
    for name in CASES:
        case = read_case(name)
        missing = case.group("state_dict.").keys() - case.group("grad.").keys()
        if name.startswith("i_"):
            assert case.group("grad.").keys() == {"queries", "layers.0.mixer.out_proj.weight"}
            assert not case.tensors["state_dict.layers.0.mixer.out_proj.weight"].any()
        else:
            assert not missing


@every_case
def test_public_weights_go_in_and_come_out_bit_for_bit(name: str) -> None:
    case = read_case(name)
    public = case.compressor.public_state_dict()
    golden = case.group("state_dict.")
    assert public.keys() == golden.keys()
    for key, tensor in golden.items():
        assert public[key].dtype == tensor.dtype
        assert torch.equal(public[key], tensor), key


def test_a_golden_case_in_bfloat16_is_near() -> None:
    case = read_case("a_base")
    tokens, queries = case.tensors["input.space_time_tokens"], case.tensors["input.queries"]
    with torch.no_grad():
        output = case.compressor.bfloat16()(tokens.bfloat16(), queries.bfloat16())
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), case.tensors["output"], rtol=0.0, atol=0.1)


def test_the_backward_direction_matters() -> None:
    case = read_case("a_base")
    with torch.no_grad():
        for parameter in case.compressor.get_submodule("layers.0.mixer.backward_scan").parameters():
            parameter.zero_()
        one_way = case.compressor(case.tensors["input.space_time_tokens"], case.tensors["input.queries"])
    assert (one_way - case.tensors["output"]).abs().max().item() > 0.5
    shared = {key: value for key, value in case.group("state_dict.").items() if "_b" not in key.rsplit("mixer.")[-1]}
    plain = SelectiveScanCompressor(64, bidirectional=False)
    plain.load_public_state_dict(shared)
    with torch.no_grad():
        expected = plain(case.tensors["input.space_time_tokens"], case.tensors["input.queries"])
    torch.testing.assert_close(one_way, expected, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize(
    "part",
    ["conv_weight", "conv_bias", "step_proj.weight", "readout_proj.weight", "dt_proj.weight", "dt_bias", "A_log", "D"],
)
@pytest.mark.parametrize("direction", ["forward_scan", "backward_scan"])
def test_every_part_of_either_direction_matters(direction: str, part: str) -> None:
    case = read_case("a_base")
    with torch.no_grad():
        case.compressor.get_parameter(f"layers.0.mixer.{direction}.{part}").zero_()
        output = case.compressor(case.tensors["input.space_time_tokens"], case.tensors["input.queries"])
    assert (output - case.tensors["output"]).abs().max().item() > 1e-2
