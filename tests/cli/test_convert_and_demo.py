"""`bimba convert` and `bimba demo` as users meet them."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import httpx
import pytest
from safetensors.torch import load_file

from command_line import BIMBA, bimba, refused


def test_convert_and_back(golden: Path, tmp_path: Path) -> None:
    done = bimba("convert", golden / "tiny_lora", tmp_path / "ours", "--base", golden / "tiny_base")
    assert done.returncode == 0, done.stderr
    assert "101 tensors" in done.stdout
    assert "next: bimba ask" in done.stdout
    back = json.loads(bimba("convert", "--reverse", tmp_path / "ours", tmp_path / "back", "--json").stdout)
    assert back["layout"] == "released pair"
    before, after = (load_file(place / "model.safetensors") for place in (golden / "tiny_base", tmp_path / "back/base"))
    assert before.keys() == after.keys()
    assert all(bool((before[name] == after[name]).all()) for name in before)
    assert bimba("convert", golden / "tiny_base", tmp_path / "base", "--quiet").stdout == ""


def test_convert_refuses_and_leaves_nothing(golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden / "tiny_lora", tmp_path / "alone")
    out = tmp_path / "out"
    refused(bimba("convert", tmp_path / "alone", out), "tiny_base")
    refused(bimba("convert", "--reverse", golden / "tiny_base", out), "in the released layout already")
    refused(bimba("convert", "--reverse", golden / "tiny_base", out, "--base", golden / "tiny_base"), "takes no --base")
    (tmp_path / "alone" / "adapter_model.bin").write_bytes(b"PK\x03\x04 not a checkpoint")
    refused(bimba("convert", tmp_path / "alone", out, "--base", golden / "tiny_base"), "is refused")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone"]
    refused(bimba("convert", golden / "tiny_lora", tmp_path / "alone"), "exists already")


def test_demo_asks_four_questions_that_the_small_model_answers_right(tmp_path: Path) -> None:
    done = bimba("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 right" in done.stdout
    assert done.stdout.count("<- right (see 0:") == 4
    assert (tmp_path / "bimba-demo" / "video_00000.mp4").is_file()
    refused(bimba("demo", "--seed", 3, cwd=tmp_path), "--overwrite")
    assert " bimba ask bimba-demo/video_00000.mp4 " in done.stdout
    again = bimba("demo", cwd=tmp_path)
    kept = [line for line in done.stdout.splitlines() if "of 4 right" not in line]
    assert [line for line in again.stdout.splitlines() if "of 4 right" not in line] == kept


def test_demo_shows_a_page_until_it_is_ended(tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    process = subprocess.Popen(
        [BIMBA, "demo", "--page", "--no-open", "-q"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    name, address = process.stdout.readline().split()
    assert name == "page"
    assert "window.gradio_config" in httpx.get(address, timeout=60).text
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    refused(bimba("demo", "--page", "--json", cwd=tmp_path), "a page is no JSON")
    refused(bimba("demo", "--no-open", cwd=tmp_path), "--no-open is about a page")


def test_demo_tells_what_was_wrong_and_json_holds_everything(tmp_path: Path) -> None:
    record = json.loads(bimba("demo", "--json", "--seed", 3, cwd=tmp_path).stdout)
    assert record["model"] == "bimba-nano"
    assert (tmp_path / record["video"]).is_file()
    answers = record["answers"]
    assert len({answer["kind"] for answer in answers}) == 4
    for answer in answers:
        assert answer["evidence_seconds"]
        assert answer["model_says"]["text"]
    shown = bimba("demo", "--seed", 3, "--out", "my demo", cwd=tmp_path).stdout
    assert " bimba ask 'my demo/video_00000.mp4' " in shown
    assert shown.count("<- right") == sum(answer["right"] for answer in answers)
    assert shown.count("<- wrong; it is") == 4 - sum(answer["right"] for answer in answers)
