"""Nothing in; what is compared, and at which compressions, out."""

from dataclasses import dataclass

BASELINE = "selective_scan"
"""What all others are compared with."""


@dataclass(frozen=True)
class Contender:
    """A way to compress.

    Attributes:
        label: as pictures name it.
        summary: what it does otherwise than the baseline, for a table.
    """

    label: str
    summary: str


CONTENDERS: dict[str, Contender] = {
    BASELINE: Contender("selective scan", "BIMBA: a scan both ways, pooled queries among the tokens"),
    "one_direction": Contender("one direction", "the scan runs forward only"),
    "queries_at_the_end": Contender("queries at the end", "queries behind all tokens instead of among them"),
    "learned_queries": Contender("learned queries", "queries are learned instead of pooled"),
    "no_norm": Contender("no norm", "the scan does not normalise its input"),
    "self_attention": Contender("self-attention", "full attention in the place of the scan"),
    "perceiver": Contender("perceiver", "Flamingo's resampler: learned latents look at the tokens"),
    "pooling": Contender("pooling", "averages, and nothing else"),
    "none": Contender("none", "no compression: every token goes on"),
}
"""By the name of the recipe in recipes/ablation, in the order of every table."""

COMPRESSED = (BASELINE, "pooling")
"""Those that are measured at several compressions."""

SHAPES: dict[int, tuple[int, int]] = {4: (4, 1), 8: (8, 1), 16: (4, 2), 32: (8, 2), 64: (4, 4)}
"""Frames, and patches along each side, that are pooled into one token, by how many times fewer tokens that leaves.

Each holds the window of four frames in which the pair of needles stands, so that pooling loses which of them came first
at every compression.
"""
COMPRESSION = 16
"""At which all contenders are compared."""
