"""Who may ask, and what nobody may reach: keys, hosts, paths, sizes; and what errors and logs do not tell."""

import io
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import openai
import pytest

import bimba.serving.gate as gate_module
import bimba.serving.media.files as files_module
from bimba.inference import VideoQA
from bimba.needles import make_needles
from bimba.serving.settings import MediaLimits
from serving_runs import MODEL, Running, about, by_url, running

KEY = "right-key"
LIMITS = MediaLimits(upload_bytes=60_000, request_bytes=20_000, duration_seconds=6, pixels=96 * 64, frames=50)


@pytest.fixture(scope="module")
def places(video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A media root beside what is nobody's business, with links from the one to the other."""
    folder = tmp_path_factory.mktemp("places")
    root, secret = folder / "media", folder / "media-secret"
    for place in (root, secret, root / "below"):
        place.mkdir()
    for place in (root / "talk 1.mp4", root / "below" / "talk.mp4", secret / "talk.mp4"):
        place.write_bytes(video.read_bytes())
    (root / "linked.mp4").symlink_to(secret / "talk.mp4")
    (root / "linked").symlink_to(secret)
    (root / "inside.mp4").symlink_to(root / "below" / "talk.mp4")
    (root / "loop.mp4").symlink_to(root / "loop.mp4")
    os.mkfifo(root / "pipe.mp4")
    return folder


@pytest.fixture(scope="module")
def server(tiny: VideoQA, places: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with keys, a media root and narrow limits."""
    store = tmp_path_factory.mktemp("store")
    with running(tiny, store, media_root=places / "media", api_keys=(KEY,), limits=LIMITS) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Running) -> openai.OpenAI:
    """With the right key."""
    return server.client(KEY)


def ask(client: openai.OpenAI, url: str) -> str:
    answer = client.chat.completions.create(
        model=MODEL, messages=about(by_url(url)), max_tokens=2, extra_body={"bimba": {"num_frames": 2}}
    )
    return str(answer.choices[0].message.content)


@pytest.mark.parametrize("name", ["talk%201.mp4", "below/talk.mp4", "inside.mp4", "below/../talk%201.mp4"])
def test_files_below_the_media_root_are_read(client: openai.OpenAI, name: str) -> None:
    assert ask(client, f"file:{name}")


@pytest.mark.parametrize(
    "name",
    [
        "../media-secret/talk.mp4",
        "%2e%2e/media-secret/talk.mp4",
        "..%2fmedia-secret%2ftalk.mp4",
        "below/../../media-secret/talk.mp4",
        "linked.mp4",
        "linked/talk.mp4",
        "loop.mp4",
        "pipe.mp4",
        "below",
        "",
        "talk%00.mp4",
        "talk%FF.mp4",
        "not-there.mp4",
    ],
)
def test_nothing_else_is_read_and_nobody_is_told_why(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, f"file:{name}")
    assert caught.value.body == {
        "message": "there is no such file in the media folder.",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "no_such_file",
    }


def test_absolute_paths_outside_are_not_read(client: openai.OpenAI, places: Path) -> None:
    for path in ("/etc/passwd", str(places / "media-secret" / "talk.mp4"), str(places / "media" / "linked.mp4")):
        with pytest.raises(openai.NotFoundError):
            ask(client, f"file://{quote(path)}")
    assert ask(client, (places / "media" / "talk 1.mp4").as_uri())


@pytest.mark.parametrize(
    "url",
    [
        "file://elsewhere/talk.mp4",
        "ftp://example.com/a.mp4",
        "concat:a|b",
        "http://127.0.0.1/",
        "https://example.com/a.mp4",
        "data:text/html;base64,AAAA",
        "data:video/mp4,plain",
        "data:video/mp4;base64,!!!!",
        "data:video/mp4;base64,AAA=AAAA",
        "file://[x/talk.mp4",
        "data:video/mp4;base64,",
        "data:,",
    ],
)
def test_addresses_of_other_kinds_are_refused(client: openai.OpenAI, url: str) -> None:
    with pytest.raises(openai.BadRequestError):
        ask(client, url)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer wrong")],
        [("Authorization", f"Bearer {KEY}x")],
        [("Authorization", f"Bearer {KEY[:-1]}")],
        [("Authorization", f"Bearer wrong, Bearer {KEY}")],
        [("Authorization", f"Basic {KEY}")],
        [("Authorization", KEY)],
        [("Authorization", "Bearer wrong"), ("Authorization", f"Bearer {KEY}")],
        [("Authorization", f"Bearer {KEY}"), ("Authorization", f"Bearer {KEY}")],
        [("X-Authorization", f"Bearer {KEY}")],
        [("X-Api-Key", KEY)],
        [("Cookie", f"Authorization=Bearer {KEY}")],
    ],
    ids=range(14),
)
def test_a_key_comes_once_and_in_its_place(server: Running, headers: list[tuple[str, str]]) -> None:
    for path in ("/v1/models", f"/v1/models?api_key={KEY}", "/v1/files", "/metrics", "/openapi.json", "/nothing"):
        answer = httpx.get(server.address + path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert KEY not in answer.text


def test_the_scheme_may_be_spelled_as_http_has_it(server: Running) -> None:
    assert httpx.get(f"{server.address}/v1/models", headers={"authorization": f"bearer {KEY}"}).status_code == 200


def raw(server: Running, request: str) -> bytes:
    """What the server sends to bytes as they are, until it closes the connection."""
    host, port = server.address.removeprefix("http://").split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request.replace("\n", "\r\n").encode())
        while block := connection.recv(65536):
            answer += block
    return answer


def test_a_request_within_a_request_is_not_answered(server: Running) -> None:
    hidden = f"GET /v1/models HTTP/1.1\nHost: 127.0.0.1\nAuthorization: Bearer {KEY}\n\n"
    both = "POST /v1/files HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 5\nTransfer-Encoding: chunked\n\n0\n\n" + hidden
    twice = "POST /v1/files HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 0\nContent-Length: 70\n\n" + hidden
    for request in (both, twice):
        answer = raw(server, request)
        assert b"200 OK" not in answer
        assert answer.count(b"HTTP/1.1 ") == 1


def test_a_header_over_two_lines_is_no_key(server: Running) -> None:
    folded = f"GET /v1/models HTTP/1.1\nHost: 127.0.0.1\nX-A: b\nAuthorization:\n Bearer {KEY}\nConnection: close\n\n"
    spaced = f"GET /v1/models HTTP/1.1\nHost: 127.0.0.1\nAuthorization : Bearer {KEY}\nConnection: close\n\n"
    named = f"GET /v1/models HTTP/1.1\nHost: 127.0.0.1\nX: y\rAuthorization: Bearer {KEY}\nConnection: close\n\n"
    assert b"200 OK" not in raw(server, spaced)
    assert b"200 OK" not in raw(server, named)
    # Folding a value is old but plain HTTP: the one key stands in its place, and nothing else reads it otherwise.
    assert raw(server, folded).count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[::2]:80"])
def test_names_that_are_not_this_machine_are_refused(server: Running, host: str) -> None:
    headers = {"Host": host, "Authorization": f"Bearer {KEY}"}
    assert httpx.get(f"{server.address}/v1/models", headers=headers).status_code == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "127.0.0.1", "[::1]:8000", "[::1]"])
def test_names_of_this_machine_are_not(server: Running, host: str) -> None:
    headers = {"Host": host, "Authorization": f"Bearer {KEY}"}
    assert httpx.get(f"{server.address}/v1/models", headers=headers).status_code == 200


def test_pages_of_other_sites_are_refused(server: Running) -> None:
    key = {"Authorization": f"Bearer {KEY}"}
    for origin in ("https://evil.example", "null", "http://[x", f"{server.address}.evil.example"):
        assert httpx.get(f"{server.address}/v1/models", headers=key | {"Origin": origin}).status_code == 403
    assert httpx.get(f"{server.address}/v1/models", headers=key | {"Origin": server.address}).status_code == 200


def test_a_body_that_is_no_json_by_its_header_is_refused(server: Running) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        headers = {"Content-Type": kind, "Authorization": f"Bearer {KEY}"}
        answer = httpx.post(f"{server.address}/v1/chat/completions", content=b"{}", headers=headers)
        assert answer.status_code == 415


def test_what_is_too_large_is_refused_before_it_is_read(server: Running) -> None:
    key = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    url = f"{server.address}/v1/chat/completions"
    assert httpx.post(url, content=b" " * 20_001, headers=key).status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * 1000

    chunked = httpx.post(url, content=chunks(), headers=key)
    assert (chunked.status_code, chunked.json()["error"]["code"]) == (413, "too_large")
    told = "POST /v1/files HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 99999999999\nConnection: close\n"
    assert b" 413 " in raw(server, f"{told}Authorization: Bearer {KEY}\n\n")


def test_bodies_that_do_not_come_are_not_waited_for(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "_SILENCE_SECONDS", 0.2)
    told = "POST /v1/chat/completions HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 100\nContent-Type: application/json\n"
    assert b" 408 " in raw(server, f"{told}Authorization: Bearer {KEY}\n\n{{")


def needle_video(folder: Path, **settings: Any) -> Path:
    told: dict[str, Any] = {"seconds": 4.0, "size": "96x64", "fps": 10, "needles": 1, "needle_seconds": 1.0}
    run = make_needles(folder, **(told | settings))
    return run.folder / run.manifest.videos[0].file


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"seconds": 7.0, "fps": 5}, "lasts 7 seconds"),
        ({"size": "128x96"}, "128 x 96 pixels"),
        ({"seconds": 5.5}, "55 frames"),
    ],
    ids=["long", "large", "many frames"],
)
def test_videos_beyond_the_limits_are_refused_and_not_kept(
    client: openai.OpenAI, server: Running, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    video = needle_video(tmp_path, **settings)
    with pytest.raises(openai.BadRequestError, match=words), video.open("rb") as file:
        client.files.create(file=file, purpose="user_data")
    assert not list(client.files.list())
    store = server.serving.engine._settings.store
    assert not list((store / "files").iterdir())


def test_an_upload_beyond_the_limit_is_refused_and_not_kept(client: openai.OpenAI, server: Running) -> None:
    with pytest.raises(openai.APIStatusError, match="larger than") as caught:
        client.files.create(file=("a.mp4", b"\0" * 60_001), purpose="user_data")
    assert caught.value.status_code == 413
    with pytest.raises(openai.APIStatusError) as caught:
        client.files.create(file=("a.mp4", b"\0" * 200_000), purpose="user_data")
    assert caught.value.status_code == 413
    assert not list((server.serving.engine._settings.store / "files").iterdir())


def test_the_store_takes_no_more_than_it_may(tiny: VideoQA, video: Path, tmp_path: Path) -> None:
    limits = MediaLimits(stored_bytes=video.stat().st_size + 10)
    with running(tiny, tmp_path, limits=limits) as server:
        client = server.client()
        kept = client.files.create(file=("a.mp4", video.read_bytes()), purpose="vision")
        with pytest.raises(openai.APIStatusError, match="delete some") as caught:
            client.files.create(file=("b.mp4", video.read_bytes()), purpose="vision")
        assert caught.value.status_code == 507
        client.files.delete(kept.id)
        assert client.files.create(file=("b.mp4", video.read_bytes()), purpose="vision").id != kept.id


def test_errors_and_logs_tell_no_path_no_key_and_nothing_of_a_question(
    client: openai.OpenAI, server: Running, places: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (places / "media" / "broken.mp4").write_bytes(b"no video at all" * 100)
    caplog.set_level(logging.DEBUG, logger="bimba")
    secret = "a question that is nobody's business"
    told = []
    for url in ("file:broken.mp4", "data:video/mp4;base64,AAAAAAAA", "file:talk%201.mp4"):
        for look in ({"num_frames": 2}, {"start": 100}, {"sampling": "fps", "num_frames": 10**9}):
            body = {"model": MODEL, "messages": about(by_url(url), secret), "max_tokens": 2, "bimba": look}
            key = {"Authorization": f"Bearer {KEY}"}
            answer = httpx.post(f"{server.address}/v1/chat/completions", json=body, headers=key, timeout=60)
            told += [answer.text] if answer.status_code == 400 else []
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("my secret name.mp4", b"nothing"), purpose="user_data")
    told += [caught.value.response.text, caplog.text]
    assert len(told) >= 8
    store = server.serving.engine._settings.store
    for text in told:
        for hidden in (str(places), str(store), secret, KEY, "secret name", "Traceback", "site-packages"):
            assert hidden not in text


@pytest.mark.parametrize("name", ["../../evil.mp4", "..\\..\\evil.mp4", "/etc/evil.mp4", "a\nb.mp4", "", "x" * 500])
def test_names_of_uploads_are_only_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(files_module, "check_file", lambda path, limits: (path, limits))
    store = files_module.FileStore(tmp_path, LIMITS)
    stored = store.add(io.BytesIO(b"a video"), name, "user_data", "")
    assert {path.name for path in tmp_path.iterdir()} == {stored.id, f"{stored.id}.json"}
    assert stored.filename
    assert not set(stored.filename) & set("/\\\n")
    assert len(stored.filename) <= 255
    store.delete(stored.id, "")
    assert not list(tmp_path.iterdir())


def test_what_a_killed_server_left_of_an_upload_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_module, "check_file", lambda path, limits: (path, limits))
    stored = files_module.FileStore(tmp_path, LIMITS).add(io.BytesIO(b"a video"), "a.mp4", "vision", "me")
    (tmp_path / f"file-{'0' * 32}").write_bytes(b"half a video")
    found = files_module.FileStore(tmp_path, LIMITS)
    assert found.of("me") == [stored]
    assert {path.name for path in tmp_path.iterdir()} == {stored.id, f"{stored.id}.json"}


@pytest.mark.parametrize("name", ["..", "%2e%2e%2f.lock", f"file-{'0' * 32}", "file-../../.lock"])
def test_ids_are_no_paths(server: Running, name: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    assert httpx.get(f"{server.address}/v1/files/{name}", headers=headers).status_code == 404
    assert httpx.delete(f"{server.address}/v1/files/{name}", headers=headers).status_code in (404, 405)
