"""A model folder in, what is to be known of its weights out: size, number, type and hash."""

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Self

from benchmarks.nano.plain import Figures

WEIGHTS_NAME = "model.safetensors"
_HEADER = "<Q"
"""A safetensors file begins with the length of its JSON header."""


class Weights(Figures):
    """Of a model.

    Attributes:
        sha256: of model.safetensors.
        num_bytes: of it.
        num_parameters: of all tensors.
        dtypes: of the tensors, as safetensors names them.
    """

    sha256: str
    num_bytes: int
    num_parameters: int
    dtypes: tuple[str, ...]

    @classmethod
    def of(cls, folder: Path) -> Self:
        """Read the header of a folder's weights, and hash them.

        Raises:
            OSError: there are none.
        """
        file = folder / WEIGHTS_NAME
        with file.open("rb") as stream:
            (length,) = struct.unpack(_HEADER, stream.read(struct.calcsize(_HEADER)))
            header = json.loads(stream.read(length))
            stream.seek(0)
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        tensors = [value for name, value in header.items() if name != "__metadata__"]
        return cls(
            sha256=digest,
            num_bytes=file.stat().st_size,
            num_parameters=sum(math.prod(tensor["shape"]) for tensor in tensors),
            dtypes=tuple(sorted({tensor["dtype"] for tensor in tensors})),
        )
