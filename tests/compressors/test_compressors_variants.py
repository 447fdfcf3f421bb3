"""The paper's variants of the compressor: learned queries, and a scan that has read the question."""

import pytest
import torch
from torch import Tensor

from bimba.compressors import SelectiveScanCompressor
from bimba.models.bimba.configuration import BimbaConfig, complete_compressor


def compressor_with_effect(**settings: object) -> SelectiveScanCompressor:
    torch.manual_seed(0)
    compressor = SelectiveScanCompressor(16, **settings)  # type: ignore[arg-type]
    for name, weight in compressor.named_parameters():
        if name.endswith("proj.weight"):
            torch.nn.init.normal_(weight, std=0.3)
    return compressor


def tokens(frames: int = 4, batch: int = 1) -> Tensor:
    return torch.randn(batch, frames, 3, 3, 16, generator=torch.Generator().manual_seed(1))


def test_learned_queries_are_the_same_for_every_video() -> None:
    compressor = SelectiveScanCompressor(16, queries="learned", learned_grid=(4, 2, 2))
    fresh = compressor(tokens(batch=2))
    assert fresh.shape == (2, 4, 2, 2, 16)
    assert torch.equal(fresh[0], fresh[1])  # out_proj is zero, so nothing is filled in yet
    filled = compressor_with_effect(queries="learned", learned_grid=(4, 2, 2))(tokens(batch=2))
    assert not torch.allclose(filled[0], filled[1], atol=1e-3)
    filled.sum().backward()


def test_short_video_takes_the_first_learned_queries_and_a_long_one_is_refused() -> None:
    compressor = SelectiveScanCompressor(16, queries="learned", learned_grid=(4, 2, 2))
    assert torch.equal(compressor(tokens(2))[0], compressor(tokens(4))[0, :2])
    with pytest.raises(ValueError, match=r"asks for queries \(5, 2, 2\), but those learned are \(4, 2, 2\)"):
        compressor(tokens(5))


def test_learned_queries_learn() -> None:
    compressor = compressor_with_effect(queries="learned", learned_grid=(4, 2, 2))
    compressor(tokens(2)).square().sum().backward()
    gradient = compressor.learned_queries.queries.grad  # type: ignore[union-attr]
    assert gradient[:2].abs().sum() > 0  # type: ignore[index]
    assert not gradient[2:].any()  # type: ignore[index]


@pytest.mark.parametrize("settings", [{"queries": "learned"}, {"learned_grid": (1, 2, 2)}], ids=str)
def test_learned_queries_and_their_grid_come_together(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="learned queries need their grid"):
        SelectiveScanCompressor(16, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("chunk_size", [None, 5])
def test_a_question_stands_in_front_of_the_sequence(num_layers: int, chunk_size: int | None) -> None:
    """By hand: the words are tokens before the others, and the queries stand as many places later."""
    compressor = compressor_with_effect(num_layers=num_layers, chunk_size=chunk_size, multi_scale=False)
    words = torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(2))
    with_question = compressor(tokens(), question=words)
    assert with_question.shape == compressor(tokens()).shape
    assert (with_question - compressor(tokens())).abs().max() > 1e-3
    if num_layers == 1:
        from bimba.ops import interleave, pool_video, query_positions

        video = tokens()
        queries = pool_video(video, (1, 2, 2), "bilinear").flatten(1, 3)
        positions = query_positions(36, queries.shape[1]) + 3
        joint = interleave(torch.cat([words, video.flatten(1, 3)], dim=1), queries, positions)
        expected = compressor.layers[0](joint)[:, positions]
        assert torch.allclose(with_question.flatten(1, 3), expected, atol=1e-5)


def test_no_words_are_no_question() -> None:
    compressor = compressor_with_effect()
    assert torch.equal(compressor(tokens(), question=torch.empty(1, 0, 16)), compressor(tokens()))


def test_a_question_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a question \(1, 3, 8\) does not fit"):
        compressor_with_effect()(tokens(), question=torch.zeros(1, 3, 8))


def test_config_knows_the_variants() -> None:
    assert complete_compressor({})["queries"] == "pooled"
    assert not BimbaConfig().reads_question
    assert BimbaConfig(compressor={"question_conditioned": True}).reads_question
    assert not BimbaConfig(compressor={"type": "pooling"}).reads_question
    with pytest.raises(ValueError, match="queries 'learnt' is none of pooled, learned"):
        complete_compressor({"queries": "learnt"})
