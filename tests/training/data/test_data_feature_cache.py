"""Features on the disk: what they are called, what is found again, and what damaged files come to."""

import dataclasses
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from bimba.errors import InputError, TrainingError, VideoError
from bimba.training.features import content_hashes
from bimba.training.features.content_hashes import ContentHashes
from bimba.training.features.feature_cache import FeatureCache, FilledCache, MadeBy

MADE_BY = MadeBy(
    tower="0123",
    layer=-2,
    strategy="full",
    precision="float32",
    image_size=70,
    image_mean=(0.5, 0.5, 0.5),
    image_std=(0.5, 0.5, 0.5),
    feature_shape=(25, 48),
)
INDICES = (0, 3, 9)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache", MADE_BY)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"what a video holds")
    return path


def features(num_frames: int = len(INDICES)) -> Tensor:
    return torch.randn(num_frames, 25, 48, generator=torch.Generator().manual_seed(0))


def put(cache: FeatureCache, clip: Path) -> Path:
    """Features of a clip are kept; their file."""
    cache.put(cache.key(clip, INDICES), features(), {"path": str(clip)})
    (file,) = cache.folder.glob("features/*/*/*.safetensors")
    return file


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_put_is_got_bit_for_bit(cache: FeatureCache, clip: Path, dtype: torch.dtype) -> None:
    assert cache.get(clip, INDICES) is None
    key = cache.key(clip, INDICES)
    assert not cache.has(key, len(INDICES))
    size = cache.put(key, features().to(dtype), {"path": str(clip), "indices": INDICES})
    found = cache.get(clip, INDICES)
    assert found is not None
    assert found.dtype == dtype
    assert torch.equal(found, features().to(dtype))
    assert cache.has(key, len(INDICES))
    (file,) = cache.folder.glob("features/*/*/*.safetensors")
    assert file.stat().st_size == size
    assert file.parent.name == key[2:4]
    assert file.parent.parent.name == key[:2]
    assert not list((cache.folder / "unfinished").iterdir())
    assert file.stat().st_mode == clip.stat().st_mode  # whoever shares the folder may read it


def test_a_file_tells_in_words_what_it_was_made_of(cache: FeatureCache, clip: Path) -> None:
    with safe_open(put(cache, clip), framework="pt") as file:
        told = file.metadata()
    assert told["path"] == str(clip)
    assert {"tower": "0123", "layer": "-2", "strategy": "full", "precision": "float32"}.items() <= told.items()
    assert told["image_mean"] == "[0.5, 0.5, 0.5]"


@pytest.mark.parametrize(
    "change",
    [
        {"tower": "4567"},
        {"layer": -1},
        {"strategy": "default"},
        {"precision": "bf16"},
        {"image_size": 84},
        {"image_mean": (0.4, 0.5, 0.5)},
        {"image_std": (0.4, 0.5, 0.5)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_decides_features_gives_another_key(cache: FeatureCache, clip: Path, change: dict[str, Any]) -> None:
    put(cache, clip)
    other = FeatureCache(cache.folder, dataclasses.replace(MADE_BY, **change))
    assert other.key(clip, INDICES) != cache.key(clip, INDICES)
    assert other.get(clip, INDICES) is None


def test_other_frames_give_another_key(cache: FeatureCache, clip: Path) -> None:
    keys = {cache.key(clip, indices) for indices in ((0, 3, 9), (0, 3), (0, 3, 8), (9, 3, 0), (0, 39))}
    assert len(keys) == 5


def test_the_same_content_is_found_under_another_path(cache: FeatureCache, clip: Path, tmp_path: Path) -> None:
    put(cache, clip)
    copy = tmp_path / "elsewhere" / "copy.avi"
    copy.parent.mkdir()
    shutil.copy(clip, copy)
    assert cache.get(copy, INDICES) is not None
    clip.unlink()
    assert cache.get(copy, INDICES) is not None


def test_other_content_of_the_same_size_is_not_found(cache: FeatureCache, clip: Path) -> None:
    put(cache, clip)
    clip.write_bytes(clip.read_bytes()[::-1])
    os.utime(clip, ns=(0, 0))
    assert cache.get(clip, INDICES) is None


def torn(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def of_another_clip(file: Path) -> None:
    save_file({"features": features()}, file, {"key": "another"})


def of_other_frames(file: Path) -> None:
    save_file({"features": features(2)}, file, {"key": file.stem})


def without_features(file: Path) -> None:
    save_file({"others": features()}, file, {"key": file.stem})


def without_words(file: Path) -> None:
    save_file({"features": features()}, file)


@pytest.mark.parametrize("damage", [torn, emptied, of_another_clip, of_other_frames, without_features, without_words])
def test_a_damaged_file_counts_as_missing_and_is_made_again(
    cache: FeatureCache, clip: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    file = put(cache, clip)
    damage(file)
    assert not cache.has(cache.key(clip, INDICES), len(INDICES))
    assert cache.get(clip, INDICES) is None
    assert str(file) in caplog.text
    put(cache, clip)
    found = cache.get(clip, INDICES)
    assert found is not None
    assert torch.equal(found, features())


def test_features_of_another_shape_are_a_programmers_error(cache: FeatureCache) -> None:
    with pytest.raises(ValueError, match=r"\[3, 24, 48\], not of \[25, 48\]"):
        cache.put("0" * 64, torch.zeros(3, 24, 48), {})


def test_a_folder_that_cannot_be_written_is_named_with_a_fix(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(TrainingError, match=r"(?s)file could not be written.*fix: free some space.*data.cache=DIR"):
        FeatureCache(tmp_path / "file", MADE_BY).put("0" * 64, features(), {})


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of file sizes")
def test_a_write_that_fails_in_the_middle_leaves_nothing(cache: FeatureCache) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # fails as a full disk does
    try:
        with pytest.raises(TrainingError, match=r"(?s)File too large.*fix: free some space"):
            cache.put("0" * 64, features(), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in cache.folder.rglob("*") if path.is_file()]


def test_what_interrupted_runs_left_is_removed_once_it_is_old(cache: FeatureCache) -> None:
    unfinished = cache.folder / "unfinished"
    unfinished.mkdir(parents=True)
    old, fresh = unfinished / "old", unfinished / "fresh"
    for path in (old, fresh):
        path.write_bytes(b"half")
    an_hour_ago = time.time() - 3700
    os.utime(old, (an_hour_ago, an_hour_ago))
    cache.clean()
    assert not old.exists()
    assert fresh.exists()
    FeatureCache(cache.folder / "absent", MADE_BY).clean()


def test_a_filled_cache_says_why_features_are_missing(cache: FeatureCache, clip: Path) -> None:
    put(cache, clip)
    filled = FilledCache(cache, {cache.key(clip, (1, 2)): "frame 2 is damaged."})
    assert torch.equal(filled.get(clip, INDICES), features())
    with pytest.raises(InputError, match=r"frame 2 is damaged"):
        filled.get(clip, (1, 2))
    with pytest.raises(InputError, match=r"has no features in .*cache"):
        filled.get(clip, (1, 3))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that are read to their ends."""
    seen: list[Path] = []
    original = content_hashes._read

    def read(path: Path) -> str:
        seen.append(path)
        return original(path)

    monkeypatch.setattr(content_hashes, "_read", read)
    return seen


def test_a_file_is_read_once_while_it_does_not_change(tmp_path: Path, clip: Path, reads: list[Path]) -> None:
    hashes = ContentHashes(tmp_path / "contents")
    first = hashes.of(clip)
    assert ContentHashes(tmp_path / "contents").of(clip) == first
    assert reads == [clip]
    os.utime(clip, ns=(1, 1))
    assert hashes.of(clip) == first
    clip.write_bytes(b"something else")
    assert hashes.of(clip) != first
    assert reads == [clip] * 3


@pytest.mark.parametrize("record", ["", "{", "[]", '{"stamp": 3}', "\x00" * 80])
def test_a_damaged_record_is_made_again(tmp_path: Path, clip: Path, reads: list[Path], record: str) -> None:
    hashes = ContentHashes(tmp_path / "contents")
    first = hashes.of(clip)
    (file,) = (tmp_path / "contents").glob("*/*.json")
    file.write_text(record)
    assert hashes.of(clip) == hashes.of(clip) == first
    assert reads == [clip] * 2


def test_hashes_are_found_where_none_can_be_kept(tmp_path: Path, clip: Path, reads: list[Path]) -> None:
    (tmp_path / "file").write_text("no folder")
    hashes = ContentHashes(tmp_path / "file")
    assert hashes.of(clip) == hashes.of(clip)
    assert reads == [clip] * 2


def test_a_folder_is_known_by_the_names_and_contents_of_its_pictures(tmp_path: Path) -> None:
    hashes = ContentHashes(tmp_path / "contents")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in (("1.png", "red"), ("2.png", "blue")):
        Image.new("RGB", (8, 8), colour).save(folder / name)
    first = hashes.of(folder)
    (folder / ".hidden").write_text("no picture")
    shutil.copytree(folder, tmp_path / "copy")
    assert hashes.of(folder) == hashes.of(tmp_path / "copy") == first
    (folder / "2.png").rename(folder / "0.png")  # now it comes first
    assert hashes.of(folder) != first
    Image.new("RGB", (8, 8), "green").save(tmp_path / "copy" / "2.png")
    assert hashes.of(tmp_path / "copy") != first


def test_a_file_that_cannot_be_read_is_an_unreadable_video(tmp_path: Path) -> None:
    hashes = ContentHashes(tmp_path / "contents")
    with pytest.raises(VideoError, match=r"absent.mp4 cannot be read"):
        hashes.of(tmp_path / "absent.mp4")


def test_a_file_that_changes_while_it_is_read_is_an_unreadable_video(
    tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = content_hashes._read

    def read(path: Path) -> str:
        found = original(path)
        path.write_bytes(b"more than there was before")
        return found

    monkeypatch.setattr(content_hashes, "_read", read)
    hashes = ContentHashes(tmp_path / "contents")
    with pytest.raises(VideoError, match=r"changed while it was read"):
        hashes.of(clip)
    assert not (tmp_path / "contents").exists()
