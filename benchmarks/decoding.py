"""From a path to 64 frames: our decoder beside decord and OpenCV, on ten minutes with few and with many keyframes.

decord and OpenCV are installed with the extra `bench`; what is not there is left out of the tables, which say so.
"""

import importlib
import importlib.util
import logging
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from benchmarks.moving_pictures import FPS, HEIGHT, NUM_FRAMES, WIDTH, write_videos
from bimba.video.source import Video

RUNS = 5
NUM_WANTED = 64
KEYFRAMES_EVERY = (250, 25)
GOAL_RATIO = 1.3
OURS, DECORD, OPENCV = "bimba", "decord", "OpenCV"
_MODULES = {DECORD: "decord", OPENCV: "cv2"}
_DELIVERED = re.compile(r"delivered (\d+) frames from (\d+) packets, (\d+) decoded, (\d+) seeks")

Frames = npt.NDArray[np.uint8]
"""RGB, uint8 [T, H, W, 3]."""
Readers = Mapping[str, Callable[[Path, list[int]], Frames]]
"""What opens a file and decodes frames of it, by name."""


@dataclass(frozen=True)
class Work:
    """What decoding took, as our reader logs it.

    Attributes:
        num_packets: given to the decoder.
        num_decoded: pictures that came of them; what no other picture needs is left out.
        num_seeks: jumps in the file.
    """

    num_packets: int
    num_decoded: int
    num_seeks: int


def report() -> str:
    """Tables in Markdown: median seconds, ratios, whether the frames are equal, what was decoded."""
    wanted = np.linspace(0, NUM_FRAMES - 1, NUM_WANTED, dtype=int).tolist()
    missing = [name for name, module in _MODULES.items() if importlib.util.find_spec(module) is None]
    readers = {name: read for name, read in _READERS.items() if name not in missing}
    video = f"{NUM_FRAMES / FPS / 60:.0f} minutes of H.264, {WIDTH} x {HEIGHT}, {FPS} a second"
    lines = [
        f"## {NUM_WANTED} frames of a file ({video}; {RUNS} rounds, taking turns)",
        "",
        f"| keyframes every | {' | '.join(f'{name}: median s (min - max)' for name in readers)} |"
        + "".join(f" {name} / {OURS} |" for name in readers if name != OURS),
        f"| --- |{' --- |' * (2 * len(readers) - 1)}",
    ]
    findings, ratios = [], []
    for every, path in zip(KEYFRAMES_EVERY, write_videos(KEYFRAMES_EVERY), strict=True):
        seconds = _measure(path, wanted, readers)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        cells = [f"{medians[name]:.2f} ({min(values):.2f} - {max(values):.2f})" for name, values in seconds.items()]
        cells += [f"{median / medians[OURS]:.2f}" for name, median in medians.items() if name != OURS]
        lines.append(f"| {every} | {' | '.join(cells)} |")
        ratios += [medians[DECORD] / medians[OURS]] if DECORD in medians else []
        findings += [f"* Keyframes every {every}: {text}" for text in _findings(path, wanted, readers)]
    lines += ["", *findings]
    lines += [f"* {name} is not installed here (pip install -e '.[bench]'), and is not compared." for name in missing]
    if ratios:
        held = min(ratios) >= GOAL_RATIO
        lines += ["", f"Goal, at least {GOAL_RATIO} x decord: {'holds' if held else 'does not hold'}."]
    return "\n".join(lines)


def _measure(path: Path, wanted: list[int], readers: Readers) -> dict[str, list[float]]:
    """Seconds from opening the file to the frames; the readers take turns, a first round fills the caches."""
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    for round_number in range(RUNS + 1):
        for name, read in readers.items():
            start = time.perf_counter()
            read(path, wanted)
            if round_number:
                seconds[name].append(time.perf_counter() - start)
        print(f"  {path.name}: round {round_number} of {RUNS}", file=sys.stderr, flush=True)
    return seconds


def _findings(path: Path, wanted: list[int], readers: Readers) -> list[str]:
    """Sentences on whether frames are equal, and on how much was decoded for them."""
    ours, work = _read_and_count(path, wanted)
    findings = []
    if DECORD in readers:
        theirs = readers[DECORD](path, wanted)
        num_equal = sum(np.array_equal(*pair) for pair in zip(ours, theirs, strict=True))
        findings.append(f"{num_equal} of the {len(wanted)} frames are equal to decord's, byte for byte.")
    needed = packets_needed(path, wanted)
    held = "nothing" if work.num_packets == needed else f"{work.num_packets - needed:+,} packets"
    findings.append(
        f"{needed:,} packets lie from the last keyframe of each wanted frame up to it; {held} beyond them went to the "
        f"decoder, which made {work.num_decoded:,} pictures of them, in {work.num_seeks} seeks."
    )
    return findings


def _read_and_count(path: Path, wanted: list[int]) -> tuple[Frames, Work]:
    """Our frames, and what the reader logs of its work."""
    with noted_work() as notes:
        frames = _read_ours(path, wanted)
    return frames, notes[-1]


@contextmanager
def noted_work() -> Iterator[list[Work]]:
    """A list to which what each reading of a file took is added when it ends."""
    logger, messages = logging.getLogger("bimba.video.decoders.pyav"), _Messages()
    level = logger.level
    logger.addHandler(messages)
    logger.setLevel(logging.DEBUG)
    try:
        yield messages.works
    finally:
        logger.removeHandler(messages)
        logger.setLevel(level)


class _Messages(logging.Handler):
    """Keeps what is logged of each reading."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.works: list[Work] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what one record tells, if it is of a reading's end."""
        match = _DELIVERED.search(record.getMessage())
        if match is not None:
            _, num_packets, num_decoded, num_seeks = map(int, match.groups())
            self.works.append(Work(num_packets, num_decoded, num_seeks))


def packets_needed(path: Path, wanted: list[int]) -> int:
    """Packets from the last keyframe before each wanted frame up to the frame, each counted once."""
    with av.open(path) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        times = [packet.pts or 0 for packet in packets]
        keys = [position for position, packet in enumerate(packets) if packet.is_keyframe]
    order = np.argsort(times)
    needed: set[int] = set()
    for index in wanted:
        position = int(order[index])
        last_key = max(key for key in keys if key <= position)
        needed.update(range(last_key, position + 1))
    return len(needed)


def _read_ours(path: Path, wanted: list[int]) -> Frames:
    with Video(path) as video:
        frames = np.empty((len(wanted), video.info.height, video.info.width, 3), dtype=np.uint8)
        for place, frame in enumerate(video.frames(wanted)):
            frames[place] = frame
    return frames


def _read_decord(path: Path, wanted: list[int]) -> Frames:
    # On a busy machine decord gives up on the last frames; it may try longer.
    os.environ.setdefault("DECORD_EOF_RETRY_MAX", "1000000")
    decord = importlib.import_module("decord")
    return np.asarray(decord.VideoReader(str(path)).get_batch(wanted).asnumpy(), dtype=np.uint8)


def _read_opencv(path: Path, wanted: list[int]) -> Frames:
    cv2 = importlib.import_module("cv2")
    capture = cv2.VideoCapture(str(path))
    frames = np.empty((len(wanted), HEIGHT, WIDTH, 3), dtype=np.uint8)
    for place, index in enumerate(wanted):
        capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        is_read, picture = capture.read()
        if not is_read:
            raise RuntimeError(f"OpenCV does not read frame {index} of {path}")
        frames[place] = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    capture.release()
    return frames


_READERS: Readers = {OURS: _read_ours, DECORD: _read_decord, OPENCV: _read_opencv}
