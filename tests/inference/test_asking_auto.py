"""Questions whose number of frames follows from the video and the model, in Python."""

from pathlib import Path

import pytest

from bimba.errors import InputError
from bimba.inference import VideoQA
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_config, tiny_model, tiny_tokenizer
from bimba.video.source import Video


@pytest.fixture
def short_sighted() -> VideoQA:
    """The tiny model, which reads 700 tokens here."""
    qa = VideoQA(*tiny_model(seed=0))
    qa.model.config.text_config.max_position_embeddings = 700
    return qa


def test_auto_takes_what_a_short_video_has(tiny: VideoQA, video: Path) -> None:
    answer = tiny.ask(video, "What?", num_frames="auto", max_new_tokens=1)
    assert len(answer.frame_seconds) == 40
    assert len(tiny.chat(video, num_frames="auto").clip.frame_seconds) == 40  # type: ignore[union-attr]
    assert tiny.prepare(video, "What?", num_frames="auto")["num_video_frames"].tolist() == [40]


def test_auto_leaves_room_for_text_and_answer(short_sighted: VideoQA, video: Path) -> None:
    answer = short_sighted.ask(video, "What?", num_frames="auto", max_new_tokens=10)
    most = len(answer.frame_seconds)
    assert answer.num_prompt_tokens + 10 <= 700
    with pytest.raises(InputError, match=f"take at most {most} frames"):
        short_sighted.ask(video, "What?", num_frames=most + 1, max_new_tokens=10)


def test_auto_that_fits_in_no_way_says_so(short_sighted: VideoQA, video: Path) -> None:
    with pytest.raises(InputError, match="leave 0 for the video"):
        short_sighted.chat(video, num_frames="auto")  # room for several answers is more than there is


def test_auto_needs_a_limit(tiny: VideoQA, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VideoQA, "context_length", None)
    with pytest.raises(InputError, match="num_frames=64"):
        tiny.ask(video, "What?", num_frames="auto")


def test_frames_that_are_chosen_already_stay(tiny: VideoQA, video: Path) -> None:
    frames = tiny.processor.resize_frames(Video(video).frames([0, 5, 9])).numpy()
    assert tiny.ask(frames, "What?", num_frames="auto", max_new_tokens=1).num_video_tokens == 36
    assert tiny.ask(None, "What?", num_frames="auto", max_new_tokens=1).num_video_tokens == 0


def test_a_number_is_a_rate_and_the_times_are_true(tiny: VideoQA, video: Path) -> None:
    inputs = tiny.prepare(video, "What?", sampling=5)
    assert inputs["num_video_frames"].tolist() == [20]
    assert "0.00s,0.20s,0.40s" in tiny.processor.tokenizer.decode(inputs["input_ids"][0])


def test_a_rate_is_the_most_that_auto_takes(tiny: VideoQA, video: Path) -> None:
    answer = tiny.ask(video, "What?", num_frames="auto", sampling=2.0, max_new_tokens=1)
    assert answer.frame_seconds == pytest.approx([0, 0.5, 1.1, 1.6, 2.2, 2.7, 3.3, 3.9])


@pytest.mark.parametrize(("wrong", "words"), [("many", "num_frames is 'many'"), (0, "num_frames is 0")])
def test_what_is_no_number_of_frames_is_refused(tiny: VideoQA, video: Path, wrong: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        tiny.ask(video, "What?", num_frames=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), True, "1"])
def test_what_is_no_rate_is_refused(tiny: VideoQA, video: Path, wrong: float) -> None:
    with pytest.raises(InputError, match=r"wanted frame rate is|Sampling is"):
        tiny.ask(video, "What?", sampling=wrong)


def test_auto_takes_no_more_groups_than_the_model_learned_queries_for(video: Path) -> None:
    config = tiny_config(vocab_size=320)
    config.replace_compressor({"type": "selective_scan", "queries": "learned", "learned_grid": [12, 2, 2]})
    processor = BimbaProcessor.from_config(config, tiny_tokenizer())
    qa = VideoQA(BimbaForConditionalGeneration(config).eval(), processor)  # type: ignore[no-untyped-call] # untyped there
    assert qa.prepare(video, "What?", num_frames="auto")["num_video_frames"].tolist() == [12]
