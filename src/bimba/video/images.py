"""Pictures: a png, jpeg, webp or bmp file goes in; its picture, or an animation's, come out upright, as frames."""

import struct
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from bimba.errors import VideoError
from bimba.video.container import check_size
from bimba.video.info import RGBFrame, VideoInfo

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
# A phone's jpeg may carry a second picture (depth, gain map); in these formats a second picture is an animation.
_ANIMATED_FORMATS = ("PNG", "WEBP")
_EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "La", "RGBa"})
_EXIF_ORIENTATION = 0x0112
# What makes a picture of each orientation upright (EXIF 2.32, section 4.6.4 A). Pillow's own function for it also writes
# the EXIF data anew, and fails where an entry that nobody needs is odd.
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
# TypeError and struct.error are what `Image.open` expects of its readers, too. Of some damage it only warns, which raises
# where the user has made warnings errors.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error),
    *(Image.DecompressionBombError, Warning),
)


def probe_image(path: Path) -> VideoInfo | None:
    """What an image or an animation holds, or None when the file is neither and may be a video.

    Raises:
        VideoError: the picture is too large, of more than 8 bits a colour, or damaged.
    """
    try:
        with _open(path) as image:
            _check_mode(image, path)
            size = image.size[::-1] if _turn(image) in _SIDEWAYS else image.size
            check_size(*size, path)
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
        with _open(info.path) as image:
            turn = _turn(image)
            for index in indices:
                if info.kind == "animation":
                    image.seek(index)
                yield _upright_rgb(image, turn)
    except _DAMAGE as error:
        raise _unreadable(info.path, error) from error


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height of an upright picture; None when the file is none.

    Raises:
        VideoError: the picture is too large, of more than 8 bits a colour, or damaged.
    """
    info = probe_image(path)
    return None if info is None else (info.width, info.height)


def read_picture(path: Path, size: tuple[int, int]) -> RGBFrame:
    """Decode a picture, or the first of an animation, scaled to a width and height if it has others.

    Raises:
        VideoError: the picture is cut off or damaged.
    """
    try:
        with _open(path) as image:
            array = _upright_rgb(image, _turn(image))
    except _DAMAGE as error:
        raise _unreadable(path, error) from error
    if (array.shape[1], array.shape[0]) == size:
        return array
    return np.array(Image.fromarray(array).resize(size, Image.Resampling.BICUBIC))


def _open(path: Path) -> Image.Image:
    return Image.open(path, formats=_FORMATS)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """How to make a picture upright; asked before its pixels are read, since a png may say otherwise behind them."""
    return _TURNS.get(image.getexif().get(_EXIF_ORIENTATION))


def _upright_rgb(image: Image.Image, turn: Image.Transpose | None) -> RGBFrame:
    picture = image.convert("RGB")
    return np.array(picture if turn is None else picture.transpose(turn))


def _is_animated(image: Image.Image) -> bool:
    num_pictures = getattr(image, "n_frames", 1)  # only Pillow's multi-picture formats have the attribute
    return image.format in _ANIMATED_FORMATS and num_pictures > 1


def _start_seconds(image: Image.Image, path: Path) -> list[float]:
    """When each picture of an animation comes, and when the last one ends."""
    milliseconds = [0.0]
    num_pictures: int = image.n_frames  # type: ignore[attr-defined] # as `_is_animated` has found
    for index in range(num_pictures):
        try:
            image.seek(index)
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
