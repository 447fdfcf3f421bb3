"""A small block in which every weight matters, something to read, and the plain way to read it."""

import torch
from torch import Tensor, nn

from bimba.compressors.mixer import BidirectionalMixer
from bimba.ops import interleave


def build_mixer(dim: int = 10, *, conv_width: int = 4, bidirectional: bool = True, seed: int = 0) -> BidirectionalMixer:
    """A block in which every weight matters."""
    torch.manual_seed(seed)
    mixer = BidirectionalMixer(dim, state_dim=5, conv_width=conv_width, expand=2, bidirectional=bidirectional).double()
    for name, parameter in mixer.named_parameters():
        if not name.endswith("A_log"):
            nn.init.normal_(parameter, std=0.4)
    return mixer


def draw(num_tokens: int, num_queries: int, *, batch: int = 2, dim: int = 10, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = (batch, num_tokens, dim), (batch, num_queries, dim)
    tokens, queries = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return tokens, queries


def plain(mixer: BidirectionalMixer, tokens: Tensor, queries: Tensor, positions: Tensor) -> Tensor:
    result: Tensor = mixer(torch.tanh(interleave(tokens, queries, positions)))
    return result.index_select(1, positions)
