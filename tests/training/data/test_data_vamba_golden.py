"""Batches and losses of a Vamba are those of the released code from the same annotations."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sample_files import turns
from torch import Tensor
from vamba_samples import made, vamba_data

from bimba.checkpoints.loading import LoadOptions, load_model
from bimba.models.vamba.modeling import VambaForConditionalGeneration
from bimba.models.vamba.patches import Patches
from bimba.models.vamba.pixels import normalise
from bimba.models.vamba.processing import VambaProcessor
from bimba.text.prompts import Message
from bimba.training.data import (
    Example,
    VambaCollator,
)
from bimba.training.recipe.data_settings import Packing

CAPTION_QUESTIONS = ("Explain the scenario in the image.", "What is the main focus of the image?")


@pytest.fixture(scope="module")
def processor(golden: Path) -> VambaProcessor:
    return VambaProcessor.from_pretrained(golden / "vamba/config_a_default", longest_edge=112, shortest_edge=56)


@pytest.fixture(scope="module")
def record(golden: Path) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((golden / "vamba/train_batches.json").read_text())
    return stored


def of(kind: str, path: str, sample: dict[str, Any]) -> dict[str, Any]:
    """A golden annotation as an entry; the released code calls videos images, too, and puts them in front."""
    conversations = copy.deepcopy(sample["conversations"])
    return {kind: path, "conversations": conversations}


def same_pixels(found: Tensor, wanted: Tensor, processor: VambaProcessor) -> None:
    assert found.dtype == torch.uint8
    assert torch.equal(normalise([found], processor.patch_settings), wanted)


class TestGolden:
    """The batches that the released data classes and collator made of the same annotations."""

    def test_one_video(
        self,
        processor: VambaProcessor,
        record: dict[str, Any],
        shared_videos: Path,
        vamba_numbers: Path,
        tmp_path: Path,
    ) -> None:
        golden = load_file(vamba_numbers / "e2e/train_batch_video_two.safetensors")
        entries = [of("video", "magic.mp4", sample) for sample in record["annotations"]["video"]]
        data = vamba_data(tmp_path, entries, processor, shared_videos, count=16)
        batch = VambaCollator(processor)([made(data)])
        for name, values in record["batches"]["video_single"].items():
            assert batch[name].tolist() == values, name
        same_pixels(batch["pixel_values_videos"], golden["pixel_values_videos"][:256], processor)

    def test_two_videos_of_different_lengths(
        self,
        processor: VambaProcessor,
        record: dict[str, Any],
        shared_videos: Path,
        vamba_numbers: Path,
        tmp_path: Path,
    ) -> None:
        golden = load_file(vamba_numbers / "e2e/train_batch_video_two.safetensors")
        entries = [of("video", "magic.mp4", sample) for sample in record["annotations"]["video"]]
        examples = [
            made(vamba_data(tmp_path, entries, processor, shared_videos, count=count), index)
            for index, count in enumerate((16, 8))
        ]
        batch = VambaCollator(processor)(examples)
        for name, values in record["batches"]["video_two"].items():
            assert batch[name].tolist() == values, name
        assert batch["num_videos"].tolist() == [1, 1]
        same_pixels(batch["pixel_values_videos"], golden["pixel_values_videos"], processor)

    @pytest.mark.parametrize("case", ["images_packed", "captions_packed"])
    def test_packed_images(
        self, case: str, processor: VambaProcessor, record: dict[str, Any], vamba_numbers: Path, tmp_path: Path
    ) -> None:
        """Images are what the released code calls images, and are told to the model as videos of one frame pair."""
        golden = load_file(vamba_numbers / "e2e/train_batch_images_packed.safetensors")
        entries = []
        for number, (question, sample) in enumerate(
            zip(CAPTION_QUESTIONS, record["annotations"]["images"], strict=True)
        ):
            Image.fromarray(golden[f"image{number}_uint8"].numpy()).save(tmp_path / f"{number}.png")
            if case == "captions_packed":
                sample = {"conversations": turns(question, sample["caption"])}
            entries.append(of("image", f"{number}.png", sample))
        data = vamba_data(tmp_path, entries, processor, tmp_path)
        batch = VambaCollator(processor, Packing(samples=2))([made(data, 0), made(data, 1)])
        wanted = dict(record["batches"][case])
        assert batch["video_grid_thw"].tolist() == wanted.pop("image_grid_thw")
        for name, values in wanted.items():
            assert batch[name].tolist() == values, name
        mask = load_file(vamba_numbers / f"e2e/train_batch_{case}.safetensors")["attention_mask"]
        assert torch.equal(batch["attention_mask"].long(), mask)
        assert batch["video_segments"].tolist() == [1, 2]
        same_pixels(batch["pixel_values_videos"], golden["pixel_values"], processor)

    def test_ids_of_several_questions_about_one_video(self, processor: VambaProcessor, record: dict[str, Any]) -> None:
        """Each question is a conversation of its own with the video in front, all of them in one row."""
        (sample,) = record["annotations"]["multiqa"]
        wanted = record["batches"]["video_multiqa_packed"]
        ids: list[int] = []
        for talk in sample["all_conversations"]:
            ids += processor.training_ids_and_labels(_messages(talk))[0]
        assert [ids] == wanted["input_ids"]


class TestGoldenLosses:
    """Our batches give the released losses and gradients, though images are videos and rows know samples."""

    @pytest.fixture
    def model(self, vamba_numbers: Path) -> VambaForConditionalGeneration:
        model, _ = load_model(
            vamba_numbers / "tiny_vamba/config_a_default", None, LoadOptions(device="cpu", dtype="float32")
        )
        assert isinstance(model, VambaForConditionalGeneration)
        return model

    def check(
        self, model: VambaForConditionalGeneration, batch: dict[str, Any], golden: dict[str, Tensor], pixels: Tensor
    ) -> None:
        del batch["info"]
        batch["pixel_values_videos"] = pixels
        loss = model(**batch).loss
        loss.backward()
        assert loss.item() == pytest.approx(golden["loss"].item(), abs=2e-5)
        gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
        names = [name for name in golden if name.startswith("grad.")]
        assert len(names) == 63
        for name in names:
            found = gradients[name.removeprefix("grad.")]
            if ".layers.2.vision_mixer." in name:
                assert not golden[name].any()
                assert found is None
                continue
            assert found is not None, name
            assert (found - golden[name]).abs().max() <= 1e-4 * max(1.0, float(golden[name].abs().max())), name

    def test_packed_images(
        self,
        model: VambaForConditionalGeneration,
        processor: VambaProcessor,
        record: dict[str, Any],
        vamba_numbers: Path,
    ) -> None:
        golden = load_file(vamba_numbers / "e2e/train_batch_images_packed.safetensors")
        examples = []
        for number, sample in enumerate(record["annotations"]["images"]):
            ids, labels = processor.training_ids_and_labels(_messages(sample["conversations"]))
            patches = processor.resize_frames([golden[f"image{number}_uint8"].numpy()])
            examples.append(Example(str(number), ids, labels, patches=(patches,), patch_frames=(1,)))
        batch = VambaCollator(processor, Packing(samples=2))(examples)
        wanted = load_file(vamba_numbers / "e2e/train_images_packed_config_a.safetensors")
        self.check(model, batch, wanted, golden["pixel_values"])

    def test_several_questions_about_one_video(
        self,
        model: VambaForConditionalGeneration,
        processor: VambaProcessor,
        record: dict[str, Any],
        vamba_numbers: Path,
    ) -> None:
        pixels = load_file(vamba_numbers / "e2e/train_batch_video_two.safetensors")["pixel_values_videos"][256:384]
        (sample,) = record["annotations"]["multiqa"]
        talks = [processor.training_ids_and_labels(_messages(talk)) for talk in sample["all_conversations"]]
        example = Example(
            "golden",
            [token for ids, _ in talks for token in ids],
            [label for _, labels in talks for label in labels],
            branches=(0, len(talks[0][0])),
            patches=(Patches(torch.zeros(128, 1176, dtype=torch.uint8), (4, 4, 8)),),
            patch_frames=(8,),
        )
        batch = VambaCollator(processor)([example])
        wanted = load_file(vamba_numbers / "e2e/train_video_multiqa_packed_config_a.safetensors")
        self.check(model, batch, wanted, pixels)


def _messages(talk: list[dict[str, str]]) -> list[Message]:
    """A golden conversation with its video or image in front."""
    asked, answered = (turn["value"] for turn in talk)
    return [Message("user", f"<image>\n{asked}"), Message("assistant", answered)]
