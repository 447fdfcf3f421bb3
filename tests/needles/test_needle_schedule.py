import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bimba.errors import InputError
from bimba.needles.schedule import most_needles, schedule_needles
from bimba.needles.seeds import generator, video_seed


@given(st.data())
def test_needles_stay_inside_the_video_with_a_bare_frame_between_them(data: st.DataObject) -> None:
    needle_frames = data.draw(st.integers(1, 20))
    num_frames = data.draw(st.integers(needle_frames, 400))
    num_needles = data.draw(st.integers(1, most_needles(num_frames, needle_frames)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    first = schedule_needles(
        rng, num_needles=num_needles, num_frames=num_frames, needle_frames=needle_frames, fps=Fraction(25)
    )
    assert len(first) == num_needles
    assert first[0] >= 0
    assert first[-1] + needle_frames <= num_frames
    assert all(later - earlier > needle_frames for earlier, later in itertools.pairwise(first))


@pytest.mark.parametrize(("num_frames", "needle_frames", "most"), [(30, 5, 5), (29, 5, 5), (28, 5, 4), (4, 5, 0)])
def test_too_many_needles_are_refused_with_the_number_that_fits(num_frames: int, needle_frames: int, most: int) -> None:
    with pytest.raises(InputError, match=rf"{most + 1} needles of 0.5 seconds do not fit .*: {most} fit\.") as error:
        schedule_needles(
            np.random.default_rng(0),
            num_needles=most + 1,
            num_frames=num_frames,
            needle_frames=needle_frames,
            fps=Fraction(10),
        )
    assert ("--needles" in error.value.fix) == (most > 0)
    assert "--needle-seconds" in error.value.fix


def test_streams_differ_by_seed_and_by_purpose() -> None:
    assert len({video_seed(seed, index) for seed in range(20) for index in range(20)}) == 400
    assert 0 <= video_seed(0, 0) < 2**53
    drawn = {int(generator(seed, purpose).integers(2**60)) for seed in range(5) for purpose in ("a", "b", "c")}
    assert len(drawn) == 15
