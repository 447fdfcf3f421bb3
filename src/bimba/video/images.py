"""Still images: a png, jpeg, webp or bmp file goes in, its upright picture comes out as one frame."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from bimba.errors import VideoError

_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
# A phone's jpeg may carry a second picture (depth, gain map); in these formats a second picture is an animation.
_ANIMATED_FORMATS = ("PNG", "WEBP")
_EIGHT_BIT_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "La", "RGBa"})
_EXIF_ORIENTATION = 0x0112
_EXIF_SIDEWAYS = frozenset({5, 6, 7, 8})


def image_size(path: Path) -> tuple[int, int] | None:
    """Width and height of the upright picture, or None when the file is no still image and may be a video.

    Raises:
        VideoError: the file is an image, but an animated one, too large, or of more than 8 bits a colour.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            _check_still(image, path)
            width, height = image.size
            sideways = image.getexif().get(_EXIF_ORIENTATION) in _EXIF_SIDEWAYS
    except UnidentifiedImageError:
        return None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error
    return (height, width) if sideways else (width, height)


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Decode a still image, turned as its EXIF orientation says; transparency is dropped, as the public code does.

    Returns:
        uint8 RGB [H, W, 3].

    Raises:
        VideoError: the picture is cut off or damaged.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _check_still(image: Image.Image, path: Path) -> None:
    num_pictures = getattr(image, "n_frames", 1)  # only Pillow's multi-picture formats have the attribute
    if image.format in _ANIMATED_FORMATS and num_pictures > 1:
        raise VideoError(
            f"{path} is an animated {image.format} of {num_pictures} pictures; only stills and videos are read.",
            fix="convert it to a video: ffmpeg -i in.gif out.mp4, or save one picture as png.",
        )
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
