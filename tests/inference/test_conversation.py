"""A conversation about a video that is encoded once: as good as asking anew each time, and nothing half-remembered."""

from pathlib import Path

import pytest

from bimba import Video
from bimba.errors import InputError
from bimba.inference import Chat, VideoQA
from bimba.models.bimba.tiny import tiny_model
from bimba.text.prompts import Message


def test_turns_are_answered_as_if_asked_anew(tiny: VideoQA, video: Path) -> None:
    chat = tiny.chat(video, num_frames=4)
    first = chat.ask("What?", max_new_tokens=6)
    second = chat.ask("And then?", max_new_tokens=6)
    turns = [
        {"role": "user", "content": "What?"},
        {"role": "assistant", "content": first.text},
        {"role": "user", "content": "And then?"},
    ]
    assert first.token_ids == tiny.ask(video, "What?", num_frames=4, max_new_tokens=6).token_ids
    anew = tiny.ask(video, turns, num_frames=4, max_new_tokens=6)
    assert second.token_ids == anew.token_ids
    assert second.num_prompt_tokens == anew.num_prompt_tokens
    assert second.frame_seconds == anew.frame_seconds
    assert chat.num_video_tokens == anew.num_video_tokens


def test_the_video_is_encoded_once(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    qa = VideoQA(*tiny_model(seed=0))
    chat = qa.chat(video, num_frames=4)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("encoded again")

    monkeypatch.setattr(qa.model, "get_vision_features", refuse)
    monkeypatch.setattr(Video, "frames", refuse)
    answer = chat.ask("What?", max_new_tokens=3)
    assert "vision" in chat.timings
    assert "vision" not in answer.timings
    assert chat.clip is not None
    assert chat.clip.num_frames == 4


def test_streaming_keeps_whole_answers_and_forgets_others(tiny: VideoQA, video: Path) -> None:
    chat = tiny.chat(video, num_frames=4)
    stream = chat.stream("What?", max_new_tokens=6)
    text = "".join(stream)
    assert chat.turns == [Message("user", "What?"), Message("assistant", stream.answer.text)]
    assert text == stream.answer.text
    left = chat.stream("And then?", max_new_tokens=200)
    next(left)
    left.close()
    assert len(chat.turns) == 2
    chat.reset()
    assert chat.turns == []


def test_a_chat_needs_no_video(tiny: VideoQA) -> None:
    chat = tiny.chat(None)
    assert isinstance(chat, Chat)
    assert (chat.clip, chat.num_video_tokens) == (None, 0)
    assert chat.ask("Who are you?", max_new_tokens=4).num_video_tokens == 0
    assert len(chat.turns) == 2


def test_a_conversation_that_grows_too_long_says_how_to_go_on(video: Path) -> None:
    qa = VideoQA(*tiny_model(seed=0))
    qa.model.config.text_config.max_position_embeddings = 500
    chat = qa.chat(video, num_frames=4)
    chat.ask("What?", max_new_tokens=4)
    with pytest.raises(InputError, match=r"reads 500 at most(.|\n)*/reset"):
        chat.ask("Why? " * 100, max_new_tokens=4)
    assert len(chat.turns) == 2, "a refused question leaves no trace"
    chat.reset()
    chat.ask("What?", max_new_tokens=4)


def test_bad_questions_and_options_are_refused(tiny: VideoQA) -> None:
    chat = tiny.chat(None)
    with pytest.raises(InputError, match="question is empty"):
        chat.ask("  ")
    with pytest.raises(InputError, match="beam search cannot be streamed"):
        chat.stream("What?", num_beams=2)
    with pytest.raises(InputError, match="max_new_tokens"):
        chat.ask("What?", max_new_tokens=0)
    assert chat.turns == []


def test_a_model_says_what_it_is(tiny: VideoQA) -> None:
    assert repr(tiny) == "VideoQA(qwen2, 0.000231 billion parameters, torch.float32, cpu)"
