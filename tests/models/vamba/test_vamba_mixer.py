"""Vamba's Mamba-2 block: the public numbers, streaming in pieces, packing, initial values, and what is refused.

Shapes: B batch, L tokens, D model width.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bimba.models.vamba.mixer import Mamba2Block, Mamba2Mixer, MixerState

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "golden" / "vamba"
SETTINGS = (
    "d_state", "d_conv", "expand", "headdim", "ngroups", "A_init_range", "D_has_hdim", "norm_before_gate", "dt_min",
    "dt_max", "dt_init_floor", "dt_limit", "bias", "conv_bias", "chunk_size",
)  # fmt: skip
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "groups": {"ngroups": 2, "norm_before_gate": True, "D_has_hdim": True, "bias": True},
    "limited": {"dt_limit": (0.02, 0.2), "conv_bias": False, "d_conv": 3},
}
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def small_block(variant: str = "default", *, seed: int = 0) -> Mamba2Block:
    """A block of width 16 whose every parameter is random."""
    torch.manual_seed(seed)
    block = Mamba2Block(16, d_state=4, headdim=8, **VARIANTS[variant])
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(torch.randn_like(parameter).mul(0.2))
    return block


def draw_tokens(length: int, *, batch: int = 2) -> Tensor:
    return torch.randn(batch, length, 16, generator=torch.Generator().manual_seed(length))


def run(block: Mamba2Block, tokens: Tensor, **how: Any) -> tuple[Tensor, MixerState]:
    out, state = block(tokens, return_state=True, **how)
    return out, state


# The public numbers -----------------------------------------------------------------------------------------------

GOLDEN = [
    ("default", "L50"),
    ("default", "L50_seqidx"),
    ("default", "L128"),
    ("default", "L128_seqidx"),
    ("variant_dtlimit", "L50"),
    ("variant_dtlimit", "L50_seqidx"),
    ("variant_ngroups2_normfirst_Dhdim_bias", "L50"),
    ("variant_ngroups2_normfirst_Dhdim_bias", "L50_seqidx"),
]


@pytest.mark.parametrize(("variant", "case"), GOLDEN)
def test_outputs_and_gradients_are_those_of_the_public_block(variant: str, case: str) -> None:
    folder = SHARED / "mamba2_block" / variant
    if not folder.is_dir():
        pytest.skip("needs shared/golden/vamba beside the repository")
    config = json.loads((folder / "config.json").read_text())
    block = Mamba2Block(config["hidden_dim"], **{name: config[name] for name in SETTINGS})
    block.load_state_dict(load_file(folder / "state_dict.safetensors"))
    numbers = load_file(folder / f"{case}.safetensors")
    tokens = numbers["x"].requires_grad_()
    out = block(tokens, seq_idx=numbers.get("seq_idx"))
    assert (out - numbers["out"]).abs().max() < 1e-5
    names = ["x", *(f"param.{name}" for name, _ in block.named_parameters())]
    gradients = torch.autograd.grad(out, [tokens, *block.parameters()], numbers["dy"])
    for name, gradient in zip(names, gradients, strict=True):
        expected = numbers["grad_x" if name == "x" else name.replace("param.", "grad.")]
        assert (gradient - expected).abs().max() < 1e-4 * expected.abs().max(), name


# Streaming and packing --------------------------------------------------------------------------------------------


@every_variant
@pytest.mark.parametrize("pieces", [(1,) * 9, (2, 1, 3, 70, 1), (64, 64, 5), (0, 80)], ids=str)
def test_a_video_in_pieces_is_the_video_at_once(variant: str, pieces: tuple[int, ...]) -> None:
    block, tokens = small_block(variant).double(), draw_tokens(sum(pieces)).double()
    expected, last = run(block, tokens)
    state, outputs = None, []
    for piece in tokens.split(list(pieces), dim=1):
        out, state = run(block, piece, state=state)
        outputs.append(out)
    assert state is not None
    torch.testing.assert_close(torch.cat(outputs, dim=1), expected, rtol=0.0, atol=1e-12)
    for found, wanted in zip(state, last, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0.0, atol=1e-12)


@every_variant
def test_packed_videos_are_those_alone_and_the_last_goes_on(variant: str) -> None:
    block, tokens = small_block(variant).double(), draw_tokens(60).double()
    seq_idx = torch.zeros(2, 60, dtype=torch.int32)
    seq_idx[0, 20:] = 1
    seq_idx[1, 43:] = 7
    out, state = run(block, tokens[:, :44], seq_idx=seq_idx[:, :44])  # one token after the second video's start
    rest, _ = run(block, tokens[:, 44:], seq_idx=seq_idx[:, 44:], state=state)
    packed = torch.cat([out, rest], dim=1)
    for item, begin in ((0, 20), (1, 43)):
        alone = [block(part) for part in (tokens[item : item + 1, :begin], tokens[item : item + 1, begin:])]
        torch.testing.assert_close(packed[item : item + 1], torch.cat(alone, dim=1), rtol=0.0, atol=1e-12)


def test_gradients_run_through_the_state() -> None:
    block, tokens = small_block().double(), draw_tokens(40).double()
    whole = torch.autograd.grad(block(tokens).square().sum(), list(block.parameters()))
    first, state = run(block, tokens[:, :21])
    second, _ = run(block, tokens[:, 21:], state=state)
    cut = torch.autograd.grad(first.square().sum() + second.square().sum(), list(block.parameters()))
    for found, wanted in zip(cut, whole, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_the_state_keeps_nothing_else_alive() -> None:
    _, state = run(small_block(), draw_tokens(100))
    assert state.conv_inputs.untyped_storage().nbytes() <= 2 * state.conv_inputs.nbytes


# Weights ----------------------------------------------------------------------------------------------------------


def test_parameters_are_named_as_released() -> None:
    names = {name: tuple(parameter.shape) for name, parameter in small_block().named_parameters()}
    assert names == {
        "norm.weight": (16,),
        "mixer.dt_bias": (4,),
        "mixer.A_log": (4,),
        "mixer.D": (4,),
        "mixer.in_proj.weight": (76, 16),
        "mixer.conv1d.weight": (40, 1, 4),
        "mixer.conv1d.bias": (40,),
        "mixer.norm.weight": (32,),
        "mixer.out_proj.weight": (16, 32),
    }
    assert set(Mamba2Block.no_weight_decay) <= set(names)


def test_fresh_values_are_drawn_as_released() -> None:
    torch.manual_seed(0)
    mixer = Mamba2Mixer(256, headdim=4)
    with torch.no_grad():
        mixer.initialise(uniform=torch.nn.init.uniform_, copy=Tensor.copy_, num_layers=3)
    rates, steps = mixer.A_log.exp(), torch.nn.functional.softplus(mixer.dt_bias)
    assert 1.0 <= rates.min() < 3.0 < 14.0 < rates.max() <= 16.0
    assert 0.00099 <= steps.min() < 0.003 < 0.05 < steps.max() <= 0.1001
    assert mixer.in_proj.weight.std().item() == pytest.approx(0.02, rel=0.05)
    bound = (512 * 3) ** -0.5
    assert 0.95 * bound < mixer.out_proj.weight.abs().max() <= bound
    assert 0.49 < mixer.conv1d.weight.abs().max() <= 0.5
    assert torch.equal(mixer.D, torch.ones(128))
    assert torch.equal(mixer.norm.weight, torch.ones(512))


def test_initial_values_are_those_of_the_public_code() -> None:
    path = SHARED / "init" / "init_report.json"
    if not path.exists():
        pytest.skip("needs shared/golden/vamba beside the repository")
    public = json.loads(path.read_text())["fresh_init_stats_fp32_seed123"]
    torch.manual_seed(123)
    block = Mamba2Block(64, d_state=16, headdim=16)
    with torch.no_grad():
        block.mixer.initialise(uniform=torch.nn.init.uniform_, copy=Tensor.copy_, num_layers=3)
    for name, parameter in block.named_parameters():
        numbers = public[f"model.layers.0.vision_mixer.{name}"]
        assert list(parameter.shape) == numbers["shape"], name
        if parameter.numel() > 1000:  # enough to compare how they are drawn
            assert parameter.std().item() == pytest.approx(numbers["std"], rel=0.1), name
            assert parameter.max().item() == pytest.approx(numbers["max"], rel=0.3), name


def test_decay_rates_stay_in_float32() -> None:
    block = small_block().to(torch.bfloat16)
    assert block.mixer.A_log.dtype == torch.float32
    assert block.mixer.D.dtype == torch.bfloat16
    out, state = run(block, draw_tokens(70).bfloat16())
    assert out.dtype == torch.bfloat16
    assert state.scan_state.dtype == torch.float32
    expected = small_block()(draw_tokens(70))
    assert (out.float() - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize(("settings", "message"), [
    ({"headdim": 5}, "an inner width of 32 is not 1 groups of heads of 5"),
    ({"headdim": 8, "ngroups": 3}, "an inner width of 32 is not 3 groups of heads of 8"),
])  # fmt: skip
def test_heads_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mamba2Block(16, **settings)
