"""A video's tokens and what is known of it: kept in a file of its own, and asked about like the video itself.

An encoded video is a safetensors file `*.bimba`: one tensor "video" [V, D], and what `About` holds as JSON.

Shapes: V tokens of the video, separators included, D width of the language model.
"""

import glob
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from bimba.errors import InputError, VideoError
from bimba.inference.clip import Clip
from bimba.inference.encoded.origin import Origin
from bimba.video.sampling import SamplingOrRate, check_sampling
from bimba.video.source import Video

SUFFIX = ".bimba"
FORMAT = "bimba encoded video 1"
_TENSOR, _KEY = "video", "about"
_HEAD_BYTES = 1 << 20


@dataclass(frozen=True)
class About:
    """What is known of an encoded video.

    Attributes:
        encoder: hash of the model that encoded it, see `encoder_identity`.
        model: what that model was called.
        num_frames: that were looked at.
        indices: their numbers in the file.
        frame_seconds: their times; empty where they are unknown.
        printed_seconds: their times as the time sentence prints them.
        duration_seconds: of the whole video; 0 where it is unknown.
        settings: how frames were chosen and pooled.
        reading: options of `Video` with which their numbers hold.
        origin: the video that was encoded; None if it was no file.
        made_with: code, machine and time.
    """

    encoder: str
    model: str
    num_frames: int
    indices: tuple[int, ...]
    frame_seconds: tuple[float, ...]
    printed_seconds: tuple[float, ...]
    duration_seconds: float
    settings: dict[str, Any]
    reading: dict[str, Any]
    origin: Origin | None
    made_with: dict[str, Any]

    @property
    def pooling(self) -> tuple[int, int] | None:
        """By how much time and the sides of a frame were pooled; None where it was not written down."""
        names = ("temporal_pooling", "spatial_pooling")
        if any(type(self.settings.get(name)) is not int for name in names):
            return None
        temporal, spatial = (self.settings[name] for name in names)
        return temporal, spatial

    def differences(self, settings: dict[str, Any]) -> str:
        """How other settings differ, in words; "" if they do not."""
        names = sorted(self.settings.keys() | settings.keys())
        values = {name: (self.settings.get(name), settings.get(name)) for name in names}
        return ", ".join(f"{name} {old} there, {new} now" for name, (old, new) in values.items() if old != new)


@dataclass(frozen=True, eq=False)
class EncodedVideo:
    """A video as the language model reads it, to be asked about as often as one likes.

    Args:
        features: tokens [V, D].
        about: what is known of it.
        video: that it comes from; None if it was no file, or is not where it was.
        path: where it is kept; None if it is not.
    """

    features: Tensor
    about: About
    video: Video | None = None
    path: Path | None = None

    def __repr__(self) -> str:
        """Its size and where it comes from."""
        origin = "frames" if self.about.origin is None else Path(self.about.origin.path).name
        return f"EncodedVideo({origin}, {self.about.num_frames} frames, {len(self.features)} tokens)"

    def __enter__(self) -> "EncodedVideo":
        return self

    def __exit__(self, *reason: object) -> None:
        if self.video is not None:
            self.video.close()

    @property
    def start(self) -> float | None:
        """Where the part of the video begins that was encoded, in seconds; None for its beginning."""
        return self.about.settings.get("start")

    @property
    def end(self) -> float | None:
        """Where it ends."""
        return self.about.settings.get("end")

    def choose(self, num_frames: int, sampling: SamplingOrRate) -> Clip:
        """Its frames, whatever is asked: they are chosen already."""
        del num_frames
        check_sampling(sampling)
        return self.clip

    def shortened(self, num_frames: int, sampling: SamplingOrRate) -> Clip:
        """Its frames: none can be taken away."""
        return self.choose(num_frames, sampling)

    @property
    def clip(self) -> Clip:
        """Its frames, which can be decoded while the video that it comes from is there, and its tokens."""
        about = self.about
        return Clip(
            num_frames=about.num_frames,
            frames=lambda: self.source().frames(about.indices),
            frame_seconds=about.frame_seconds,
            printed_seconds=about.printed_seconds,
            duration_seconds=about.duration_seconds,
            indices=about.indices,
            features=self.features,
            pooling=about.pooling,
        )

    def source(self) -> Video:
        """The video that it comes from.

        Raises:
            VideoError: it was no file, or is no longer where it was.
        """
        if self.video is None:
            raise VideoError(
                f"the video of {self.path or 'these tokens'} is not at hand, so that its frames cannot be shown.",
                fix="put it where it was when it was encoded; questions can be asked without it.",
            )
        return self.video

    def check_encoder(self, identity: str, width: int) -> None:
        """Refuse what another model encoded.

        Args:
            identity: of the model that is asked, see `encoder_identity`.
            width: of its tokens, D.

        Raises:
            InputError: it is another one's.
            VideoError: the tokens are not as wide as its are.
        """
        if identity != self.about.encoder:
            raise InputError(
                f"{self.path or 'the video'} was encoded by another model ({self.about.model}): its encoder has the "
                f"hash {self.about.encoder[:12]}, that of the model that is asked {identity[:12]}.",
                fix="ask that model (--model; in float32 or bfloat16), or encode the video again (bimba encode).",
            )
        if self.features.shape[1] != width:
            raise _damaged(self.path or Path("the video"), f"its tokens are {self.features.shape[1]} wide, not {width}")

    def check_settings(self, settings: dict[str, Any]) -> None:
        """Refuse what was looked at in another way than is asked for.

        Args:
            settings: see `bimba.inference.encoded.describing.settings_of`.

        Raises:
            InputError: it was; says how.
        """
        differing = self.about.differences(settings)
        if differing:
            raise InputError(
                f"{self.path or 'the video'} was encoded in another way: {differing}.",
                fix="ask for the same, or encode the video again (bimba encode).",
            )

    def save(self, path: str | Path) -> Path:
        """Write it to a file, whole or not at all.

        Args:
            path: of the file, which should end in .bimba; what is there is replaced.

        Raises:
            InputError: it cannot be written there; no room is left, say.
        """
        target = Path(path)
        about = self.about
        if about.origin is not None and self.video is not None:
            # Seen from where it lies; its contents are those of before it was read.
            about = replace(about, origin=about.origin.seen_from(target.parent, Path(str(self.video.source))))
        elif about.origin is not None and self.path is not None:
            was_at = self.path.parent / about.origin.path
            about = replace(about, origin=about.origin.seen_from(target.parent, was_at))
        metadata = {"format": FORMAT, _KEY: json.dumps(asdict(about), ensure_ascii=False)}
        content = save({_TENSOR: self.features.detach().cpu().contiguous()}, metadata)
        partial = partial_of(target)
        try:
            with partial.open("wb") as written:
                written.write(content)
                written.flush()
                os.fsync(written.fileno())
            partial.replace(target)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise InputError(
                f"{target} cannot be written: {error.strerror or error} ({len(content):,} bytes).",
                fix="make room there, or name a file elsewhere.",
            ) from error
        return target


def partial_of(target: Path) -> Path:
    """What a file is called until it is whole."""
    return target.with_name(f".{target.name}.{os.getpid()}.part")


def partials_of(target: Path) -> Iterator[Path]:
    """What anybody has begun to write of a file."""
    return target.parent.glob(f".{glob.escape(target.name)}.*.part") if target.parent.is_dir() else iter(())


def is_ours(path: Path) -> bool:
    """Whether a file begins as an encoded video of this version does, whole or not."""
    try:
        with path.open("rb") as file:
            return FORMAT.encode() in file.read(_HEAD_BYTES)
    except OSError:
        return False


def read_encoded(path: str | Path, *, backend: str = "pyav", isolate: bool = False) -> EncodedVideo:
    """Read an encoded video.

    Args:
        path: of a file that `EncodedVideo.save` wrote.
        backend: decodes frames of the video that it comes from, if they are asked for; as of `Video`.
        isolate: in a process of its own.

    Raises:
        VideoError: it is no such file, is damaged or of another version, or the video that it comes from has changed.
    """
    file = Path(path)
    with _opened(file) as (opened, about):
        features = opened.get_tensor(_TENSOR)
    if features.ndim != 2 or not features.is_floating_point() or not features.numel():
        raise _damaged(file, f"its tokens are {features.dtype} {list(features.shape)}")
    video = None
    if about.origin is not None:
        source = about.origin.found_from(file.parent)
        if source is not None:
            _check_same(about.origin, source, file)
            video = Video(source, **about.reading, backend=backend, isolate=isolate)
    return EncodedVideo(features, about, video, file)


def read_about(path: Path) -> About:
    """What a file tells of the video that it holds; its tokens are not read.

    Raises:
        VideoError: it is no such file, is damaged, or of another version.
    """
    with _opened(path) as (_, about):
        return about


@contextmanager
def _opened(file: Path) -> Iterator[tuple[Any, About]]:
    if not file.is_file():
        raise VideoError(f"there is no file {file}.", fix="check the name; bimba encode VIDEO writes such files.")
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise VideoError(
                    f"{file} is no encoded video of this version, but {metadata.get('format', 'something else')!r}.",
                    fix="encode the video again (bimba encode).",
                )
            yield opened, _about(metadata.get(_KEY, ""), file)
    except (SafetensorError, OSError) as error:
        raise _damaged(file, str(error)) from error


def _damaged(file: Path, how: str) -> VideoError:
    return VideoError(
        f"{file} is no encoded video, or is damaged: {how}.", fix="encode the video again (bimba encode)."
    )


def _about(text: str, file: Path) -> About:
    try:
        content = json.loads(text)
        origin = content["origin"]
        tuples = {name: tuple(content[name]) for name in ("indices", "frame_seconds", "printed_seconds")}
        about = About(**content | tuples | {"origin": None if origin is None else Origin(**origin)})
        _check(about)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(file, f"what it says of its video cannot be read ({error})") from error
    return about


def _check(about: About) -> None:
    """Hold against each other what a header says.

    Raises:
        ValueError: it is not what `EncodedVideo.save` writes.
    """
    if type(about.num_frames) is not int or about.num_frames < 1:
        raise ValueError(f"num_frames is {about.num_frames!r}")
    if not about.settings.keys() or about.reading.keys() - Video("").reading.keys():
        raise ValueError(f"settings are {about.settings}, options of reading {about.reading}")
    for name in ("indices", "frame_seconds", "printed_seconds"):
        values = getattr(about, name)
        if len(values) not in (0, about.num_frames) or not all(isinstance(value, int | float) for value in values):
            raise ValueError(f"{name} are not those of {about.num_frames} frames")


def _check_same(origin: Origin, source: Path, file: Path) -> None:
    if not origin.is_same(source):
        raise VideoError(
            f"{source} is not what it was when {file} was made from it.",
            fix="encode it again (bimba encode); or, to ask about what it was, move the video away.",
        )
