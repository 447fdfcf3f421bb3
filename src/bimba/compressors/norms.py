"""Rows [..., D] in, normalised rows [..., D] in their own dtype out: norms that keep the precision of their weights."""

from torch import Tensor, nn


class ExactRMSNorm(nn.RMSNorm):
    """RMSNorm in the precision of its weight, whatever its input's: in training it may be the higher one."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D] in the dtype of the input."""
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)


class ExactLayerNorm(nn.LayerNorm):
    """LayerNorm in the precision of its weight, whatever its input's."""

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D] in the dtype of the input."""
        return super().forward(x.to(self.weight.dtype)).to(x.dtype)
