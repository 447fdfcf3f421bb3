"""The length of a sequence in, the chunks and pieces that it is scanned in out; what takes steps to and from them.

Shapes: B batch, L length, C chunks, J steps of a chunk, K chunks of a piece.
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

CHUNK_STEPS = {"cpu": 64}
"""Most steps of a chunk, by type of device: long ones take more exponentials, short ones more passes over the state."""
OTHER_CHUNK_STEPS = 128

PIECE_VALUES = {"cpu": 384 * 2**10}
"""Values of x in the chunks that are done side by side: so many fit into a core's cache, or keep a GPU busy."""
OTHER_PIECE_VALUES = 2**24


@dataclass(frozen=True)
class Chunks:
    """How a sequence is cut: chunks of equal length, the last of which may reach beyond the end, and pieces of them.

    Attributes:
        length: L.
        number: C.
        steps: J.
        a_piece: K, less in the last piece.
    """

    length: int
    number: int
    steps: int
    a_piece: int

    @property
    def pieces(self) -> list[slice]:
        """Which chunks the pieces are."""
        return [slice(begin, min(begin + self.a_piece, self.number)) for begin in range(0, self.number, self.a_piece)]

    def reaches_beyond(self, piece: slice) -> bool:
        """Whether a piece has steps after the sequence's end."""
        return int(piece.stop) * self.steps > self.length

    def cut(self, tensor: Tensor, piece: slice | None = None) -> Tensor:
        """[B, L, ...] -> [K, B, J, ...]; beyond the end there are zeros, steps that change nothing."""
        if piece is None:
            piece = slice(0, self.number)
        number, end = piece.stop - piece.start, piece.stop * self.steps
        part = tensor[:, piece.start * self.steps : min(end, self.length)]
        if end > self.length:
            part = functional.pad(part, (0, 0) * (tensor.ndim - 2) + (0, end - self.length))
        chunks: Tensor = part.unflatten(1, (number, self.steps)).movedim(1, 0)
        return chunks

    def paste(self, piece: slice, values: Tensor, target: Tensor) -> None:
        """Put [K, B, J, ...] where `cut` would take it from [B, L, ...]."""
        begin, end = piece.start * self.steps, min(piece.stop * self.steps, self.length)
        if self.reaches_beyond(piece):
            target[:, begin:end] = values.movedim(0, 1).flatten(1, 2)[:, : end - begin]
        else:
            self.cut(target, piece).copy_(values)


def cut_into_chunks(x: Tensor) -> Chunks:
    """The chunks of x [B, L, H, P]; what runs is chosen by the sizes and the device alone."""
    batch, length, heads, width = x.shape
    most = CHUNK_STEPS.get(x.device.type, OTHER_CHUNK_STEPS)
    number = -(-length // most)
    steps = -(-length // number) if number else most
    values = PIECE_VALUES.get(x.device.type, OTHER_PIECE_VALUES)
    return Chunks(length, number, steps, max(1, values // max(1, steps * batch * heads * width)))
