"""The one-pass block: what the plain block gives at the queries, in chunks of any size, with gradients and less work.

Shapes: B batch, S tokens, Q queries, L = S + Q, D width, E inner width.
"""

from typing import Any

import pytest
import torch
from mixers import build_mixer, draw, plain
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from bimba.compressors import SelectiveScanCompressor
from bimba.compressors.mixer import BidirectionalMixer
from bimba.compressors.one_pass import fill_queries
from bimba.compressors.selective_scan import CompressorLayer
from bimba.ops import interleave, query_positions
from bimba.ops.interleave import QueryPosition

CHUNK_SIZES = [1, 2, 3, 4, 7, 64, 65, 10**6]

every_chunk_size = pytest.mark.parametrize("chunk_size", CHUNK_SIZES, ids="chunks_of_{}".format)


def one_pass(
    mixer: BidirectionalMixer, tokens: Tensor, queries: Tensor, positions: Tensor, chunk_size: int | None
) -> Tensor:
    return fill_queries(mixer, tokens, queries, positions, prepare=torch.tanh, chunk_size=chunk_size)


@every_chunk_size
@pytest.mark.parametrize("placement", ["interleaved", "start", "end"])
@pytest.mark.parametrize("bidirectional", [True, False], ids=["both_ways", "one_way"])
def test_gives_what_the_plain_block_gives(chunk_size: int, placement: QueryPosition, bidirectional: bool) -> None:
    mixer = build_mixer(bidirectional=bidirectional)
    tokens, queries = draw(70, 19)
    positions = query_positions(70, 19, placement)
    with torch.no_grad():
        expected = plain(mixer, tokens, queries, positions)
        actual = one_pass(mixer, tokens, queries, positions, chunk_size)
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-12)


@every_chunk_size
@pytest.mark.parametrize("conv_width", [1, 2, 4, 6], ids="K{}".format)
def test_the_convolution_looks_over_the_ends_of_chunks(chunk_size: int, conv_width: int) -> None:
    mixer = build_mixer(conv_width=conv_width)
    tokens, queries = draw(20, 6)
    positions = query_positions(20, 6)
    with torch.no_grad():
        expected = plain(mixer, tokens, queries, positions)
        actual = one_pass(mixer, tokens, queries, positions, chunk_size)
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("num_tokens", [0, 1, 2, 5])
@pytest.mark.parametrize("num_queries", [1, 2, 5])
@pytest.mark.parametrize("chunk_size", [1, 3, 100])
def test_short_sequences(num_tokens: int, num_queries: int, chunk_size: int) -> None:
    mixer = build_mixer()
    tokens, queries = draw(num_tokens, num_queries)
    positions = torch.arange(num_tokens, num_tokens + num_queries)
    with torch.no_grad():
        expected = plain(mixer, tokens, queries, positions)
        actual = one_pass(mixer, tokens, queries, positions, chunk_size)
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-12)


@every_chunk_size
@pytest.mark.parametrize("bidirectional", [True, False], ids=["both_ways", "one_way"])
def test_every_gradient_is_that_of_the_plain_block(chunk_size: int, bidirectional: bool) -> None:
    mixer = build_mixer(bidirectional=bidirectional)
    positions = query_positions(33, 9)

    def gradients(chunk: int | None) -> dict[str, Tensor]:
        tokens, queries = (tensor.requires_grad_() for tensor in draw(33, 9))
        leaves = {"tokens": tokens, "queries": queries} | dict(mixer.named_parameters())
        block = (
            plain(mixer, tokens, queries, positions)
            if chunk is None
            else one_pass(mixer, tokens, queries, positions, chunk)
        )
        found = torch.autograd.grad(
            (block * torch.linspace(-1, 1, block.numel()).reshape(block.shape)).sum(), tuple(leaves.values())
        )
        return dict(zip(leaves, found, strict=True))

    actual = gradients(chunk_size)
    for name, expected in gradients(None).items():
        scale = expected.abs().max().item()
        assert (actual[name] - expected).abs().max().item() <= 1e-10 * scale, name


def test_queries_that_no_chunk_has_and_chunks_that_have_no_query() -> None:
    mixer = build_mixer()
    tokens, queries = draw(40, 2)
    positions = torch.tensor([19, 20])
    with torch.no_grad():
        expected = plain(mixer, tokens, queries, positions)
        actual = one_pass(mixer, tokens, queries, positions, 5)
    torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_stays_close_to_the_plain_block(dtype: torch.dtype) -> None:
    mixer = build_mixer().to(dtype)
    tokens, queries = (tensor.to(dtype) for tensor in draw(300, 80))
    positions = query_positions(300, 80)
    with torch.no_grad():
        expected = plain(mixer.double(), tokens.double(), queries.double(), positions)
        actual = one_pass(mixer.to(dtype), tokens, queries, positions, 64)
    assert actual.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    assert (actual.double() - expected).abs().max().item() <= tolerance * expected.abs().max().item()


def test_a_state_that_hardly_fades_crosses_many_chunks() -> None:
    # With rates near zero the state of 400 steps ago still counts; what leaks at an end of a chunk would show.
    mixer = build_mixer()
    with torch.no_grad():
        for direction in (mixer.forward_scan, mixer.backward_scan):
            assert direction is not None
            direction.A_log.fill_(-9.0)
            direction.dt_bias.fill_(-1.0)
    tokens, queries = draw(400, 40)
    positions = query_positions(400, 40)
    with torch.no_grad():
        expected = plain(mixer, tokens, queries, positions)
        actual = one_pass(mixer, tokens, queries, positions, 16)
        cut = one_pass(mixer, tokens[:, 200:], queries[:, 20:], positions[20:] - 220, 16)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    # What the first half holds does reach the second.
    assert (actual[:, -1] - cut[:, -1]).abs().max() > 0.01 * actual[:, -1].abs().max()


def test_nan_reaches_the_queries_that_it_may_reach_and_no_other_item_of_the_batch() -> None:
    mixer = build_mixer()
    tokens, queries = draw(30, 8)
    tokens[1, 13, 3] = float("nan")
    with torch.no_grad():
        result = one_pass(mixer, tokens, queries, query_positions(30, 8), 7)
    assert not result[0].isnan().any()
    assert result[1].isnan().all()


def test_results_do_not_change_from_run_to_run() -> None:
    mixer = build_mixer().float()
    tokens, queries = (tensor.float() for tensor in draw(200, 50))
    positions = query_positions(200, 50)
    with torch.no_grad():
        first, second = (one_pass(mixer, tokens, queries, positions, 32) for _ in range(2))
    assert torch.equal(first, second)


def test_arithmetic_is_about_half_that_of_the_plain_block() -> None:
    # The released proportions: 729 tokens to 196 queries, rank = D / 16, E = 2 D.
    dim, num_tokens, num_queries = 64, 4 * 729, 4 * 196
    mixer = BidirectionalMixer(dim, state_dim=4, conv_width=4, expand=2, bidirectional=True)
    tokens, queries = torch.randn(1, num_tokens, dim), torch.randn(1, num_queries, dim)
    positions = query_positions(num_tokens, num_queries)

    def count(chunk_size: int | None) -> int:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            if chunk_size is None:
                mixer(interleave(tokens, queries, positions))
            else:
                fill_queries(mixer, tokens, queries, positions, prepare=nn.Identity(), chunk_size=chunk_size)
        return int(counter.get_total_flops())

    assert count(512) <= 0.55 * count(None)


class LargestTensor(TorchDispatchMode):
    """Remembers the number of entries of the largest tensor that any operation gave."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # untyped there
        self.entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().nbytes() == tensor.nbytes:
                self.entries = max(self.entries, tensor.numel())
        return result


def test_nothing_of_the_whole_length_and_inner_width_ever_exists() -> None:
    mixer = build_mixer()
    tokens, queries = draw(900, 250, batch=1)
    positions = query_positions(900, 250)
    with torch.no_grad(), LargestTensor() as seen:
        one_pass(mixer, tokens, queries, positions, 50)
    # Neither is anything made of the whole length and model width: the result, for the queries, is the largest.
    assert seen.entries == 250 * 10 < 1150 * 10


def test_the_compressor_reads_its_last_layer_in_chunks() -> None:
    torch.manual_seed(0)
    compressor = SelectiveScanCompressor(8, num_layers=2, chunk_size=11)
    for name, parameter in compressor.named_parameters():
        if name.endswith("out_proj.weight"):
            nn.init.normal_(parameter, std=0.3)
    tokens = torch.randn(2, 4, 5, 5, 8)
    with torch.no_grad():
        chunked = compressor(tokens)
        last = compressor.layers[-1]
        assert isinstance(last, CompressorLayer)
        last.chunk_size = None
        whole = compressor(tokens)
    torch.testing.assert_close(chunked, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.parametrize("chunk_size", [64, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpu_gives_what_a_cpu_gives(chunk_size: int | None, dtype: torch.dtype) -> None:
    mixer = build_mixer(40)
    positions = query_positions(700, 190)
    tokens, queries = draw(700, 190, dim=40)
    expected = one_pass(mixer, tokens, queries, positions, None)
    weights = tuple(mixer.parameters())
    slopes = torch.autograd.grad(expected.sum(), weights)
    mixer.to("cuda", dtype)
    actual = one_pass(mixer, tokens.to("cuda", dtype), queries.to("cuda", dtype), positions, chunk_size)
    tolerance = 1e-4 if dtype == torch.float32 else 3e-2
    assert (actual.cpu().double() - expected).abs().max().item() <= tolerance * expected.abs().max().item()
    if dtype == torch.float32:
        for slope, truth in zip(torch.autograd.grad(actual.sum(), tuple(mixer.parameters())), slopes, strict=True):
            assert (slope.cpu().double() - truth).abs().max().item() <= 1e-4 * truth.abs().max().item()


@pytest.mark.parametrize("chunk_size", [0, -3])
def test_a_chunk_of_nothing_is_refused(chunk_size: int) -> None:
    tokens, queries = draw(5, 2)
    with pytest.raises(ValueError, match=f"a chunk has at least 1 row, not {chunk_size}"):
        one_pass(build_mixer(), tokens, queries, query_positions(5, 2), chunk_size)
    with pytest.raises(ValueError, match="chunk_size"):
        SelectiveScanCompressor(8, chunk_size=chunk_size)


def test_positions_that_do_not_fit_are_refused() -> None:
    tokens, queries = draw(5, 2)
    with pytest.raises(ValueError, match="2 queries need as many positions, not \\(3,\\)"):
        one_pass(build_mixer(), tokens, queries, torch.tensor([0, 1, 2]), None)
    for positions in ([3, 2], [-1, 3], [3, 7], [2, 2]):
        with pytest.raises(ValueError, match="rise strictly within"):
            one_pass(build_mixer(), tokens, queries, torch.tensor(positions), 3)


def test_an_unknown_scan_is_refused_at_its_first_use() -> None:
    compressor = SelectiveScanCompressor(8, scan_implementation="magic")
    with pytest.raises(ValueError, match="'magic' is none of auto, reference, cpu"):
        compressor(torch.zeros(1, 1, 2, 2, 8))
