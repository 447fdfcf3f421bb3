"""Asking the tiny model: what comes back, how it streams, what is refused."""

import copy
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bimba import Video
from bimba.errors import BimbaError, InputError, VideoError
from bimba.inference import Answer, VideoQA
from bimba.inference.generation import generation_settings
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_model, tiny_tokenizer
from bimba.needles import make_needles


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds at 10 frames a second."""
    run = make_needles(
        tmp_path_factory.mktemp("video"), seconds=5.0, size="96x64", fps=10, needles=1, needle_seconds=1.0
    )
    return run.folder / run.manifest.videos[0].file


def frames(count: int = 4) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 255, (count, 40, 60, 3), dtype=np.uint8)


def test_answer_says_where_it_came_from(tiny: VideoQA, video: Path) -> None:
    answer = tiny.ask(video, "What appears?", num_frames=5, max_new_tokens=6)
    assert answer.frame_seconds == pytest.approx([0.0, 1.2, 2.4, 3.6, 4.9])
    assert answer.num_video_tokens == 5 * 12
    assert answer.num_prompt_tokens > answer.num_video_tokens
    assert len(answer.token_ids) == 6
    assert answer.finish_reason == "length"
    assert answer.text == tiny.processor.tokenizer.decode(answer.token_ids, skip_special_tokens=True)
    of_video = {"probe", "decode", "pixels", "kernels", "vision", "project", "compress"}
    stages = of_video | {"prompt", "first_token", "generate"}
    assert answer.timings.keys() == stages | {"total"}
    assert all(seconds >= 0 for seconds in answer.timings.values())
    assert json.loads(json.dumps(answer.to_dict()))["frame_seconds"] == answer.frame_seconds


def test_same_question_has_the_same_answer_and_stream(tiny: VideoQA, video: Path) -> None:
    options: dict[str, Any] = {"num_frames": 4, "max_new_tokens": 8}
    once, twice = (tiny.ask(video, "What?", **options) for _ in range(2))
    assert once.token_ids == twice.token_ids
    stream = tiny.stream(video, "What?", **options)
    with pytest.raises(ValueError, match="once the last piece"):
        _ = stream.answer
    assert "".join(stream) == once.text
    assert isinstance(stream.answer, Answer)
    assert stream.answer.token_ids == once.token_ids


def test_prepared_inputs_lead_to_the_asked_answer(tiny: VideoQA, video: Path) -> None:
    inputs = tiny.prepare(video, "What?", num_frames=4)
    assert inputs["pixel_values_videos"].shape == (4, 3, 70, 70)
    assert int((inputs["input_ids"] == tiny.processor.video_token_id).sum()) == 48
    output = tiny.model.generate(**inputs, max_new_tokens=8, do_sample=False)
    assert (
        output[0, inputs["input_ids"].shape[1] :].tolist()
        == tiny.ask(video, "What?", num_frames=4, max_new_tokens=8).token_ids
    )


def test_stream_can_be_left_early(video: Path) -> None:
    qa = VideoQA(*tiny_model(seed=0))
    calls = 0
    forward = qa.model.language_model.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        time.sleep(0.001)
        return forward(*args, **kwargs)

    qa.model.language_model.forward = counted
    # The end of the turn is out of reach, so that the answer would go on.
    never = [[id_] for id_ in qa.processor.tokenizer.all_special_ids]
    stream = qa.stream(
        video, "What?", num_frames=2, max_new_tokens=5000, do_sample=True, temperature=3.0, bad_words_ids=never
    )
    next(stream)
    stream.close()
    assert calls < 5000
    stopped = calls
    time.sleep(0.05)
    assert calls == stopped, "nothing is generated after the reader has gone"


def test_error_while_generating_reaches_the_reader(tiny: VideoQA, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the GPU is on fire")

    stream = tiny.stream(None, "What?", max_new_tokens=4)
    monkeypatch.setattr(tiny.model, "generate", broken)
    with pytest.raises(RuntimeError, match="on fire"):
        list(stream)


def test_progress_is_reported_for_frames_and_vision(video: Path) -> None:
    qa = VideoQA(*tiny_model(seed=0))
    seen: list[tuple[str, int, int]] = []
    qa.progress = lambda stage, done, total: seen.append((stage, done, total))
    qa.ask(video, "What?", num_frames=3, max_new_tokens=1)
    frames_done = [("frames", 1, 3), ("frames", 2, 3), ("frames", 3, 3)]
    assert seen == [*frames_done, ("vision", 3, 3), ("compress", 0, 1), ("compress", 1, 1)]


def test_without_a_video_nothing_is_encoded(tiny: VideoQA) -> None:
    answer = tiny.ask(None, "Hello?", max_new_tokens=3)
    assert answer.num_video_tokens == 0
    assert answer.frame_seconds == []
    assert set(tiny.prepare(None, "Hello?")) == {"input_ids", "attention_mask"}


def test_images_and_bare_frames_get_no_time_sentence(tiny: VideoQA, tmp_path: Path) -> None:
    Image.fromarray(frames(1)[0]).save(tmp_path / "image.png")
    for source, count in ((tmp_path / "image.png", 1), (frames(), 4), (torch.from_numpy(frames()), 4)):
        ids = tiny.prepare(source, "What?", num_frames=8)["input_ids"][0]
        text = tiny.processor.tokenizer.decode(ids)
        assert "The video lasts" not in text
        assert text.count("<image>") == count * 12


def test_fps_takes_one_frame_a_second_where_that_fits(
    tiny: VideoQA, video: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fitting = tiny.ask(video, "What?", num_frames=8, sampling="fps", max_new_tokens=1)
    assert fitting.frame_seconds == pytest.approx([0, 1, 2, 3, 4])
    assert not caplog.records
    too_many = tiny.ask(video, "What?", num_frames=4, sampling="fps", max_new_tokens=1)
    assert len(too_many.frame_seconds) == 4
    assert "chosen uniformly over 5 seconds" in caplog.text


def test_conversations_have_several_turns(tiny: VideoQA, video: Path) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is it?"},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": "What colour?"},
    ]
    ids = tiny.prepare(video, turns, num_frames=2, time_sentence=False)["input_ids"][0]
    text = tiny.processor.tokenizer.decode(ids).replace("<image>" * 24, "<image>")
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<image>What is it?<|im_end|>\n"
        "<|im_start|>assistant\nA cat.<|im_end|>\n<|im_start|>user\nWhat colour?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_end_tokens_stop_the_answer(tiny: VideoQA) -> None:
    first = tiny.ask(None, "Hello?", max_new_tokens=4).token_ids[0]
    answer = tiny.ask(None, "Hello?", max_new_tokens=4, eos_token_id=first)
    assert answer.token_ids == [first]
    assert answer.finish_reason == "stop"


def test_beams_answer_but_do_not_stream(tiny: VideoQA) -> None:
    answer = tiny.ask(None, "Hello?", max_new_tokens=4, num_beams=2)
    assert answer.token_ids
    assert "first_token" not in answer.timings
    with pytest.raises(InputError, match="beam search"):
        tiny.stream(None, "Hello?", num_beams=2)


@pytest.mark.parametrize(
    ("options", "sampled"),
    [
        ({}, False),
        ({"temperature": 0}, False),
        ({"temperature": 0, "do_sample": True}, False),
        ({"temperature": 0.5}, True),
        ({"top_p": 0.5}, True),
        ({"do_sample": True}, True),
        ({"do_sample": False, "temperature": 0.5}, False),
    ],
)
def test_greedy_unless_asked_otherwise(tiny: VideoQA, options: dict[str, Any], sampled: bool) -> None:
    released = copy.deepcopy(tiny.model.generation_config)
    released.update(do_sample=True, temperature=0.7, top_k=20, repetition_penalty=1.05)
    released.update(num_beams=4, return_dict_in_generate=True)
    settings = generation_settings(released, 7, options)
    assert settings.do_sample is sampled
    assert settings.repetition_penalty == 1.05
    assert settings.max_new_tokens == 7
    assert settings.num_beams == 1
    assert not settings.return_dict_in_generate
    assert released.do_sample is True, "the checkpoint's own config is left alone"
    assert settings.top_k == (20 if sampled else 50)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"question": ""}, "question is empty"),
        ({"question": "  \n"}, "question is empty"),
        ({"question": []}, "does not end with a question"),
        ({"question": [{"role": "assistant", "content": "hi"}]}, "does not end with a question"),
        ({"question": [{"role": "robot", "content": "hi"}]}, "a turn is"),
        ({"question": [{"role": "user"}]}, "a turn is"),
        ({"question": "<image> and <image>"}, "2 times"),
        ({"num_frames": 0}, "num_frames is 0"),
        ({"num_frames": -3}, "num_frames is -3"),
        ({"num_frames": 2.5}, "num_frames is 2.5"),
        ({"max_new_tokens": 2.5}, "max_new_tokens is 2.5"),
        ({"use_cache": False}, "use_cache is False"),
        ({"question": 7}, "the question is 7"),
        ({"question": [7]}, "a turn is 7"),
        ({"question": "caf\udce9"}, "bytes that are no text"),
        ({"sampling": "random"}, "random"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"temprature": 1.0}, "did you mean 'temperature'"),
        ({"qwertz": 1.0}, "see transformers.GenerationConfig"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"top_k": 0.5}, "top_k is 0.5"),
        ({"num_beams": 0}, "num_beams is 0"),
        ({"num_beam_groups": 3}, "'num_beam_groups' is no generation option"),
    ],
)
@pytest.mark.parametrize("method", ["ask", "stream", "prepare"])
def test_bad_arguments_are_refused_before_anything_is_read(
    tiny: VideoQA, video: Path, method: str, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        getattr(tiny, method)(video, **({"question": "What?"} | arguments))
    assert "fix:" in str(caught.value)


def test_placeholder_without_a_video_is_refused(tiny: VideoQA) -> None:
    with pytest.raises(InputError, match="1 times"):
        tiny.ask(None, "<image>What?")


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((2, 4, 4, 3), dtype=np.float32),
        np.zeros((4, 4, 3), dtype=np.uint8),
        np.zeros((0, 4, 4, 3), dtype=np.uint8),
        torch.zeros((2, 4, 4, 3), dtype=torch.bfloat16),
        torch.zeros((2, 4, 4, 3), requires_grad=True),
    ],
)
def test_frames_of_another_kind_are_refused(tiny: VideoQA, bad: Any) -> None:
    with pytest.raises(InputError, match=r"uint8 \[T, H, W, 3\]"):
        tiny.ask(bad, "What?")


def test_video_of_another_kind_is_refused(tiny: VideoQA) -> None:
    with pytest.raises(InputError, match="the video is a list"):
        tiny.ask([frames()], "What?")  # type: ignore[arg-type] # wrong on purpose
    with pytest.raises(InputError, match="random"):
        tiny.ask(frames(), "What?", sampling="random")


def test_missing_video_is_refused(tiny: VideoQA, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="does not exist"):
        tiny.ask(tmp_path / "no.mp4", "What?")


def test_too_many_tokens_say_how_many_frames_fit(video: Path) -> None:
    qa = VideoQA(*tiny_model(seed=0))
    qa.model.config.text_config.max_position_embeddings = 600
    with pytest.raises(InputError) as caught:
        qa.ask(video, "What?", num_frames=50, max_new_tokens=20)
    message = str(caught.value)
    assert "reads 600 at most" in message
    fitting = int(message.split("take at most ")[1].split()[0])
    assert qa.ask(video, "What?", num_frames=fitting, max_new_tokens=20).num_prompt_tokens <= 580
    with pytest.raises(InputError):
        qa.ask(video, "What?", num_frames=fitting + 1, max_new_tokens=20)


def test_looking_for_how_many_fit_warns_once(video: Path, caplog: pytest.LogCaptureFixture) -> None:
    qa = VideoQA(*tiny_model(seed=0))
    qa.model.config.text_config.max_position_embeddings = 300
    with pytest.raises(InputError, match="take at most"):
        qa.ask(video, "What?", num_frames=4, sampling="fps", max_new_tokens=20)
    assert len(caplog.records) == 1


def test_too_many_bare_frames_say_how_many_fit() -> None:
    qa = VideoQA(*tiny_model(seed=0))
    qa.model.config.text_config.max_position_embeddings = 600
    with pytest.raises(InputError, match="take at most 43 frames,") as caught:
        qa.ask(frames(80), "What?", max_new_tokens=20)
    assert "num_frames=" not in str(caught.value)
    assert qa.ask(frames(43), "What?", max_new_tokens=20).num_prompt_tokens <= 580


def test_frames_that_fit_are_never_fewer_than_are_pooled_together(video: Path) -> None:
    qa = VideoQA(*tiny_model(seed=0))
    qa.processor.temporal_pooling = 4
    qa.model.config.text_config.max_position_embeddings = 300
    with pytest.raises(InputError, match="shorten the question"):
        qa.ask(video, "What? " * 40, num_frames=40, max_new_tokens=20)


def test_context_is_found_under_each_familys_own_name(tiny: VideoQA) -> None:
    config = BimbaConfig(
        vision_config=tiny.model.config.vision_config.to_dict(),
        text_config={
            "model_type": "gpt2",
            "vocab_size": 320,
            "n_embd": 64,
            "n_layer": 1,
            "n_head": 4,
            "n_positions": 99,
        },
    )
    qa = VideoQA(BimbaForConditionalGeneration(config), BimbaProcessor.from_config(config, tiny_tokenizer()))
    with pytest.raises(InputError, match="reads 99 at most"):
        qa.ask(frames(8), "What?", max_new_tokens=10)


def test_too_long_a_question_says_so(video: Path) -> None:
    qa = VideoQA(*tiny_model(seed=0))
    qa.model.config.text_config.max_position_embeddings = 100
    for source in (video, None):
        with pytest.raises(InputError, match="shorten the question"):
            qa.ask(source, "What? " * 50, num_frames=2, max_new_tokens=20)


def test_fewer_frames_than_temporal_pooling_are_refused(video: Path) -> None:
    qa = VideoQA(*tiny_model(seed=0))
    qa.processor.temporal_pooling = 4
    with pytest.raises(BimbaError, match="2 frames are fewer than the 4"):
        qa.ask(video, "What?", num_frames=2)


def test_true_times_are_told_where_the_learned_ones_are_far_off(tiny: VideoQA, tmp_path: Path) -> None:
    """One frame a second is asked for; the public code's times hold for videos of a constant rate above that only."""
    for number in range(6):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    slides = Video(tmp_path, image_fps=0.25)
    prompt = tiny.processor.tokenizer.decode(tiny.prepare(slides, "What?", sampling="fps")["input_ids"][0])
    assert "lasts for 24.00 seconds" in prompt
    assert "0.00s,4.00s,8.00s,12.00s,16.00s,20.00s" in prompt


def test_a_file_object_of_text_is_refused(tiny: VideoQA, video: Path) -> None:
    with video.open("r", encoding="utf-8") as text, pytest.raises(InputError, match='open it with "rb"'):
        tiny.ask(text, "What?")  # type: ignore[arg-type]


def test_a_model_that_was_trained_without_times_is_not_told_any(tiny: VideoQA, video: Path) -> None:
    decode = tiny.processor.tokenizer.decode
    told = decode(tiny.prepare(video, "What is it?", num_frames=4)["input_ids"][0])
    assert "These frames are located at" in told
    tiny.processor.time_sentence = False
    try:
        untold = decode(tiny.prepare(video, "What is it?", num_frames=4)["input_ids"][0])
    finally:
        tiny.processor.time_sentence = True
    assert "These frames are located at" not in untold
