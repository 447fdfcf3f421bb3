"""Videos that requests name: whoever changes a file at the wrong moment gets nothing else read; bytes come as sent."""

import base64
import io
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import bimba.serving.engine.encoding as encoding_module
import bimba.serving.media.opening as opening_module
from bimba.errors import InputError
from bimba.inference import VideoQA
from bimba.inference.encoder import encode_clip
from bimba.serving.media.fetching import Fetcher
from bimba.serving.media.files import FileStore
from bimba.serving.media.opening import MediaOpener
from bimba.serving.refusals import RefusedError
from bimba.serving.settings import MediaLimits
from serving_runs import MODEL, Running, about, by_url, running


@pytest.fixture
def opener(tmp_path: Path) -> MediaOpener:
    """Of files below `media`, beside which lies what is nobody's business."""
    for name in ("media/below", "secret"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "talk.mp4").write_text(name)
    files = FileStore(tmp_path / "files", MediaLimits())
    return MediaOpener(files, Fetcher([], 1, 1.0), tmp_path / "media", tmp_path / "passing", MediaLimits())


def a_link(root: Path) -> None:
    (root / "media/below/talk.mp4").unlink()
    (root / "media/below/talk.mp4").symlink_to(root / "secret/talk.mp4")


def a_linked_folder(root: Path) -> None:
    (root / "media/below").rename(root / "media/gone")
    (root / "media/below").symlink_to(root / "secret")


def a_pipe(root: Path) -> None:
    (root / "media/below/talk.mp4").unlink()
    os.mkfifo(root / "media/below/talk.mp4")


def nothing(root: Path) -> None:
    (root / "media/below/talk.mp4").unlink()


@pytest.mark.parametrize("change", [a_link, a_linked_folder, a_pipe, nothing])
def test_what_takes_the_place_of_a_file_is_not_read(
    opener: MediaOpener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    opened = opening_module._opened

    def late(path: Path) -> Any:
        change(tmp_path)
        return opened(path)

    assert opener.open_url("file:below/talk.mp4").name == "the video"
    monkeypatch.setattr(opening_module, "_opened", late)
    with pytest.raises(RefusedError, match="no such file"):
        opener.open_url("file:below/talk.mp4")


def test_a_file_that_was_changed_is_another_one(opener: MediaOpener, tmp_path: Path) -> None:
    media = opener.open_url("file:below/talk.mp4")
    media.check_unchanged()
    a_link(tmp_path)
    with pytest.raises(InputError, match="changed while it was read"):
        media.check_unchanged()
    nothing(tmp_path)
    with pytest.raises(InputError, match="changed while it was read"):
        media.check_unchanged()


@pytest.fixture
def server(tiny: VideoQA, video: Path, tmp_path: Path) -> Iterator[Running]:
    """A server with a media root that is the test's own."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "talk.mp4").write_bytes(video.read_bytes())
    with running(tiny, tmp_path / "store", media_root=tmp_path / "root") as started:
        yield started


def test_what_changes_while_it_is_read_is_neither_answered_nor_kept(
    server: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = threading.Event()

    def changing(*arguments: Any, **options: Any) -> Any:
        features = encode_clip(*arguments, **options)
        if not changed.is_set():
            changed.set()
            path = tmp_path / "root" / "talk.mp4"
            path.write_bytes(path.read_bytes() + b"more")
        return features

    monkeypatch.setattr(encoding_module, "encode_clip", changing)
    body = {"model": MODEL, "messages": about(by_url("file:talk.mp4")), "max_tokens": 2}
    first = httpx.post(f"{server.address}/v1/chat/completions", json=body, timeout=60)
    assert changed.is_set()
    assert first.status_code == 400
    assert "the video changed while it was read" in first.json()["error"]["message"]
    assert str(tmp_path) not in first.text
    assert server.metric("bimba_encoded_bytes") == 0
    assert httpx.post(f"{server.address}/v1/chat/completions", json=body, timeout=60).status_code == 200


@pytest.mark.parametrize("size", [1, 5, 6, 7, 11, 12, 13])
def test_bytes_come_as_they_were_sent(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(opening_module, "_BASE64_BLOCK", 8)
    sent, file = bytes(range(200, 200 + size)), io.BytesIO()
    opening_module._write_decoded(base64.b64encode(sent).decode(), file)
    assert file.getvalue() == sent


@pytest.mark.parametrize(
    "content", ["QUJDRA==QUJD", "QUJDRAA", "QUJD\nQUJD", "QUJDQUJD\u00fc", "=", "QUJDQUI=QUJDQUJD"]
)
def test_what_is_no_base64_is_refused(monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setattr(opening_module, "_BASE64_BLOCK", 8)
    with pytest.raises(RefusedError, match="no base64"):
        opening_module._write_decoded(content, io.BytesIO())


def test_a_full_disk_is_told_and_leaves_nothing(
    opener: MediaOpener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(content: str, file: Any) -> None:
        file.write(content[:4].encode())
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(opening_module, "_write_decoded", full)
    with pytest.raises(RefusedError, match="no room") as caught:
        opener.open_url("data:video/mp4;base64,AAAA")
    assert caught.value.status == 507
    assert not list((tmp_path / "passing").iterdir())
