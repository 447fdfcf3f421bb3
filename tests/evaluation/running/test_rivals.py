"""A model that is none of ours answers the same questions about the same frames, and is scored alike."""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_rival import make_rival
from transformers import (
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    ProcessorMixin,
    Qwen2VLForConditionalGeneration,
)
from transformers.video_utils import VideoMetadata, make_batched_metadata

from benchmark_runs import make_benchmark, settings
from bimba.checkpoints.source import foreign_folder
from bimba.errors import CheckpointError, InputError
from bimba.evaluation.answering import Query
from bimba.evaluation.running import run_benchmark
from bimba.evaluation.running.rivals import TransformersAnswerer
from bimba.inference.clip import Clip

needs_none = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is not None, reason="tells what happens without torchvision"
)


@pytest.fixture(scope="module")
def rival(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rival(tmp_path_factory.mktemp("rival"))


def answerer(folder: Path, frames_as: str = "images") -> TransformersAnswerer:
    return TransformersAnswerer(folder, device="cpu", dtype="auto", max_new_tokens=4, frames_as=frames_as)


def clip_of(frames: NDArray[np.uint8], seconds: Sequence[float] = (), duration_seconds: float = 0.0) -> Clip:
    return Clip(len(frames), lambda: iter(frames), tuple(seconds), tuple(seconds), duration_seconds)


def pictures(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (count, 28, 28, 3), dtype=np.uint8)


def test_whose_model_a_folder_is_is_found_out(rival: Path, model: Path, golden: Path, tmp_path: Path) -> None:
    assert foreign_folder(rival) == rival
    assert foreign_folder(model) is None
    assert foreign_folder(golden / "tiny_lora") is None
    assert foreign_folder(golden / "tiny_base") is None
    assert foreign_folder(tmp_path) is None
    with pytest.raises(CheckpointError, match="neither a folder nor a hub id"):
        foreign_folder("nothing here")


def test_it_sees_the_frames_and_reads_the_turn_as_they_are(rival: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (3, 48, 64, 3), dtype=np.uint8)
    turn = "<image>Which?\nA. x\nB. y\nThe best answer is:"
    one = answerer(rival)
    [scores] = one.choose(one.chunks(clip_of(frames)), [Query("Which?", turn=turn)], ("A", "B"))
    [said] = one.say(one.chunks(clip_of(frames)), [Query("Which?", turn=turn)])

    tokenizer = AutoTokenizer.from_pretrained(rival)
    pixels = AutoImageProcessor.from_pretrained(rival, backend="pil")(images=list(frames), return_tensors="pt")
    shown = "".join(
        "<|vision_start|>" + "<|image_pad|>" * (int(grid.prod()) // 4) + "<|vision_end|>"
        for grid in pixels["image_grid_thw"]
    )
    prompt = f"<|im_start|>user\n{shown}{turn.removeprefix('<image>')}<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
    kinds = (ids == tokenizer.convert_tokens_to_ids("<|image_pad|>")).long()
    by_hand = Qwen2VLForConditionalGeneration.from_pretrained(rival).eval()
    with torch.no_grad():
        logits = by_hand(input_ids=ids, mm_token_type_ids=kinds, **pixels).logits[0, -1].log_softmax(-1)
        new = by_hand.generate(input_ids=ids, mm_token_type_ids=kinds, **pixels, max_new_tokens=4, do_sample=False)
    expected = [float(logits[tokenizer.convert_tokens_to_ids(letter)]) for letter in "AB"]
    assert np.abs(np.array(scores) - expected).max() < 1e-4
    assert said == tokenizer.decode(new[0, ids.shape[1] :], skip_special_tokens=True)


def test_it_is_run_on_the_same_harness(rival: Path, tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "benchmark", videos=2, per_video=2)
    for score in ("likelihood", "generate"):
        done = run_benchmark(
            settings(rival, frames_as="images", score=score, max_new_tokens=3),
            tmp_path / score,
            folder / "videos",
            prepared=folder / "prepared",
        )
        assert done.num_asked == 4
        assert done.results is not None
        assert done.results["covers"]["answered"] == 4
    answers = [json.loads(line) for line in (tmp_path / "likelihood/answers.jsonl").read_text().splitlines()]
    assert all(len(answer["scores"]) == 3 and answer["num_frames"] == 4 for answer in answers)


@needs_none
def test_a_processor_that_needs_torchvision_says_so(rival: Path) -> None:
    with pytest.raises(InputError, match="needs a library that is not installed") as error:
        answerer(rival, "video")
    assert "--frames-as images" in error.value.fix


def test_what_it_cannot_do_is_refused(rival: Path, tmp_path: Path) -> None:
    folder = make_benchmark(tmp_path / "benchmark", videos=1, per_video=1)
    with pytest.raises(InputError, match="none of our models"):
        run_benchmark(
            settings(rival, temporal_pooling=2), tmp_path / "out", folder / "videos", prepared=folder / "prepared"
        )
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="it has no processor of pictures"):
        answerer(tmp_path / "other")


class StandIn(ProcessorMixin):
    """A processor of videos that writes down what it is given, as those of Qwen-VL models, which need torchvision.

    Args:
        folder: of its tokenizer.
        every: it drops all frames but those at multiples of it.
        fewest: it refuses videos of fewer frames.
    """

    video_processor: Any

    def __init__(self, folder: Path, *, every: int = 1, fewest: int = 1) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.video_processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        self._every, self._fewest = every, fewest
        self.given: list[dict[str, Any]] = []

    def apply_chat_template(self, *words: Any, **options: Any) -> Any:
        return self.tokenizer.apply_chat_template(*words, **options)

    def __call__(self, text: list[str], videos: list[NDArray[np.uint8]], **options: Any) -> Any:
        self.given.append({"videos": videos} | options)
        frames = videos[0][:: self._every]
        if len(frames) < self._fewest:
            raise ValueError(f"t:{len(frames)} must be larger than temporal_factor:{self._fewest}")
        groups = -(-len(frames) // 2)
        inputs = self.tokenizer(text[0].replace("<|video_pad|>", "<|video_pad|>" * groups), return_tensors="pt")
        kinds = (inputs["input_ids"] == self.tokenizer.convert_tokens_to_ids("<|video_pad|>")).long() * 2
        pixels = torch.zeros(groups * 4, 3 * 2 * 14 * 14)
        grid = torch.tensor([[groups, 2, 2]])
        return dict(inputs) | {"mm_token_type_ids": kinds, "pixel_values_videos": pixels, "video_grid_thw": grid}


def with_stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path, stand_in: Any) -> TransformersAnswerer:
    monkeypatch.setattr(AutoProcessor, "from_pretrained", lambda _: stand_in)
    return answerer(folder, "video")


def metadata_given(stand_in: StandIn, place: int = -1) -> VideoMetadata:
    """As the processors of transformers read it."""
    given = stand_in.given[place]
    [metadata] = make_batched_metadata(given["videos"], given["videos_kwargs"]["video_metadata"])
    return metadata


@pytest.mark.parametrize("count", [1, 2, 5, 64])
def test_a_processor_of_videos_gets_all_frames_with_their_true_times_and_may_not_choose(
    count: int, rival: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = StandIn(rival)
    one = with_stand_in(monkeypatch, rival, stand_in)
    frames, seconds = pictures(count), np.linspace(0.04, 127.5, count).tolist()
    clip = clip_of(frames, seconds, duration_seconds=128.0)
    one.choose(one.chunks(clip), [Query("Which?"), Query("Who?")], ("A", "B"))
    one.say(one.chunks(clip), [Query("Which?")])
    assert len(stand_in.given) == 3
    for place, given in enumerate(stand_in.given):
        assert len(given["videos"]) == 1
        assert np.array_equal(given["videos"][0], frames)
        assert given["videos_kwargs"]["do_sample_frames"] is False
        metadata = metadata_given(stand_in, place)
        assert np.allclose(metadata.timestamps, seconds, atol=0.0005)
        assert metadata.duration == 128.0
        assert metadata.sampled_fps == pytest.approx(count / 128)
        assert given["videos_kwargs"]["fps"] == pytest.approx(count / 128)


def test_times_that_are_unknown_are_not_made_up(rival: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = StandIn(rival)
    one = with_stand_in(monkeypatch, rival, stand_in)
    one.say(one.chunks(clip_of(pictures(6))), [Query("Which?")])
    metadata = metadata_given(stand_in)
    assert (metadata.fps, metadata.duration, metadata.frames_indices) == (None, None, [0, 1, 2, 3, 4, 5])
    assert stand_in.given[-1]["videos_kwargs"].keys() == {"do_sample_frames", "video_metadata"}
    one.say(one.chunks(clip_of(pictures(1), [0.0])), [Query("Which?")])  # a still image
    assert metadata_given(stand_in).timestamps == [0.0]


def test_a_processor_that_drops_frames_is_refused(rival: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = with_stand_in(monkeypatch, rival, StandIn(rival, every=12))
    with pytest.raises(InputError, match="shows it 6 of 64 frames") as error:
        one.say(one.chunks(clip_of(pictures(64))), [Query("Which?")])
    assert "--frames-as images" in error.value.fix
    one = with_stand_in(monkeypatch, rival, StandIn(rival, fewest=2))
    with pytest.raises(InputError, match=r"so many frames \(1\): t:1 must be larger than temporal_factor:2"):
        one.say(one.chunks(clip_of(pictures(1))), [Query("Which?")])


@pytest.mark.parametrize(
    ("made", "seen"),
    [
        ({"pixel_values_videos": torch.zeros(1, 4, 3, 2, 2)}, "4 of 5"),
        ({"pixel_values": torch.zeros(1, 3, 3, 2, 2)}, "3 of 5"),
        ({}, "0 of 5"),
    ],
)
def test_frames_are_counted_in_whatever_a_processor_makes_of_them(
    made: dict[str, torch.Tensor], seen: str, rival: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = StandIn(rival)
    monkeypatch.setattr(StandIn, "__call__", lambda *_, **__: {"input_ids": torch.zeros(1, 3).long()} | made)
    one = with_stand_in(monkeypatch, rival, stand_in)
    with pytest.raises(InputError, match=f"shows it {seen} frames"):
        one.say(one.chunks(clip_of(pictures(5))), [Query("Which?")])


def test_a_processor_without_videos_is_refused_before_it_passes_over_them(
    rival: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = StandIn(rival)
    del stand_in.video_processor
    with pytest.raises(InputError, match="takes no videos") as error:
        with_stand_in(monkeypatch, rival, stand_in)
    assert "--frames-as images" in error.value.fix


def test_a_run_hands_on_the_times_of_its_videos(rival: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_benchmark(tmp_path / "benchmark", videos=1, per_video=1)
    stand_in = StandIn(rival)
    monkeypatch.setattr(AutoProcessor, "from_pretrained", lambda _: stand_in)
    run_benchmark(settings(rival, max_new_tokens=2), tmp_path / "out", folder / "videos", prepared=folder / "prepared")
    metadata = metadata_given(stand_in)  # of two seconds at four frames each
    assert metadata.duration == 2.0
    assert metadata.timestamps == [0.0, 0.5, 1.0, 1.75]
