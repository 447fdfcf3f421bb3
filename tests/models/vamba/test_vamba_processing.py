"""Vamba's processor: golden inputs, batches whose videos are told apart, and folders of three kinds."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoProcessor, AutoTokenizer

import bimba  # noqa: F401 - registers
from bimba.errors import BimbaError, CheckpointError, InputError
from bimba.models.bimba.tiny import tiny_tokenizer
from bimba.models.vamba.processing import VambaProcessor
from bimba.text.prompts import VISION_MARKS, Message, vamba_prompt

EDGES: dict[str, Any] = {"longest_edge": 112, "shortest_edge": 56}
NOT_GIVEN = {"pixel_values_videos", "video_grid_thw", "num_videos", "pixel_values", "image_grid_thw", "num_images"}


@pytest.fixture(scope="module")
def released(golden: Path) -> Path:
    """A folder as released, of a tiny model: tokenizer and image processor."""
    return golden / "vamba" / "config_a_default"


@pytest.fixture(scope="module")
def vamba(released: Path) -> VambaProcessor:
    """Reads frames as the golden numbers have them; tests do not change it."""
    return VambaProcessor.from_pretrained(released, **EDGES)


@pytest.fixture
def copied(released: Path, tmp_path: Path) -> Path:
    """A copy of the released folder, to be changed."""
    return Path(shutil.copytree(released, tmp_path / "released"))


def frames(num_frames: int, height: int = 40, width: int = 70) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(num_frames).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def change(file: Path, **settings: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


# Golden inputs ----------------------------------------------------------------------------------------------------


def test_golden_video_inputs(vamba: VambaProcessor, vamba_numbers: Path) -> None:
    golden = load_file(vamba_numbers / "e2e/video_inputs.safetensors")
    prompt = vamba.render([Message("user", "<video> Describe the magic trick.")])
    batch = vamba(prompt, videos=[golden["frames_resized_uint8"]])
    assert batch.pop("num_videos").tolist() == [1]
    assert sorted(batch) == sorted(name for name in golden if not name.startswith("frames_"))
    for name, tensor in batch.items():
        assert torch.equal(tensor, golden[name]), name


def test_golden_image_inputs(vamba: VambaProcessor, vamba_numbers: Path) -> None:
    golden = load_file(vamba_numbers / "e2e/image_inputs.safetensors")
    prompt = vamba.render([Message("user", "<image> Describe this image.")])
    batch = vamba(prompt, images=golden["image_resized_uint8"])
    assert batch.pop("num_images").tolist() == [1]
    assert sorted(batch) == sorted(name for name in golden if name != "image_resized_uint8")
    for name, tensor in batch.items():
        assert torch.equal(tensor, golden[name]), name


# Batches ----------------------------------------------------------------------------------------------------------


def test_each_prompt_is_told_how_many_videos_are_its_own(vamba: VambaProcessor) -> None:
    prompts = ["<video> Why?", "No video at all, and a longer question.", f"<video> {VISION_MARKS}Which?"]
    videos = [frames(4, 40, 112), frames(2, 112, 40), frames(1)]
    batch = vamba(prompts, videos=videos)
    assert batch["num_videos"].tolist() == [1, 0, 2]
    assert batch["video_grid_thw"].tolist() == [[2, 4, 8], [1, 8, 4], [1, 4, 4]]
    alone = [vamba("<video> ?", videos=[video])["pixel_values_videos"] for video in videos]
    assert torch.equal(batch["pixel_values_videos"], torch.cat(alone))
    assert set(batch) == {"input_ids", "attention_mask", *NOT_GIVEN} - {"pixel_values", "image_grid_thw", "num_images"}


@pytest.mark.parametrize("side", ["left", "right"])
def test_shorter_prompts_are_padded_on_either_side(vamba: VambaProcessor, side: str) -> None:
    batch = vamba(["Why?", "And a longer one."], padding_side=side)
    for row, prompt in enumerate(["Why?", "And a longer one."]):
        (ids,) = vamba(prompt)["input_ids"].tolist()
        kept = batch["attention_mask"][row].bool()
        assert batch["input_ids"][row][kept].tolist() == ids
        assert set(batch["input_ids"][row][~kept].tolist()) <= {384}  # <|endoftext|>
    missing = batch["input_ids"].shape[1] - vamba("Why?")["input_ids"].shape[1]
    expected = [0] * missing + [1] * (batch["input_ids"].shape[1] - missing)
    assert missing > 0
    assert batch["attention_mask"].tolist() == [expected if side == "left" else expected[::-1], [1] * len(expected)]


def test_text_alone_works(vamba: VambaProcessor) -> None:
    batch = vamba([vamba.render([Message("user", "Hello there.")])])
    assert set(batch) == {"input_ids", "attention_mask"}
    assert set(batch) | NOT_GIVEN == set(vamba.model_input_names)
    assert set(vamba("Hello", videos=[])) == {"input_ids", "attention_mask"}


def test_one_video_may_be_given_in_every_usual_way(vamba: VambaProcessor) -> None:
    video = frames(3)
    expected = vamba("<video> ?", videos=[video])["pixel_values_videos"]
    pictures = [Image.fromarray(frame) for frame in video]
    ways: list[Any] = [video, torch.from_numpy(video), [list(video)], [pictures], [iter(video)]]
    for videos in ways:
        assert torch.equal(vamba("<video> ?", videos=videos)["pixel_values_videos"], expected)
    image = vamba("<image> ?", images=[video[0]])
    single: list[Any] = [video[0], pictures[0], [pictures[0]], torch.from_numpy(video[0])]
    for images in single:
        assert torch.equal(vamba("<image> ?", images=images)["pixel_values"], image["pixel_values"])
    assert torch.equal(image["pixel_values"], vamba("<video> ?", videos=video[:1])["pixel_values_videos"])


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK", "RGB"])
def test_images_of_every_mode_are_read_as_colours(vamba: VambaProcessor, mode: str) -> None:
    image = Image.new("RGB", (60, 60), (255, 255, 255)).convert(mode)
    white = vamba("<image>what?", images=[np.full((60, 60, 3), 255, np.uint8)])["pixel_values"]
    torch.testing.assert_close(vamba("<image>what?", images=[image])["pixel_values"], white)


def test_the_number_of_video_tokens_is_known_before_anything_is_decoded(vamba: VambaProcessor) -> None:
    for num_frames in (1, 2, 5):
        batch = vamba("<video> ?", videos=[frames(num_frames, 90, 160)])
        expected = int(batch["video_grid_thw"].prod()) // 4
        assert vamba.num_video_tokens(num_frames, 90, 160) == expected == 8 * ((num_frames + 1) // 2)


def test_released_settings_make_299_tokens_of_two_hd_frames(released: Path) -> None:
    assert VambaProcessor.from_pretrained(released).num_video_tokens(2, 1080, 1920) == 299
    assert VambaProcessor.from_pretrained(released).num_video_tokens(512, 1080, 1920) == 256 * 299


def test_usual_arguments_of_transformers_change_nothing(vamba: VambaProcessor) -> None:
    plain = vamba(["<video>hi"], videos=[frames(2)])
    usual = vamba(
        text=["<video>hi"], videos=[frames(2)], padding=True, return_tensors="pt", add_special_tokens=False, images=None
    )
    assert plain.keys() == usual.keys()
    assert all(torch.equal(plain[name], usual[name]) for name in plain)


# Refused ----------------------------------------------------------------------------------------------------------

CALLS: dict[str, tuple[dict[str, Any], str]] = {
    "no place": ({"text": "Why?", "videos": [frames(2)]}, "hold 0 places .* for 1 videos"),
    "no video": ({"text": "<video> Why?"}, "hold 1 places .* for 0 videos"),
    "too few": ({"text": ["<image>", "<video>"], "images": [frames(1)[0]]}, "hold 2 places .* for 1 images"),
    "both kinds": ({"text": "<video>", "videos": [frames(2)], "images": [frames(1)[0]]}, "videos or images"),
    "no text": ({"videos": [frames(2)]}, "VambaProcessor needs text"),
    "no prompt": ({"text": []}, "at least one prompt"),
    "other tensors": ({"text": "Why?", "return_tensors": "np"}, "return_tensors='pt'"),
    "unknown": ({"text": "Why?", "max_length": 3}, "VambaProcessor knows no max_length"),
    "side": ({"text": "Why?", "padding_side": "top"}, "padding_side is 'top'"),
    "lengths": ({"text": ["Why?", "And how then?"], "padding": False}, "different lengths"),
    "file": ({"text": "<video>", "videos": ["talk.mp4"]}, r"VideoQA\.prepare reads files"),
    "no frame": ({"text": "<video>", "videos": [[]]}, "at least one frame"),
    "floats": ({"text": "<video>", "videos": [frames(2) / 255]}, "uint8"),
}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_calls_that_cannot_be_meant_are_refused(name: str, vamba: VambaProcessor) -> None:
    arguments, message = CALLS[name]
    with pytest.raises(ValueError, match=message):
        vamba(**arguments)


def test_a_count_that_is_wrong_is_noticed_before_frames_are_read(vamba: VambaProcessor) -> None:
    unread = iter(frames(2))
    with pytest.raises(ValueError, match="0 places"):
        vamba("Why?", videos=[unread])
    assert len(list(unread)) == 2


def test_a_tokenizer_without_vision_marks_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"no .*<\|vision_end\|>, <\|vision_start\|>"):
        VambaProcessor(tiny_tokenizer())


# Prompts ----------------------------------------------------------------------------------------------------------


def test_chat_template_of_transformers_is_the_released_prompt(vamba: VambaProcessor) -> None:
    turns: Any = [
        {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "What is it?"}, {"type": "image"}]},
        {"role": "assistant", "content": "A cat."},
        {"role": "user", "content": [{"type": "text", "text": "What colour?"}]},
    ]
    messages = [
        Message("user", "<video> What is it?<image> "), Message("assistant", "A cat."), Message("user", "What colour?")
    ]  # fmt: skip
    text = vamba.apply_chat_template(turns, add_generation_prompt=True)
    assert text == vamba_prompt(messages) == vamba.render(messages)
    without = vamba.render(messages, add_generation_prompt=False)
    assert vamba.apply_chat_template(turns) == without
    assert vamba.render([Message("system", "Be short."), *messages]).startswith("<|im_start|>system\nBe short.")


def test_ids_for_training_are_those_of_the_prompt(vamba: VambaProcessor) -> None:
    messages = [Message("user", "<video> Why?"), Message("assistant", "So.")]
    ids, labels = vamba.training_ids_and_labels(messages)
    assert len(ids) == len(labels)
    assert vamba.tokenizer.decode(ids) + "\n" == vamba.render(messages, add_generation_prompt=False)


# Frames -----------------------------------------------------------------------------------------------------------


def test_choosing_takes_512_middles_unless_it_is_told_otherwise(vamba: VambaProcessor) -> None:
    assert not vamba.time_sentence
    choice = vamba.choose_frames(100_000, 25.0)
    assert choice.indices[:3] == (97, 292, 487)
    assert len(choice.indices) == 512
    assert vamba.choose_frames(100, 25.0, 4, sampling="uniform").indices == (0, 33, 66, 99)
    assert vamba.choose_frames(100, 25.0, 4, sampling="random", seed=3) == vamba.choose_frames(
        100, 25.0, 4, sampling="random", seed=3
    )
    with pytest.raises(InputError, match="none of middle"):
        vamba.choose_frames(100, 25.0, sampling="first")


# Folders ----------------------------------------------------------------------------------------------------------


def test_released_settings_are_read(released: Path) -> None:
    settings = VambaProcessor.from_pretrained(released).to_dict()
    stored = json.loads((released / "preprocessor_config.json").read_text())
    names = ("min_pixels", "max_pixels", "patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std")
    assert {name: settings[name] for name in names} == {name: stored[name] for name in names}
    assert (settings["longest_edge"], settings["shortest_edge"]) == (640, 256)
    assert (settings["num_frames"], settings["sampling"]) == (512, "middle")


def test_settings_of_a_folder_count_and_not_those_known_here(copied: Path) -> None:
    change(copied / "preprocessor_config.json", min_pixels=4 * 28 * 28, max_pixels=9 * 28 * 28, image_std=[0.5] * 3)
    processor = VambaProcessor.from_pretrained(copied)
    assert (processor.min_pixels, processor.max_pixels) == (4 * 28 * 28, 9 * 28 * 28)
    assert processor.image_std == [0.5] * 3
    assert processor.num_video_tokens(1, 500, 500) == 9


def test_processor_comes_back_as_it_was(vamba: VambaProcessor, tmp_path: Path) -> None:
    vamba.save_pretrained(tmp_path)
    batch: dict[str, Any] = {"text": ["<video>what?", "no"], "videos": [frames(3)]}
    for read in (VambaProcessor, AutoProcessor):
        again = read.from_pretrained(tmp_path)
        assert type(again) is VambaProcessor
        assert again.to_dict() == vamba.to_dict()
        assert again.chat_template == vamba.chat_template
        for name, tensor in vamba(**batch).items():
            assert torch.equal(again(**batch)[name], tensor)


def test_a_folder_of_qwen2_vl_is_read_however_it_is_written(copied: Path, vamba: VambaProcessor) -> None:
    """Newer folders hold the image processor in processor_config.json, with sizes under other names."""
    stored = json.loads((copied / "preprocessor_config.json").read_text())
    (copied / "preprocessor_config.json").unlink()
    image = {name: stored[name] for name in ("image_mean", "image_std", "patch_size", "merge_size")}
    image |= {
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "size": {"shortest_edge": 3136, "longest_edge": 99999},
    }
    (copied / "processor_config.json").write_text(
        json.dumps({"processor_class": "Qwen2VLProcessor", "image_processor": image, "video_processor": {"fps": 2}})
    )
    (copied / "chat_template.jinja").write_text("{{ '<|vision_start|><|video_pad|><|vision_end|>' }}")
    processor = VambaProcessor.from_pretrained(copied)
    assert (processor.min_pixels, processor.max_pixels, processor.patch_size) == (3136, 99999, 14)
    assert processor.chat_template == vamba.chat_template
    processor.save_pretrained(copied / "ours")
    again = AutoProcessor.from_pretrained(copied / "ours")
    assert again.to_dict() == processor.to_dict()
    assert "video_pad" not in again.apply_chat_template([{"role": "user", "content": [{"type": "video"}]}])


def test_a_folder_without_image_processor_is_an_error_with_a_fix(copied: Path) -> None:
    (copied / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no image processor(.|\n)*fix: copy preprocessor_config\.json"):
        VambaProcessor.from_pretrained(copied)


def test_the_image_processor_of_another_model_is_refused(copied: Path) -> None:
    change(copied / "preprocessor_config.json", image_processor_type="CLIPImageProcessor")
    with pytest.raises(CheckpointError, match="'CLIPImageProcessor', not Qwen2VLImageProcessor"):
        VambaProcessor.from_pretrained(copied)


@pytest.mark.parametrize(
    ("setting", "value"), [("do_rescale", False), ("do_normalize", False), ("resample", 2), ("rescale_factor", 0.5)]
)
def test_steps_that_no_qwen2_vl_leaves_out_are_not_silently_taken(copied: Path, setting: str, value: Any) -> None:
    change(copied / "preprocessor_config.json", **{setting: value})
    with pytest.raises(CheckpointError, match=setting):
        VambaProcessor.from_pretrained(copied)


def test_settings_out_of_range_are_refused_when_they_are_read(copied: Path, vamba: VambaProcessor) -> None:
    change(copied / "preprocessor_config.json", image_mean=[0.5])
    with pytest.raises(BimbaError, match="image_mean"):
        VambaProcessor.from_pretrained(copied)
    with pytest.raises(InputError, match="longest_edge 20"):
        VambaProcessor(vamba.tokenizer, longest_edge=20)
    with pytest.raises(InputError, match="0 frames were asked for"):
        VambaProcessor(vamba.tokenizer, num_frames=0)
    with pytest.raises(InputError, match="Sampling is 'first'"):
        VambaProcessor(vamba.tokenizer, sampling="first")
    assert VambaProcessor(vamba.tokenizer, num_frames=4, sampling=2.0).choose_frames(20, 4.0).at_fixed_rate is False


def test_its_tokenizer_is_the_one_of_the_folder(released: Path, vamba: VambaProcessor) -> None:
    plain = AutoTokenizer.from_pretrained(released)
    assert vamba.tokenizer.get_vocab() == plain.get_vocab()
    assert vamba("Hello <|im_end|>")["input_ids"].tolist() == [plain("Hello <|im_end|>")["input_ids"]]
