"""The data set: the golden sample from its file on, every kind of sample, and every way in which one fails."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sample_files import FRAMES, dataset_of, description, entry, example, failure, shown, turns
from torch import Tensor
from torch.utils.data import DataLoader

import bimba
from bimba.errors import InputError
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_tokenizer
from bimba.text.labels import IGNORE
from bimba.training.data import Collator, TrainingDataset, read_samples
from bimba.training.recipe.data_settings import Frames, Source

SHARED_STEP = Path(__file__).resolve().parents[4] / "shared/golden/bimba/e2e/train_step.safetensors"
NO_TIMES = Frames(count=4, time_sentence=False)


# Golden -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden_data(golden: Path, example_video: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingDataset:
    """The published sample, written to a file and read back."""
    path = tmp_path_factory.mktemp("golden") / "train.json"
    path.write_text(json.dumps(json.loads((golden / "train_step.json").read_text())["sample"]))
    source = Source(json_path=path, video_folder=example_video.parent)
    processor = bimba.load(golden / "tiny_lora", base=golden / "tiny_base").processor
    return TrainingDataset(read_samples([source], seed=0), processor, Frames(count=8))


def test_golden_ids_and_labels_from_the_file_on(golden_data: TrainingDataset, golden: Path) -> None:
    expected = load_file(golden / "train_step_small.safetensors")
    sample = example(golden_data)
    placeholder = golden_data.processor.video_token_id
    assert sample.labels == expected["trained.expanded_labels"][0].tolist()
    num_tokens = golden_data.processor.num_video_tokens(8)
    start = sample.ids.index(placeholder)
    assert sample.ids[start : start + num_tokens] == [placeholder] * num_tokens
    collapsed = [*sample.ids[:start], -200, *sample.ids[start + num_tokens :]]
    assert collapsed == expected["input_ids"][0].tolist()


def test_golden_pixels(golden_data: TrainingDataset) -> None:
    if not SHARED_STEP.exists():
        pytest.skip("the golden pixels are not beside the repository")
    expected = load_file(SHARED_STEP)["pixel_values"]
    (pixels,) = example(golden_data).pixels
    assert (pixels - expected).abs().max() < 1e-6


def test_a_golden_sample_that_is_fetched_twice_is_the_same(golden_data: TrainingDataset) -> None:
    first, second = example(golden_data), example(golden_data)
    assert (first.ids, first.labels, first.questions) == (second.ids, second.labels, second.questions)
    assert torch.equal(first.pixels[0], second.pixels[0])


# Kinds of samples -------------------------------------------------------------------------------------------------


def test_a_video_sample_has_frames_tokens_and_a_question(
    video: Path, processor: BimbaProcessor, tmp_path: Path
) -> None:
    dataset = dataset_of(tmp_path, [entry(video=str(video))], processor)
    sample = example(dataset)
    assert sample.name == "train.json[0] (id one)"
    assert [tuple(pixels.shape) for pixels in sample.pixels] == [(4, 3, 70, 70)]
    assert sample.pixels[0].dtype == torch.float32
    assert sample.num_frames == (4,)
    assert sample.ids.count(processor.video_token_id) == processor.num_video_tokens(4)
    assert len(sample.ids) == len(sample.labels)
    assert sample.questions == (processor.question_ids("What?"),)
    assert shown(dataset) == (
        "[<|im_start|>]system[\n]You are a helpful assistant.[<|im_end|>\n<|im_start|>]user[\n]<image>[\n]"
        "The video lasts for 4.00 seconds, and 4 frames are uniformly sampled from it. These frames are located at "
        "0.00s,1.30s,2.60s,3.90s.Please answer the following questions related to this video.[\n\n]What?"
        "[<|im_end|>\n<|im_start|>assistant\nThat.<|im_end|>\n]"
    )


def test_only_answers_are_learned_if_asked(video: Path, processor: BimbaProcessor, tmp_path: Path) -> None:
    conversations = turns("<image>\nWhat?", "That.", "Sure?", "Yes.")
    settings: dict[str, Any] = {"frames": NO_TIMES, "labels": "assistant_only"}
    dataset = dataset_of(tmp_path, [{"video": str(video), "conversations": conversations}], processor, **settings)
    assert shown(dataset) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<image>\nWhat?<|im_end|>\n"
        "<|im_start|>assistant\n[That.<|im_end|>]\n<|im_start|>user\nSure?<|im_end|>\n"
        "<|im_start|>assistant\n[Yes.<|im_end|>]\n"
    )
    assert example(dataset).num_learned == len("That.") + len("Yes.") + 2
    assert description(dataset).num_learned == example(dataset).num_learned


def test_images_are_videos_of_one_frame(picture: Path, processor: BimbaProcessor, tmp_path: Path) -> None:
    conversations = turns("Is <image> as <image>?", "Yes.")
    dataset = dataset_of(tmp_path, [{"image": [picture.name] * 2, "conversations": conversations}], processor)
    sample = example(dataset)
    assert sample.num_frames == (1, 1)
    assert sample.ids.count(processor.video_token_id) == 2 * processor.num_video_tokens(1)
    assert sample.questions == (processor.question_ids("Is  as ?"),) * 2
    assert "Is <image> as <image>?" in shown(dataset).replace("[", "").replace("]", "")
    assert [piece.num_video_tokens for piece in dataset.pieces(description(dataset)) if piece.num_video_tokens] == [
        processor.num_video_tokens(1)
    ] * 2


def test_a_picture_named_as_video_has_no_times(picture: Path, processor: BimbaProcessor, tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [entry(video=picture.name)], processor)
    assert "seconds" not in shown(dataset)
    assert example(dataset).num_frames == (1,)


def test_text_alone_has_no_frames(processor: BimbaProcessor, tmp_path: Path) -> None:
    sample = example(dataset_of(tmp_path, [entry("Why?")], processor))
    assert (sample.pixels, sample.features, sample.questions, sample.num_frames) == ((), (), (), ())


def test_frames_and_times_are_those_of_asking(video: Path, processor: BimbaProcessor, tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [entry(video=str(video))], processor, frames=Frames(count=8, sampling="fps"))
    (clip,) = description(dataset).clips
    assert clip.indices == (0, 10, 20, 30)
    assert clip.frame_seconds == clip.printed_seconds == (0.0, 1.0, 2.0, 3.0)


def test_too_many_frames_a_second_are_thinned_without_a_word(
    video: Path, processor: BimbaProcessor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = dataset_of(tmp_path, [entry(video=str(video))], processor, frames=Frames(count=2, sampling="fps"))
    assert description(dataset).clips[0].indices == (0, 39)
    assert not caplog.records


def test_a_blank_place_is_nothing(processor: BimbaProcessor, tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [entry("Why?")], processor)
    assert dataset[-1] is None
    assert len(dataset) == 1
    for index in (-2, 1):
        with pytest.raises(IndexError):
            dataset[index]


def test_measuring_counts_the_tokens_of_the_example(
    video: Path, picture: Path, processor: BimbaProcessor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [entry(video=str(video)), entry(image=picture.name), entry("Why?"), {"id": "bad"}]
    dataset = dataset_of(tmp_path, entries, processor)
    lengths = [len(example(dataset, index).ids) for index in range(3)]
    monkeypatch.setattr(BimbaProcessor, "make_pixels", None)  # no frame is looked at
    assert [dataset.measure(index) for index in range(3)] == lengths
    assert dataset.measure(3) == failure(dataset, 3)
    assert [dataset.kind(index) for index in range(4)] == ["video", "image", "text", None]


# Features ---------------------------------------------------------------------------------------------------------


class Cache:
    """Features of the videos with these names."""

    def __init__(self, *names: str) -> None:
        self.names, self.asked = names, []  # type: tuple[str, ...], list[tuple[int, ...]]

    def get(self, clip: Path, indices: Sequence[int]) -> Tensor | None:
        self.asked.append(tuple(indices))
        return torch.ones(len(indices), 25, 48) if clip.name in self.names else None


def test_known_features_take_the_place_of_pixels(
    video: Path, processor: BimbaProcessor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(video.name)
    dataset = dataset_of(tmp_path, [entry(video=str(video))], processor, cache=cache)
    without = example(dataset_of(tmp_path, [entry(video=str(video))], processor))
    monkeypatch.setattr(BimbaProcessor, "make_pixels", None)  # no frame is looked at
    sample = example(dataset)
    assert (sample.ids, sample.pixels, sample.num_frames) == (without.ids, (), (4,))
    assert [tuple(features.shape) for features in sample.features] == [(4, 25, 48)]
    assert cache.asked == [(0, 13, 26, 39)]


def test_an_example_with_unknown_features_is_decoded_whole(
    picture: Path, processor: BimbaProcessor, tmp_path: Path
) -> None:
    Image.open(picture).save(tmp_path / "other.png")
    two = entry("Is <image> as <image>?") | {"image": [picture.name, "other.png"]}
    sample = example(dataset_of(tmp_path, [two], processor, cache=Cache(picture.name)))
    assert (sample.num_frames, len(sample.pixels), sample.features) == ((1, 1), 2, ())


# Failures ---------------------------------------------------------------------------------------------------------


def cut(video: Path, folder: Path, share: float) -> str:
    content = video.read_bytes()
    (folder / "cut.mp4").write_bytes(content[: int(len(content) * share)])
    return "cut.mp4"


def test_every_bad_sample_says_why(video: Path, processor: BimbaProcessor, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    bad = {
        "absent.mp4 does not exist": entry(video="absent.mp4"),
        "text.mp4": entry(video="text.mp4"),
        "cut.mp4": entry(video=cut(video, tmp_path, 0.7)),
        "is no image but a video of 40 frames": entry(image=str(video)),
        "the entry has no conversations": {"video": str(video)},
        "holds 2 <image> for 1 video": entry("<image><image>", video=str(video)),
        "holds 1 <image> for no video or image": entry(),
        "is from 'robot'": {"conversations": [{"from": "robot", "value": "Hi."}]},
        "not an object": 7,
    }
    dataset = dataset_of(tmp_path, list(bad.values()), processor)
    for index, (reason, content) in enumerate(bad.items()):
        found = failure(dataset, index)
        assert reason in found.reason
        name = f"train.json[{index}]"
        assert found.name == (f"{name} (id one)" if isinstance(content, dict) and "id" in content else name)
        assert dataset[index] == found


def test_a_video_that_is_damaged_inside_is_a_failure(video: Path, processor: BimbaProcessor, tmp_path: Path) -> None:
    """Its packets are all there, so that only decoding finds out."""
    content = bytearray(video.read_bytes())
    start, end = content.index(b"mdat") + 40, len(content) * 2 // 3
    content[start:end] = bytes(end - start)
    (tmp_path / "damaged.mp4").write_bytes(content)
    dataset = dataset_of(tmp_path, [entry(video="damaged.mp4")], processor)
    assert "damaged.mp4" in failure(dataset).reason


def test_a_sample_that_is_too_long_names_both_counts(video: Path, processor: BimbaProcessor, tmp_path: Path) -> None:
    sample = entry(video=str(video))
    length = len(example(dataset_of(tmp_path, [sample], processor)).ids)
    assert len(example(dataset_of(tmp_path, [sample], processor, max_tokens=length)).ids) == length
    dataset = dataset_of(tmp_path, [sample], processor, max_tokens=length - 1)
    num_video_tokens = processor.num_video_tokens(4)
    assert failure(dataset).reason == (
        f"the sample has {length} tokens, {num_video_tokens} of them of frames; at most {length - 1} are read."
    )
    assert dataset.measure(0) == dataset.describe(0) == failure(dataset)


def test_a_folder_without_times_gives_no_frame_a_second(
    picture: Path, processor: BimbaProcessor, tmp_path: Path
) -> None:
    (tmp_path / "frames").mkdir()
    for number in range(3):
        Image.open(picture).save(tmp_path / f"frames/{number}.png")
    entries = [entry(video="frames")]
    assert example(dataset_of(tmp_path, entries, processor)).num_frames == (3,)
    dataset = dataset_of(tmp_path, entries, processor, frames=Frames(count=4, sampling="fps"))
    assert "folder of pictures without times" in failure(dataset).reason


def test_fewer_frames_than_are_pooled_fail(picture: Path, tmp_path: Path) -> None:
    pooling = BimbaProcessor(tiny_tokenizer(), image_size=70, patches_per_side=5, temporal_pooling=2)
    dataset = dataset_of(tmp_path, [entry(image=picture.name)], pooling)
    assert "1 frames are fewer than the 2" in failure(dataset).reason
    with pytest.raises(InputError, match="1 frames are fewer than the 2"):
        dataset_of(tmp_path, [entry(image=picture.name)], pooling, frames=Frames(count=1))


def test_a_template_that_leaves_the_video_out_is_a_failure(video: Path, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{% for message in messages %}{{ message.role }}{% endfor %}"
    silent = BimbaProcessor(tokenizer, image_size=70, patches_per_side=5, prompt_style="template")
    assert "wrote 0 of 1 videos" in failure(dataset_of(tmp_path, [entry(video=str(video))], silent)).reason


def test_errors_of_the_program_are_not_taken_for_bad_samples(
    processor: BimbaProcessor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(BimbaProcessor, "training_ids_and_labels", broken)
    with pytest.raises(ZeroDivisionError):
        dataset_of(tmp_path, [entry("Why?")], processor)[0]


# Workers ----------------------------------------------------------------------------------------------------------


def test_a_pickled_data_set_gives_the_same(video: Path, processor: BimbaProcessor, tmp_path: Path) -> None:
    dataset = dataset_of(tmp_path, [entry(video=str(video)), {"id": "bad"}], processor)
    copy: TrainingDataset = pickle.loads(pickle.dumps(dataset))
    assert example(copy).ids == example(dataset).ids
    assert torch.equal(example(copy).pixels[0], example(dataset).pixels[0])
    assert failure(copy, 1) == failure(dataset, 1)


# Coverage in a worker that had nothing to do warns of it, which would end the worker.
@pytest.mark.filterwarnings("ignore:Module bimba was previously imported")
def test_worker_processes_give_the_same_batches(
    video: Path, picture: Path, processor: BimbaProcessor, tmp_path: Path
) -> None:
    entries = [entry(video=str(video)), entry("Why?"), {"id": "bad"}, entry(image=picture.name), entry("So?")]
    dataset = dataset_of(tmp_path, entries, processor)
    order = [0, 3, 1, -1, 2, 4]

    def batches(workers: int) -> list[dict[str, Any]]:
        return list(DataLoader(dataset, 2, sampler=order, num_workers=workers, collate_fn=Collator(processor)))

    for alone, together in zip(batches(0), batches(2), strict=True):
        assert alone.keys() == together.keys()
        for name, value in alone.items():
            assert torch.equal(value, together[name]) if isinstance(value, Tensor) else value == together[name]
    assert [batch["info"].num_samples for batch in batches(0)] == [2, 1, 1]


def test_labels_ignore_every_video_token(video: Path, processor: BimbaProcessor, tmp_path: Path) -> None:
    sample = example(dataset_of(tmp_path, [entry(video=str(video))], processor))
    ids, labels = np.array(sample.ids), np.array(sample.labels)
    assert (labels[ids == processor.video_token_id] == IGNORE).all()
    assert ((labels == IGNORE) | (labels == ids)).all()
    assert FRAMES.count == 4
