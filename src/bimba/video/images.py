"""Pictures: a png, jpeg, webp or bmp file goes in; its picture, or an animation's, come out upright, as frames."""

from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from bimba.errors import VideoError
from bimba.video.container import check_size
from bimba.video.info import RGBFrame, VideoInfo

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
# A phone's jpeg may carry a second picture (depth, gain map); in these formats a second picture is an animation.
_ANIMATED_FORMATS = ("PNG", "WEBP")
_EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "La", "RGBa"})
_EXIF_ORIENTATION = 0x0112
_EXIF_SIDEWAYS = frozenset({5, 6, 7, 8})
# Browsers show a picture of an animation that states less, mostly 0, for this long; so does FFmpeg with a gif.
_SHORTEST_MS, _DEFAULT_MS = 10.0, 100.0
# What Pillow raises for files that are cut or damaged, beside UnidentifiedImageError, which is an OSError.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def probe_image(path: Path) -> VideoInfo | None:
    """What an image or an animation holds, or None when the file is neither and may be a video.

    Raises:
        VideoError: the picture is too large, of more than 8 bits a colour, or damaged.
    """
    try:
        with _open(path) as image:
            _check_mode(image, path)
            size = _upright_size(image)
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
            for index in indices:
                if info.kind == "animation":
                    image.seek(index)
                yield _upright_rgb(image)
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
            array = _upright_rgb(image)
    except _DAMAGE as error:
        raise _unreadable(path, error) from error
    if (array.shape[1], array.shape[0]) == size:
        return array
    return np.array(Image.fromarray(array).resize(size, Image.Resampling.BICUBIC))


def _open(path: Path) -> Image.Image:
    return Image.open(path, formats=_FORMATS)


def _upright_rgb(image: Image.Image) -> RGBFrame:
    return np.array(ImageOps.exif_transpose(image).convert("RGB"))


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    sideways = image.getexif().get(_EXIF_ORIENTATION) in _EXIF_SIDEWAYS
    return (height, width) if sideways else (width, height)


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
