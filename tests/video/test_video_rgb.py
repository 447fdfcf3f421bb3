"""Colours: what was drawn comes back, whatever matrix, range, depth or brightness the file stores it in."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.filter import Graph
from video_files import Frame, assert_all_frames_right, converted_frames, decoder_frames, sequential_frames

from bimba.video.decode import decode_frames, iter_frames
from bimba.video.decoders.rgb import RGBConverter, quarter_turns
from bimba.video.probe import probe

Array = npt.NDArray[np.float64]

WIDTH, HEIGHT = 96, 64
# Weights of red and blue in luma, and FFmpeg's number of the matrix (ITU-T H.273, table 4).
BT601, BT709, BT2020 = (0.299, 0.114, 6), (0.2126, 0.0722, 1), (0.2627, 0.0593, 9)
LIMITED, FULL = 1, 2
PQ, HLG = 16, 18
# ITU-R BT.2087: the primaries of BT.709 in those of BT.2020.
TO_BT2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
WHITE_NITS = 203  # ITU-R BT.2408


def smooth_picture(number: int) -> Frame:
    """Colours that change slowly, as colour is stored for four pixels at once, and a red box that moves."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    red, green = 40 + 170 * columns / WIDTH, 60 + 120 * rows / HEIGHT
    blue = 200 - 140 * columns / WIDTH * rows / HEIGHT + number * 2
    picture = np.stack([red, green, blue], axis=-1).round().astype(np.uint8)
    picture[16:32, 12 + 4 * number : 24 + 4 * number] = (230, 60, 50)
    return picture


def to_planes(rgb: Array, matrix: tuple[float, float, int], *, bits: int, is_full: bool) -> list[Array]:
    """Planes of yuv420p from RGB on the scale 0 to 1 (ITU-T H.273, section 8.3)."""
    weight_red, weight_blue, _ = matrix
    luma = rgb @ np.array([weight_red, 1 - weight_red - weight_blue, weight_blue])
    blue = (rgb[..., 2] - luma) / (2 * (1 - weight_blue))
    red = (rgb[..., 0] - luma) / (2 * (1 - weight_red))
    most, scale = 2**bits - 1, 2 ** (bits - 8)
    chroma = [plane.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).mean(axis=(1, 3)) for plane in (blue, red)]
    if is_full:
        planes = [luma * most, *(plane * most + (most + 1) / 2 for plane in chroma)]
    else:
        planes = [(16 + 219 * luma) * scale, *((128 + 224 * plane) * scale for plane in chroma)]
    return [plane.round().clip(0, most) for plane in planes]


def write_colours(
    path: Path,
    pictures: list[Array],
    matrix: tuple[float, float, int] = BT709,
    *,
    bits: int = 8,
    colour_range: int = LIMITED,
    transfer: int = 1,
    primaries: int = 1,
) -> Path:
    """Encode RGB pictures on the scale 0 to 1 without loss, or almost, with what their numbers mean in the tags."""
    tags = {"colorspace": matrix[2], "color_range": colour_range, "color_trc": transfer, "color_primaries": primaries}
    pix_fmt = "yuv420p" if bits == 8 else f"yuv420p{bits}le"
    with av.open(path, "w") as container:
        codec, options = ("ffv1", {}) if path.suffix == ".mkv" else ("libx264", {"crf": "1"})
        stream = container.add_stream(codec, rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame(WIDTH, HEIGHT, pix_fmt)
            planes = to_planes(picture, matrix, bits=bits, is_full=colour_range == FULL)
            for plane, values in zip(frame.planes, planes, strict=True):
                rows = np.zeros((plane.height, plane.line_size // (1 if bits == 8 else 2)))
                rows[:, : values.shape[1]] = values
                plane.update(rows.astype(np.uint8 if bits == 8 else "<u2").tobytes())
            for name, value in tags.items():
                setattr(frame, name, value)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def mean_error(frames: npt.NDArray[np.uint8] | list[Frame], pictures: list[Frame]) -> float:
    """Mean difference in levels of 255."""
    return float(np.abs(np.asarray(frames).astype(int) - np.asarray(pictures)).mean())


@pytest.mark.parametrize("extension", ["mkv", "mp4"])
@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("colour_range", [LIMITED, FULL], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [BT601, BT709, BT2020], ids=["BT.601", "BT.709", "BT.2020"])
def test_what_was_drawn_comes_back_from_every_matrix_range_and_depth(
    tmp_path: Path, extension: str, bits: int, colour_range: int, matrix: tuple[float, float, int]
) -> None:
    pictures = [smooth_picture(number) for number in range(4)]
    path = write_colours(
        tmp_path / f"colours.{extension}", [picture / 255 for picture in pictures], matrix,
        bits=bits, colour_range=colour_range,
    )  # fmt: skip
    info = probe(path)
    assert mean_error(decode_frames(info, range(4)), pictures) < 2.5
    assert_all_frames_right(info, converted_frames(path, info))
    if bits == 8:
        assert_all_frames_right(info, sequential_frames(path))


def test_a_wrong_matrix_would_be_seen(tmp_path: Path) -> None:
    pictures = [smooth_picture(number) for number in range(2)]
    written = [picture / 255 for picture in pictures]
    right = write_colours(tmp_path / "right.mkv", written, BT601)
    wrong = write_colours(tmp_path / "wrong.mkv", written, (*BT601[:2], BT709[2]))
    errors = [mean_error(decode_frames(probe(path), range(2)), pictures) for path in (right, wrong)]
    assert errors[0] < 2.5 < 4 < errors[1]


def linear(picture: Frame) -> Array:
    """Light from levels of sRGB (IEC 61966-2-1)."""
    levels = picture / 255
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


def perceptual_quantizer(light: Array) -> Array:
    """PQ's levels of light, 1 for 10,000 nits (SMPTE ST 2084)."""
    power = light.clip(0, 1) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def hybrid_log_gamma(light: Array) -> Array:
    """HLG's levels of light on a display of 1,000 nits (ITU-R BT.2100, table 5, with the inverse of its OOTF)."""
    luminance = (light @ np.array([0.2627, 0.678, 0.0593]))[..., None]
    scene = np.where(luminance > 0, luminance ** (-0.2 / 1.2), 0) * light
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


@pytest.mark.parametrize(
    ("transfer", "curve", "peak_nits", "times_better"),
    [(PQ, perceptual_quantizer, 10_000, 3.0), (HLG, hybrid_log_gamma, 1_000, 1.8)],
    ids=["PQ", "HLG"],
)
def test_hdr_comes_out_close_to_what_a_usual_screen_showed(
    tmp_path: Path, transfer: int, curve: Callable[[Array], Array], peak_nits: int, times_better: float
) -> None:
    pictures = [smooth_picture(number) for number in range(3)]
    bright = [curve(linear(picture) @ TO_BT2020.T * WHITE_NITS / peak_nits) for picture in pictures]
    path = write_colours(tmp_path / "hdr.mkv", bright, BT2020, bits=10, transfer=transfer, primaries=9)
    info = probe(path)
    frames = list(iter_frames(info, range(3)))
    plain = sequential_frames(path)
    assert mean_error(frames, pictures) < 10
    assert mean_error(frames, pictures) * times_better < mean_error(plain, pictures)
    if transfer == PQ:  # setting up the conversion takes seconds
        np.testing.assert_array_equal(frames, converted_frames(path, info))


def test_hdr_of_eight_bits_is_mapped_as_well(tmp_path: Path) -> None:
    pictures = [smooth_picture(number) for number in range(2)]
    bright = [perceptual_quantizer(linear(picture) @ TO_BT2020.T * WHITE_NITS / 10_000) for picture in pictures]
    path = write_colours(tmp_path / "hdr.mp4", bright, BT2020, transfer=PQ, primaries=9)
    frames = decode_frames(probe(path), [0, 1])
    assert mean_error(frames, pictures) * 2.5 < mean_error(sequential_frames(path), pictures)


def test_one_conversion_serves_all_pictures_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Graph] = []

    def noted() -> Graph:
        made.append(Graph())
        return made[-1]

    monkeypatch.setattr("bimba.video.decoders.rgb.Graph", noted)
    written = [smooth_picture(number) / 255 for number in range(4)]
    decode_frames(probe(write_colours(tmp_path / "deep.mkv", written, bits=10)), range(4))
    assert len(made) == 1
    decode_frames(probe(write_colours(tmp_path / "plain.mkv", written)), range(4))
    assert len(made) == 1


def test_pictures_of_another_size_are_scaled(tmp_path: Path) -> None:
    path = write_colours(tmp_path / "deep.mkv", [smooth_picture(0) / 255], bits=10)
    (picture,) = decoder_frames(path)
    small = RGBConverter(48, 32)(picture)
    assert small.shape == (32, 48, 3)
    assert abs(float(small.mean()) - float(smooth_picture(0).mean())) < 3


@pytest.mark.parametrize(
    ("degrees", "turns"), [(0, 0), (90, 1), (-90, 3), (180, 2), (-180, 2), (270, 3), (360, 0), (1, 0), (89, 1)]
)
def test_angles_are_quarter_turns(degrees: int, turns: int) -> None:
    assert quarter_turns(degrees) == turns
