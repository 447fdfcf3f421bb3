from collections import Counter

import numpy as np
import pytest
from needle_runs import planned_stream, small_settings, varied_videos

from bimba.errors import InputError
from bimba.needles import Needle, VideoRecord, plan_video, render_frame
from bimba.needles.contents import Picture
from bimba.needles.openmoji import concepts
from bimba.needles.seeds import HELD_OUT_SHARE, is_held_out, video_seed
from bimba.needles.settings import NEEDLE_KINDS, SPLITS, Split


def third(needle: Needle, video: VideoRecord) -> int:
    """The third of the video that the middle of a needle lies in, in whole numbers."""
    return (needle.first_frame + needle.last_frame + 1) * 3 // (2 * video.num_frames)


def pictures_in(split: Split, num_videos: int = 400) -> list[tuple[VideoRecord, Needle]]:
    stream = planned_stream(
        split=split, kinds=("picture",), num_needles="4-8", needle_seconds=1, num_videos=num_videos, num_questions=1
    )
    return [(video.record, needle) for video in stream for needle in video.record.needles]


def test_no_two_splits_share_a_seed() -> None:
    seeds = {split: {video_seed(run, i, split) for run in range(3) for i in range(3000)} for split in SPLITS}
    assert [len(of_split) for of_split in seeds.values()] == [9000, 9000, 9000]
    assert len(set().union(*seeds.values())) == 27000
    remainders = [{seed % len(SPLITS) for seed in seeds[split]} for split in SPLITS]
    assert remainders == [{0}, {1}, {2}], "no run of any seed can share one"
    assert all(0 <= seed < 2**53 for seed in set().union(*seeds.values())), "JSON readers get it back exactly"


def test_no_two_splits_share_a_video() -> None:
    plans = [plan_video(small_settings(split=split), 0) for split in SPLITS]
    assert len({str([needle.record for needle in plan.needles]) for plan in plans}) == 3
    assert len({render_frame(plan, 0).tobytes() for plan in plans}) == 3


@pytest.mark.parametrize("split", ["train", "validation"])
def test_held_out_pairs_are_never_in_train_or_validation(split: Split) -> None:
    shown = pictures_in(split)
    assert len(shown) > 2000
    assert not any(needle.held_out for _, needle in shown)
    assert not any(is_held_out(needle.description, third(needle, video)) for video, needle in shown)


def test_held_out_pairs_are_in_test_and_marked() -> None:
    shown = pictures_in("test")
    assert [needle.held_out for _, needle in shown] == [is_held_out(n.description, third(n, v)) for v, n in shown]
    share = sum(needle.held_out for _, needle in shown) / len(shown)
    assert 0.07 < share < 0.13


def test_one_in_ten_pairs_of_a_picture_and_a_third_is_held_out() -> None:
    held_out = [is_held_out(concept.name, place) for concept in concepts() for place in range(3)]
    assert 0.7 < HELD_OUT_SHARE * sum(held_out) / len(held_out) < 1.3


def test_whether_a_pair_is_held_out_never_changes() -> None:
    """Models were trained with these; another choice would put what they know into the test."""
    names = ("bee", "fox", "frog", "peacock", "whale", "house", "boot")
    held_out = {(name, place) for name in names for place in range(3) if is_held_out(name, place)}
    assert held_out == {("fox", 2), ("frog", 1), ("frog", 2), ("peacock", 0), ("whale", 1), ("house", 0), ("boot", 2)}


def test_train_shows_every_picture_in_the_thirds_where_it_may_stand() -> None:
    thirds = Counter(third(needle, video) for video, needle in pictures_in("train"))
    assert max(thirds.values()) < 1.25 * min(thirds.values())


@pytest.mark.parametrize("name", ["all kinds", "repeats"])
def test_only_pictures_are_held_out(name: str) -> None:
    _, videos = varied_videos(name)
    assert {n.kind for video in videos for n in video.record.needles if n.held_out} <= {"picture"}


def test_train_with_repeats_and_a_pair_holds_out_too() -> None:
    for changes in ({"repeats": 1.0}, {"pair_window": 8}):
        stream = planned_stream(split="train", kinds=NEEDLE_KINDS, num_needles="2-6", num_videos=100, **changes)
        shown = [(video.record, needle) for video in stream for needle in video.record.needles]
        pictures = [(video, needle) for video, needle in shown if needle.kind == "picture"]
        assert len(pictures) > 30
        assert not any(is_held_out(needle.description, third(needle, video)) for video, needle in pictures)


def test_a_train_split_with_nothing_to_show_says_so() -> None:
    place = next(c.name for c in concepts() if is_held_out(c.name, 1))
    hexcode = next(concept.hexcode for concept in concepts() if concept.name == place)
    # One needle that fills the whole video stands in its middle.
    settings = small_settings(kinds=("picture",), num_needles=1, needle_seconds=3, split="train")
    with pytest.raises(InputError, match=r"no 1 needles were found(?s:.)*--split test"):
        plan_video(settings, 0, [Picture(place, hexcode=hexcode)])
    plan = plan_video(settings.model_copy(update={"split": "test"}), 0, [Picture(place, hexcode=hexcode)])
    assert [needle.record.held_out for needle in plan.needles] == [True]


def test_places_are_drawn_from_every_third_alike() -> None:
    places = [third(n, v.record) for v in varied_videos("plain")[1] for n in v.record.needles]
    counts = np.bincount(places, minlength=3)
    assert counts.max() < 1.25 * counts.min()
