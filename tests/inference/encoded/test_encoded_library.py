"""A folder of videos becomes a folder of encoded ones, whatever is killed, changed or broken on the way."""

import multiprocessing
import random
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bimba.errors import InputError, VideoError
from bimba.inference import VideoQA
from bimba.inference.encoded import EncodedVideo, read_encoded
from bimba.inference.encoded.describing import settings_of
from bimba.inference.encoded.library import (
    Entry,
    State,
    alone_in,
    encode_each,
    has_videos,
    list_entries,
    pending,
    sweep,
)
from bimba.inference.encoded.origin import Origin
from bimba.inference.encoded.video import About
from bimba.needles import make_needles
from bimba.video.source import Video

FORK = multiprocessing.get_context("fork") if "fork" in multiprocessing.get_all_start_methods() else None
ENCODER, SETTINGS = "e" * 64, {"num_frames": 4}


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Three files that are called videos, one of them deeper."""
    folder = tmp_path / "videos"
    (folder / "2024").mkdir(parents=True)
    for name in ("b.mp4", "a.MKV", "2024/walk.webm"):
        (folder / name).write_text(name)
    (folder / "notes.txt").write_text("no video")
    return folder


def pretend(video: Path) -> EncodedVideo:
    """Tokens that depend on the file alone, and take a while."""
    about = About(ENCODER, "model", 1, (0,), (0.0,), (0.0,), 1.0, SETTINGS, {}, Origin.of(video, Path()), {})
    seed = sum(video.read_bytes())
    time.sleep(0.01)
    tokens = torch.randn(200, 64, generator=torch.Generator().manual_seed(seed))
    return EncodedVideo(tokens, about, Video(video))


def run(folder: Path, library: Path) -> None:
    entries = list_entries(folder, library)
    with alone_in(library):
        todo = pending(entries, ENCODER, SETTINGS, overwrite=False)
        sweep(entries)
        for outcome in encode_each(todo, pretend):
            assert not outcome.problem


def test_each_video_has_its_place(videos: Path, tmp_path: Path) -> None:
    library = videos / "library"
    (library / "old").mkdir(parents=True)
    (library / "old" / "c.mp4").write_text("not ours")
    entries = list_entries(videos, library)
    assert [entry.target.relative_to(library).as_posix() for entry in entries] == [
        "2024/walk.webm.bimba", "a.MKV.bimba", "b.mp4.bimba",
    ]  # fmt: skip
    assert has_videos(videos)
    assert not has_videos(videos / "b.mp4")
    (tmp_path / "empty").mkdir()
    assert not has_videos(tmp_path / "empty")
    with pytest.raises(InputError, match="has no videos"):
        list_entries(tmp_path / "empty", library)
    with pytest.raises(InputError, match="there is no folder"):
        list_entries(tmp_path / "nothing", library)


def test_what_is_there_is_left_alone_and_what_changed_is_done_again(videos: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    run(videos, library)
    entries = list_entries(videos, library)
    assert pending(entries, ENCODER, SETTINGS, overwrite=False) == []
    (videos / "b.mp4").write_text("another")
    torn = library / "a.MKV.bimba"
    torn.write_bytes(torn.read_bytes()[:-7])
    states = {entry.video.name: entry.state(ENCODER, SETTINGS)[0] for entry in entries}
    assert states == {"walk.webm": State.DONE, "a.MKV": State.STALE, "b.mp4": State.STALE}
    (library / "2024" / "walk.webm.bimba").unlink()
    run(videos, library)
    assert {entry.state(ENCODER, SETTINGS)[0] for entry in entries} == {State.DONE}


def test_what_others_encoded_is_not_replaced_unasked(videos: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    run(videos, library)
    entries = list_entries(videos, library)
    with pytest.raises(InputError, match="which is another model, and 2 more are like it"):
        pending(entries, "f" * 64, SETTINGS, overwrite=False)
    with pytest.raises(InputError, match="num_frames 4 there, 8 now"):
        pending(entries, ENCODER, {"num_frames": 8}, overwrite=False)
    assert pending(entries, "f" * 64, SETTINGS, overwrite=True) == entries


def test_what_is_no_encoding_of_this_video_is_not_replaced_unasked(videos: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    run(videos, library)
    other = Entry(videos / "b.mp4", library / "a.MKV.bimba")
    assert other.state(ENCODER, SETTINGS) == (State.FOREIGN, "another video is in it")
    (library / "b.mp4.bimba").write_text("notes of somebody")
    with pytest.raises(InputError, match="no encoded video of this version"):
        run(videos, library)


def test_a_library_may_lie_where_the_videos_do(videos: Path) -> None:
    for library in (videos, videos.parent):
        assert len(list_entries(videos, library)) == 3
        run(videos, library)
        assert pending(list_entries(videos, library), ENCODER, SETTINGS, overwrite=False) == []


def test_two_runs_do_not_meet(videos: Path, tmp_path: Path) -> None:
    with alone_in(tmp_path / "library"), pytest.raises(InputError, match="another process encodes into"):
        run(videos, tmp_path / "library")
    run(videos, tmp_path / "library")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"):
        run(videos, tmp_path / "file")


def test_video_that_cannot_be_read_does_not_stop_the_others(tiny: VideoQA, tmp_path: Path) -> None:
    made = make_needles(tmp_path / "videos", videos=2, seconds=2, fps=4, size="64x48", needles=1, needle_seconds=1)
    (made.folder / "broken.mp4").write_bytes(b"no video")
    entries = list_entries(made.folder, tmp_path / "library")
    outcomes = list(encode_each(entries, lambda path: tiny.encode(path, num_frames=4)))
    assert [bool(outcome.problem) for outcome in outcomes] == [True, False, False]
    settings = settings_of(tiny.model.config, None, {"num_frames": 4, "sampling": "uniform"})
    assert pending(entries, tiny.encoder_identity, settings, overwrite=False) == entries[:1]
    kept = read_encoded(entries[1].target)
    assert len(kept.features) == outcomes[1].num_tokens == 4 * 12


def test_video_that_is_gone_is_an_error(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "library")
    [entry, *_] = list_entries(videos, tmp_path / "library")
    entry.video.unlink()
    with pytest.raises(VideoError, match="cannot be opened"):
        entry.state(ENCODER, SETTINGS)


def test_no_room_stops_the_run(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "2024").write_text("a file where a folder has to be")
    with pytest.raises(InputError, match="cannot be made"):
        list(encode_each(list_entries(videos, tmp_path / "library"), pretend))


def contents(library: Path) -> dict[str, Any]:
    """Tokens and all that is told of them, by name; reading fails on a torn file."""
    found = {path.relative_to(library).as_posix(): read_encoded(path) for path in library.rglob("*.bimba")}
    return {name: (one.features.tolist(), replace(one.about, made_with={})) for name, one in found.items()}


@pytest.mark.skipif(FORK is None, reason="this system cannot fork")
def test_killed_twenty_times_nothing_is_torn_and_nothing_is_left_behind(videos: Path, tmp_path: Path) -> None:
    assert FORK is not None
    for number in range(120):
        (videos / f"{number:03d}.mp4").write_text(str(number))
    run(videos, tmp_path / "alone")
    generator, library, most, interrupted = random.Random(5), tmp_path / "library", 0, 0
    for _ in range(20):
        process = FORK.Process(target=run, args=(videos, library))
        process.start()
        # A process may take any time to begin, so what is waited for is what it does, not the clock.
        while process.is_alive() and len(list(library.rglob("*.bimba"))) == most:
            time.sleep(0.001)
        time.sleep(generator.uniform(0.0, 0.02))
        process.kill()
        process.join(60)
        interrupted += process.exitcode == -signal.SIGKILL
        there = contents(library)  # each can be read whole
        assert len(there) >= most
        most = len(there)
    assert interrupted >= 10
    assert most >= interrupted
    run(videos, library)
    assert contents(library) == contents(tmp_path / "alone")
    names = {path.name for path in library.rglob("*") if path.is_file()}
    assert names == {entry.target.name for entry in list_entries(videos, library)} | {".lock"}


def test_entry_of_a_video_that_was_never_encoded(tmp_path: Path) -> None:
    entry = Entry(tmp_path / "a.mp4", tmp_path / "a.mp4.bimba")
    assert entry.state(ENCODER, SETTINGS) == (State.MISSING, "")
