"""A model that is none of ours answers the same questions about the same frames, and is scored alike."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmark_runs import make_benchmark, settings
from tiny_rival import make_rival
from transformers import AutoImageProcessor, AutoTokenizer, Qwen2VLForConditionalGeneration

from bimba.checkpoints.source import foreign_folder
from bimba.errors import CheckpointError, InputError
from bimba.evaluation.answering import Query
from bimba.evaluation.running import run_benchmark
from bimba.evaluation.running.rivals import TransformersAnswerer

needs_none = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is not None, reason="tells what happens without torchvision"
)


@pytest.fixture(scope="module")
def rival(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rival(tmp_path_factory.mktemp("rival"))


def answerer(folder: Path, frames_as: str = "images") -> TransformersAnswerer:
    return TransformersAnswerer(folder, device="cpu", dtype="auto", max_new_tokens=4, frames_as=frames_as)


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
    [scores] = one.choose(iter(frames), [Query("Which?", turn=turn)], ("A", "B"))
    [said] = one.say(iter(frames), [Query("Which?", turn=turn)])

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
