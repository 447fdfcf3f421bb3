"""How much of a video is looked at: budgets, rates and plans on the command line, and what contradicts itself."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bimba.cli import app
from bimba.cli.looking import Asked, LookOptions, Settled, look_at, settle
from bimba.cli.options import NamedModel
from bimba.errors import InputError
from bimba.inference import VideoQA
from bimba.video.source import Video

RUN = CliRunner()


@pytest.fixture(scope="module")
def outline(tiny: VideoQA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model without its weights."""
    place = tmp_path_factory.mktemp("outline") / "model"
    tiny.model.save_pretrained(place)
    tiny.processor.save_pretrained(place)
    (place / "model.safetensors").unlink()
    return place


def run(*words: object, lines: str = "") -> tuple[str, str]:
    """What a command prints, and its remarks."""
    result = RUN.invoke(app, [str(word) for word in words], input=lines)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout, result.stderr


def refused(words: str, *arguments: object) -> None:
    result = RUN.invoke(app, [str(argument) for argument in arguments])
    assert isinstance(result.exception, InputError), result.output
    assert words in str(result.exception)


def asked(*words: object) -> dict[str, object]:
    record: dict[str, object] = json.loads(run("ask", *words, "--max-new-tokens", 2, "--json")[0])
    return record


@pytest.mark.parametrize(
    ("options", "num_frames", "num_tokens"),
    [
        # Four seconds at ten frames a second; a group of frames is 12 tokens.
        (["--frames", "auto"], 40, 480),
        (["--frames", "auto", "--max-video-tokens", 120], 40, 120),
        (["--frames", "auto", "--max-video-tokens", 48], 16, 48),
        (["--frames", "auto", "--max-video-tokens", 120, "--temporal-pooling", 2], 20, 120),
        (["--frames", "auto", "--fps", 2], 8, 96),
        (["--fps", 5], 20, 240),
        (["--fps", 5, "--max-video-tokens", 60], 20, 60),
        (["--fps", 5, "--max-video-tokens", 12], 20, 12),
        (["--max-video-tokens", 100], 40, 96),
        (["--frames", 8, "--max-video-tokens", 48], 8, 48),
        (["--frames", 8, "--sampling", "fps", "--max-video-tokens", 24], 4, 24),
    ],
)
def test_an_answer_keeps_to_its_budget(
    model: Path, video: Path, options: list[object], num_frames: int, num_tokens: int
) -> None:
    answer = asked(video, "What?", "--model", model, *options)
    frame_seconds = answer["frame_seconds"]
    assert isinstance(frame_seconds, list)
    assert (len(frame_seconds), answer["num_video_tokens"]) == (num_frames, num_tokens)


def test_what_a_budget_came_to_is_told(model: Path, video: Path) -> None:
    words = ("ask", video, "What?", "--model", model, "--max-new-tokens", 2, "--fps", 5)
    assert run(*words)[1] == "looking at 20 frames: 240 tokens\n"
    assert run(*words, "--max-video-tokens", 60)[1] == "looking at 20 frames, 4 pooled into one: 60 tokens\n"
    remarks = run(*words, "--max-video-tokens", 48)[1].splitlines()
    assert remarks[0] == "looking at 20 frames, 5 pooled into one: 48 tokens"
    assert "with so many pooled into one" in remarks[1]
    assert "--no-time-sentence" in remarks[1]
    assert run(*words, "--max-video-tokens", 48, "--quiet")[1] == ""
    assert run(*words[:-2], "--frames", 4)[1] == ""


def test_a_conversation_keeps_to_its_budget(model: Path, video: Path) -> None:
    words = ("chat", video, "--model", model, "--max-new-tokens", 2, "--frames", "auto", "--max-video-tokens", 60)
    remarks = run(*words, lines="What?\n")[1]
    assert "looking at 20 frames, 4 pooled into one: 60 tokens" in remarks
    assert "20 frames of 4.0 s as 60 tokens" in remarks


def test_a_dry_run_asks_nothing_and_tells_the_plan(outline: Path, video: Path) -> None:
    words = (video, "What?", "--model", outline, "--fps", 5, "--max-video-tokens", 60, "--max-new-tokens", 20, "--json")
    of_ask, of_plan = (json.loads(run(*command)[0]) for command in (("ask", *words, "--dry-run"), ("plan", *words)))
    timings = [plan.pop("time") for plan in (of_ask, of_plan)]
    assert of_ask == of_plan
    assert (of_ask["num_video_tokens"], of_ask["temporal_pooling"]) == (60, 4)
    assert of_ask["seconds_between"] == pytest.approx(0.2)
    for timing in timings:
        assert min(timing[stage] for stage in ("decode", "vision", "compress", "first_token", "next_token")) > 0


def test_a_dry_run_of_a_conversation_reads_no_line(outline: Path, video: Path) -> None:
    text, remarks = run("chat", video, "--model", outline, "--frames", "auto", "--dry-run", lines="What?\n")
    for words in (
        "40 of 40, one every 0.10 s",
        "480 tokens of the video",
        "until the answer begins",
        "tokens a second",
    ):
        assert words in " ".join(text.split())
    assert max(map(len, text.splitlines()[2:])) <= 80
    assert remarks == "looking at 40 frames: 480 tokens\n"


def test_a_plan_tells_what_is_pooled_and_why_no_time(outline: Path, video: Path) -> None:
    words = (video, "--model", outline, "--temporal-pooling", 4, "--frames", 8)
    text = run("plan", *words, "--no-time")[0]
    assert "4 frames pooled into one: 200 patches -> 24 tokens" in text
    assert "\ntime " not in text
    assert "time     not estimated for a model that is not named" in run("plan", video, "--frames", 8)[0]
    quantized, remark = run("ask", *words[:1], "What?", *words[1:], "--quantization", "4bit", "--dry-run")
    assert "not estimated: of quantized weights" in quantized
    assert "not quantized" in remark


def test_a_plan_in_another_dtype_needs_other_memory(outline: Path, video: Path) -> None:
    words = ("plan", video, "--model", outline, "--frames", 4, "--no-time", "--json")
    stored, half = (json.loads(run(*words, *more)[0]) for more in ((), ("--dtype", "bfloat16")))
    assert (stored["dtype"], half["dtype"]) == ("float32", "bfloat16")
    assert half["memory"]["weights"] * 2 == stored["memory"]["weights"]
    refused("dtype 'int3'", *words, "--dtype", "int3")
    refused("device 'moon'", *words, "--device", "moon")


def test_without_a_model_a_budget_counts_bytes_for_tokens(video: Path) -> None:
    plan = json.loads(run("plan", video, "--frames", "auto", "--max-video-tokens", 2_100, "--json")[0])
    assert (plan["num_video_tokens"], plan["temporal_pooling"], plan["time"]) == (2_100, 4, None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--fps", "1", "--frames", "64"], "--fps 1 takes all frames at that rate, and --frames 64 so many"),
        (["--fps", "1", "--sampling", "uniform"], "and --sampling uniform a number of them"),
        (["--fps", "0"], "--fps is 0.0"),
        (["--fps", "nan"], "--fps is nan"),
        (["--frames", "many"], "--frames is 'many'"),
        (["--frames", "-3"], "--frames is -3"),
        (["--max-video-tokens", "0"], "--max-video-tokens is 0"),
    ],
)
@pytest.mark.parametrize("command", ["ask", "chat", "plan"])
def test_contradictions_are_refused_before_anything_is_read(command: str, options: list[str], words: str) -> None:
    question = ["What?"] if command == "ask" else []
    refused(words, command, "nowhere.mp4", *question, "--model", "no/such-model", *options)


def test_a_budget_that_is_too_small_says_what_would_do(model: Path, video: Path) -> None:
    refused("allow 12 or more", "ask", video, "What?", "--model", model, "--fps", 5, "--max-video-tokens", 11)
    by_hand = ("--fps", 5, "--max-video-tokens", 30, "--temporal-pooling", 2)
    refused("(--fps 1.25 fits)", "ask", video, "What?", "--model", model, *by_hand)


def test_pictures_without_times_have_no_rate(model: Path, tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(np.full((8, 8, 3), number, dtype=np.uint8)).save(tmp_path / f"{number}.png")
    refused("--image-fps", "ask", tmp_path, "What?", "--model", model, "--fps", 1)
    assert asked(tmp_path, "What?", "--model", model, "--frames", "auto")["num_video_tokens"] == 36


def test_without_a_budget_no_sizes_are_read(video: Path) -> None:
    look = look_at(LookOptions(), None)
    with Video(video) as opened:
        settled = settle(look, opened, Asked("What?", True, 1), NamedModel("no/such-model"), quiet=True, outlined=False)
    assert settled == Settled(64, "uniform", None, None)
