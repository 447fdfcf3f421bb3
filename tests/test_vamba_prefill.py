"""The benchmark of Vamba's prefill: both models read the same, and what is said of the numbers is true of them."""

from pathlib import Path
from typing import Any

from benchmarks import vamba_prefill, vamba_prefill_point
from benchmarks.growth import Chart, draw_growth
from benchmarks.vamba_prefill_point import FRAME, NUM_TEXT, Measured, make_model, pieces
from PIL import Image


def numbers(above: int, seconds: float) -> Measured:
    return Measured(1000, 64, kept_bytes=10, above_bytes=above, vision_seconds=seconds / 2, read_seconds=seconds / 2)


def test_both_models_keep_as_much_of_the_same_frames() -> None:
    ours: Any = make_model("vamba")
    theirs: Any = make_model("sdpa")
    one = vamba_prefill_point._read_by_vamba(ours, 20)
    other = vamba_prefill_point._read_by_qwen(theirs, 20)
    a_token = one.kept_bytes / (10 * 64 + NUM_TEXT)
    assert other.kept_bytes == one.kept_bytes + 2 * a_token  # the two marks around the video stand in its prompt
    assert min(one.vision_seconds, one.read_seconds, other.vision_seconds, other.read_seconds) > 0
    assert [piece.grid for piece in pieces(20)] == [(8, 16, 16), (2, 16, 16)]
    assert FRAME == (224, 224)
    parameters = {name: weight.shape for name, weight in ours.visual.named_parameters()}
    assert parameters == {name: weight.shape for name, weight in theirs.model.visual.named_parameters()}


def test_growth_is_judged_by_the_shortest_and_the_longest() -> None:
    linear = {64: numbers(100, 1.0), 256: numbers(500, 9.0), 1024: numbers(1700, 17.0)}
    memory, time = vamba_prefill._verdicts({**linear})
    assert "**1.06** times the memory of one of 64 (linear growth: at most 1.1: holds)" in memory
    assert "**1.06** times the time" in time
    _, time = vamba_prefill._verdicts({64: numbers(100, 1.0), 1024: numbers(1600, 20.0)})
    assert "**1.25** times the time of one of 64 (linear growth: at most 1.1: DOES NOT HOLD)" in time


def test_others_are_compared_where_both_came_to_an_end() -> None:
    ours = {64: numbers(100, 1.0), 1024: numbers(1600, 16.0)}
    lines = vamba_prefill._against(
        {"vamba": {**ours}, "sdpa": {64: numbers(300, 2.0), 1024: None}, "eager": {64: Measured(1000, 64)}}
    )
    assert "3.0 times the memory and 2.0 times the time at 64 frames; 1,024 frames it did not read" in lines[0]
    assert lines[1] == "* Qwen2-VL, eager read none; 64 frames it did not read."


def test_charts_stand_one_above_the_other(tmp_path: Path) -> None:
    chart = Chart("Memory", "MB", {"ours": {64: 1.0, 1024: 16.0}, "theirs": {64: 4.0}})
    draw_growth(tmp_path / "one.png", "width 8", [64, 1024], [chart])
    draw_growth(tmp_path / "two.png", "width 8", [64, 1024], [chart, chart])
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert (two.width, two.height) == (one.width, 2 * one.height)
        assert two.crop((0, 0, one.width, one.height)).tobytes() == one.convert("RGB").tobytes()
