"""A decoded picture in, uint8 RGB [H, W, 3] out: upright, of the file's size, its colours as a screen shows them."""

import av
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import ColorTrc

from bimba.video.info import RGBFrame

_HDR = {ColorTrc.SMPTE2084.value, ColorTrc.ARIB_STD_B67.value}  # PQ and HLG
_TO_SDR = "out_transfer=bt709:out_primaries=bt709"
_EIGHT_BITS = 8
# What a filter graph is made for; a picture that differs in one of them needs another.
_GraphKey = tuple[str, int, int, int, int, int, int, int]


def quarter_turns(rotation_degrees: int) -> int:
    """How often a picture is turned by 90 degrees counterclockwise, 0 to 3, for the angle its file asks for."""
    return round(rotation_degrees / 90) % 4


class RGBConverter:
    """Converts the pictures of one file.

    8-bit pictures are converted as everybody does it (matrix and range as the file says). FFmpeg's scaler is better
    at more bits when it runs as a filter, and maps HDR (PQ, HLG) to what a usual screen shows; without that, HDR
    pictures come out grey.

    Args:
        width: of the results.
        height: of the results.
    """

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._graph: Graph | None = None
        self._graph_key: _GraphKey | None = None

    def __call__(self, picture: VideoFrame) -> RGBFrame:
        """Convert one picture."""
        turns = quarter_turns(picture.rotation)
        # A stream may change its size halfway; later pictures are scaled to the first one's size, as players do.
        width, height = (self._height, self._width) if turns % 2 else (self._width, self._height)
        if _is_plain(picture):
            array = picture.to_ndarray(format="rgb24", width=width, height=height)
        else:
            array = self._filtered(picture, width, height)
        return np.ascontiguousarray(np.rot90(np.asarray(array, dtype=np.uint8), turns))

    def _filtered(self, picture: VideoFrame, width: int, height: int) -> RGBFrame:
        colours = (int(picture.colorspace), int(picture.color_range), int(picture.color_trc))
        key = (picture.format.name, picture.width, picture.height, *colours, width, height)
        if self._graph is None or key != self._graph_key:
            self._graph, self._graph_key = _graph(picture, width, height), key
        self._graph.push(picture)
        converted = self._graph.pull()
        assert isinstance(converted, av.VideoFrame)
        return np.asarray(converted.to_ndarray(), dtype=np.uint8)


def _is_plain(picture: VideoFrame) -> bool:
    depth = max((component.bits for component in picture.format.components), default=_EIGHT_BITS)
    return depth <= _EIGHT_BITS and picture.color_trc not in _HDR


def _graph(picture: VideoFrame, width: int, height: int) -> Graph:
    graph = Graph()
    source = graph.add(
        "buffer",
        f"video_size={picture.width}x{picture.height}:pix_fmt={picture.format.name}:time_base=1/1000"
        f":colorspace={int(picture.colorspace)}:range={int(picture.color_range)}",
    )
    mapped = f":{_TO_SDR}" if picture.color_trc in _HDR else ""
    scale = graph.add("scale", f"w={width}:h={height}{mapped}")
    rgb, sink = graph.add("format", "rgb24"), graph.add("buffersink")
    source.link_to(scale)
    scale.link_to(rgb)
    rgb.link_to(sink)
    graph.configure()
    return graph
