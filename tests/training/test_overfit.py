"""Training learns: eight pieces of real videos with made-up captions, by heart."""

import json
from itertools import islice
from pathlib import Path

import av
import pytest

import bimba
from bimba.training.loop.watching import LOG_NAME, read_log
from bimba.training.run import train
from bimba.video.source import Video
from small_runs import small_recipe

CAPTIONS = {
    "bigbuckbunny.mp4": ["a rabbit yawns", "green hills"],
    "bikes.mp4": ["two wheels", "the road bends"],
    "example.mp4": ["someone sits", "a long talk"],
    "magic.mp4": ["a coin is gone", "cards fly"],
}
QUESTION = "What is this?"
PIECE_FRAMES = 48


def cut(video: Path, place: Path, part: int) -> None:
    """Write a piece of a video, the first or the second, of two seconds or so, as a file of its own."""
    with Video(video) as source, av.open(place, "w") as out:
        begin = part * (source.info.num_frames // 2)
        frames = source.frames(range(begin, min(begin + PIECE_FRAMES, source.info.num_frames)))
        stream = None
        for frame in islice(frames, PIECE_FRAMES):
            picture = av.VideoFrame.from_ndarray(frame).reformat(width=160, height=120)
            if stream is None:
                stream = out.add_stream("libx264", rate=24, width=160, height=120, pix_fmt="yuv420p")
            out.mux(stream.encode(picture))
        if stream is not None:
            out.mux(stream.encode())


@pytest.fixture(scope="module")
def pieces(shared_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of eight pieces."""
    folder = tmp_path_factory.mktemp("pieces")
    samples = []
    for name, captions in CAPTIONS.items():
        for part, caption in enumerate(captions):
            file = f"{Path(name).stem}-{part}.mp4"
            cut(shared_videos / name, folder / file, part)
            turns = [{"from": "human", "value": f"<image>\n{QUESTION}"}, {"from": "gpt", "value": caption}]
            samples.append({"id": file, "video": file, "conversations": turns})
    (folder / "pieces.json").write_text(json.dumps(samples))
    return folder / "pieces.json"


def test_captions_of_real_clips_are_learned_by_heart_and_come_back(pieces: Path, tmp_path: Path) -> None:
    recipe = small_recipe(
        tmp_path / "run",
        tmp_path,
        data={"sources": [{"json_path": str(pieces)}], "workers": 0, "labels": "assistant_only"},
        schedule={"max_steps": 250, "batch_size": 8, "learning_rate": 5e-3, "warmup": 0.1},
        save={"every": 0.5},
    )
    outcome = train(recipe)
    assert outcome.losses[1] < 0.05
    assert read_log(tmp_path / "run" / LOG_NAME)[-1]["samples_failed"] == 0
    qa = bimba.load(outcome.folder)
    for sample in json.loads(pieces.read_text()):
        answer = qa.ask(
            pieces.parent / sample["video"], f"\n{QUESTION}", num_frames=4, time_sentence=False, max_new_tokens=32
        )
        assert answer.text == sample["conversations"][1]["value"]
