"""The official client asks as its users do, and gets what `VideoQA.ask` says."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from bimba.inference import VideoQA
from serving_runs import MODEL, Running, about, by_url, running

KEY = "key-of-the-tests"


@pytest.fixture(scope="module")
def server(tiny: VideoQA, video: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server without a key, with the folder of the video as its media root."""
    with running(tiny, tmp_path_factory.mktemp("store"), media_root=video.parent) as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Running) -> openai.OpenAI:
    """OpenAI's client of that server."""
    return server.client()


def data_url(path: Path, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def ask(client: openai.OpenAI, messages: list[Any], **options: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=messages, **({"max_tokens": 8} | options))


def test_a_question_without_a_video(client: openai.OpenAI, tiny: VideoQA) -> None:
    answer = ask(client, [{"role": "user", "content": "Why?"}])
    alone = tiny.ask(None, "Why?", max_new_tokens=8)
    assert answer.choices[0].message.content == alone.text
    assert answer.choices[0].finish_reason == "length"
    assert (answer.object, answer.model) == ("chat.completion", MODEL)
    assert answer.usage.prompt_tokens == alone.num_prompt_tokens
    assert answer.usage.completion_tokens == 8
    assert answer.usage.total_tokens == alone.num_prompt_tokens + 8
    assert answer.choices[0].logprobs is None


def test_an_uploaded_file_is_asked_about_listed_and_deleted(client: openai.OpenAI, tiny: VideoQA, video: Path) -> None:
    with video.open("rb") as file:
        uploaded = client.files.create(file=file, purpose="user_data")
    assert (uploaded.bytes, uploaded.filename) == (video.stat().st_size, video.name)
    assert client.files.retrieve(uploaded.id) == uploaded
    assert uploaded.id in [one.id for one in client.files.list()]
    answer = ask(client, about({"type": "file", "file": {"file_id": uploaded.id}}))
    alone = tiny.ask(video, "What is there?", max_new_tokens=8)
    assert answer.choices[0].message.content == alone.text
    assert answer.usage.prompt_tokens == alone.num_prompt_tokens
    assert answer.usage.prompt_tokens_details.video_tokens == alone.num_video_tokens > 0
    assert client.files.delete(uploaded.id).deleted
    assert uploaded.id not in [one.id for one in client.files.list()]
    with pytest.raises(openai.NotFoundError, match="no such file"):
        ask(client, about({"type": "file", "file": {"file_id": uploaded.id}}))


def test_ways_to_name_one_video_give_one_answer(client: openai.OpenAI, tiny: VideoQA, video: Path) -> None:
    alone = tiny.ask(video, "What is there?", max_new_tokens=8)
    along = data_url(video)
    for part in (
        by_url(along),
        by_url(data_url(video, "application/octet-stream")),
        by_url(f"file:{video.name}"),
        by_url(video.resolve().as_uri()),
        {"type": "file", "file": {"file_data": along, "filename": "talk.mp4"}},
    ):
        assert ask(client, about(part)).choices[0].message.content == alone.text


def test_an_image_is_a_video_of_one_frame(client: openai.OpenAI, tiny: VideoQA, picture: Path) -> None:
    part = {"type": "image_url", "image_url": {"url": data_url(picture, "image/png"), "detail": "auto"}}
    answer = ask(client, about(part))
    assert answer.choices[0].message.content == tiny.ask(picture, "What is there?", max_new_tokens=8).text


def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI, tiny: VideoQA, video: Path) -> None:
    messages = about(by_url(f"file:{video.name}"))
    chunks = list(ask(client, messages, stream=True, stream_options={"include_usage": True}))
    alone = tiny.ask(video, "What is there?", max_new_tokens=8)
    assert chunks[0].choices[0].delta.role == "assistant"
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == alone.text
    assert len([piece for piece in pieces if piece]) > 1
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    assert chunks[-1].usage.completion_tokens == 8
    assert chunks[-1].usage.prompt_tokens_details.video_tokens == alone.num_video_tokens
    assert not any(chunk.usage for chunk in ask(client, messages, stream=True))


def test_several_turns_with_the_answers_as_they_came(client: openai.OpenAI, tiny: VideoQA, video: Path) -> None:
    messages = about(by_url(f"file:{video.name}"))
    first = ask(client, messages).choices[0].message
    system = {"role": "developer", "content": "Be brief."}
    second = ask(client, [system, *messages, first, {"role": "user", "content": "And then?"}])
    turns: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is there?"},
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": "And then?"},
    ]
    assert second.choices[0].message.content == tiny.ask(video, turns, max_new_tokens=8).text


def test_how_a_video_is_looked_at_can_be_said(client: openai.OpenAI, tiny: VideoQA, video: Path) -> None:
    look = {"num_frames": 4, "start": 1, "end": "0:03", "time_sentence": False}
    answer = ask(client, about(by_url(f"file:{video.name}")), extra_body={"bimba": look})
    from bimba import Video

    alone = tiny.ask(
        Video(video, start=1, end=3), "What is there?", num_frames=4, time_sentence=False, max_new_tokens=8
    )
    assert answer.choices[0].message.content == alone.text
    assert answer.bimba["frame_seconds"] == alone.frame_seconds
    assert not answer.bimba["was_encoded"]
    again = ask(client, about(by_url(f"file:{video.name}"), "Why?"), extra_body={"bimba": look})
    assert again.bimba["was_encoded"]


def test_tokens_of_a_video_can_be_bounded(client: openai.OpenAI, video: Path) -> None:
    def usage(**look: Any) -> int:
        answer = ask(client, about(by_url(f"file:{video.name}")), extra_body={"bimba": look})
        assert answer.usage is not None
        details: Any = answer.usage.prompt_tokens_details
        return int(details.video_tokens)

    each = usage(num_frames=1)
    for frames in (5, "auto"):
        assert usage(num_frames=frames, max_video_tokens=3 * each + 1) == 3 * each
    assert usage(num_frames=2, max_video_tokens=3 * each) == 2 * each
    with pytest.raises(openai.BadRequestError, match="max_video_tokens"):
        usage(num_frames=2, max_video_tokens=each - 1)


def test_sampling_with_a_seed_and_stop_and_logprobs(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "Why?"}]
    options = {"temperature": 1.0, "top_p": 0.9, "max_tokens": 20}
    first, second, other = (ask(client, messages, seed=seed, **options) for seed in (7, 7, 8))
    text = first.choices[0].message.content
    assert second.choices[0].message.content == text != other.choices[0].message.content
    stopped = ask(client, messages, seed=7, stop=text[3], **options).choices[0]
    assert stopped.message.content == text[: text.index(text[3])]
    assert stopped.finish_reason == "stop"
    scored = ask(client, messages, logprobs=True, top_logprobs=2)
    content = scored.choices[0].logprobs.content
    assert "".join(one.token for one in content) == scored.choices[0].message.content
    assert all(len(one.top_logprobs) == 2 and one.logprob <= 0 for one in content)
    chunks = ask(client, messages, logprobs=True, stream=True)
    streamed = [one.token for chunk in chunks if chunk.choices[0].logprobs for one in chunk.choices[0].logprobs.content]
    assert streamed == [one.token for one in content]


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).owned_by == "bimba"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("another")


def test_another_model_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model of that name") as caught:
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Why?"}])
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("options", "param", "words"),
    [
        ({"n": 2}, "n", "Input should be 1"),
        ({"presence_penalty": 0.5}, "presence_penalty", "less than or equal to 0"),
        ({"logit_bias": {"50": 1}}, "logit_bias", "at most 0"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "at most 0"),
        ({"response_format": {"type": "json_object"}}, "response_format.type", "'text'"),
        ({"reasoning_effort": "low"}, "reasoning_effort", "not supported"),
        ({"extra_body": {"best_of": 3}}, "best_of", "not supported"),
        ({"extra_body": {"bimba": {"evidence": True}}}, "bimba.evidence", "no video"),
        ({"extra_body": {"bimba": {"evidence": "attention"}}}, "bimba.evidence", "'gradient' or 'occlusion'"),
        ({"extra_body": {"bimba": {"evidence": 1}}}, "bimba.evidence", "'gradient' or 'occlusion'"),
        ({"extra_body": {"bimba": {"frames": 3}}}, "bimba.frames", "not supported"),
        ({"temperature": 3}, "temperature", "less than or equal to 2"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"top_logprobs": 3}, None, "needs logprobs"),
        ({"stop": ["a"] * 5}, "stop", "at most 4"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_not_supported_is_refused_by_name(
    client: openai.OpenAI, options: dict[str, Any], param: str | None, words: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=words) as caught:
        ask(client, [{"role": "user", "content": "Why?"}], **options)
    assert param is None or caught.value.param == param


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"role": "user", "content": " "}], "question is empty"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "does not end with a question"),
        ([{"role": "tool", "content": "x", "tool_call_id": "1"}], "role"),
        ([{"role": "user", "content": "see <image>"}], "leave <image> out"),
        ([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}], "type"),
        (about(by_url("data:video/mp4;base64,AAAA")) + about(by_url("file:x")), "one video or image"),
        ([{"role": "user", "content": "Hi."}, *about(by_url("file:x"))], "first message of the user"),
        (about({"type": "file", "file": {}}), "one of file_id and file_data"),
        (about({"type": "image_url", "image_url": {"url": "file:x", "detail": "high"}}), "detail"),
    ],
    ids=["empty", "no question", "tool", "placeholder", "audio", "two videos", "late video", "no file", "detail"],
)
def test_what_cannot_be_asked_is_refused(client: openai.OpenAI, messages: list[Any], words: str) -> None:
    with pytest.raises(openai.BadRequestError, match=words):
        ask(client, messages)


def test_more_than_the_model_reads_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="32,768 at most"):
        ask(client, [{"role": "user", "content": "Why?"}], max_tokens=40000)


def test_text_that_is_no_text_breaks_nothing(server: Running) -> None:
    body = '{"model": "\\ud800", "messages": [{"role": "user", "content": "\\ud800"}], "\\ud800": 1}'
    for sent in (body, body.replace(', "\\ud800": 1', ""), body.replace('"model": "\\ud800"', f'"model": "{MODEL}"')):
        answer = httpx.post(
            f"{server.address}/v1/chat/completions", content=sent, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in (400, 404)
        assert answer.json()["error"]["message"]


def test_a_key_is_asked_for_and_files_are_their_owners(tiny: VideoQA, video: Path, tmp_path: Path) -> None:
    with running(tiny, tmp_path, api_keys=(KEY, "another")) as server:
        with pytest.raises(openai.AuthenticationError):
            server.client("wrong").models.list()
        mine, others = server.client(KEY), server.client("another")
        with video.open("rb") as file:
            uploaded = mine.files.create(file=file, purpose="user_data")
        assert [one.id for one in mine.files.list()] == [uploaded.id]
        assert not list(others.files.list())
        for seen_by_others in (others.files.retrieve, others.files.delete):
            with pytest.raises(openai.NotFoundError):
                seen_by_others(uploaded.id)
        with pytest.raises(openai.NotFoundError):
            ask(others, about({"type": "file", "file": {"file_id": uploaded.id}}))
        assert ask(mine, about({"type": "file", "file": {"file_id": uploaded.id}})).choices[0].message.content
        assert httpx.get(f"{server.address}/healthz").json() == {"status": "ok"}
        assert httpx.get(f"{server.address}/metrics").status_code == 401


def test_uploads_and_encoded_videos_outlive_the_server(tiny: VideoQA, video: Path, tmp_path: Path) -> None:
    with running(tiny, tmp_path) as server, video.open("rb") as file:
        uploaded = server.client().files.create(file=file, purpose="user_data")
        part = {"type": "file", "file": {"file_id": uploaded.id}}
        first = ask(server.client(), about(part), extra_body={"bimba": {}})
    with running(tiny, tmp_path) as server:
        again = ask(server.client(), about(part), extra_body={"bimba": {}})
        assert server.metric('bimba_encodings_total{source="disk"}') == 1
    assert again.choices[0].message.content == first.choices[0].message.content
    assert (first.bimba["was_encoded"], again.bimba["was_encoded"]) == (False, True)
