"""A video that goes on in (a file that is being written, a camera, an address), its frames at a steady rate out.

Letters: H rows, W columns.
"""

from __future__ import annotations  # PyAV's packets are generic in its stubs alone

import errno
import logging
import math
import re
import stat
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from bimba.errors import InputError, VideoError
from bimba.video.containers.opening import (
    FORMATS,
    choose_stream,
    is_picture_packet,
    open_container,
    read_packets,
    refuse_lack_of_memory,
)
from bimba.video.decoders.rgb import RGBConverter, quarter_turns
from bimba.video.growing_file import GrowingFile, wait_for_order
from bimba.video.info import RGBFrame

logger = logging.getLogger(__name__)

_WEB = "http,https,tls,tcp,crypto"
_PROTOCOLS = {
    "http": _WEB,
    "https": _WEB,
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,tls,tcp",
    "rtsp": "rtp,udp,tcp",
    "rtsps": "rtp,udp,tcp,tls",
    "srt": "srt",
    "tcp": "tcp",
    "udp": "udp",
}
"""What an address may make FFmpeg open: nothing on this machine's disks, whatever a playlist says."""
_DEVICES = ("avfoundation", "dshow", "gdigrab", "lavfi", "v4l2", "x11grab")
"""Cameras and screens; lavfi draws test pictures."""
_LIVE_FORMATS = f"{FORMATS},hls,mpjpeg,rtsp"
_LEAST_PATIENCE = 1.0
_MOST_WITHOUT_KEYFRAME = 600  # packets; about twenty seconds
# Rounded times of a video at 30 frames a second lie a little before the whole second.
_SLOT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class LiveFrame:
    """A frame and when it was.

    Attributes:
        picture: uint8 RGB [H, W, 3], upright.
        seconds: from the first frame on.
    """

    picture: RGBFrame
    seconds: float


class LiveSource:
    """Where a video comes from that goes on.

    Frames are those that were there first in each 1 / fps seconds. Pictures that are damaged, or have no time, are left
    out and counted. Times go on where a stream begins to count anew.

    Args:
        name: a file or named pipe that somebody writes; a camera, with `device_format`; or an address.
        fps: frames a second.
        patience: seconds without anything new that mean the end (of cameras and addresses, at least one).
        device_format: FFmpeg's name for the kind of camera: v4l2, avfoundation, dshow, ...

    Attributes:
        num_frames: frames that were given.
        num_damaged: packets and pictures that could not be used.
        num_restarts: how often times went back.
        end: why there are no more frames, once there are none.

    Raises:
        InputError: a number is out of range, the format no device's, or the address of a kind that is not opened.
        VideoError: there is no such file, or it is none.
    """

    def __init__(
        self, name: str, *, fps: float = 1.0, patience: float = 10.0, device_format: str | None = None
    ) -> None:
        if not (math.isfinite(fps) and fps > 0):
            raise InputError(f"{fps} frames a second are asked for.", fix="take a number above 0, e.g. --fps 1.")
        if not (math.isfinite(patience) and patience >= 0):
            raise InputError(f"the patience is {patience} s.", fix="take 0 or more seconds, e.g. --patience 10.")
        self._source, self._fps, self._patience = name, fps, patience
        self._device_format = device_format
        self._scheme = _scheme(name)
        self._is_file = self._scheme is None and device_format is None
        self.name = re.sub(r"(?<=://)[^/]*@", "***@", name)  # messages tell no passwords
        self._stopped = threading.Event()
        self._has_end = True  # of its own; a file that is being written has none
        self.num_frames = self.num_damaged = self.num_restarts = 0
        self.end: str | None = None
        self._check()

    def stop(self) -> None:
        """Give no more frames; from any thread."""
        self._stopped.set()

    def frames(self, on_wait: Callable[[], None] | None = None) -> Generator[LiveFrame]:
        """Frames as they come; closing the generator closes the source.

        Args:
            on_wait: called, in the same thread, when all that is there was read; of cameras and addresses, after each
                frame.

        Raises:
            VideoError: it cannot be opened or read further, or it ended and there was no frame.
        """
        taken, converter = -1, None
        with closing(self._pictures(on_wait)) as pictures:
            for picture, seconds in pictures:
                slot = math.floor(seconds * self._fps + _SLOT_TOLERANCE)
                if slot <= taken:
                    continue
                converter = converter or _converter(picture)
                try:
                    frame = LiveFrame(converter(picture), seconds)
                except av.FFmpegError as error:
                    self._note_damage(error)
                    continue
                taken = slot
                self.num_frames += 1
                yield frame
                if on_wait is not None and not self._is_file:
                    on_wait()
        if not self.num_frames and not self._stopped.is_set():
            raise VideoError(
                f"{self.name} gave no picture ({self.end}; {self.num_damaged} packets could not be used).",
                fix="check that it plays (ffplay), and that whoever writes it is at work.",
            )

    def _pictures(self, on_wait: Callable[[], None] | None) -> Generator[tuple[VideoFrame, float]]:
        """Sound pictures in the order of display, and their times."""
        first: Fraction | None = None
        last = Fraction(0)
        with self._opened(on_wait) as (container, stream):
            for picture in self._decoded(container, stream):
                if picture.is_corrupt or picture.pts is None or stream.time_base is None:
                    self.num_damaged += 1
                    continue
                shown = picture.pts * stream.time_base
                first = shown if first is None else first
                seconds = shown - first
                if seconds < last:
                    went_back = float(last - seconds)
                    logger.warning("%s: times went back by %.2f s; they go on where they were", self.name, went_back)
                    self.num_restarts += 1
                    first, seconds = shown - last, last
                last = seconds
                yield picture, float(seconds)

    def _decoded(self, container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
        """Pictures from the first keyframe on: before it, where one joins halfway, there is nothing to refer to."""
        has_begun, num_passed = stream.codec_context.codec.intra_only, 0
        try:
            for packet in read_packets(container, stream):
                if self._stopped.is_set():
                    self.end = "it was stopped"
                    return
                # Some cameras never send a keyframe, but refresh their pictures bit by bit.
                has_begun = has_begun or packet.is_keyframe or num_passed >= _MOST_WITHOUT_KEYFRAME
                num_passed += 1
                if not has_begun:
                    continue
                self.num_damaged += packet.is_corrupt
                try:
                    pictures = stream.codec_context.decode(packet if is_picture_packet(packet) else None)
                except av.FFmpegError as error:
                    self._note_damage(error)
                    continue
                yield from pictures
        except av.error.ExitError:
            self.end = f"nothing came for {self._waits:g} s"
            return
        except av.FFmpegError as error:
            refuse_lack_of_memory(error)
            if self._scheme in ("http", "https") and error.errno == errno.EIO:
                # FFmpeg's word for the end of an answer whose length was not stated, as live ones are, and of others.
                self.end = "the connection was closed"
                return
            raise VideoError(
                f"{self.name} broke off after {self.num_frames} frames: {error.strerror}.",
                fix="look after what writes or sends it, and watch it again.",
            ) from error
        self.end = "it ended" if self._has_end else f"nothing was added for {self._patience:g} s"

    def _note_damage(self, error: av.FFmpegError) -> None:
        refuse_lack_of_memory(error)
        if not self.num_damaged:
            logger.warning("%s: something in it is damaged, and is left out: %s", self.name, error.strerror)
        self.num_damaged += 1

    @property
    def _waits(self) -> float:
        """Seconds that a camera or an address may be silent."""
        return max(self._patience, _LEAST_PATIENCE)

    @contextmanager
    def _opened(self, on_wait: Callable[[], None] | None) -> Iterator[tuple[InputContainer, VideoStream]]:
        """The source opened; closed when the block ends."""
        if self._is_file:
            with self._opened_file(Path(self._source), on_wait) as container:
                yield container, self._choose(container)
            return
        options = {"format_whitelist": self._device_format or _LIVE_FORMATS}
        if self._scheme is not None:
            options["protocol_whitelist"] = _PROTOCOLS[self._scheme]
        if self._scheme in ("rtsp", "rtsps"):
            options["rtsp_transport"] = "tcp"  # complete pictures, and through any router
        try:
            container = av.open(
                self._source,
                format=self._device_format,
                options=options,
                timeout=self._waits,
                metadata_errors="replace",
            )
        except av.FFmpegError as error:
            refuse_lack_of_memory(error)
            why = (
                f"it did not answer for {self._waits:g} s" if isinstance(error, av.error.ExitError) else error.strerror
            )
            raise VideoError(
                f"{self.name} cannot be opened: {why}.",
                fix="check the name, and that it is on and may be used by you (ffplay shows it).",
            ) from error
        with container:
            yield container, self._choose(container)

    @contextmanager
    def _opened_file(self, path: Path, on_wait: Callable[[], None] | None) -> Iterator[InputContainer]:
        # A named pipe is read once; what comes first cannot be looked at before.
        order = wait_for_order(path, self._patience, self._stopped) if path.is_file() else "streamed"
        if order == "unindexed":
            raise VideoError(
                f"{path} is an mp4 that is still being written: its index, without which nothing in it can be found, "
                "comes last.",
                fix="record MPEG-TS or Matroska (out.ts, out.mkv), or a fragmented mp4 (ffmpeg ... -movflags "
                "+frag_keyframe+empty_moov out.mp4); or wait until it is done.",
            )
        if order == "finished":
            with open_container(path) as container:
                yield container
            return
        self._has_end = path.is_fifo()
        file = GrowingFile(path, self._patience, self._stopped, on_wait)
        try:
            with self._opened_stream(file, path) as container:
                yield container
        finally:
            file.close()

    def _opened_stream(self, file: GrowingFile, path: Path) -> InputContainer:
        try:
            return av.open(file, "r", options={"format_whitelist": FORMATS}, metadata_errors="replace")
        except av.FFmpegError as error:
            refuse_lack_of_memory(error)
            raise VideoError(
                f"{path} cannot be opened as a video: {error.strerror}.",
                fix="check that it plays (ffplay FILE); if its writer has only begun, wait longer (--patience).",
            ) from error

    def _choose(self, container: InputContainer) -> VideoStream:
        stream = choose_stream(container, self.name)
        stream.thread_type = "SLICE"  # threads that take whole pictures would hold back as many as there are
        return stream

    def _check(self) -> None:
        """Refuse what cannot be opened, before a model of many gigabytes is read."""
        if self._device_format is not None:
            _check_device_format(self._device_format)
        elif self._scheme is None:
            _check_file(self._source)
        elif self._scheme not in _PROTOCOLS:
            raise InputError(
                f"{self._scheme} addresses are not opened.", fix=f"the kinds are {', '.join(sorted(_PROTOCOLS))}."
            )


def _scheme(name: str) -> str | None:
    """What an address begins with; None for any other name."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", name)
    return found[1].lower() if found else None


def _check_device_format(name: str) -> None:
    if name not in _DEVICES or not _is_built_in(name):
        raise InputError(
            f"{name} is no kind of camera that is read here.",
            fix="take v4l2 (Linux), avfoundation (macOS) or dshow (Windows); files and addresses need none.",
        )


def _is_built_in(name: str) -> bool:
    """Whether this FFmpeg build knows a format."""
    try:
        av.ContainerFormat(name, "r")
    except ValueError:
        return False
    return True


def _check_file(name: str) -> None:
    if name == "-":
        raise InputError(
            "- stands for the standard input, from which questions are read.",
            fix="name a file or a named pipe (mkfifo) that the video is written to.",
        )
    try:
        mode = Path(name).stat().st_mode
    except FileNotFoundError as error:
        raise VideoError(f"{name} does not exist.", fix="begin to write it first, or check the spelling.") from error
    except (OSError, ValueError) as error:  # too long a name, no rights to its folder, a zero byte in the name
        raise VideoError(f"{name} cannot be opened: {error}.", fix="check the path and your rights to it.") from error
    if stat.S_ISCHR(mode):
        raise VideoError(f"{name} is a device.", fix="tell what kind, e.g. --format v4l2 for a camera on Linux.")
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        raise VideoError(f"{name} is no file.", fix="name the file that is being written.")


def _converter(picture: VideoFrame) -> RGBConverter:
    """What makes all frames of the size that the first one has upright."""
    width, height = picture.width, picture.height
    return RGBConverter(height, width) if quarter_turns(picture.rotation) % 2 else RGBConverter(width, height)
