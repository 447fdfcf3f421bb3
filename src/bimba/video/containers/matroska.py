"""A matroska or webm file in, how long it should be out: FFmpeg does not tell where its last second is cut off."""

from pathlib import Path
from typing import BinaryIO

_HEADER, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"  # names of elements (RFC 8794, 11.2.1; RFC 9559, 5.1)


def promised_bytes(path: Path) -> int | None:
    """Where the segment, which holds all frames, ends; None where that is not stated, as in what was sent live."""
    with path.open("rb") as file:
        header = _element_size(file, _HEADER)
        if header is None:
            return None
        file.seek(header, 1)
        segment = _element_size(file, _SEGMENT)
        return None if segment is None else file.tell() + segment


def _element_size(file: BinaryIO, name: bytes) -> int | None:
    """Size of the element that comes next (RFC 8794, section 6); None if it is unknown, or another element comes."""
    if file.read(len(name)) != name:
        return None
    first = file.read(1)
    num_more = 8 - first[0].bit_length() if first else 8
    mask = (1 << 7 * (num_more + 1)) - 1
    size = int.from_bytes(first + file.read(num_more), "big") & mask
    return None if num_more == 8 or size == mask else size
