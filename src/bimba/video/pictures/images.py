"""Pictures: a png, jpeg, webp or bmp file goes in; its picture, or an animation's, come out upright, as frames."""

import struct
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import (  # imported, a plugin is among the readers in `Image.OPEN`
    BmpImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from bimba.errors import VideoError
from bimba.video.containers.opening import check_size
from bimba.video.info import RGBFrame, VideoInfo

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
# A phone's jpeg may carry a second picture (depth, gain map); in these formats a second picture is an animation.
_ANIMATED_FORMATS = ("PNG", "WEBP")
_JPEG_STREAMS = frozenset({".mjpeg", ".mjpg"})  # jpegs one after the other: in content a jpeg with more behind it
_EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "La", "RGBa"})
_LONGEST_SIGNATURE = 16  # bytes by which Pillow knows a format
_EXIF_ORIENTATION = 0x0112
# What makes a picture of each orientation upright (EXIF 2.32, section 4.6.4 A). Pillow's own function for it also
# writes the EXIF data anew, and fails where an entry that nobody needs is odd.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset(_TURNS[orientation] for orientation in (5, 6, 7, 8))
# Browsers show a picture of an animation that states less, mostly 0, for this long; so does FFmpeg with a gif.
_SHORTEST_MS, _DEFAULT_MS = 10.0, 100.0
# What Pillow raises for files that are cut or damaged, beside UnidentifiedImageError, which is an OSError. IndexError,
# TypeError and struct.error are what `Image.open` expects of its readers, too. Of some damage it only warns, which
# raises where the user has made warnings errors.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error),
    *(Image.DecompressionBombError, Warning),
)


def probe_image(path: Path) -> VideoInfo | None:
    """What an image or an animation holds, or None when the file is neither and may be a video.

    Raises:
        VideoError: the picture is too large, of more than 8 bits a colour, or damaged.
    """
    if path.suffix.lower() in _JPEG_STREAMS:
        return None
    try:
        with _opened(path) as image:
            _check_mode(image, path)
            check_size(*image.size, path)  # before anything of it is decoded; a png's orientation may lie at its end
            size = image.size[::-1] if _turn(image) in _SIDEWAYS else image.size
            codec = str(image.format).lower()
            seconds = _start_seconds(image, path) if _is_animated(image) else None
    except UnidentifiedImageError:
        return None
    except _DAMAGE as error:
        raise _unreadable(path, error) from error
    if seconds is None:
        return VideoInfo(path, "image", *size, 1, 1.0, np.zeros(1), is_timed=False, codec=codec)
    *starts, end = seconds
    average_fps = len(starts) / end
    constant = np.arange(len(starts)) / average_fps
    # An animation stores milliseconds.
    is_constant = np.abs(constant - starts).max() <= 1 / 1000
    times = constant if is_constant else np.array(starts)
    return VideoInfo(path, "animation", *size, len(starts), average_fps, times, is_timed=True, codec=codec)


def read_animation(info: VideoInfo, indices: Sequence[int]) -> Generator[RGBFrame]:
    """Decode pictures of an image (it has one) or animation, strictly ascending.

    They are turned as the EXIF orientation says; transparency is dropped, as the public code does.

    Raises:
        VideoError: a picture is cut off or damaged.
    """
    info.check_unchanged()
    try:
        with _opened(info.path) as image:
            turn = _turn(image)
            first = _first_shown(image)
            for index in indices:
                if info.kind == "animation":
                    image.seek(first + index)
                yield _upright_rgb(image, turn)
        info.check_unchanged()
    except _DAMAGE as error:
        raise _unreadable(info.path, error) from error


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height of an upright picture; None when the file is none.

    Raises:
        VideoError: the picture is too large, of more than 8 bits a colour, or damaged.
    """
    info = probe_image(path)
    return None if info is None else (info.width, info.height)


def read_picture(path: Path) -> RGBFrame | None:
    """Decode a picture, or the first of an animation; None when the file is none.

    Raises:
        VideoError: the picture is too large, of more than 8 bits a colour, cut off or damaged.
    """
    try:
        with _opened(path) as image:
            _check_mode(image, path)
            check_size(*image.size, path)
            return _upright_rgb(image, _turn(image))
    except UnidentifiedImageError:
        return None
    except _DAMAGE as error:
        raise _unreadable(path, error) from error


def scaled(picture: RGBFrame, size: tuple[int, int]) -> RGBFrame:
    """A picture at another width and height."""
    return np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An open picture; `Image.open` would first warn of sizes that `check_size` allows, and then not name the size.

    Raises:
        UnidentifiedImageError: it is none.
    """
    with path.open("rb") as file:
        start = file.read(_LONGEST_SIGNATURE)
        file.seek(0)
        for name in _FORMATS:
            reader, accepts = Image.OPEN[name]
            if accepts is not None and accepts(start) is True:
                yield reader(file, str(path))
                return
    raise UnidentifiedImageError(f"cannot identify image file {path}")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """How to make a picture upright; asked before its pixels are read, since a png may say otherwise behind them."""
    return _TURNS.get(image.getexif().get(_EXIF_ORIENTATION, 1))


def _upright_rgb(image: Image.Image, turn: Image.Transpose | None) -> RGBFrame:
    picture = image.convert("RGB")
    return np.array(picture if turn is None else picture.transpose(turn))


def _is_animated(image: Image.Image) -> bool:
    num_pictures = getattr(image, "n_frames", 1)  # only Pillow's multi-picture formats have the attribute
    return image.format in _ANIMATED_FORMATS and num_pictures > 1


def _first_shown(image: Image.Image) -> int:
    """Number of an animation's first picture; a png may start with one for those that show no animations."""
    return int(image.info.get("default_image", False))


def _start_seconds(image: Image.Image, path: Path) -> list[float]:
    """When each picture of an animation comes, and when the last one ends."""
    milliseconds = [0.0]
    first = _first_shown(image)
    num_pictures: int = image.n_frames - first  # type: ignore[attr-defined] # as `_is_animated` has found
    for index in range(num_pictures):
        try:
            image.seek(first + index)
            image.load()  # a webp's picture tells its duration only then
        except _DAMAGE as error:
            raise VideoError(
                f"{path} gave {index} of its {num_pictures} pictures: the next one is damaged ({error}).",
                fix="save the animation again, or convert it to a video: ffmpeg -i in.webp out.mp4.",
            ) from error
        duration = float(image.info.get("duration", 0.0))
        milliseconds.append(milliseconds[-1] + (duration if duration >= _SHORTEST_MS else _DEFAULT_MS))
    return [value / 1000 for value in milliseconds]


def _check_mode(image: Image.Image, path: Path) -> None:
    if image.mode not in _EIGHT_BIT_MODES:
        raise VideoError(
            f"{path} has pixels of mode {image.mode}, but 8 bits a colour are needed.",
            fix="save it with 8 bits a colour, for example: ffmpeg -i in.png -pix_fmt rgb24 out.png.",
        )


def _unreadable(path: Path, error: BaseException) -> VideoError:
    return VideoError(
        f"{path} looks like an image but cannot be read: {error}.",
        fix="open it in an image viewer to see whether it is complete, and save it again as png or jpeg.",
    )
