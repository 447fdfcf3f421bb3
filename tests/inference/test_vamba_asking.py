"""A Vamba by the same doors as any model: asked, streamed, chatted with, prepared, planned; and what it cannot do."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import bimba
from bimba.checkpoints.outline import read_outline
from bimba.errors import CheckpointError, InputError
from bimba.inference import VideoQA
from bimba.inference.clip import ClipFile
from bimba.inference.encoder import encode_clip
from bimba.inference.plan import fit, plan
from bimba.inference.stopwatch import Stopwatch
from bimba.models.vamba.context import VideoContext
from bimba.models.vamba.modeling import VambaForConditionalGeneration
from bimba.needles import make_needles
from bimba.video.source import Video
from vamba_model import save_tiny_vamba


@pytest.fixture(scope="module")
def vamba_folder(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Vamba as we save one, with the words of Qwen2-VL's format."""
    return save_tiny_vamba(golden, tmp_path_factory.mktemp("vamba") / "tiny")


@pytest.fixture(scope="module")
def vamba(vamba_folder: Path) -> VideoQA:
    return bimba.load(vamba_folder)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds at 4 frames a second."""
    folder = tmp_path_factory.mktemp("videos")
    made = make_needles(folder, videos=1, seconds=6, fps=4, size="128x72", needles=1, needle_seconds=1)
    return next(made.folder.glob("*.mp4"))


def test_answer_is_that_of_the_model_itself(vamba: VideoQA, video: Path) -> None:
    answer = vamba.ask(video, "What is shown?", num_frames=7, max_new_tokens=6)
    inputs = vamba.prepare(video, "What is shown?", num_frames=7)
    assert sorted(inputs) == ["attention_mask", "input_ids", "num_videos", "pixel_values_videos", "video_grid_thw"]
    assert inputs["video_grid_thw"].tolist() == [[4, 4, 8]]
    output = vamba.model.generate(**inputs, max_new_tokens=6, do_sample=False)
    assert answer.token_ids == output[0, inputs["input_ids"].shape[1] :].tolist()
    assert answer.num_video_tokens == 4 * 2 * 4
    assert answer.num_prompt_tokens == inputs["input_ids"].shape[1]
    assert len(answer.frame_seconds) == 7
    assert {"decode", "pixels", "vision", "mix", "generate"} <= answer.timings.keys()


@pytest.mark.parametrize("num_frames", [1, 2, 16, 17, 24])
def test_pieces_change_nothing(num_frames: int, vamba: VideoQA, video: Path) -> None:
    answer = vamba.ask(video, "What is shown?", num_frames=num_frames, max_new_tokens=6)
    inputs = vamba.prepare(video, "What is shown?", num_frames=num_frames)
    output = vamba.model.generate(**inputs, max_new_tokens=6, do_sample=False)
    assert answer.token_ids == output[0, inputs["input_ids"].shape[1] :].tolist()


def test_video_matters(vamba: VideoQA, video: Path) -> None:
    seen = vamba.ask(video, "What is shown?", num_frames=8, max_new_tokens=6)
    other = vamba.ask(Video(video, start=3), "What is shown?", num_frames=8, max_new_tokens=6)
    blind = vamba.ask(None, "What is shown?", max_new_tokens=6)
    assert len({tuple(answer.token_ids) for answer in (seen, other, blind)}) == 3
    assert blind.num_video_tokens == 0


def test_stream_is_the_answer_in_pieces(vamba: VideoQA, video: Path) -> None:
    stream = vamba.stream(video, "What is shown?", num_frames=4, max_new_tokens=8)
    pieces = list(stream)
    assert "".join(pieces) == stream.answer.text
    assert stream.answer.token_ids == vamba.ask(video, "What is shown?", num_frames=4, max_new_tokens=8).token_ids


def test_chat_reads_the_video_once(vamba: VideoQA, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    tower = VambaForConditionalGeneration.get_vision_tokens

    def counted(self: Any, pixel_values: torch.Tensor, grid_thw: torch.Tensor) -> torch.Tensor:
        looked.append(len(pixel_values))
        return tower(self, pixel_values, grid_thw)

    monkeypatch.setattr(VambaForConditionalGeneration, "get_vision_tokens", counted)
    chat = vamba.chat(video, num_frames=8)
    first = chat.ask("What is shown?", max_new_tokens=6)
    chat.ask("And then?", max_new_tokens=6)
    assert looked == [4 * 4 * 8]
    assert first.token_ids == vamba.ask(video, "What is shown?", num_frames=8, max_new_tokens=6).token_ids
    turns = [{"role": turn.role, "content": turn.content} for turn in chat.turns[:3]]
    again = vamba.ask(video, turns, num_frames=8, max_new_tokens=6)
    assert again.text == chat.turns[3].content


def test_context_is_kept_where_and_how_it_is_said(vamba_folder: Path, video: Path) -> None:
    qa: Any = bimba.load(vamba_folder)
    assert isinstance(qa.model, VambaForConditionalGeneration)
    qa.model.keep_on, qa.model.keep_as = "cpu", torch.bfloat16
    clip = qa.chat(video, num_frames=4).clip
    assert clip is not None
    assert isinstance(clip.features, VideoContext)
    assert clip.features.layers[0].keys.dtype == torch.bfloat16
    assert qa.ask(video, "What is shown?", num_frames=4, max_new_tokens=4).token_ids


def test_beams(vamba: VideoQA, video: Path) -> None:
    assert vamba.ask(video, "What is shown?", num_frames=4, max_new_tokens=4, num_beams=3).token_ids


def test_what_needs_tokens_in_a_prompt_is_refused(vamba: VideoQA, video: Path) -> None:
    for refused in (
        lambda: vamba.encode(video),
        vamba.watch,
        lambda: vamba.pool_frames(2),
        lambda: vamba.encoder_identity,
    ):
        with pytest.raises(InputError, match="keeps every token of a video"):
            refused()


ODD = ["What does <video> mean in HTML?", "Is <|vision_start|><|vision_end|> a word?"]


@pytest.mark.parametrize("question", ODD)
def test_what_looks_like_a_placeholder_is_somebodys_words(question: str, vamba: VideoQA, video: Path) -> None:
    answer = vamba.ask(video, question, num_frames=4, max_new_tokens=3)
    assert answer.num_video_tokens == 2 * 2 * 4
    assert vamba.ask(None, question, max_new_tokens=3).num_video_tokens == 0
    chat = vamba.chat(video, num_frames=4)
    assert chat.ask(question, max_new_tokens=3).token_ids == answer.token_ids
    chat.ask(question, max_new_tokens=3)


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_size_of_pieces_changes_nothing(size: int, vamba: VideoQA, video: Path) -> None:
    clip = ClipFile(Video(video)).choose(8, "middle")
    found: Any = encode_clip(
        vamba.model, vamba.processor, clip, Stopwatch(vamba.model.input_device), frames_per_step=size
    )
    whole: Any = vamba.chat(video, num_frames=8, sampling="middle").clip
    for one, other in zip(found.layers, whole.features.layers, strict=True):
        torch.testing.assert_close(one.keys, other.keys, atol=1e-4, rtol=1e-4)


def test_auto_takes_middles(vamba: VideoQA, video: Path) -> None:
    auto = vamba.ask(video, "?", num_frames="auto", sampling=2, max_new_tokens=1).frame_seconds
    assert auto == vamba.ask(video, "?", num_frames=12, sampling="middle", max_new_tokens=1).frame_seconds


def test_settings_that_pool_are_refused(vamba_folder: Path) -> None:
    with pytest.raises(InputError, match="drops no token"):
        bimba.load(vamba_folder, config_overrides={"temporal_pooling": 4})
    with pytest.raises(InputError, match="drops no token"):
        read_outline(vamba_folder, overrides={"spatial_pooling": 4})
    bimba.load(vamba_folder, config_overrides={"temporal_pooling": 1})


def test_plan_counts_what_asking_reads(vamba: VideoQA, vamba_folder: Path, video: Path) -> None:
    outline = read_outline(vamba_folder)
    planned = plan(video, "What is shown?", outline, num_frames=7, max_new_tokens=6)
    answer = vamba.ask(video, "What is shown?", num_frames=7, max_new_tokens=6)
    assert planned.num_video_tokens == answer.num_video_tokens
    assert planned.num_patches == 4 * planned.num_video_tokens
    assert planned.num_text_tokens == answer.num_prompt_tokens
    assert planned.num_parameters == vamba.model.num_parameters()
    assert "<|vision_start|><|vision_end|>What is shown?" in planned.prompt
    longer = plan(video, "What is shown?", outline, num_frames=24)
    per_token = 2 * 3 * 2 * 16 * 4  # keys and values of 3 layers, 2 heads of 16, in float32
    grown = (longer.memory.answer or 0) - (planned.memory.answer or 0)
    assert grown >= per_token * (longer.num_video_tokens - planned.num_video_tokens)


def test_frames_that_fit_a_budget(vamba_folder: Path, video: Path) -> None:
    outline = read_outline(vamba_folder)
    assert fit(video, "?", outline, frames="auto").num_frames == ClipFile(Video(video)).num_available == 24
    assert fit(video, "?", outline, frames="auto", fps=2).num_frames == 12
    few = fit(video, "?", outline, frames="auto", max_video_tokens=40)
    assert (few.num_frames, few.num_video_tokens, few.temporal_pooling) == (10, 40, 1)
    kept = fit(video, "?", outline, frames=8, max_video_tokens=40)
    assert (kept.num_frames, kept.num_video_tokens) == (8, 32)
    with pytest.raises(InputError, match=r"24 frames are 96 tokens .* 40 may be taken") as refused:
        fit(video, "?", outline, fps=4, max_video_tokens=40)
    assert "--frames 10" in str(refused.value)
    with pytest.raises(InputError, match="allow 8 or more"):
        fit(video, "?", outline, frames=8, max_video_tokens=7)


def test_auto_frames_of_a_long_video_are_those_of_the_paper(vamba: VideoQA, vamba_folder: Path, tmp_path: Path) -> None:
    made = make_needles(tmp_path, videos=1, seconds=1200, fps=1, size="64x64", needles=1, needle_seconds=1)
    path = next(made.folder.glob("*.mp4"))
    assert fit(path, "?", read_outline(vamba_folder), frames="auto").num_frames == 1024
    inputs = vamba.prepare(path, "?", num_frames="auto")
    assert inputs["video_grid_thw"][0, 0] == 512


def change(folder: Path, copy: Path, **settings: Any) -> Path:
    """A copy of a model folder with other settings."""
    shutil.copytree(folder, copy)
    file = copy / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    return copy


def test_plain_qwen2_vl_says_what_is_missing_and_how_to_train(vamba_folder: Path, tmp_path: Path) -> None:
    plain = change(vamba_folder, tmp_path / "plain", model_type="qwen2_vl")
    with pytest.raises(CheckpointError, match="plain Qwen2-VL: it has no vision_mamba_mixer_config") as refused:
        bimba.load(plain)
    assert "bimba train vamba/1-align model.path=" in str(refused.value)


def test_incomplete_folders_are_refused(vamba_folder: Path, tmp_path: Path) -> None:
    broken = change(vamba_folder, tmp_path / "broken", mixer={"d_state": 17})
    with pytest.raises(CheckpointError, match="do not fit"):
        bimba.load(broken)
    wrong = change(vamba_folder, tmp_path / "wrong", mixer={"d_states": 17})
    with pytest.raises(CheckpointError, match="unknown mixer settings"):
        bimba.load(wrong)
    for name in ("processor_config.json", "tokenizer.json", "model.safetensors"):
        lacking = change(vamba_folder, tmp_path / f"without {name}")
        (lacking / name).unlink()
        with pytest.raises(CheckpointError, match="lacks"):
            bimba.load(lacking)


DAMAGED = [
    {"vision_config": [1]}, {"dtype": "floaty"}, {"mixer": {"headdim": "64"}}, {"text_config": {"hidden_act": "nope"}},
    {"text_config": {"num_attention_heads": 0}}, {"text_config": "x"}, {"mixer": "yes"},
]  # fmt: skip


@pytest.mark.parametrize("settings", DAMAGED, ids=str)
def test_damaged_settings_are_an_error_in_our_words(
    settings: dict[str, Any], vamba_folder: Path, tmp_path: Path
) -> None:
    damaged = change(vamba_folder, tmp_path / "damaged", **settings)
    for reads in (bimba.load, read_outline):
        with pytest.raises((CheckpointError, InputError)):
            reads(damaged)


def test_processor_of_another_model_is_refused(vamba_folder: Path, tmp_path: Path) -> None:
    other = change(vamba_folder, tmp_path / "other")
    file = other / "processor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"merge_size": 4}))
    for reads in (bimba.load, read_outline):
        with pytest.raises(CheckpointError, match="has merge_size 4, its vision tower 2"):
            reads(other)
