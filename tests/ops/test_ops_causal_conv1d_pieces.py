"""Causal convolution of sequences in pieces and of packed sequences: as each would be alone and whole."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from bimba.ops import carried_state, causal_conv1d

every_width = pytest.mark.parametrize("num_taps", [1, 2, 4], ids="K{}".format)


def draw(length: int, num_taps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw x [2, L, 6], weight [6, 1, K] and bias [6] in float64."""
    generator = torch.Generator().manual_seed(length * 10 + num_taps)
    shapes = (2, length, 6), (6, 1, num_taps), (6,)
    x, weight, bias = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return x, weight, bias


@every_width
@pytest.mark.parametrize("pieces", [(1,) * 7, (2, 1, 0, 9), (20, 3)], ids=str)
def test_pieces_with_a_carried_state_are_the_whole(num_taps: int, pieces: tuple[int, ...]) -> None:
    x, weight, bias = draw(sum(pieces), num_taps)
    state, outputs = None, []
    for piece in x.split(list(pieces), dim=1):
        outputs.append(causal_conv1d(piece, weight, bias, initial_state=state))
        state = carried_state(piece, num_taps, initial_state=state)
    torch.testing.assert_close(torch.cat(outputs, 1), causal_conv1d(x, weight, bias), rtol=0.0, atol=1e-14)
    assert state is not None
    assert torch.equal(state, torch.cat([torch.zeros(2, 3, 6), x], 1)[:, x.shape[1] + 4 - num_taps :].double())


@every_width
def test_in_reverse_the_state_is_what_comes_after(num_taps: int) -> None:
    x, weight, bias = draw(12, num_taps)
    after = x[:, 7 : 7 + num_taps - 1]
    found = causal_conv1d(x[:, :7], weight, bias, reverse=True, initial_state=after)
    torch.testing.assert_close(found, causal_conv1d(x, weight, bias, reverse=True)[:, :7], rtol=0.0, atol=1e-14)


@every_width
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("activation", [False, True], ids=["linear", "silu"])
def test_packed_sequences_are_those_alone(num_taps: int, reverse: bool, activation: bool) -> None:
    x, weight, bias = draw(14, num_taps)
    seq_idx = torch.zeros(2, 14, dtype=torch.int64)
    seq_idx[:, 5:7] = 3  # shorter than the taps reach, and back to 0: a third sequence
    how: dict[str, Any] = {"reverse": reverse, "activation": activation}
    packed = causal_conv1d(x, weight, bias, seq_idx=seq_idx, **how)
    alone = [causal_conv1d(x[:, part], weight, bias, **how) for part in (slice(0, 5), slice(5, 7), slice(7, 14))]
    torch.testing.assert_close(packed, torch.cat(alone, 1), rtol=0.0, atol=1e-14)


@pytest.mark.parametrize("cut", [4, 5, 6, 7, 8, 9])
def test_nothing_is_carried_of_another_sequence(cut: int) -> None:
    x, weight, bias = draw(14, 4)
    seq_idx = torch.zeros(2, 14, dtype=torch.int32)
    seq_idx[0, 5:] = 1
    seq_idx[1, 8:] = 1
    whole = causal_conv1d(x, weight, bias, seq_idx=seq_idx)
    state = carried_state(x[:, :cut], 4, seq_idx=seq_idx[:, :cut])
    rest = causal_conv1d(x[:, cut:], weight, bias, initial_state=state, seq_idx=seq_idx[:, cut:])
    for item, begin in ((0, 5), (1, 8)):
        if cut != begin:  # there a new sequence begins, and gets no state
            torch.testing.assert_close(rest[item], whole[item, cut:], rtol=0.0, atol=1e-14)
    joined = carried_state(x[:, cut:], 4, initial_state=state, seq_idx=seq_idx[:, cut:])
    torch.testing.assert_close(joined, x[:, 11:], rtol=0.0, atol=0.0)


def test_nothing_of_another_sequence_is_looked_at() -> None:
    x, weight, bias = draw(8, 4)
    x[:, :4] = float("nan")
    seq_idx = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]).expand(2, 8)
    assert not causal_conv1d(x, weight, bias, seq_idx=seq_idx)[:, 4:].isnan().any()


def test_gradients_are_slopes() -> None:
    x, weight, bias = (tensor.requires_grad_() for tensor in draw(6, 3))
    state = torch.randn(2, 2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    seq_idx = torch.tensor([[0, 0, 1, 1, 1, 1], [0, 1, 1, 2, 2, 2]])

    def function(x: Tensor, weight: Tensor, bias: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y = causal_conv1d(x, weight, bias, initial_state=state, seq_idx=seq_idx)
        return y, carried_state(x, 3, initial_state=state, seq_idx=seq_idx)

    assert gradcheck(function, (x, weight, bias, state))


def test_what_does_not_fit_is_refused() -> None:
    x, weight, bias = draw(5, 4)
    with pytest.raises(ValueError, match=r"x \(2, 5, 6\) needs initial_state \(2, 3, 6\), not \(2, 4, 6\)"):
        causal_conv1d(x, weight, bias, initial_state=torch.zeros(2, 4, 6))
    with pytest.raises(ValueError, match=r"needs seq_idx \(2, 5\) there, not \(2, 4\)"):
        causal_conv1d(x, weight, bias, seq_idx=torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"seq_idx is torch.float32; numbers of sequences are int32 or int64"):
        causal_conv1d(x, weight, bias, seq_idx=torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"needs initial_state \(2, 3, 6\)"):
        carried_state(x, 4, initial_state=torch.zeros(2, 2, 6))
