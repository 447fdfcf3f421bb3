"""The processor's prompts: ChatML as released, the tokenizer's own template for other language models."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bimba.errors import InputError
from bimba.inference import VideoQA
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_config, tiny_tokenizer
from bimba.text.prompts import Message, chatml

CONVERSATION = [
    Message("user", "<image>What is it?"),
    Message("assistant", "A cat."),
    Message("user", "What colour?"),
]


def test_chat_template_of_transformers_is_the_released_chatml(tiny: VideoQA) -> None:
    turns: Any = [
        {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": [{"type": "text", "text": "What colour?"}]},
    ]
    text = tiny.processor.apply_chat_template(turns, add_generation_prompt=True)
    assert text == chatml(CONVERSATION) == tiny.processor.render(CONVERSATION)
    assert tiny.processor.apply_chat_template(turns) == chatml(CONVERSATION, add_generation_prompt=False)


def test_other_language_models_use_their_own_template() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    processor = BimbaProcessor(tokenizer, prompt_style="template")
    assert processor.render(CONVERSATION[:1]) == "[user] <image>What is it?\n"


def test_missing_template_is_an_error_with_a_fix() -> None:
    with pytest.raises(InputError, match="no chat template"):
        BimbaProcessor(tiny_tokenizer(), prompt_style="template").render(CONVERSATION)


def test_placeholder_is_one_token_and_added_once() -> None:
    tokenizer = tiny_tokenizer()
    before = len(tokenizer)
    first = BimbaProcessor(tokenizer)
    again = BimbaProcessor(first.tokenizer)
    assert len(again.tokenizer) == before + 1
    assert tokenizer("<image>", add_special_tokens=False)["input_ids"] == [first.video_token_id]
    assert "<|im_end|>" in tokenizer.get_vocab()
    assert first.model_input_names == ["input_ids", "attention_mask", "pixel_values_videos", "num_video_frames"]


def test_tokenizers_without_padding_are_padded_with_their_end() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    processor = BimbaProcessor(tokenizer)
    assert processor(["hi", "hello"])["input_ids"][0, :3].tolist() == [tokenizer.eos_token_id] * 3
    tokenizer.eos_token = None
    assert processor(["hi", "hello"])["attention_mask"].tolist() == [[0, 0, 0, 1, 1], [1] * 5]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "RGB"])
def test_images_of_every_mode_are_read_as_colours(tiny: VideoQA, mode: str) -> None:
    image = Image.new("RGB", (20, 10), (255, 255, 255)).convert(mode)
    batch = tiny.processor(["<image>what?"], images=[image])
    assert batch["pixel_values_videos"].shape == (1, 3, 70, 70)
    assert batch["pixel_values_videos"].min() > 0.99


def test_files_are_left_to_those_who_can_read_them(tiny: VideoQA) -> None:
    for videos in (["talk.mp4"], [Path("talk.mp4")], [["a.mp4"]], [np.array(["talk.mp4"])]):
        with pytest.raises(ValueError, match=r"VideoQA\.prepare reads files"):
            tiny.processor(["<image>what?"], videos=videos)


def test_one_video_may_be_given_in_every_usual_way(tiny: VideoQA) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 20, 30, 3), dtype=np.uint8)
    expected = tiny.processor("<image>what?", videos=[frames])["pixel_values_videos"]
    pictures = [Image.fromarray(frame) for frame in frames]
    ways: list[Any] = [frames, torch.from_numpy(frames), [torch.from_numpy(frames)], [list(frames)], [pictures]]
    for videos in ways:
        assert torch.equal(tiny.processor("<image>what?", videos=videos)["pixel_values_videos"], expected)
    single: list[Any] = [frames[0], pictures[0], [frames[0]], [pictures[0]]]
    for images in single:
        assert torch.equal(tiny.processor("<image>what?", images=images)["pixel_values_videos"], expected[:1])


def test_tokenizer_larger_than_the_language_model_is_refused() -> None:
    with pytest.raises(InputError, match="the tokenizer has 259 ids, the language model 100 rows"):
        BimbaProcessor.from_config(tiny_config(vocab_size=100), tiny_tokenizer())


def test_own_template_learns_what_the_assistant_says() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }};{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    processor = BimbaProcessor(tokenizer, prompt_style="template")
    ids, labels = processor.training_ids_and_labels(CONVERSATION)
    assert tokenizer.decode(ids) == processor.render(CONVERSATION, add_generation_prompt=False)
    assert tokenizer.decode([label for label in labels if label != -100]) == "A cat.;"
    tokenizer.chat_template = "{{ messages | length }}{{ messages[-1].content }}"
    with pytest.raises(ValueError, match="does not go on"):
        processor.training_ids_and_labels(CONVERSATION)


def test_usual_arguments_of_transformers_change_nothing(tiny: VideoQA) -> None:
    """Padding by the tokenizer would come before the placeholders are expanded, and its mask would be lost."""
    pixels = [torch.zeros(frames, 3, 70, 70) for frames in (1, 2)]
    prompts = ["<image>hi", "<image>a longer one"]
    plain = tiny.processor(prompts, pixel_values_videos=pixels)
    usual = tiny.processor(
        text=prompts, pixel_values_videos=pixels, padding=True, return_tensors="pt", add_special_tokens=False
    )
    assert all(torch.equal(usual[name], tensor) for name, tensor in plain.items())
    assert plain["attention_mask"].sum(1).tolist() == [12 + 2, 24 + 12]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"truncation": True}, "knows no truncation"),
        ({"max_length": 8}, "knows no max_length"),
        ({"padding": "max_length"}, "knows no padding='max_length'"),
        ({"padding": False}, "need padding=True"),
        ({"return_tensors": "np"}, "return_tensors='pt'"),
    ],
)
def test_arguments_that_would_cut_or_pad_otherwise_are_refused(
    tiny: VideoQA, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tiny.processor(["hi", "hello"], **options)


def test_chat_template_may_tokenise(tiny: VideoQA) -> None:
    turns: Any = [{"role": "user", "content": "hi"}]
    ids: Any = tiny.processor.apply_chat_template(turns, tokenize=True, return_dict=True, add_generation_prompt=True)
    text = chatml([Message("user", "hi")])
    assert torch.as_tensor(ids["input_ids"]).flatten().tolist() == tiny.processor(text)["input_ids"][0].tolist()


def test_shorter_prompts_are_padded_where_asked(tiny: VideoQA) -> None:
    left = tiny.processor(["hi", "hello"])
    right = tiny.processor(["hi", "hello"], padding_side="right")
    assert left["attention_mask"].tolist() == [[0, 0, 0, 1, 1], [1] * 5]
    assert right["attention_mask"].tolist() == [[1, 1, 0, 0, 0], [1] * 5]
