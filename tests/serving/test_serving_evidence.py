"""Evidence beside an answer: what `VideoQA.evidence` says, found in turns; and the answer is never lost for it."""

import base64
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch

import bimba
import bimba.inference.evidence.find as find_module
import bimba.serving.answering as answering_module
from bimba.inference import VideoQA
from bimba.inference.evidence import Evidence
from bimba.serving.engine.finding import LATE, Whole, find_in_turns
from bimba.serving.engine.prompt import write_prompt
from bimba.serving.engine.ticket import Asked, Done, Found, Unfound
from bimba.serving.engine.turns import Turns
from bimba.serving.refusals import RefusedError
from bimba.text.prompts import Message
from serving_runs import MODEL, Kept, Running, about, by_url, running, wait_until
from vamba_model import save_tiny_vamba

QUESTION = "What is there?"
LOOK = {"num_frames": 6}


@pytest.fixture(scope="module")
def server(tiny: VideoQA, video: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server whose answers share steps."""
    with running(tiny, tmp_path_factory.mktemp("store"), media_root=video.parent) as started:
        yield started


def ask(server: Running, part: dict[str, Any], evidence: bool | str, **options: Any) -> Any:
    """What OpenAI's client gets."""
    told = {"model": MODEL, "messages": about(part, QUESTION), "max_tokens": 5} | options
    return server.client().chat.completions.create(**told, extra_body={"bimba": LOOK | {"evidence": evidence}})


def check_is(told: dict[str, Any], expected: Evidence) -> None:
    """Everything but how long it took."""
    moments = told["moments"]
    known = expected.to_dict()
    for name in ("score", "share"):
        assert [one[name] for one in moments] == pytest.approx([one[name] for one in known["moments"]], abs=1e-4)
    for name in ("first_frame", "last_frame", "start_seconds", "end_seconds"):
        assert [one[name] for one in moments] == [one[name] for one in known["moments"]]
    for name in ("log_probability", "log_probability_without"):
        assert told[name] == pytest.approx(known[name], abs=1e-4)
    assert {name: told[name] for name in ("method", "answer")} == {name: known[name] for name in ("method", "answer")}
    assert told.keys() == known.keys()


@pytest.mark.parametrize(
    ("wanted", "method"), [(True, "gradient"), ("gradient", "gradient"), ("occlusion", "occlusion")]
)
def test_evidence_is_that_of_the_answer(
    server: Running, tiny: VideoQA, video: Path, wanted: bool | str, method: Any
) -> None:
    said = ask(server, by_url(f"file:{video.name}"), wanted)
    alone = tiny.ask(video, QUESTION, num_frames=6, max_new_tokens=5)
    assert said.choices[0].message.content == alone.text
    assert said.bimba["evidence_error"] is None
    check_is(said.bimba["evidence"], tiny.evidence(video, QUESTION, alone, method=method, num_frames=6))


def test_a_stream_tells_it_in_its_last_chunk(server: Running, tiny: VideoQA, video: Path) -> None:
    chunks = list(ask(server, by_url(f"file:{video.name}"), True, stream=True))
    alone = tiny.ask(video, QUESTION, num_frames=6, max_new_tokens=5)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == alone.text
    assert not any("bimba" in chunk.model_dump() for chunk in chunks[:-1])
    assert chunks[-2].choices[0].finish_reason == "length"
    check_is(chunks[-1].bimba["evidence"], tiny.evidence(video, QUESTION, alone, num_frames=6))


def test_who_asks_for_none_gets_none(server: Running, video: Path) -> None:
    before = server.metric("bimba_evidence_seconds_count")
    said = ask(server, by_url(f"file:{video.name}"), False)
    assert (said.bimba["evidence"], said.bimba["evidence_error"]) == (None, None)
    plain = server.client().chat.completions.create(
        model=MODEL, messages=about(by_url(f"file:{video.name}")), max_tokens=2
    )
    assert "bimba" not in plain.model_dump()
    assert server.metric("bimba_evidence_seconds_count") == before


def test_a_video_that_came_along_is_gone_afterwards(server: Running, video: Path) -> None:
    along = f"data:video/mp4;base64,{base64.b64encode(video.read_bytes()).decode()}"
    assert ask(server, by_url(along), True).bimba["evidence"]["moments"]
    wait_until(lambda: not list((server.serving.engine._settings.store / "passing").iterdir()))


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_without_evidence_says_why_there_is_none(server: Running, picture: Path, stream: bool) -> None:
    url = f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
    said = ask(server, by_url(url), True, stream=stream)
    if stream:
        chunks = list(said)
        assert any(chunk.choices and chunk.choices[0].delta.content for chunk in chunks)
        said = chunks[-1]
    else:
        assert said.choices[0].message.content
    assert said.bimba["evidence"] is None
    assert "one single moment" in said.bimba["evidence_error"]


def test_vamba_answers_alone_and_has_evidence(golden: Path, video: Path, tmp_path: Path) -> None:
    qa: VideoQA[Any, Any] = bimba.load(save_tiny_vamba(golden, tmp_path / "vamba"))
    with running(qa, tmp_path / "store", media_root=video.parent) as server:
        assert server.serving.engine.why_alone
        said = ask(server, by_url(f"file:{video.name}"), True)
        chunks = list(ask(server, by_url(f"file:{video.name}"), True, stream=True))
    alone = qa.ask(video, QUESTION, num_frames=6, max_new_tokens=5)
    expected = qa.evidence(video, QUESTION, alone, num_frames=6)
    assert len(expected.moments) == 3
    for told in (said.bimba["evidence"], chunks[-1].bimba["evidence"]):
        assert said.choices[0].message.content == alone.text
        check_is(told, expected)


def test_others_are_answered_as_they_would_be_alone(server: Running, tiny: VideoQA, video: Path) -> None:
    part = by_url(f"file:{video.name}")
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda index: ask(server, part, index % 2 == 1, max_tokens=4 + 2 * index), range(8)))
    encoded = tiny.encode(video, num_frames=6)
    for index, one in enumerate(said):
        alone = tiny.ask(encoded, QUESTION, max_new_tokens=4 + 2 * index)
        assert one.choices[0].message.content == alone.text
        if index % 2:
            check_is(one.bimba["evidence"], tiny.evidence(encoded, QUESTION, alone))


def answered(tiny: VideoQA, video: Path) -> tuple[Kept, Whole]:
    """An answer of which is still to be found what it rests on."""
    kept = Kept(Asked((Message("user", QUESTION),), evidence="gradient"))
    clip = tiny.encode(video, num_frames=6).clip
    prompt = write_prompt(tiny, kept.ticket, clip, most_new_tokens=5)
    return kept, Whole(prompt, "gradient", Done("length", (40, 41, 42)))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, Callable[[], None]], list[int]]]:
    """Has something done during a pass of the model, the first of which is 1; gives the list of those begun."""
    likelihood = find_module._Answered.likelihood

    def during(number: int, call: Callable[[], None]) -> list[int]:
        begun: list[int] = []

        def passing(self: Any, features: Any) -> Any:
            begun.append(len(begun) + 1)
            if begun[-1] == number:
                call()
            return likelihood(self, features)

        monkeypatch.setattr(find_module._Answered, "likelihood", passing)
        return begun

    return during


def test_others_have_their_turns_between_two_passes(tiny: VideoQA, video: Path, passes: Any) -> None:
    turns, seen = Turns(), list[int]()

    def other() -> None:
        with turns.held():
            seen.append(len(begun))

    thread = threading.Thread(target=other)

    def want() -> None:
        thread.start()
        wait_until(lambda: len(turns._line) == 2)

    begun = passes(4, want)
    kept, whole = answered(tiny, video)
    event = find_in_turns(tiny, whole, turns)
    thread.join()
    assert isinstance(event, Found)
    assert (seen, len(begun)) == ([4], 6)
    assert kept.ticket.progress == ("evidence", 4, 4)


def test_search_ends_with_the_pass_in_hand_when_nobody_waits(tiny: VideoQA, video: Path, passes: Any) -> None:
    kept, whole = answered(tiny, video)
    begun = passes(4, kept.ticket.give_up)
    turns = Turns()
    with pytest.raises(RefusedError) as caught:
        find_in_turns(tiny, whole, turns)
    assert caught.value.code == "cancelled"
    assert len(begun) == 4
    with turns.held():
        assert not any("forward" in module.__dict__ for module in tiny.model.modules())


def test_time_that_is_over_ends_the_search_and_not_the_answer(tiny: VideoQA, video: Path, passes: Any) -> None:
    kept, whole = answered(tiny, video)
    passes(3, lambda: setattr(kept.ticket, "_deadline", 0.0))
    assert find_in_turns(tiny, whole, Turns()) == LATE


@pytest.mark.parametrize(
    ("error", "words"),
    [(RuntimeError("secret"), "the server failed"), (MemoryError("secret"), "not enough memory")],
    ids=["failure", "memory"],
)
def test_what_goes_wrong_is_told_and_loses_no_answer(
    server: Running, tiny: VideoQA, video: Path, passes: Any, error: Exception, words: str
) -> None:
    def fail() -> None:
        raise error

    passes(3, fail)
    said = ask(server, by_url(f"file:{video.name}"), True)
    assert said.choices[0].message.content == tiny.ask(video, QUESTION, num_frames=6, max_new_tokens=5).text
    assert said.bimba["evidence"] is None
    assert words in said.bimba["evidence_error"]
    assert "secret" not in said.bimba["evidence_error"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_pass_that_takes_longer_than_there_is_time_loses_no_answer(
    tiny: VideoQA, video: Path, tmp_path: Path, passes: Any, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    may_go_on = threading.Event()
    monkeypatch.setattr(answering_module, "_GRACE_SECONDS", 0.1)
    with running(tiny, tmp_path, media_root=video.parent, seconds=4.0) as server:
        ask(server, by_url(f"file:{video.name}"), False)  # encoded now, so that the answer itself is there at once
        passes(3, lambda: wait_until(may_go_on.is_set))
        said = ask(server, by_url(f"file:{video.name}"), True, stream=stream)
        if stream:
            *chunks, said = list(said)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        else:
            text = said.choices[0].message.content
        assert server.metric('bimba_answers_total{outcome="done"}') == 2
        may_go_on.set()
    assert text == tiny.ask(video, QUESTION, num_frames=6, max_new_tokens=5).text
    assert (said.bimba["evidence"], said.bimba["evidence_error"]) == (None, LATE.message)


def test_a_server_that_leaves_finds_what_it_has_begun(tiny: VideoQA, video: Path, tmp_path: Path, passes: Any) -> None:
    with running(tiny, tmp_path, media_root=video.parent) as server:
        passes(3, lambda: server.serving.server.handle_exit(15, None))
        said = ask(server, by_url(f"file:{video.name}"), True)
        assert len(said.bimba["evidence"]["moments"]) == 6
        server.thread.join(20)
        assert not server.thread.is_alive()


def test_end_of_an_answer_is_held_once() -> None:
    kept = Kept(Asked((Message("user", QUESTION),), evidence="gradient"))
    done, found = Done("stop", (1,)), list[Done]()
    kept.ticket.on_whole(found.append)
    kept.ticket.end(done)
    assert (found, kept.events, kept.ticket.held, kept.ticket.outcome) == ([done], [], done, None)
    kept.ticket.tell(Unfound("no"))
    kept.ticket.end(done)
    kept.ticket.end(done)
    assert kept.events == [Unfound("no"), done]
    refused = Kept(Asked((Message("user", QUESTION),), evidence="gradient"))
    refused.ticket.on_whole(found.append)
    refused.ticket.end(RefusedError(499, "gone.", code="cancelled"))
    refused.ticket.end(done)
    assert (len(found), refused.refusal.code) == (1, "cancelled")


def test_steps_without_gradients_keep_none(server: Running, tiny: VideoQA, video: Path) -> None:
    ask(server, by_url(f"file:{video.name}"), True)
    assert torch.is_grad_enabled()
    assert not any(parameter.grad is not None for parameter in tiny.model.parameters())


def test_the_document_tells_of_moments(server: Running) -> None:
    told = httpx.get(f"{server.address}/openapi.json").json()["components"]["schemas"]
    assert {"method", "answer", "log_probability", "log_probability_without", "moments", "seconds"} == set(
        told["Evidence"]["properties"]
    )
    assert {"start_seconds", "end_seconds", "score", "share"} < set(told["Moment"]["properties"])
    assert {"evidence", "evidence_error"} < set(told["BimbaDetails"]["properties"])
    [wanted] = [form for form in told["BimbaOptions"]["properties"]["evidence"]["anyOf"] if form["type"] == "string"]
    assert wanted["enum"] == ["gradient", "occlusion"]


def test_without_a_video_it_is_refused_by_name(server: Running) -> None:
    body: Any = {"model": MODEL, "messages": [{"role": "user", "content": "Why?"}]}
    with pytest.raises(openai.BadRequestError, match="no video") as caught:
        server.client().chat.completions.create(**body, extra_body={"bimba": {"evidence": "occlusion"}})
    assert caught.value.param == "bimba.evidence"
