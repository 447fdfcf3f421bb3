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
    settings = small_settings(fps="29.97", kinds=("digit",), num_needles="2-4", needle_seconds="0.2-0.5", copies=3)
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
        ({"kinds": ("shape", "sound")}, r"kinds\.1 = 'sound'"),
        (
            {"pictures": Path("photos")},
            r"pictures is photos, but kinds \(shape, digit, letter, caption\) has no picture",
        ),
        ({"num_needles": "6-2"}, r"num_needles = '6-2': the range 6-2 ends below its beginning"),
        ({"num_needles": "2-x"}, r"num_needles = '2-x': '2-x' is not a number or a range such as 2-6"),
        ({"num_needles": 2.5}, r"num_needles = 2\.5: 2\.5 is not a whole number or a range of them such as 2-6"),
        ({"num_needles": "0-3"}, r"num_needles = '0-3': '0-3' is not a positive number"),
        ({"num_needles": (1, 2, 3)}, r"num_needles = \(1, 2, 3\)"),
        ({"needle_seconds": "-1"}, r"needle_seconds = '-1'"),
        ({"needle_seconds": 0}, r"needle_seconds = 0"),
        ({"needle_seconds": float("nan")}, r"needle_seconds = nan"),
        ({"copies": None}, r"copies = None"),
        ({"scenes": 0}, r"scenes = 0"),
        ({"split": "dev"}, r"split = 'dev': Input should be 'train', 'validation' or 'test'"),
        ({"inserted": 1.5}, r"inserted = 1\.5"),
        ({"repeats": -0.1}, r"repeats = -0\.1"),
        ({"num_questions": 0}, r"num_questions = 0"),
        ({"gap_frames": -1}, r"gap_frames = -1"),
        ({"gap_frames": 0, "repeats": 0.5}, r"gap_frames is 0 with repeats"),
        ({"haystack": Path("a"), "photos": Path("b")}, r"haystack and photos are both given"),
        ({"haystack": Path("a"), "scenes": "1-3"}, r"scenes is 1-3, but the videos of haystack stay uncut"),
        ({"pair_window": 1}, r"pair_window = 1"),
        ({"pair_window": 16}, r"pair_window 16 does not fit twice into 30 frames"),
        ({"pair_window": 4, "num_needles": "1-3"}, r"pair_window needs at least 2 needles in each video, not 1"),
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
    with pytest.raises(InputError, match=r"no needle kind 'sound'.*\n.*shape, digit, letter, caption, picture"):
        parse_kinds("shape,sound")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (4, (4, 4)),
        ("4", (4, 4)),
        ("2-6", (2, 6)),
        (" 2 - 6 ", (2, 6)),
        ((2, 6), (2, 6)),
        ([2, 6], (2, 6)),
        ([3], (3, 3)),
    ],
)
def test_ranges_are_read_from_numbers_pairs_and_texts(written: object, read: tuple[int, int]) -> None:
    assert small_settings(num_needles=written).num_needles == read
    assert small_settings(needle_seconds=written).needle_seconds == tuple(map(float, read))


def test_durations_are_ranges_of_frames() -> None:
    assert small_settings(needle_seconds="0.25-1.04", fps=25).needle_frames == (6, 26)
    assert small_settings(needle_seconds=0.001).needle_frames == (1, 1)


def test_options_of_make_are_settings_under_shorter_names() -> None:
    options = {"videos": 3, "needles": "2-3", "questions": 5, "size": "64x48", "kinds": "digit,letter", "seconds": 9}
    settings = NeedleSettings.of_options(options)
    assert (settings.num_videos, settings.num_needles, settings.num_questions) == (3, (2, 3), 5)
    assert (settings.width, settings.height, settings.kinds) == (64, 48, ("digit", "letter"))
    assert NeedleSettings.of_options({"size": [64, 48]}).height == 48


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"needle": 3}, r"there is no 'needle'(?s:.)*use 'needles'"),
        ({"num_needles": 3}, r"there is no 'num_needles'"),
        ({"size": 64}, r"size is 64\.(?s:.)*448x336"),
        ({"size": "64"}, r"is not WIDTHxHEIGHT"),
        ({"kinds": "shape,sound"}, r"no needle kind 'sound'"),
    ],
)
def test_what_is_no_option_of_make_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        NeedleSettings.of_options(options)
