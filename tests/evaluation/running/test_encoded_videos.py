"""A benchmark is run on videos that were encoded before: the same answers, and nothing that is not the same is read."""

from pathlib import Path
from typing import Any

import pytest

from benchmark_runs import make_benchmark, settings
from bimba.errors import InputError
from bimba.evaluation.benchmarks import check_videos, find_benchmark, prepared_questions
from bimba.evaluation.running import BimbaAnswerer, Ran, run_benchmark
from bimba.inference import VideoQA
from bimba.inference.encoded.library import encode_each, list_entries
from bimba.models.bimba.tiny import tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos with three questions each, and a library of the encoded videos."""
    return make_benchmark(tmp_path_factory.mktemp("benchmark"), videos=2)


@pytest.fixture(scope="module")
def library(folder: Path, tiny: VideoQA) -> Path:
    entries = list_entries(folder / "videos", folder / "library")
    assert not any(one.problem for one in encode_each(entries, lambda path: tiny.encode(path, num_frames=4)))
    return folder / "library"


def run(qa: VideoQA, folder: Path, videos: Path, model: Path, out: Path, **changes: Any) -> Ran:
    return run_benchmark(
        settings(model, **changes),
        out,
        videos,
        prepared=folder / "prepared",
        answerer=lambda: BimbaAnswerer(qa, max_new_tokens=4, batch_size=2),
    )


@pytest.mark.parametrize("score", ["generate", "likelihood"])
def test_answers_are_those_of_the_videos(
    tiny: VideoQA, folder: Path, library: Path, model: Path, tmp_path: Path, score: str
) -> None:
    results = [
        run(tiny, folder, videos, model, tmp_path / videos.name, score=score).results
        for videos in (folder / "videos", library)
    ]
    assert results[0] is not None
    assert results[1] is not None
    assert results[0]["covers"]["answered"] == 6
    said = [(tmp_path / name / "answers.jsonl").read_text() for name in ("videos", "library")]
    assert said[0] == said[1]


def test_encoded_videos_are_checked_before_a_run(folder: Path, library: Path, tmp_path: Path) -> None:
    _, questions = prepared_questions(find_benchmark("tempcompass"), folder / "prepared")
    tempcompass = find_benchmark("tempcompass")
    check = check_videos(questions, library, tempcompass)
    assert sorted(path.name for path in check.found.values()) == ["video_00000.mp4.bimba", "video_00001.mp4.bimba"]
    (tmp_path / "video_00000.bimba").write_bytes(b"torn")
    torn = check_videos(questions, tmp_path, tempcompass)
    assert list(torn.unreadable) == ["video_00000.mp4"]
    assert torn.missing == ("video_00001.mp4",)


def test_what_was_encoded_otherwise_stops_the_run(
    tiny: VideoQA, folder: Path, library: Path, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="encoded in another way: num_frames 4 there, 3 now"):
        run(tiny, folder, library, model, tmp_path / "frames", frames=3)
    with pytest.raises(InputError, match="encoded by another model"):
        run(VideoQA(*tiny_model(seed=1)), folder, library, model, tmp_path / "model")
