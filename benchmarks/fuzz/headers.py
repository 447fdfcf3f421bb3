"""The content of a video file goes in; the places of its sizes and other header numbers come out.

mp4 and mov boxes (ISO/IEC 14496-12, section 4.2), matroska elements (RFC 8794, sections 4 to 6; RFC 9559), RIFF chunks
of avi and webp, flv tags, and the packets of MPEG-TS (ISO/IEC 13818-1, section 2.4.3).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

_MP4_PARENTS = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"udta", b"moof", b"traf"})
_MP4_MEDIA = frozenset({b"mdat", b"free"})
_RIFF_PARENTS = frozenset({b"RIFF", b"LIST"})
# Segment, SeekHead, Seek, Info, Tracks, TrackEntry, Video, Audio, Cluster, BlockGroup, Cues, CuePoint, its positions.
_MATROSKA_PARENTS = frozenset(
    {0x18538067, 0x114D9B74, 0x4DBB, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0, 0xE1, 0x1F43B675, 0xA0, 0x1C53BB6B, 0xBB, 0xB7}
)
_EBML = b"\x1a\x45\xdf\xa3"
_TS_PACKET, _FLV_HEADER, _FLV_TAG = 188, 13, 11
_LARGEST_NUMBER = 8
_LONGEST_TABLE = 256


@dataclass(frozen=True)
class Place:
    """Where a number is stored.

    Attributes:
        start: first byte.
        num_bytes: 1 to 8.
        order: of its bytes.
        num_fixed_bits: highest bits that are no part of the number: a matroska size's length is told by its first bits.
    """

    start: int
    num_bytes: int
    order: Literal["big", "little"]
    num_fixed_bits: int = 0


def header_numbers(content: bytes) -> list[Place]:
    """Sizes, and the numbers beside them, in the order of the file; none if the format is not known."""
    return [
        place for place in _walker(content)(content, 0, len(content)) if place.start + place.num_bytes <= len(content)
    ]


def _walker(content: bytes) -> Callable[[bytes, int, int], Iterator[Place]]:
    if content[4:8] == b"ftyp":
        return _mp4_boxes
    if content[:4] == b"RIFF":
        return _riff_chunks
    if content[:4] == _EBML:
        return _matroska_elements
    return _flv_tags if content[:3] == b"FLV" else _ts_packets


def _words(start: int, end: int, order: Literal["big", "little"]) -> Iterator[Place]:
    """Every 32 bits of a table; the numbers in it have mostly that width."""
    for offset in range(start, min(end, start + _LONGEST_TABLE) - 3, 4):
        yield Place(offset, 4, order)


def _mp4_boxes(content: bytes, start: int, end: int) -> Iterator[Place]:
    while start + 8 <= end:
        size, kind = int.from_bytes(content[start : start + 4], "big"), content[start + 4 : start + 8]
        yield Place(start, 4, "big")
        if kind in _MP4_PARENTS:
            yield from _mp4_boxes(content, start + 8, min(start + size, end))
        elif kind not in _MP4_MEDIA:
            yield from _words(start + 8, min(start + size, end), "big")
        if size < 8:
            return
        start += size


def _riff_chunks(content: bytes, start: int, end: int) -> Iterator[Place]:
    while start + 8 <= end:
        kind, size = content[start : start + 4], int.from_bytes(content[start + 4 : start + 8], "little")
        yield Place(start + 4, 4, "little")
        last = min(start + 8 + size, end)
        if kind in _RIFF_PARENTS:
            yield from _riff_chunks(content, start + 12, last)
        elif kind in {b"ANMF", b"ANIM", b"VP8X"}:  # sizes and places of a webp's pictures have 24 bits
            for offset in range(start + 8, min(start + 24, last) - 2, 3):
                yield Place(offset, 3, "little")
        elif size <= _LONGEST_TABLE or kind == b"idx1":
            yield from _words(start + 8, last, "little")
        start += 8 + size + size % 2


def _matroska_elements(content: bytes, start: int, end: int) -> Iterator[Place]:
    while start + 2 <= end and content[start]:
        num_name = 9 - content[start].bit_length()
        name = int.from_bytes(content[start : start + num_name], "big")
        place = start + num_name
        if place >= end or not content[place]:
            return
        num_size = 9 - content[place].bit_length()
        stored = int.from_bytes(content[place : place + num_size], "big")
        size = stored & (1 << 7 * num_size) - 1
        yield Place(place, num_size, "big", num_fixed_bits=num_size)
        first = place + num_size
        if name in _MATROSKA_PARENTS:
            yield from _matroska_elements(content, first, min(first + size, end))
        elif 0 < size <= _LARGEST_NUMBER:
            yield Place(first, size, "big")
        start = first + size


def _flv_tags(content: bytes, start: int, end: int) -> Iterator[Place]:
    yield Place(start + 5, 4, "big")
    start += _FLV_HEADER
    while start + _FLV_TAG <= end:
        size = int.from_bytes(content[start + 1 : start + 4], "big")
        yield Place(start + 1, 3, "big")
        yield Place(start + 4, 3, "big")  # its time
        if content[start] & 31 == 18:  # metadata: names, and numbers of 64 bits
            yield from _words(start + _FLV_TAG, start + _FLV_TAG + size, "big")
        yield Place(start + _FLV_TAG + size, 4, "big")
        start += _FLV_TAG + size + 4


def _ts_packets(content: bytes, start: int, end: int) -> Iterator[Place]:
    for packet in range(start, end - _TS_PACKET + 1, _TS_PACKET):
        yield Place(packet + 1, 2, "big")  # which stream
        yield Place(packet + 4, 1, "big")  # length of what stands before the payload
        if content[packet + 1] & 0x40:  # a table or a picture begins: its length, its times
            yield Place(packet + 6, 2, "big")
            yield from _words(packet + 8, packet + 40, "big")
