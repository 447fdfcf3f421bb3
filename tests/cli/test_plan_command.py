"""`bimba plan`: what a question comes to, told before any weight is read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bimba.cli import app
from bimba.cli.units import at_time, in_bytes, in_count, in_seconds, in_words
from bimba.inference import VideoQA
from vamba_model import save_tiny_vamba

RUN = CliRunner()


@pytest.fixture(scope="module")
def model(tiny: VideoQA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without its weights: a plan needs none."""
    place = tmp_path_factory.mktemp("plan") / "model"
    tiny.model.save_pretrained(place)
    tiny.processor.save_pretrained(place)
    (place / "model.safetensors").unlink()
    return place


@pytest.fixture(scope="module")
def vamba(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Vamba, without its weights, too."""
    place = save_tiny_vamba(golden, tmp_path_factory.mktemp("plan") / "vamba")
    (place / "model.safetensors").unlink()
    return place


def planned(*words: object) -> dict[str, object]:
    result = RUN.invoke(app, ["plan", *map(str, words), "--no-time", "--json"])
    assert result.exit_code == 0, result.output
    record: dict[str, object] = json.loads(result.stdout)
    return record


def test_a_plan_is_what_asking_does(tiny: VideoQA, video: Path, model: Path) -> None:
    plan = planned(video, "What?", "--model", model, "--frames", 8)
    answer = tiny.ask(video, "What?", num_frames=8, max_new_tokens=2)
    assert plan["frame_seconds"] == answer.frame_seconds
    assert plan["num_video_tokens"] == answer.num_video_tokens
    assert plan["num_text_tokens"] == answer.num_prompt_tokens - answer.num_video_tokens
    assert plan["num_parameters"] == tiny.model.num_parameters()
    assert plan["fits"] is True


def test_without_a_model_the_released_sizes_are_taken(video: Path) -> None:
    plan = planned(video)
    assert (plan["num_patches"], plan["num_video_tokens"]) == (40 * 729, 40 * 14 * 15)
    assert plan["num_text_tokens"] is None
    assert plan["fits"] is None
    memory = plan["memory"]
    assert isinstance(memory, dict)
    assert memory["weights"] == plan["num_parameters"] * 2  # type: ignore[operator]


def test_released_folders_are_planned_without_their_weights(golden: Path, video: Path, tmp_path: Path) -> None:
    for name in ("tiny_lora", "tiny_base"):
        small = shutil.ignore_patterns("*.safetensors", "*.bin")
        shutil.copytree(golden / name, tmp_path / name, ignore=small)
    plan = planned(video, "What?", "--model", tmp_path / "tiny_lora", "--frames", 4)
    assert plan["num_video_tokens"] == 48
    assert isinstance(plan["num_text_tokens"], int)


def test_the_page_fits_80_columns_and_tells_all(video: Path, model: Path, tmp_path: Path) -> None:
    picture = tmp_path / "frames.png"
    result = RUN.invoke(
        app,
        ["plan", str(video), "--model", str(model), "--no-time", "--frames", "20", "--picture", str(picture)],
        env={"COLUMNS": "80"},
    )
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert max(map(len, lines[2:])) <= 80  # the first two name the file, whose path may be long
    for words in ("20 of 40, one every", "240 tokens of the video", "231 thousand parameters", "about", "<|im_start|>"):
        assert words in result.stdout
    with Image.open(picture) as drawn:
        assert drawn.width > 1600


def test_a_plan_of_a_vamba_tells_what_is_read_beside_the_prompt(video: Path, vamba: Path) -> None:
    plan = planned(video, "What?", "--model", vamba, "--frames", "20")
    # Frames of 96 x 64 become 84 x 56 pixels: 6 x 4 patches of two frames, of which four become a token.
    assert (plan["num_patches"], plan["num_video_tokens"], plan["video_in_prompt"]) == (10 * 24, 10 * 6, False)
    assert plan["temporal_pooling"] == 1
    memory = plan["memory"]
    assert isinstance(memory, dict)
    assert memory["kept"] == 3 * 2 * 2 * 16 * 60 * 4  # layers, keys and values, heads, width, tokens, bytes
    assert memory["total"] > memory["weights"] + memory["kept"]
    for words in (["plan", str(video), "What?"], ["ask", str(video), "What?", "--dry-run"]):
        page = RUN.invoke(app, [*words, "--model", str(vamba), "--frames", "20"], env={"COLUMNS": "80"})
        assert page.exit_code == 0, page.output
        lines = page.stdout.splitlines()
        assert max(map(len, lines[2:])) <= 80 + len(str(vamba))
        told = " ".join(page.stdout.split())
        for text in (
            "240 patches -> 60 tokens of the video, none of which is dropped",
            "they are read beside the prompt, in every layer",
            "fits into the 32,768",
            "keys and values of the video 46.1 kB",
            "mixers",
            "until the answer begins",
        ):
            assert text in told
        assert "compressor" not in told


def test_a_plan_of_a_vamba_has_the_stages_of_its_answers(video: Path, vamba: Path) -> None:
    result = RUN.invoke(app, ["plan", str(video), "--model", str(vamba), "--frames", "4", "--json"])
    assert result.exit_code == 0, result.output
    time = json.loads(result.stdout)["time"]
    assert list(time) == [
        "decode", "pixels", "vision", "mix", "first_token", "next_token", "at_once", "encode", "until_answer",
    ]  # fmt: skip
    assert min(time[name] for name in ("decode", "pixels", "vision", "mix", "first_token", "next_token")) > 0


def test_a_text_that_is_too_long_for_a_vamba_is_said(video: Path, vamba: Path) -> None:
    result = RUN.invoke(app, ["plan", str(video), "--model", str(vamba), "--no-time", "--max-new-tokens", "40000"])
    assert "is MORE than the 32,768" in result.stdout
    told = " ".join(result.stdout.split())
    assert "ask a shorter question, or allow fewer --max-new-tokens" in told
    assert "--temporal-pooling" not in told


def test_what_does_not_fit_is_said(video: Path, model: Path) -> None:
    result = RUN.invoke(app, ["plan", str(video), "--model", str(model), "--no-time", "--max-new-tokens", "40000"])
    assert result.exit_code == 0
    assert "is MORE than the 32,768" in result.stdout


def test_parts_images_and_folders_are_planned(video: Path, model: Path, tmp_path: Path) -> None:
    part = planned(video, "--model", model, "--start", "0:01", "--end", 2, "--frames", 4)
    assert part["frame_indices"] == [10, 13, 16, 19]
    for number in range(3):
        Image.fromarray(np.full((8, 8, 3), number, dtype=np.uint8)).save(tmp_path / f"{number}.png")
    untimed = planned(tmp_path, "--model", model)
    assert (untimed["frame_seconds"], untimed["duration_seconds"], untimed["kind"]) == ([], None, "folder")
    timed = planned(tmp_path, "--model", model, "--image-fps", 2)
    assert timed["frame_seconds"] == [0.0, 0.5, 1.0]
    assert planned(tmp_path / "1.png", "--model", model)["kind"] == "image"
    for path in (tmp_path, tmp_path / "1.png"):
        assert RUN.invoke(app, ["plan", str(path), "--model", str(model), "--no-time"]).exit_code == 0


def test_times_that_lie_close_are_told_apart(video: Path, model: Path) -> None:
    result = RUN.invoke(app, ["plan", str(video), "--model", str(model), "--no-time", "--frames", "40"])
    assert "at 0:00.00, 0:00.10, 0:00.20, ..., 0:03.90" in result.stdout


def test_too_few_frames_for_the_pooling_are_refused(video: Path, model: Path) -> None:
    result = RUN.invoke(
        app, ["plan", str(video), "--model", str(model), "--no-time", "--frames", "2", "--temporal-pooling", "4"]
    )
    assert result.exit_code == 1
    assert "2 frames are fewer than the 4" in str(result.exception)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (16.2e9, "16.2 GB"), (999.6e6, "1.0 GB"),
     (128e9, "128 GB"), (2e18, "2000 PB")],
)  # fmt: skip
def test_bytes_are_told_in_units(value: float, text: str) -> None:
    assert in_bytes(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.00 s"), (0.25, "0.25 s"), (7.46, "7.5 s"), (42, "42 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"),
     (3599.7, "1 h 00 min"), (3720, "1 h 02 min")],
)  # fmt: skip
def test_lengths_of_time_are_told_in_units(value: float, text: str) -> None:
    assert in_seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0:00.0"), (7.54, "0:07.5"), (59.97, "1:00.0"), (3723.5, "1:02:03.5")])
def test_places_in_a_video_are_told_as_a_clock_does(value: float, text: str) -> None:
    assert at_time(value) == text


def test_counts_are_told_with_thousands_apart_or_in_words() -> None:
    assert in_count(13440) == "13,440"
    assert [in_words(count) for count in (12, 231_104, 84_300_000, 8_110_000_000)] == [
        "12", "231 thousand", "84.3 million", "8.11 billion",
    ]  # fmt: skip
