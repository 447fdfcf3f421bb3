"""Many questions at once: none is lost, none waits for ever, and who goes away is not answered any more."""

import json
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import torch

import bimba.serving.app as app_module
import bimba.serving.asking as asking_module
import bimba.serving.engine.encoding as encoding_module
import bimba.serving.engine.engine as engine_module
from bimba.inference import VideoQA
from bimba.inference.encoder import encode_clip
from bimba.serving.binding import bind
from bimba.serving.engine.batch import Batch
from bimba.serving.engine.cache import EncodedCache
from bimba.serving.engine.ticket import Asked, Done, Media, Ticket
from bimba.serving.engine.turns import Turns
from bimba.text.prompts import Message
from serving_runs import MODEL, Kept, Running, about, by_url, endless, running, wait_until

LONG = 3000
"""Tokens that nobody waits for in a test."""


@pytest.fixture
def server(video: Path, tmp_path: Path) -> Iterator[Running]:
    """A server that takes three questions, two of which it answers at once, and ends no answer before its time."""
    with running(endless(), tmp_path, media_root=video.parent, running=2, waiting=1) as started:
        yield started


def text(question: str, **options: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": question}]} | options


@contextmanager
def streamed(server: Running, **options: Any) -> Iterator[Iterator[str]]:
    """Lines of a stream whose first text has come."""
    body = text("Why?", stream=True, **options)
    with httpx.stream("POST", f"{server.address}/v1/chat/completions", json=body, timeout=60) as response:
        lines = response.iter_lines()
        assert response.status_code == 200
        for line in lines:
            if line.startswith("data: {") and json.loads(line[6:])["choices"][0]["delta"].get("content"):
                break
        yield lines


def answers(server: Running, outcome: str) -> float:
    return server.metric(f'bimba_answers_total{{outcome="{outcome}"}}')


def post(server: Running, **options: Any) -> httpx.Response:
    return httpx.post(f"{server.address}/v1/chat/completions", json=text("Why?", **options), timeout=60)


def test_who_comes_when_all_places_are_taken_is_told_when_to_come_back(server: Running) -> None:
    with streamed(server, max_tokens=LONG), streamed(server, max_tokens=LONG):
        waiting = threading.Thread(target=post, args=(server,), kwargs={"max_tokens": 1})
        waiting.start()
        wait_until(lambda: server.metric("bimba_open_requests") == 3)
        refused = post(server, max_tokens=1)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.json()["error"]["code"] == "queue_full"
        with pytest.raises(openai.RateLimitError):
            server.client().chat.completions.create(**text("Why?"))
        assert httpx.get(f"{server.address}/healthz").status_code == 200
    waiting.join(60)
    wait_until(lambda: server.metric("bimba_open_requests") == 0)
    assert post(server, max_tokens=1).status_code == 200
    assert answers(server, "done") == 2


def test_a_stream_that_is_left_is_not_answered_any_more(server: Running) -> None:
    with streamed(server, max_tokens=LONG):
        assert server.metric("bimba_running_answers") == 1
    wait_until(lambda: answers(server, "cancelled") == 1)
    assert server.metric("bimba_running_answers") == 0
    assert server.metric("bimba_generated_tokens_total") < LONG


@contextmanager
def asking(server: Running, question: dict[str, Any]) -> Iterator[None]:
    """A connection on which a question was sent; it ends without an answer."""
    host, port = server.address.removeprefix("http://").split(":")
    body = json.dumps(question)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        yield


def test_a_question_whose_asker_is_gone_is_not_answered_any_more(server: Running) -> None:
    with asking(server, text("Why?", max_tokens=LONG)):
        wait_until(lambda: server.metric("bimba_running_answers") == 1)
    wait_until(lambda: answers(server, "cancelled") == 1)
    assert server.metric("bimba_running_answers") == 0


def test_time_is_limited(tmp_path: Path) -> None:
    with running(endless(), tmp_path, seconds=1.0) as server:
        late = post(server, max_tokens=LONG * 8)
        assert (late.status_code, late.json()["error"]["code"]) == (504, "timeout")
        with streamed(server, max_tokens=LONG * 8) as lines:
            told = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
        assert told[-1]["error"]["code"] == "timeout"
        with pytest.raises(openai.APIError, match="longer than this server allows"):
            list(server.client().chat.completions.create(**text("Why?", stream=True, max_tokens=LONG * 8)))
        assert answers(server, "timeout") == 3


def test_a_server_that_leaves_ends_what_runs(server: Running) -> None:
    with streamed(server, max_tokens=300) as lines:
        server.serving.server.handle_exit(15, None)
        rest = [line for line in lines if line.startswith("data: ")]
    assert rest[-1] == "data: [DONE]"
    assert json.loads(rest[-2][6:])["choices"][0]["finish_reason"] in ("length", "stop")
    server.thread.join(20)
    assert not server.thread.is_alive()


def test_what_waits_when_the_server_leaves_is_refused(server: Running) -> None:
    server.serving.engine.leave()
    for answer in (post(server), httpx.get(f"{server.address}/healthz")):
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting_down")
        assert answer.headers["retry-after"]


def test_many_at_once_each_get_their_own_answer(tiny: VideoQA, video: Path, tmp_path: Path) -> None:
    questions = [f"What is there at {index}, and what then?" for index in range(10)]
    with running(tiny, tmp_path, media_root=video.parent, running=8) as server:

        def ask(index: int) -> str:
            messages = about(by_url(f"file:{video.name}"), questions[index])
            body = text("", messages=messages, max_tokens=4 + index, seed=index, bimba={"num_frames": 3})
            body |= {"temperature": 1.0} if index % 2 else {}
            answer = httpx.post(f"{server.address}/v1/chat/completions", json=body, timeout=60)
            return str(answer.json()["choices"][0]["message"]["content"])

        with ThreadPoolExecutor(len(questions)) as pool:
            said = list(pool.map(ask, range(len(questions))))
        assert server.metric('bimba_encodings_total{source="video"}') == 1
        assert server.metric('bimba_encodings_total{source="disk"}') == len(questions) - 1
    encoded = tiny.encode(video, num_frames=3)
    for index, question in enumerate(questions):
        torch.manual_seed(index)
        options: dict[str, Any] = {"temperature": 1.0} if index % 2 else {}
        assert said[index] == tiny.ask(encoded, question, max_new_tokens=4 + index, **options).text


def test_a_video_that_is_slow_to_read_keeps_nobody_waiting(
    server: Running, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_reading, may_go_on = threading.Event(), threading.Event()

    def slow(model: Any, processor: Any, clip: Any, *rest: Any, **options: Any) -> Any:
        frames = clip.frames

        def slowly() -> Iterator[Any]:
            for frame in frames():
                is_reading.set()
                assert may_go_on.wait(60)
                yield frame

        return encode_clip(model, processor, replace(clip, frames=slowly), *rest, **options)

    monkeypatch.setattr(encoding_module, "encode_clip", slow)
    messages = about(by_url(f"file:{video.name}"))
    body = text("", messages=messages, max_tokens=2, stream=True)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lambda: httpx.post(f"{server.address}/v1/chat/completions", json=body, timeout=60).text)
        assert is_reading.wait(60)
        assert post(server, max_tokens=20).status_code == 200
        assert not first.done()
        may_go_on.set()
        assert first.result(60).endswith("data: [DONE]\n\n")


def test_reading_a_video_ends_when_nobody_waits_for_it(
    server: Running, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_reading, may_go_on = threading.Event(), threading.Event()
    pieces: list[int] = []

    def slow(model: Any, processor: Any, clip: Any, *rest: Any, **options: Any) -> Any:
        frames = clip.frames

        def slowly() -> Iterator[Any]:
            for frame in frames():
                is_reading.set()
                assert may_go_on.wait(60)
                pieces.append(1)
                yield frame

        return encode_clip(model, processor, replace(clip, frames=slowly), *rest, frames_per_step=1, **options)

    monkeypatch.setattr(encoding_module, "encode_clip", slow)
    body = text("", messages=about(by_url(f"file:{video.name}")), max_tokens=2)
    with asking(server, body):
        assert is_reading.wait(60)
        (ticket,) = server.serving.engine._open.values()
    wait_until(lambda: ticket.why_over == "gone")
    may_go_on.set()
    wait_until(lambda: answers(server, "cancelled") == 1)
    assert len(pieces) < 40


def test_a_failure_is_told_without_its_words_and_ends_one_answer(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError(f"secret {arguments}")

    with monkeypatch.context() as broken:
        broken.setattr(engine_module, "write_prompt", fail)
        answer = post(server)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "secret" not in answer.text
    assert post(server, max_tokens=1).status_code == 200


def test_whatever_breaks_a_step_there_is_a_next_one(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Batch) -> None:
        raise RuntimeError(f"secret {self}")

    with monkeypatch.context() as broken:
        broken.setattr(Batch, "_drop_given_up", fail)
        answer = post(server)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert post(server, max_tokens=1).status_code == 200


def test_who_leaves_while_waiting_leaves_a_place(server: Running, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_reading, may_go_on = threading.Event(), threading.Event()

    def slow(*arguments: Any, **options: Any) -> Any:
        is_reading.set()
        assert may_go_on.wait(60)
        return encode_clip(*arguments, **options)

    monkeypatch.setattr(encoding_module, "encode_clip", slow)
    part = by_url(f"file:{video.name}")
    with asking(server, text("", messages=about(part), max_tokens=1)):
        assert is_reading.wait(60)
        with asking(server, text("", messages=about(part, "Why?"), max_tokens=1, bimba={"num_frames": 3})):
            wait_until(lambda: server.metric("bimba_open_requests") == 2)
        wait_until(lambda: answers(server, "cancelled") == 1)
        assert server.metric("bimba_open_requests") == 1
        may_go_on.set()


def test_who_is_still_looking_for_a_video_has_a_place(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    may_go_on, asked_of = threading.Event(), asking_module.asked_of
    begun: list[int] = []

    def slow(*arguments: Any) -> Any:
        begun.append(1)
        assert may_go_on.wait(60)
        return asked_of(*arguments)

    monkeypatch.setattr(app_module, "asked_of", slow)
    with ThreadPoolExecutor(3) as pool:
        first = [pool.submit(post, server, max_tokens=1) for _ in range(3)]
        wait_until(lambda: len(begun) == 3)
        assert post(server, max_tokens=1).json()["error"]["code"] == "queue_full"
        assert httpx.get(f"{server.address}/metrics").status_code == 200
        may_go_on.set()
        assert [one.result(60).status_code for one in first] == [200, 200, 200]
    assert post(server, max_tokens=1).status_code == 200


def test_a_file_that_cannot_be_removed_keeps_no_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(self: Path, *, missing_ok: bool) -> None:
        raise PermissionError(f"{self} {missing_ok}")

    kept = Kept(Asked((Message("user", "Why?"),), Media(tmp_path / "a", "the video", "", is_temporary=True)))
    ended: list[Ticket] = []
    kept.ticket.on_end(ended.append)
    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", fail)
        kept.ticket.end(Done("stop", (1,)))
    assert ended == [kept.ticket]
    assert kept.done.reason == "stop"


def test_answers_are_sent_at_once() -> None:
    with closing(bind("127.0.0.1", 0)) as bound, socket.create_connection(bound.getsockname()):
        accepted, _ = bound.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP  # what asyncio asks before it sets TCP_NODELAY


def test_turns_go_to_who_came_first() -> None:
    turns, order = Turns(), list[int]()
    threads = []
    with turns.held():
        for number in range(5):
            thread = threading.Thread(target=_note, args=(turns, order, number))
            thread.start()
            wait_until(lambda number=number: len(turns._line) == number + 2)  # type: ignore[misc] # bound here
            threads.append(thread)
        assert not order
        with turns.given_up():
            wait_until(lambda: len(order) == 5)
    assert order == [0, 1, 2, 3, 4]
    for thread in threads:
        thread.join()


def _note(turns: Turns, order: list[int], number: int) -> None:
    with turns.held():
        order.append(number)


def test_the_oldest_encoded_videos_go_when_room_is_short(tiny: VideoQA, tmp_path: Path) -> None:
    encoded = tiny.encode(np.zeros((2, 20, 20, 3), dtype=np.uint8))
    settings = {"num_frames": 2}
    probe = EncodedCache(tmp_path / "probe", 10**9, "model")
    probe.put("a", settings, encoded)
    size = probe.num_bytes
    cache = EncodedCache(tmp_path / "cache", int(size * 2.5), "model")
    for name in ("a", "b"):
        cache.put(name, settings, encoded)
    assert cache.get("a", settings) is not None  # asked for: no longer the oldest
    cache.put("c", settings, encoded)
    there = [name for name in "abc" if cache.get(name, settings) is not None]
    assert there == ["a", "c"]
    assert cache.num_bytes == 2 * size
    assert cache.get("a", {"num_frames": 3}) is None
    assert EncodedCache(tmp_path / "cache", 10**9, "another").get("a", settings) is None
    tiny_cache = EncodedCache(tmp_path / "small", 10, "model")
    tiny_cache.put("a", settings, encoded)
    assert tiny_cache.get("a", settings) is None


def test_a_disk_that_fails_costs_no_answer(tiny: VideoQA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(28, f"no room for {len(arguments)} {len(options)}")

    encoded = tiny.encode(np.zeros((2, 20, 20, 3), dtype=np.uint8))
    cache = EncodedCache(tmp_path, 10**9, "model")
    monkeypatch.setattr(os, "utime", fail)
    cache.put("a", {}, encoded)
    assert cache.get("a", {}) is None
    monkeypatch.undo()
    assert cache.get("a", {}) is not None


def test_a_damaged_encoded_video_is_made_again(tiny: VideoQA, tmp_path: Path) -> None:
    encoded = tiny.encode(np.zeros((2, 20, 20, 3), dtype=np.uint8))
    cache = EncodedCache(tmp_path, 10**9, "model")
    cache.put("a", {}, encoded)
    (file,) = tmp_path.glob("*.bimba")
    file.write_bytes(file.read_bytes()[:-7])
    (tmp_path / f".{file.name}.123.part").write_bytes(b"half")
    assert cache.get("a", {}) is None
    assert not file.exists()
    EncodedCache(tmp_path, 10**9, "model").put("a", {}, encoded)
    assert cache.get("a", {}) is not None
    assert not list(tmp_path.glob(".*.part"))
