"""A gif file in, whether its end is missing out; FFmpeg does not tell, and shows what is there of a cut picture."""

from pathlib import Path
from typing import BinaryIO

_IMAGE, _EXTENSION = b"\x2c", b"\x21"  # which block begins (GIF89a, appendix A)
_HEADER_BYTES, _TABLE_FLAGS_BYTE = 13, 10
_DESCRIPTOR_BYTES = 9  # of an image, whose last byte holds the flags of its own colour table


def is_cut(path: Path) -> bool:
    """Whether a gif ends within a block. Some are whole but for their trailer, which shows nothing."""
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES:
            return True
        _skip_table(file, header[_TABLE_FLAGS_BYTE])
        while (kind := file.read(1)) in (_IMAGE, _EXTENSION):
            if kind == _IMAGE:
                descriptor = file.read(_DESCRIPTOR_BYTES)
                _skip_table(file, descriptor[-1] if descriptor else 0)
            file.seek(1, 1)  # the size of a code, or what the extension is for
            while (size := file.read(1)) not in (b"", b"\x00"):
                file.seek(size[0], 1)
            if not size:
                return True
        return False


def _skip_table(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        file.seek(3 << (flags % 8 + 1), 1)
