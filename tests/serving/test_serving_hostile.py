"""Files from strangers that are broken or meant to harm: each is refused, and the server goes on answering."""

import io
import random
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from PIL import Image

from bimba.inference import VideoQA
from bimba.serving.settings import MediaLimits
from serving_runs import MODEL, Running, running

LIMITS = MediaLimits(decode_seconds=20, pixels=1_000_000, frames=500, duration_seconds=60, decode_bytes=2**30)


@pytest.fixture(scope="module")
def server(tiny: VideoQA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with limits."""
    with running(tiny, tmp_path_factory.mktemp("store"), limits=LIMITS) as started:
        yield started


def huge_png() -> bytes:
    """A picture of 60,000 x 60,000 pixels in a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def many_frames() -> bytes:
    """An animation of 600 frames in a few bytes."""
    frames = [Image.new("P", (8, 8), color) for color in range(2)] * 300
    file = io.BytesIO()
    frames[0].save(file, "gif", save_all=True, append_images=frames[1:], duration=20, optimize=False)
    return file.getvalue()


def hostile(video: bytes) -> dict[str, bytes]:
    """Files by what is wrong with them."""
    luck = random.Random(0)
    scrambled = bytearray(video)
    for place in range(40, len(video), 7):
        scrambled[place] = luck.randrange(256)
    return {
        "empty": b"",
        "cut in the head": video[:40],
        "cut in half": video[: len(video) // 2],
        "scrambled": bytes(scrambled),
        "zeros": b"\0" * 10_000_000,
        "noise": luck.randbytes(5000),
        "huge picture": huge_png(),
        "many frames": many_frames(),
        "playlist": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "vector drawing": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "web page": b"<html><script>1</script></html>",
        "archive": b"PK\x03\x04" + b"\0" * 500,
        "pickle": b"\x80\x04\x95",
        "encoded video": struct.pack("<Q", 2) + b"{}",
    }


def test_each_is_refused_and_nothing_of_it_is_kept(server: Running, video: Path) -> None:
    cases = hostile(video.read_bytes())

    def send(content: bytes) -> httpx.Response:
        form = {"purpose": "user_data"}
        return httpx.post(f"{server.address}/v1/files", data=form, files={"file": content}, timeout=60)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(send, cases.values()))
    for name, answer in zip(cases, answers, strict=True):
        assert answer.status_code == 400, (name, answer.text)
        message = answer.json()["error"]["message"]
        assert message
        assert "/tmp" not in message, name
        assert "passwd" not in message, name
        assert "isolate=" not in message, name
    assert not list((server.serving.engine._settings.store / "files").iterdir())
    assert server.metric("bimba_stored_bytes") == 0
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 2}
    assert httpx.post(f"{server.address}/v1/chat/completions", json=body, timeout=60).status_code == 200


@pytest.mark.parametrize(
    ("form", "files", "words"),
    [
        ({}, {"file": b"x"}, "purpose"),
        ({"purpose": "fine-tune"}, {"file": b"x"}, "user_data and vision"),
        ({"purpose": "user_data"}, {}, "file"),
    ],
    ids=["no purpose", "another purpose", "no file"],
)
def test_forms_that_say_too_little_are_refused(
    server: Running, form: dict[str, str], files: dict[str, bytes], words: str
) -> None:
    answer = httpx.post(f"{server.address}/v1/files", data=form, files=files or None, timeout=60)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=x", "application/json", ""])
def test_forms_that_are_none_are_refused(server: Running, kind: str) -> None:
    answer = httpx.post(f"{server.address}/v1/files", content=b"--y\r\n\r\n", headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"null", b"1e999", b"[]"])
def test_json_that_is_none_is_refused(server: Running, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{server.address}/v1/chat/completions", content=content, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
