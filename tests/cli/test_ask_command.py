"""`bimba ask` as users meet it: streamed answers, JSON, clear errors with exit code 2."""

import json
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest

from command_line import BIMBA, bimba, refused


def test_real_file_is_answered_in_another_folder(shared_videos: Path, golden: Path, tmp_path: Path) -> None:
    for path in sorted(shared_videos.glob("*.mp4")):
        done = bimba(
            "ask", path, "What happens?", "--model", golden / "tiny_lora", "--frames", 8, "--max-new-tokens", 5,
            cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.strip()) > 0
        assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_answer_of_the_golden_pair_is_the_golden_one(example_video: Path, golden: Path) -> None:
    done = bimba(
        "ask", example_video, "Please describe this video in detail.", "--model", golden / "tiny_lora",
        "--base", golden / "tiny_base", "--frames", 8, "--max-new-tokens", 24, "--json", "--dtype", "float32",
    )  # fmt: skip
    expected = json.loads((golden / "e2e.json").read_text())["lora_8"]["greedy"]["as_loaded_generation_config"]
    record = json.loads(done.stdout)
    assert record["token_ids"] == expected["ids"]
    assert record["text"] == expected["text"]


def test_json_is_one_object_with_everything(model: Path, video: Path) -> None:
    done = bimba("ask", video, "What?", "--model", model, "--frames", 4, "--max-new-tokens", 3, "--json")
    record = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
    assert record["num_video_tokens"] == 48
    assert record["frame_seconds"] == pytest.approx([0, 1.3, 2.6, 3.9])
    assert len(record["token_ids"]) == 3
    assert {"load", "decode", "vision", "compress", "first_token", "generate", "total"} <= record["timings"].keys()
    assert record["question"] == "What?"


def test_plain_answer_is_all_of_stdout(model: Path, video: Path) -> None:
    words = ("ask", video, "What?", "--model", model, "--frames", 4, "--max-new-tokens", 6)
    plain, record = bimba(*words, "--quiet"), json.loads(bimba(*words, "--json").stdout)
    assert plain.stdout == record["text"] + "\n"
    assert plain.stderr == ""


def test_options_reach_the_model(model: Path, video: Path) -> None:
    words = ("ask", video, "What?", "--model", model, "--frames", 8, "--max-new-tokens", 8, "--json")
    pooled = json.loads(bimba(*words, "--temporal-pooling", 4).stdout)
    assert pooled["num_video_tokens"] == 24
    silent = json.loads(bimba(*words, "--no-time-sentence").stdout)
    assert silent["num_prompt_tokens"] < json.loads(bimba(*words).stdout)["num_prompt_tokens"] - 50
    by_second = json.loads(bimba(*words, "--sampling", "fps").stdout)
    assert by_second["frame_seconds"] == pytest.approx([0, 1, 2, 3])
    sampled = [
        json.loads(bimba(*words, "--temperature", 5, "--top-p", 0.99, "--seed", seed).stdout)["token_ids"]
        for seed in (1, 1, 2)
    ]
    assert sampled[0] == sampled[1] != sampled[2]


def test_model_may_come_from_the_environment(model: Path, video: Path) -> None:
    done = bimba("ask", video, "What?", "--frames", 2, "--max-new-tokens", 2, env={"BIMBA_MODEL": str(model)})
    assert done.returncode == 0, done.stderr


def test_the_small_model_answers_where_none_is_named(video: Path) -> None:
    done = bimba("ask", video, "What happens?", "--frames", 4)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert done.stderr.startswith("model: bimba-nano, since none is named")
    assert json.loads(bimba("ask", video, "What happens?", "--frames", 4, "--json").stdout)["model"] == "bimba-nano"


def test_who_asks_beyond_its_words_is_told_of_the_released_model(video: Path) -> None:
    done = bimba("ask", video, "Who is the president of France?", "--frames", 4)
    assert done.stdout.strip().lower() == "i cannot tell"
    assert "mmiemon/BIMBA-LLaVA-Qwen2-7B" in done.stderr
    assert "BIMBA_MODEL" in done.stderr


def audio_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux([*stream.encode(frame), *stream.encode()])
    return path


def test_files_that_are_no_videos_are_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    (tmp_path / "empty.mp4").touch()
    cases = {
        tmp_path / "nowhere.mp4": "does not exist",
        tmp_path / "text.mp4": "text.mp4",
        tmp_path / "empty.mp4": "empty",
        audio_only(tmp_path / "audio.mp4"): "no video",
        tmp_path: "is a folder without a picture: it holds 3 other files, such as audio.mp4",
    }
    for path, words in cases.items():
        refused(bimba("ask", path, "What?", "--model", model), words)


def test_bad_arguments_are_refused_before_the_model_is_read(video: Path) -> None:
    nowhere = ("--model", "no/such-model")
    refused(bimba("ask", video, "What?", "--frames", 0, *nowhere), "--frames is 0")
    refused(bimba("ask", video, "  ", *nowhere), "question is empty")
    refused(bimba("ask", video, "What?", "--max-new-tokens", 0, *nowhere), "--max-new-tokens is 0")


def test_bad_models_are_refused(model: Path, video: Path, golden: Path, tmp_path: Path) -> None:
    refused(bimba("ask", video, "What?", "--model", "nowhere"), "neither a folder nor a hub id")
    shutil.copytree(golden / "tiny_lora", tmp_path / "alone")
    refused(bimba("ask", video, "What?", "--model", tmp_path / "alone"), "tiny_base", "--base")
    (tmp_path / "empty").mkdir()
    refused(bimba("ask", video, "What?", "--model", tmp_path / "empty"), "lacks config.json", "hf download")
    refused(bimba("ask", video, "What?", "--model", model, "--dtype", "int3"), "dtype 'int3'")
    refused(
        bimba("ask", video, "What?", "--model", model, "--temporal-pooling", 4, "--frames", 2), "2 frames are fewer"
    )


def test_too_many_tokens_say_how_many_frames_fit(video: Path, model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "short")
    config = json.loads((tmp_path / "short" / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 700
    (tmp_path / "short" / "config.json").write_text(json.dumps(config))
    done = bimba("ask", video, "What?", "--model", tmp_path / "short", "--frames", 40, "--max-new-tokens", 10)
    refused(done, "reads 700 at most", "--frames ")


def test_what_is_no_text_is_refused(model: Path, video: Path) -> None:
    refused(
        bimba("ask", video, b"caf\xe9".decode("utf-8", "surrogateescape"), "--model", model), "bytes that are no text"
    )
    too_large = bimba("ask", video, "What?", "--model", model, "--seed", 10**24)
    refused(too_large, "--seed is")


def test_terminals_without_letters_still_get_answers(model: Path, video: Path) -> None:
    words = ("ask", video, "Où?", "--model", model, "--frames", 2, "--max-new-tokens", 3)
    for extra in ((), ("--json",)):
        done = bimba(*words, *extra, env={"PYTHONIOENCODING": "ascii"})
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["question"] == "Où?"


def test_reader_may_leave_before_the_answer_ends(model: Path, video: Path) -> None:
    command = f"{BIMBA} ask {video} What? --model {model} --frames 2 --max-new-tokens 300 | head -c 1"
    done = subprocess.run(["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.endswith("1\n"), "an ordinary exit, no abort"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("extra", [(), ("--json",)])
def test_full_disk_is_one_clear_sentence(model: Path, video: Path, extra: tuple[str, ...]) -> None:
    words = [BIMBA, "ask", video, "What?", "--model", model, "--frames", "2", "--max-new-tokens", "3", *extra]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(list(map(str, words)), stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: the output could not be written: No space left on device.\n  fix: free some space.\n"


def test_addresses_and_names_that_cannot_be_are_refused(model: Path) -> None:
    refused(bimba("ask", "https://example.com/a.mp4", "What?", "--model", model), "https addresses are not fetched")
    refused(bimba("ask", "a" * 300 + ".mp4", "What?", "--model", model), "cannot be opened")


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = bimba("ask", tmp_path / "no.mp4", "What?", "--model", "x", "--debug")
    assert "Traceback" in done.stderr
    assert "VideoError" in done.stderr


def test_unknown_options_are_refused_by_name(video: Path) -> None:
    done = bimba("ask", video, "What?", "--modle", "x")
    assert done.returncode == 2
    assert "--modle" in done.stderr
