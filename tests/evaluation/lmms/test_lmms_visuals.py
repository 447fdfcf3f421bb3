"""What tasks of lmms-eval show becomes frames."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bimba.errors import BimbaError, InputError
from bimba.evaluation.lmms.visuals import shown


def test_nothing_shown_is_no_video() -> None:
    assert shown(None, 4, "uniform") is None
    assert shown([], 4, "uniform") is None
    assert shown([None, []], 4, "uniform") is None


def test_a_path_is_a_video_of_so_many_frames(video: Path) -> None:
    seen = shown([str(video)], 4, "uniform")
    assert seen is not None
    assert seen.clip.num_frames == 4
    assert len(list(seen.clip.frames())) == 4
    again = shown([[str(video)]], 4, "uniform")
    assert again is not None
    assert again.key == seen.key is not None


def test_a_part_of_a_video_is_that_part(video: Path) -> None:
    whole, part = (
        shown([one], 64, "uniform")
        for one in ({"path": str(video)}, {"url": str(video), "video_start": 0.5, "video_end": 1})
    )
    assert whole is not None
    assert part is not None
    assert whole.key != part.key
    assert 0.4 < min(part.clip.frame_seconds) <= max(part.clip.frame_seconds) <= 1.0
    assert max(whole.clip.frame_seconds) > 1.0


def test_pictures_are_frames_of_one_video(picture: Path) -> None:
    red = Image.new("RGB", (8, 6), "red")
    seen = shown([red, red.convert("L")], 1, "uniform")
    assert seen is not None
    assert seen.key is None
    assert [frame.shape for frame in seen.clip.frames()] == [(6, 8, 3), (6, 8, 3)]
    assert not seen.clip.has_times
    mixed = shown([red, str(picture)], 64, "uniform")
    assert mixed is not None
    frames = list(mixed.clip.frames())
    assert np.array_equal(frames[0], np.asarray(red))
    assert len(frames) == 2
    single = shown([str(picture)], 64, "uniform")
    assert single is not None
    assert np.array_equal(next(single.clip.frames()), frames[1])


def test_what_no_model_of_ours_reads_is_refused(video: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one video at a time"):
        shown([str(video), str(video)], 4, "uniform")
    for odd in (3, {"audio": "a.wav"}):
        with pytest.raises(InputError, match="leave this task out"):
            shown([odd], 4, "uniform")
    with pytest.raises(BimbaError, match=r"absent\.mp4"):
        shown([str(tmp_path / "absent.mp4")], 4, "uniform")
