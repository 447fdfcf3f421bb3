"""Questions about parts of videos and folders of pictures are asked about these, each part being read once."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import published_forms as published
from benchmark_runs import Parrot, settings
from bimba.errors import InputError
from bimba.evaluation.benchmarks import find_benchmark, prepare
from bimba.evaluation.lmms.tasks import write_task
from bimba.evaluation.running import Ran, run_benchmark
from bimba.inference.clip import Clip
from bimba.needles import make_needles

MVBENCH = find_benchmark("mvbench")
CHARADES, TVQA = "star/Charades_v1_480", "tvqa/frames_fps3_hq"


class Watcher(Parrot):
    """Answers, and keeps the times of the frames that it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[tuple[float, ...]] = []

    def chunks(self, clip: Clip) -> Iterator[int]:
        self.shown.append(clip.frame_seconds)
        return super().chunks(clip)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """MVBench with a question a task: about a part of a video (two), others of it, one that is none, and pictures."""
    source = published.mvbench(tmp_path / "from")
    parts = {"action_sequence": (0, 1), "action_prediction": (0, 1), "object_interaction": (1, 3)}
    for task, (start, end) in (parts | {"action_localization": (60, 70), "episodic_reasoning": (1, 2)}).items():
        [record] = json.loads((source / f"json/{task}.json").read_text())
        changes = {"start": start, "end": end, "video": "clip_10" if task == "episodic_reasoning" else "clip_10.mp4"}
        (source / f"json/{task}.json").write_text(json.dumps([record | changes]))
    prepare(MVBENCH, source, tmp_path / "prepared", any_count=True)
    make_needles(tmp_path / "made", videos=1, seconds=4, fps=4, size="64x48", needles=1, needle_seconds=1)
    for name in (f"{CHARADES}/clip_10.mp4", "sta/sta_video/clip_10.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True)
        (tmp_path / "videos" / name).write_bytes((tmp_path / "made/video_00000.mp4").read_bytes())
    pictures = tmp_path / "videos" / TVQA / "clip_10"
    pictures.mkdir(parents=True)
    for number in range(1, 10):
        Image.fromarray(np.full((32, 48, 3), 20 * number, np.uint8)).save(pictures / f"{number:05d}.jpg")
    return tmp_path


def run(folder: Path, model: Path, answerer: Parrot, **changes: Any) -> Ran:
    return run_benchmark(
        settings(model, benchmark="mvbench", frames=16, **changes),
        folder / "out",
        folder / "videos",
        prepared=folder / "prepared",
        answerer=lambda: answerer,
    )


def test_each_part_is_shown_once_and_what_is_not_there_is_counted(folder: Path, model: Path) -> None:
    watcher = Watcher()
    done = run(folder, model, watcher)
    quarters = [number / 4 for number in range(16)]
    first, second, pictures = sorted(watcher.shown)
    assert first == tuple(quarters[:4])  # of two questions
    assert second == tuple(quarters[4:12])
    assert pictures == pytest.approx((1, 4 / 3, 5 / 3))
    assert done.num_asked == 4
    assert done.results is not None
    assert done.results["covers"]["failed"] == 16
    problem = done.results["failed_videos"]["sta/sta_video/clip_10.mp4"]
    assert "The segment starts at 60 s, but the video ends at 4.00 s" in problem
    assert sorted(done.results["by"]["task"]) == [
        "action_prediction", "action_sequence", "episodic_reasoning", "object_interaction"
    ]  # fmt: skip
    score = done.results["scores"]["mean_of_tasks"]
    assert (score["groups"], score["all_groups"]) == (4, 20)
    assert run(folder, model, Watcher()).num_asked == 0


def test_times_of_a_part_are_those_of_the_whole_video(folder: Path, model: Path) -> None:
    class Reads(Watcher):
        def say(self, chunks: Any, queries: Any) -> list[str]:
            turns.extend(query.turn for query in queries)
            return super().say(chunks, queries)

    turns: list[str] = []
    run(folder, model, Reads(), time_sentence=True)
    assert sum("located at 1.00s,1.25s,1.50s" in turn for turn in turns) == 1
    assert sum("located at 1.00s,1.33s,1.67s" in turn for turn in turns) == 1


def test_an_encoded_video_is_refused_before_a_model_is_loaded(folder: Path, model: Path) -> None:
    def never() -> Parrot:
        raise AssertionError

    file = folder / "videos" / CHARADES / "clip_10.mp4"
    file.rename(file.with_suffix(".bimba"))
    with pytest.raises(InputError, match="was encoded as a whole"):
        run_benchmark(
            settings(model, benchmark="mvbench"),
            folder / "out",
            folder / "videos",
            prepared=folder / "prepared",
            answerer=never,
        )
    assert not (folder / "out").exists()


def test_parts_are_no_task_of_lmms_eval(folder: Path) -> None:
    with pytest.raises(InputError, match="MVBench asks about parts of videos or folders of pictures") as error:
        write_task(MVBENCH, folder / "videos", folder / "tasks", prepared=folder / "prepared")
    assert "bimba eval run mvbench" in error.value.fix
