"""Files from strangers that are broken or meant to harm: each is refused, and the server goes on answering."""

import io
import json
import random
import struct
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

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


NAN = float("nan")


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({"messages": [{"role": "user", "content": "x"}] * 1001}, 400, "at most 1000 items"),
        ({"messages": [{"role": "user", "content": "x" * 1_000_001}]}, 413, "1,000,001 letters"),
        ({"stop": "x" * 501}, 400, "at most 500"),
        ({"stop": ["x" * 501]}, 400, "at most 500"),
        ({"temperature": 1e-40}, 400, "0, or at least 0.000001"),
        ({"temperature": NAN}, 400, "temperature"),
        ({"top_p": NAN}, 400, "top_p"),
        ({"seed": 2**63}, 400, "seed"),
        ({"max_tokens": -1}, 400, "max_tokens"),
        ({"max_tokens": 10**18}, 400, "may be answered"),
        ({"logprobs": True, "top_logprobs": 21}, 400, "top_logprobs"),
        ({"user": [1] * 200_001}, 413, "more than 200,000 commas"),
        ({"bimba": {"start": float("inf")}}, 400, "is no time"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_would_take_long_or_is_no_number_is_refused(
    server: Running, options: dict[str, Any], status: int, words: str
) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 2} | options
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{server.address}/v1/chat/completions", content=json.dumps(body), headers=headers, timeout=60)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


def test_a_name_that_is_made_up_is_told_in_part(server: Running) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Why?"}], "x" * 10_000: 1}
    answer = httpx.post(f"{server.address}/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert len(answer.text) < 1000


def test_least_and_largest_seed_are_taken(server: Running) -> None:
    for seed in (-(2**63), 2**63 - 1):
        body = {"model": MODEL, "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 2, "temperature": 1}
        answer = httpx.post(f"{server.address}/v1/chat/completions", json=body | {"seed": seed}, timeout=60)
        assert answer.status_code == 200


@pytest.mark.parametrize("content", [b"{", b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"null", b"1e999", b"[]"])
def test_json_that_is_none_is_refused(server: Running, content: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{server.address}/v1/chat/completions", content=content, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
