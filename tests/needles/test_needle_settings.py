from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from needle_runs import small_settings

from bimba.errors import InputError
from bimba.needles import NeedleSettings, exact_fps
from bimba.needles.settings import parse_kinds, parse_size, whole_frames


@pytest.mark.parametrize(
    ("written", "exact"),
    [
        (25, Fraction(25)),
        ("25", Fraction(25)),
        (12.5, Fraction(25, 2)),
        (0.1, Fraction(1, 10)),
        (29.97, Fraction(30000, 1001)),
        ("29.97", Fraction(30000, 1001)),
        (23.976, Fraction(24000, 1001)),
        ("23.98", Fraction(24000, 1001)),
        (59.94, Fraction(60000, 1001)),
        ("30000/1001", Fraction(30000, 1001)),
        ("2997/100", Fraction(2997, 100)),
        (Fraction(30), Fraction(30)),
    ],
)
def test_frame_rate_becomes_exact(written: object, exact: Fraction) -> None:
    assert exact_fps(written) == exact


@pytest.mark.parametrize("wrong", ["fast", "1/0", None, True, 0, -5, 1001, float("nan"), float("inf")])
def test_what_is_no_frame_rate_is_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="frame rate"):
        exact_fps(wrong)


@given(st.integers(1, 100_000), st.sampled_from([Fraction(25), Fraction(30000, 1001), Fraction(1, 3)]))
def test_a_length_of_whole_frames_keeps_its_frames(num_frames: int, fps: Fraction) -> None:
    assert whole_frames(float(num_frames / fps), fps) == num_frames


def test_settings_survive_json() -> None:
    settings = small_settings(fps="29.97", kinds=("digit",))
    assert NeedleSettings.model_validate_json(settings.model_dump_json()) == settings


def test_unknown_setting_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no setting 'need_seconds'.*\n.*use 'needle_seconds'"):
        NeedleSettings.checked({"need_seconds": 1})


def test_unknown_setting_without_a_near_one_lists_all() -> None:
    with pytest.raises(InputError, match=r"use seed, num_videos, seconds"):
        NeedleSettings.checked({"qqqq": 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seconds": 0}, r"seconds = 0: Input should be greater than 0"),
        ({"seconds": float("inf")}, r"seconds = inf"),
        ({"width": 8}, r"width = 8: .*at least|width = 8: .*greater than or equal to 32"),
        ({"fps": "soon"}, r"fps = 'soon': 'soon' is not a frame rate such as 25, 29.97"),
        ({"num_videos": 0}, r"num_videos = 0"),
        ({"num_needles": 0}, r"num_needles = 0"),
        ({"seed": -1}, r"seed = -1"),
        ({"container": "avi"}, r"container = 'avi': Input should be 'mp4', 'mkv' or 'webm'"),
        ({"kinds": ("shape", "shape")}, r"kinds names one of shape, shape twice"),
        ({"kinds": ("picture",)}, r"kinds has picture, but there is no pictures folder"),
        ({"pictures": Path("photos")}, r"pictures is photos, but kinds \(shape, digit, caption\) has no picture"),
    ],
)
def test_value_out_of_range_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small_settings(**changes)


def test_size_and_kinds_are_read_from_text() -> None:
    assert parse_size(" 640X360 ") == (640, 360)
    assert parse_kinds("digit, shape") == ("digit", "shape")


@pytest.mark.parametrize("wrong", ["640", "640x", "axb", "-1x20", "1x2x3"])
def test_what_is_no_size_is_refused(wrong: str) -> None:
    with pytest.raises(InputError, match=r"is not WIDTHxHEIGHT.*\n.*448x336"):
        parse_size(wrong)


def test_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no needle kind 'sound'.*\n.*shape, digit, caption, picture"):
        parse_kinds("shape,sound")
