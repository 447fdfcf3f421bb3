"""Who gets at the page and what is behind it, and what nobody gets at: everything else that Gradio would do."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bimba.inference import VideoQA
from bimba.serving.media.files import FileStore
from bimba.serving.page import pages
from bimba.serving.page.page import PageSettings
from bimba.serving.page.routes import PURPOSE
from bimba.serving.settings import MediaLimits
from serving_runs import MODEL, Running, endless, running, wait_until

pytest.importorskip("gradio")

KEY = "right-key"
LIMITS = MediaLimits(upload_bytes=200_000, duration_seconds=6)
PAGE = PageSettings(MODEL)
FILE = "/etc/hostname"
ASK, OPEN, CLOSE = 0, 3, 4
"""Numbers of what a page asks of Gradio, in the order in which it is laid out."""

LOOK = [False, 2, "uniform", ""]
WISHES = [*LOOK, 60, 0, "", False]

CLOSED = [
    ("GET", f"/gradio_api/file={FILE}"),
    ("GET", "/gradio_api/file=http://127.0.0.1:1/"),
    ("GET", f"/gradio_api/file/{FILE}"),
    ("GET", "/gradio_api/proxy=http://127.0.0.1:1/"),
    ("POST", "/gradio_api/upload"),
    ("GET", "/gradio_api/upload_progress?upload_id=1"),
    ("POST", "/gradio_api/component_server"),
    ("POST", "/gradio_api/call/ask"),
    ("POST", "/gradio_api/call/v2/ask"),
    ("POST", "/gradio_api/run/predict"),
    ("POST", "/gradio_api/api/predict"),
    ("POST", "/gradio_api/cancel"),
    ("POST", "/gradio_api/reset"),
    ("POST", "/gradio_api/stream/1"),
    ("GET", "/gradio_api/stream/a/1/2/playlist.m3u8"),
    ("POST", "/gradio_api/process_recording"),
    ("POST", "/gradio_api/vibe-edit/"),
    ("GET", "/gradio_api/vibe-code/"),
    ("GET", "/gradio_api/deep_link"),
    ("GET", "/gradio_api/info"),
    ("GET", "/gradio_api/openapi.json"),
    ("GET", "/gradio_api/app_id"),
    ("GET", "/gradio_api/runs"),
    ("POST", "/gradio_api/run-history/connect"),
    ("GET", "/gradio_api/custom_component/1/client/component/x.js"),
    ("GET", "/gradio_api/mcp/sse"),
    ("GET", "/config"),
    ("GET", "/monitoring"),
    ("GET", "/svelte/svelte.js"),
    ("GET", "/assets/%2e%2e/index.html"),
    ("GET", "/static/%2e%2e/%2e%2e/%2e%2e/routes.py"),
    ("GET", "/assets/"),
    ("GET", f"/assets/{FILE}"),
    ("GET", f"/static/{FILE}"),
    ("GET", f"//gradio_api/file={FILE}"),
    ("POST", "//gradio_api/queue/join"),
    ("POST", "/gradio_api/queue/join/"),
    ("POST", "/GRADIO_API/queue/join"),
    ("GET", "/gradio_api/heartbeat/abc%2f..%2f..%2ffile"),
    ("POST", "/login"),
    ("GET", "/page/example/video"),
    ("GET", "/page/parts/page.css"),
]


@pytest.fixture(scope="module")
def server(tiny: VideoQA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with a page, without keys."""
    with running(tiny, tmp_path_factory.mktemp("store"), page=PAGE, limits=LIMITS) as started:
        yield started


@pytest.fixture(scope="module")
def locked(tiny: VideoQA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with a page and a key."""
    with running(tiny, tmp_path_factory.mktemp("store"), page=PAGE, api_keys=(KEY,)) as started:
        yield started


@contextmanager
def visitor(server: Running) -> Iterator[httpx.Client]:
    """Somebody who has opened the page, and keeps it open."""
    with httpx.Client(base_url=server.address, timeout=60) as client:
        assert client.get("/").status_code == 200
        with staying(client):
            yield client


@contextmanager
def staying(client: httpx.Client, session: str = "abc") -> Iterator[None]:
    """A page that is open."""
    with client.stream("GET", f"/gradio_api/heartbeat/{session}") as response:
        assert response.status_code == 200
        yield


def told(client: httpx.Client, session: str = "abc") -> list[dict[str, Any]]:
    """All that comes to a page, until it has been told everything."""
    with client.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as response:
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines]


def cookie(client: httpx.Client) -> bytes:
    """That a client was given."""
    ((name, value),) = client.cookies.items()
    return f"{name}={value}".encode()


def uploaded(client: httpx.Client, video: Path) -> str:
    """The id of a file of a visitor."""
    response = client.post("/page/files", files={"file": ("talk.mp4", video.read_bytes())})
    assert response.status_code == 200, response.text
    return str(response.json()["id"])


def joined(data: list[Any], event_data: Any = None) -> dict[str, Any]:
    """What a page asks of Gradio."""
    return {"data": data, "event_data": event_data, "fn_index": 0, "session_hash": "abc", "trigger_id": 1}


@pytest.mark.parametrize(("method", "path"), CLOSED, ids=lambda value: str(value).strip("/"))
def test_what_the_page_does_not_need_is_not_there(server: Running, method: str, path: str) -> None:
    with visitor(server) as client:
        response = client.request(method, path, json={} if method == "POST" else None)
    assert response.status_code == 404, response.text
    assert response.json()["error"]["code"] == "not_found"


def test_the_page_and_what_it_is_made_of_are_there(server: Running) -> None:
    with visitor(server) as client:
        home = client.get("/?deep_link=x&view=api")
        assert "window.gradio_config" in home.text
        assert "frame-ancestors 'none'" in home.headers["content-security-policy"]
        for path in ("/theme.css", "/page/icon.svg", "/static/js/iframeResizer.contentWindow.min.js"):
            assert client.get(path).status_code == 200
        assert client.get("/v1/models").json()["data"][0]["id"] == MODEL


@pytest.mark.parametrize(
    "body",
    [
        joined([{"path": FILE, "meta": {"_type": "gradio.FileData"}}]),
        joined([[FILE]]),
        joined(["a"], {"id": {"path": FILE, "meta": {"_type": "gradio.FileData"}}}),
        joined(["a"]) | {"simple_format": True},
        joined(["a"]) | {"session_hash": "../x"},
        [],
    ],
)
def test_no_file_is_named_in_what_a_page_asks(server: Running, body: Any) -> None:
    with visitor(server) as client:
        response = client.post("/gradio_api/queue/join", json=body)
    assert response.status_code == 400
    assert "hostname" not in response.text


def test_what_is_too_long_or_no_json_is_refused(server: Running) -> None:
    with visitor(server) as client:
        assert client.post("/gradio_api/queue/join", json=joined(["a" * 300_000])).status_code == 413
        assert client.post("/gradio_api/queue/join", content=b"[" * 100_000).status_code == 400
        assert client.post("/page/files", files={"file": ("a.mp4", b"0" * 300_000)}).status_code == 413


def test_who_has_not_opened_the_page_gets_at_nothing_behind_it(server: Running, video: Path) -> None:
    files = {"file": ("talk.mp4", video.read_bytes())}
    for cookies in ({}, {"bimba-00000000": "abc.def"}):
        with httpx.Client(base_url=server.address, cookies=cookies, timeout=60) as client:
            assert client.post("/page/files", files=files).status_code == 401
            assert client.post("/gradio_api/queue/join", json=joined(["a"])).status_code == 401
            assert client.get("/gradio_api/queue/data?session_hash=abc").status_code == 401
            assert client.get("/gradio_api/heartbeat/abc").status_code == 401


def test_a_forged_cookie_is_none(server: Running) -> None:
    with visitor(server) as client:
        ((name, value),) = client.cookies.items()
    forged = value[:-1] + ("0" if value[-1] != "0" else "1")
    with httpx.Client(base_url=server.address, cookies={name: forged}) as client:
        assert client.post("/page/files").status_code == 401


def test_files_are_seen_by_their_visitor_alone(server: Running, video: Path) -> None:
    with visitor(server) as one, visitor(server) as other:
        name = uploaded(one, video)
        assert one.get(f"/page/previews/{name}").headers["content-type"] == "video/mp4"
        assert other.get(f"/page/previews/{name}").status_code == 404
        assert other.get("/v1/files").json()["data"] == []
        assert other.get(f"/v1/files/{name}").status_code == 404


def test_of_one_visitor_the_newest_files_are_kept(server: Running, video: Path) -> None:
    with visitor(server) as client:
        names = [uploaded(client, video) for _ in range(9)]
        assert [client.get(f"/page/previews/{name}").status_code for name in names].count(404) == 1


def test_a_broken_file_is_refused_with_what_to_do(server: Running) -> None:
    with visitor(server) as client:
        response = client.post("/page/files", files={"file": ("talk.mp4", b"no video")})
    assert response.status_code == 400
    assert "To fix it" in response.json()["error"]["message"]
    assert "/tmp" not in response.text


def test_a_key_is_asked_for_where_the_server_has_one(locked: Running) -> None:
    with httpx.Client(base_url=locked.address) as client:
        first = client.get("/")
        assert (first.status_code, first.headers["location"]) == (303, "/page/login")
        assert "Key" in client.get("/page/login").text
        wrong = client.post("/page/login", data={"key": "wrong"})
        assert (wrong.status_code, "set-cookie" in wrong.headers) == (401, False)
        assert "no key of this server" in wrong.text
        assert client.post("/page/login", data={"key": [KEY, KEY]}).status_code == 401
        assert client.post("/page/login", content=b"key=" + b"a" * 10_000).status_code == 413
        right = client.post("/page/login", data={"key": KEY})
        assert (right.status_code, right.headers["location"]) == (303, "/")
        assert "HttpOnly" in right.headers["set-cookie"]
        assert client.get("/").status_code == 200
        assert client.get("/v1/models").status_code == 401


def test_other_hosts_and_other_pages_are_refused(server: Running) -> None:
    with visitor(server) as client:
        assert client.get("/", headers={"Host": "evil.example"}).status_code == 403
        headers = {"Origin": "https://evil.example"}
        assert client.post("/gradio_api/queue/join", json=joined(["a"]), headers=headers).status_code == 403
        assert client.post("/page/files", headers=headers).status_code == 403


def test_files_of_visitors_do_not_outlive_the_server(tiny: VideoQA, video: Path, tmp_path: Path) -> None:
    with running(tiny, tmp_path, page=PAGE) as server:
        data = {"purpose": "vision"}
        kept = httpx.post(f"{server.address}/v1/files", files={"file": video.read_bytes()}, data=data).json()["id"]
    with video.open("rb") as file:  # as a server leaves it that was ended by force
        FileStore(tmp_path / "files", LIMITS).add(file, "talk.mp4", PURPOSE, "page-me")
    with running(tiny, tmp_path, page=PAGE):
        assert sorted(path.name for path in (tmp_path / "files").iterdir()) == [kept, f"{kept}.json"]


def test_what_was_uploaded_and_never_opened_goes_with_the_last_page(server: Running, video: Path) -> None:
    with visitor(server) as client:
        with staying(client, "another"):
            name = uploaded(client, video)
        assert client.get(f"/page/previews/{name}").status_code == 200
    wait_until(lambda: not list(server.store.glob("files/*")))


def test_nothing_is_taken_of_who_holds_no_page_open(
    server: Running, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_PATIENCE_SECONDS", 0.1)
    with httpx.Client(base_url=server.address, timeout=60) as client:
        client.get("/")
        refusals = [
            client.get("/page/here"),
            client.post("/page/files", files={"file": ("talk.mp4", video.read_bytes())}),
            client.post("/gradio_api/queue/join", json=joined(["a"])),
            client.get("/gradio_api/queue/data?session_hash=abc"),
        ]
        assert [one.status_code for one in refusals] == [409] * 4
        assert refusals[2].json()["detail"] == refusals[2].json()["error"]["message"]
        with staying(client):
            assert client.get("/page/here").status_code == 204


def test_a_page_that_is_being_opened_is_waited_for(server: Running) -> None:
    with httpx.Client(base_url=server.address, timeout=60) as client, ThreadPoolExecutor(1) as thread:
        client.get("/")
        early = thread.submit(client.post, "/gradio_api/queue/join", json=joined([], {"id": "x"}) | {"fn_index": CLOSE})
        with staying(client):
            assert early.result().status_code == 200


def test_one_visitor_opens_so_many_pages_and_no_more(server: Running) -> None:
    with visitor(server) as client, visitor(server) as other, ExitStack() as stack:
        for number in range(1, pages.MOST_OF_ONE):
            stack.enter_context(staying(client, f"s{number}"))
        assert client.get("/gradio_api/heartbeat/onemore").status_code == 429
        with staying(other, "onemore"):
            pass


def test_all_pages_together_are_bounded(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with visitor(server), httpx.Client(base_url=server.address, timeout=60) as client:
        client.get("/")
        monkeypatch.setattr(pages, "MOST_PAGES", 1)
        assert client.get("/gradio_api/heartbeat/abc").status_code == 429


def test_a_session_belongs_to_its_visitor(server: Running, video: Path) -> None:
    with visitor(server) as client, visitor(server) as other:
        name = uploaded(client, video)
        for one in (client, other):  # both call their session abc
            asked = joined(LOOK, {"id": name, "name": "talk.mp4"}) | {"fn_index": OPEN}
            assert one.post("/gradio_api/queue/join", json=asked).status_code == 200
        mine, others = told(client), told(other)
        assert "plan" in json.dumps(mine)
        assert "plan" not in json.dumps(others)
        assert "no such file" in json.dumps(others)
        ids = [{message.get("event_id") for message in messages} - {None} for messages in (mine, others)]
        assert not ids[0] & ids[1]


def test_an_error_that_nobody_foresaw_is_not_told_in_gradios_words(server: Running) -> None:
    address = "/gradio_api/queue/data?session_hash=abc"
    with visitor(server) as client, client.stream("GET", address) as response:  # of a page that has asked nothing
        first = next(line for line in response.iter_lines() if line.startswith("data: "))
    assert json.loads(first.removeprefix("data: ")) == {
        "msg": "unexpected_error",
        "message": "The answer was cut off. Load the page again.",
        "success": False,
    }


def test_what_a_page_never_reads_is_bounded_and_forgotten(server: Running) -> None:
    door = server.serving.server.config.app._app  # type: ignore[union-attr]
    with visitor(server) as client:
        session = door._visitors.session_of(door._visitors.owner([(b"cookie", cookie(client))]), "abc")
        asked = joined([], {"id": "x"}) | {"fn_index": CLOSE}
        statuses = [client.post("/gradio_api/queue/join", json=asked).status_code for _ in range(20)]
        assert statuses == [200] * 16 + [429] * 4
        assert door._num_unread(session) == 16
    wait_until(lambda: door._num_unread(session) == 0)


def test_numbers_that_are_none_are_refused(server: Running) -> None:
    with visitor(server) as client:
        for number in ("NaN", "Infinity", "-Infinity"):
            body = json.dumps(joined([1])).replace("[1]", f"[{number}]")
            assert client.post("/gradio_api/queue/join", content=body).status_code == 400


def test_an_answer_on_the_page_is_finished_when_the_server_ends(video: Path, tmp_path: Path) -> None:
    with running(endless(), tmp_path, page=PAGE, max_new_tokens=60, frames=2, grace_seconds=60) as server:
        with visitor(server) as client:
            asked = joined(LOOK, {"id": uploaded(client, video), "name": "talk.mp4"}) | {"fn_index": OPEN}
            client.post("/gradio_api/queue/join", json=asked)
            told(client)
            client.post("/gradio_api/queue/join", json=joined(["Why?", *WISHES]) | {"fn_index": ASK})
            lines = []
            with client.stream("GET", "/gradio_api/queue/data?session_hash=abc") as response:
                for line in response.iter_lines():
                    if "Answering" in line and not server.serving.server.should_exit:
                        server.serving.server.handle_exit(15, None)
                    lines.append(line)
        assert server.serving.server.should_exit
        assert "is_cut" in "".join(lines)
        wait_until(lambda: not server.thread.is_alive())
