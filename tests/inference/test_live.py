"""A video that goes on is watched frame by frame; what is answered is what the whole so far would give."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bimba
from bimba.errors import InputError
from bimba.inference import Answer, LiveVideo, VideoQA
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.tiny import tiny_config, tiny_model


def frames(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 24, 32, 3), dtype=np.uint8)


def watched(qa: VideoQA, pictures: np.ndarray, every: float = 0.5, **options: Any) -> LiveVideo:
    live = qa.watch(**options)
    for number, picture in enumerate(pictures):
        live.push(picture, number * every)
    return live


@torch.no_grad()
def whole(qa: VideoQA, pictures: np.ndarray) -> torch.Tensor:
    """Tokens [V, D] of all frames at once, by a stream that sees them in one piece."""
    tokens = qa.model.project(qa.model.get_vision_features(qa.processor.make_pixels(pictures)))
    stream = qa.model.grow(1000)
    stream.push(tokens[None], [0.0] * len(pictures))
    return qa.model.pack(stream.finish()[0])


@pytest.mark.parametrize("temporal_pooling", [1, 4])
def test_frames_that_arrive_one_by_one_give_what_all_at_once_give(model: Path, temporal_pooling: int) -> None:
    qa = bimba.load(str(model), dtype="float32", config_overrides={"temporal_pooling": temporal_pooling})
    pictures = frames(37)
    live = qa.watch()
    for number, picture in enumerate(pictures, start=1):
        live.push(picture, number / 2)
        if number in (4, 5, 16, 17, 37):
            encoded = live.so_far()
            torch.testing.assert_close(encoded.features, whole(qa, pictures[:number]), rtol=1e-4, atol=1e-4)
            assert encoded.frame_seconds == tuple(each / 2 for each in range(1, number + 1))
    assert (live.num_frames, live.seconds) == (37, 18.5)


def test_a_group_of_frames_is_answered_as_a_video_of_them(tiny: VideoQA) -> None:
    """For one group the fixed places are the released ones: the answer is that to the frames as a video."""
    [picture] = frames(1)
    live = tiny.watch(time_sentence=False)
    live.push(picture, 0.0)
    expected = tiny.ask(picture[None], "What?", max_new_tokens=6)
    answer = live.ask("What?", max_new_tokens=6)
    assert answer.token_ids == expected.token_ids
    assert answer.num_prompt_tokens == expected.num_prompt_tokens


def test_the_prompt_is_that_of_the_frames_so_far(tiny: VideoQA) -> None:
    live = watched(tiny, frames(5))
    answer = live.ask("What?", max_new_tokens=3)
    assert answer.frame_seconds == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert answer.num_video_tokens == tiny.processor.num_video_tokens(5)
    bare = watched(tiny, frames(5), time_sentence=False).ask("What?", max_new_tokens=3)
    sentence = (
        "The video lasts for 2.00 seconds, and 5 frames are uniformly sampled from it. These frames are located at "
        "0.00s,0.50s,1.00s,1.50s,2.00s.Please answer the following questions related to this video.\n"
    )
    assert answer.num_prompt_tokens - bare.num_prompt_tokens == len(sentence)  # its tokens are bytes
    assert {"encode", "prompt", "generate", "total"} <= set(answer.timings)


def test_the_budget_is_kept_and_the_times_stay_few(tiny: VideoQA) -> None:
    budget = tiny.processor.num_video_tokens(8)
    live = watched(tiny, frames(50), every=1.0, max_video_tokens=budget + 3)
    assert (live.most_groups, live.max_video_tokens) == (8, budget)
    assert live.is_thinned
    answer = live.ask("What?", max_new_tokens=3)
    assert answer.num_video_tokens == budget
    assert len(answer.frame_seconds) == 8
    assert answer.frame_seconds[-4:] == [46.0, 47.0, 48.0, 49.0]
    assert answer.frame_seconds[0] == 0.0
    assert answer.frame_seconds == sorted(set(answer.frame_seconds))
    assert not watched(tiny, frames(8), max_video_tokens=budget).is_thinned


def test_asking_changes_nothing(tiny: VideoQA) -> None:
    pictures = frames(21)
    quiet = watched(tiny, pictures, max_video_tokens=tiny.processor.num_video_tokens(6))
    asked = tiny.watch(max_video_tokens=tiny.processor.num_video_tokens(6))
    for number, picture in enumerate(pictures):
        asked.push(picture, number * 0.5)
        first, second = asked.so_far(), asked.so_far()
        torch.testing.assert_close(first.features, second.features, rtol=0, atol=0)
    torch.testing.assert_close(asked.so_far().features, quiet.so_far().features, rtol=1e-4, atol=1e-4)
    assert asked.so_far().frame_seconds == quiet.so_far().frame_seconds


def test_frames_come_while_questions_are_answered(tiny: VideoQA) -> None:
    """Each answer is about a moment: its tokens and times fit each other, and later ones have seen more."""
    live = tiny.watch(max_video_tokens=tiny.processor.num_video_tokens(8))
    enough, errors = threading.Event(), list[InputError]()

    def push() -> None:
        try:
            for number, picture in enumerate(frames(120)):
                live.push(picture, float(number))
                if number == 3:
                    enough.set()
        except InputError as error:
            errors.append(error)

    reader = threading.Thread(target=push)
    reader.start()
    assert enough.wait(60)
    answers: list[Answer] = []
    while reader.is_alive() or not answers:
        stream = live.stream("What?", max_new_tokens=2)
        list(stream)
        answers.append(stream.answer)
    reader.join()
    answers.append(live.ask("What?", max_new_tokens=2))
    assert not errors
    assert all(each.num_video_tokens == tiny.processor.num_video_tokens(len(each.frame_seconds)) for each in answers)
    last = [each.frame_seconds[-1] for each in answers]
    assert last == sorted(last)
    assert last[-1] == 119.0


def test_bad_frames_and_times_are_refused_and_lose_nothing(tiny: VideoQA) -> None:
    live = watched(tiny, frames(3))
    for frame in (frames(2), frames(1)[0].astype(np.float32), [[1]]):
        with pytest.raises(InputError, match=r"uint8 array \[H, W, 3\]"):
            live.push(frame, 9.0)  # type: ignore[arg-type] # what is refused
    for seconds in (float("nan"), float("inf"), -1.0):
        with pytest.raises(InputError, match="a frame's time"):
            live.push(frames(1)[0], seconds)
    with pytest.raises(InputError, match=r"0\.50 s comes after one at 1\.00 s"):
        live.push(frames(1)[0], 0.5)
    live.push(frames(1)[0], 1.0)
    assert live.num_frames == 4


def test_nothing_can_be_asked_before_there_is_enough(model: Path) -> None:
    qa = bimba.load(str(model), config_overrides={"temporal_pooling": 4})
    live = qa.watch()
    for number, picture in enumerate(frames(3)):
        assert not live.can_be_asked
        with pytest.raises(InputError, match=f"{number} frames have come, fewer than the 4"):
            live.ask("What?")
        live.push(picture, float(number))
    live.push(frames(1)[0], 3.0)
    assert live.can_be_asked
    assert live.ask("What?", max_new_tokens=2).num_video_tokens == qa.processor.num_video_tokens(4)


def test_bad_questions_and_options_are_refused(tiny: VideoQA) -> None:
    live = watched(tiny, frames(2))
    with pytest.raises(InputError, match="question is empty"):
        live.ask("  ")
    with pytest.raises(InputError, match="beam search cannot be streamed"):
        live.stream("What?", num_beams=2)
    with pytest.raises(InputError, match="max_new_tokens"):
        live.ask("What?", max_new_tokens=0)
    with pytest.raises(InputError, match=r"reads 32,768 at most(.|\n)*smaller budget"):
        live.ask("Why? " * 8000)


@pytest.fixture
def narrow() -> VideoQA:
    """A model that reads 900 tokens."""
    qa = VideoQA(*tiny_model(seed=0))
    qa.model.config.text_config.max_position_embeddings = 900
    return qa


def test_a_budget_that_will_not_fit_is_refused_at_once(narrow: VideoQA) -> None:
    """Not after an hour, when the budget is full and the times are long."""
    with pytest.raises(InputError, match="reads") as refusal:
        narrow.watch(max_video_tokens=800, max_new_tokens=50)
    most = int(refusal.value.fix.split("at most ")[1].split(" ")[0])
    live = narrow.watch(max_video_tokens=most, max_new_tokens=50)
    assert live.max_video_tokens == most
    for number, picture in enumerate(frames(60)):
        live.push(picture, 359_000.0 + number)
    assert live.ask("?", max_new_tokens=50).num_video_tokens == most
    by_default = narrow.watch(max_new_tokens=50)
    assert by_default.max_video_tokens == most, "a default takes what fits"


def test_budgets_that_mean_nothing_are_refused(tiny: VideoQA, narrow: VideoQA) -> None:
    for budget in (0, -4, 1.5):
        with pytest.raises(InputError, match="max_video_tokens is"):
            tiny.watch(max_video_tokens=budget)  # type: ignore[arg-type] # what is refused
    with pytest.raises(InputError, match=r"room for 3 groups(.|\n)*at least 48 tokens"):
        tiny.watch(max_video_tokens=tiny.processor.num_video_tokens(4) - 1)
    with pytest.raises(InputError, match="room for 0 groups"):
        narrow.watch(max_new_tokens=890)
    with pytest.raises(InputError, match="max_new_tokens is"):
        tiny.watch(max_new_tokens=0)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"num_layers": 2}, "needs all frames at once"),
        ({"query_position": "end"}, "needs all frames at once"),
        ({"question_conditioned": True}, "reads the question before"),
    ],
    ids=str,
)
def test_models_that_cannot_be_watched_with_say_so(tiny: VideoQA, settings: dict[str, Any], problem: str) -> None:
    config = tiny_config(vocab_size=320)
    config.compressor = config.compressor | settings
    config.video_token_id = tiny.processor.video_token_id
    with pytest.raises(InputError, match=problem):
        VideoQA(BimbaForConditionalGeneration(config), tiny.processor).watch()
