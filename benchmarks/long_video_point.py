"""What to encode in; the memory and the seconds that it takes out, measured in a process that does nothing else.

`python -m benchmarks.long_video_point JSON` is that process: it loads a model, does what the order says, and prints one
line of JSON. Linux alone tells what is asked here.

Shapes: T frames, H x W patches a frame, D width.
"""

import contextlib
import io
import json
import logging
import os
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
import torch

from benchmarks.decoding import Work, noted_work
from bimba.cli import main as bimba_command
from bimba.cli.bench.peak import begin_peak, peak_bytes, status_bytes
from bimba.compressors import SelectiveScanCompressor
from bimba.compressors.streams import open_stream
from bimba.inference.clip import Clip, ClipFile
from bimba.inference.encoder import encode_clip
from bimba.inference.free_memory import FreeMemory
from bimba.inference.stopwatch import Stopwatch
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_config, tiny_model, tiny_tokenizer
from bimba.video.source import Video

PIECE = 16
"""Frames that are looked at together."""
PATCHES, DIM = 27, 128
"""Patches along a side of a frame, and the width of their tokens."""
RELEASED_DIM = 3584
_PATCH_PIXELS = 4
_VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "image_size": PATCHES * _PATCH_PIXELS,
    "patch_size": _PATCH_PIXELS,
}
_FRAME_SIZE = (120, 160)
_NUM_WARM = 3 * PIECE
_STAGES = ("make_pixels", "get_vision_features", "project", "compress", "pack", "encode_features")
"""Functions by which it is told where memory ran out, the innermost of those that were called."""


class PointError(Exception):
    """The process that was to be measured did not finish."""


@dataclass(frozen=True)
class Order:
    """What is measured.

    Attributes:
        what: "pieces" (a few frames at a time), "whole" (all pixels first), "compressor" (its stream alone, at the
            released width), or "plan" (the command, with `arguments`).
        num_frames: T.
        temporal_pooling: frames that are averaged for a query.
        spatial_pooling: patches along a side that are averaged for a query.
        rounds: how often; memory is that of the first.
        video: a file of which one frame a second is taken; frames are made on the fly without.
        limit_bytes: of data that the process may have; None for what the machine has.
        arguments: of the command.
    """

    what: Literal["pieces", "whole", "compressor", "plan"]
    num_frames: int
    temporal_pooling: int = 1
    spatial_pooling: int = 2
    rounds: int = 1
    video: str | None = None
    limit_bytes: int | None = None
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """What it took.

    Attributes:
        num_queries: that were filled.
        loaded_bytes: anonymous memory with the model loaded and nothing done.
        peak_bytes: the most anonymous memory; None if it ran out.
        seconds: of each round.
        stages: seconds of each stage in the fastest round.
        ended: why it ran out of memory; None if it did not.
        work: what decoding took, if a file was decoded.
    """

    num_queries: int
    loaded_bytes: int
    peak_bytes: int | None
    seconds: list[float] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    ended: str | None = None
    work: Work | None = None

    @property
    def above_bytes(self) -> int | None:
        """Of the peak, what is more than the loaded model."""
        return None if self.peak_bytes is None else self.peak_bytes - self.loaded_bytes


def measure(order: Order, *, longest: float) -> Measured:
    """Do it in a process of its own.

    Args:
        order: what is measured.
        longest: seconds after which the process is stopped.

    Raises:
        PointError: it failed, was killed, or took too long.
    """
    command = [sys.executable, "-m", "benchmarks.long_video_point", json.dumps(asdict(order))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=longest)
    except subprocess.TimeoutExpired as error:
        raise PointError(f"{order} did not finish within {longest:.0f} s") from error
    if done.returncode != 0:
        raise PointError(f"{order} failed with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    values = json.loads(done.stdout.splitlines()[-1])
    work = values.pop("work")
    return Measured(**values, work=None if work is None else Work(**work))


def main() -> None:
    """Do what the first argument says."""
    values = json.loads(sys.argv[1])
    order = Order(**values | {"arguments": tuple(values["arguments"])})
    ways: dict[str, Callable[[Order], Measured]] = {
        "pieces": _encode,
        "whole": _encode,
        "compressor": _compress,
        "plan": _plan,
    }
    print(json.dumps(asdict(ways[order.what](order))))


def wide_model(temporal_pooling: int, spatial_pooling: int) -> tuple[BimbaForConditionalGeneration, BimbaProcessor]:
    """The tiny model with 27 x 27 patches and a wider language model, so that memory is that of the tokens.

    Its vision tower is one layer, so that time is that of the compressor.
    """
    values = tiny_config(vocab_size=320).to_dict()
    values["vision_config"].update(_VISION)
    values["text_config"].update(hidden_size=DIM, intermediate_size=DIM)
    values.update(temporal_pooling=temporal_pooling, spatial_pooling=spatial_pooling)
    config = BimbaConfig.from_dict(values)
    model = BimbaForConditionalGeneration(config)
    model.eval()  # type: ignore[no-untyped-call] # untyped there
    return model, BimbaProcessor.from_config(config, tiny_tokenizer())


def made_frames(num_frames: int) -> Iterator[np.ndarray]:
    """Frames of noise, each uint8 [120, 160, 3], made when they are asked for."""
    chance = np.random.default_rng(0)
    for _ in range(num_frames):
        yield chance.integers(0, 256, (*_FRAME_SIZE, 3), dtype=np.uint8)


def _encode(order: Order) -> Measured:
    """Load a model and encode a video, in pieces or whole."""
    clip = _clip(order)
    warm = tiny_model()
    _in_pieces(*warm, _made_clip(_NUM_WARM))  # compiled code and the libraries' buffers are not what is measured
    model, processor = wide_model(order.temporal_pooling, order.spatial_pooling)
    num_queries = torch.Size(processor.grid(clip.num_frames)).numel()
    peak = _Peak()
    encode = _in_pieces if order.what == "pieces" else _whole
    rounds: list[tuple[float, dict[str, float]]] = []
    if order.limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (order.limit_bytes, order.limit_bytes))
    with noted_work() as notes:
        for _ in range(order.rounds):
            try:
                rounds.append(encode(model, processor, clip))
            except (MemoryError, RuntimeError) as error:
                return Measured(num_queries, peak.loaded_bytes, None, ended=_where_it_ended(error))
            peak.note()
    seconds, stages = min(rounds, key=lambda ran: ran[0])
    del seconds
    work = notes[0] if notes else None
    return Measured(num_queries, peak.loaded_bytes, peak.most_bytes, [ran for ran, _ in rounds], stages, work=work)


def _clip(order: Order) -> Clip:
    if order.video is None:
        return _made_clip(order.num_frames)
    file = Video(order.video, end=float(order.num_frames))
    return ClipFile(file).choose(order.num_frames, "fps")


def _made_clip(num_frames: int) -> Clip:
    return Clip(num_frames, lambda: made_frames(num_frames), (), (), 0.0)


def _in_pieces(
    model: BimbaForConditionalGeneration, processor: BimbaProcessor, clip: Clip
) -> tuple[float, dict[str, float]]:
    """Seconds, in all and of each stage."""
    watch = Stopwatch(model.input_device)
    begun = time.perf_counter()
    encode_clip(model, processor, clip, watch, frames_per_step=PIECE)
    return time.perf_counter() - begun, dict(watch.seconds)


def _whole(
    model: BimbaForConditionalGeneration, processor: BimbaProcessor, clip: Clip
) -> tuple[float, dict[str, float]]:
    """The same, all at once."""
    watch = Stopwatch(model.input_device)
    begun = time.perf_counter()
    with torch.no_grad():
        with watch.stage("pixels"):
            pixels = processor.make_pixels(clip.frames())
        with watch.stage("encode"):
            model.get_video_features(pixels)
    return time.perf_counter() - begun, dict(watch.seconds)


def _where_it_ended(error: Exception) -> str:
    """The stage in which memory ran out; any other error is raised again."""
    if isinstance(error, RuntimeError) and "can't allocate memory" not in str(error):
        raise error
    called = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    return next((name for name in reversed(called) if name in _STAGES), called[-1])


def _compress(order: Order) -> Measured:
    """The compressor's stream at the released width, with random weights and tokens."""
    torch.manual_seed(0)
    pool = (order.temporal_pooling, order.spatial_pooling, order.spatial_pooling)
    warm = SelectiveScanCompressor(16, pool=pool)
    compressor = SelectiveScanCompressor(RELEASED_DIM, pool=pool)
    with torch.no_grad():
        for layer in (warm, compressor):
            for name, weight in layer.named_parameters():
                if name.endswith("out_proj.weight"):
                    torch.nn.init.normal_(weight, std=0.02)
    _stream(warm, _NUM_WARM, PATCHES)
    num_queries = torch.Size(compressor.output_grid(order.num_frames, PATCHES, PATCHES)).numel()
    peak = _Peak()
    begun = time.perf_counter()
    _stream(compressor, order.num_frames, PATCHES)
    seconds = time.perf_counter() - begun
    peak.note()
    return Measured(num_queries, peak.loaded_bytes, peak.most_bytes, [seconds])


def _stream(compressor: SelectiveScanCompressor, num_frames: int, side: int) -> None:
    """Push tokens that are drawn piece by piece, and mind free memory as `encode_clip` does."""
    chance, memory = torch.Generator().manual_seed(0), FreeMemory()
    stream = open_stream(compressor, num_frames, side, side)
    for begin in range(0, num_frames, PIECE):
        size = min(PIECE, num_frames - begin)
        stream.push(torch.randn(1, size, side, side, compressor.dim, generator=chance))
        memory.after_piece()
    stream.finish()


def _plan(order: Order) -> Measured:
    """The command `bimba plan`, from its words to its last line."""
    sys.argv = ["bimba", "plan", *order.arguments]
    peak = _Peak()
    begun = time.perf_counter()
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")) as told:
        try:
            bimba_command()
        except SystemExit as left:
            if left.code not in (None, 0):
                raise
    seconds = time.perf_counter() - begun
    peak.note()
    told.seek(0)
    plan = json.loads(told.read())
    if len(plan["frame_indices"]) != order.num_frames:
        raise PointError(f"bimba plan chose {len(plan['frame_indices'])} frames, not {order.num_frames}")
    return Measured(plan["num_video_tokens"], peak.loaded_bytes, peak.most_bytes, [seconds])


class _Peak:
    """The most anonymous memory from now on.

    The system notes the most of all memory, with the pages of files (the libraries) in it. Those that there are now are
    taken off; more may come, so that the peak is told too high rather than too low.
    """

    def __init__(self) -> None:
        anonymous, self._file_bytes = status_bytes("RssAnon"), status_bytes("RssFile")
        if anonymous is None or self._file_bytes is None or begin_peak() is None:
            raise PointError("this system does not tell the anonymous memory of a process; Linux does")
        self.loaded_bytes, self.most_bytes = anonymous, anonymous
        self._is_noted = False

    def note(self) -> None:
        """Take the peak, the first time that it is called."""
        most = peak_bytes()
        if self._is_noted or most is None or self._file_bytes is None:
            return
        self._is_noted, self.most_bytes = True, most - self._file_bytes


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
