"""Answers that share steps: each is what the model answers alone, whoever joins and leaves meanwhile."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from batch_runs import QUESTIONS, asked, frames, run, without_numbers, written

from bimba.inference import VideoQA
from bimba.models.bimba.tiny import tiny_model
from bimba.serving.engine.batch import Batch
from bimba.serving.engine.choosing import NONE, choose
from bimba.serving.engine.prefixes import Prefixes
from bimba.serving.engine.prompt import write_prompt
from bimba.serving.engine.rows import Layers, Rows
from bimba.serving.engine.text import AnswerText
from bimba.serving.engine.ticket import Done, Scored
from bimba.serving.protocol.responses import logprobs_of
from bimba.serving.refusals import RefusedError


def test_the_next_question_about_a_video_reads_what_it_adds(tiny: VideoQA) -> None:
    video = frames(4)
    batch = Batch(tiny, most_running=4, prefill_tokens=64, prefix_bytes=10**9)
    encoded = tiny.encode(video, num_frames=4)
    clip = encoded.clip
    for index, question in enumerate([*QUESTIONS, QUESTIONS[0]]):
        kept = asked(question, max_new_tokens=6)
        batch.add(write_prompt(tiny, kept.ticket, clip, 12, "a video"))
        run(batch)
        assert list(kept.done.token_ids) == tiny.ask(video, question, max_new_tokens=6).token_ids
        assert (kept.done.num_known > len(encoded.features)) == bool(index)
    other = frames(4)[::-1].copy()
    kept = asked(QUESTIONS[0], max_new_tokens=6)
    batch.add(write_prompt(tiny, kept.ticket, tiny.encode(other, num_frames=4).clip, 12, "another video"))
    run(batch)
    assert kept.done.num_known == 0
    assert list(kept.done.token_ids) == tiny.ask(other, QUESTIONS[0], max_new_tokens=6).token_ids


def test_prompts_are_kept_as_far_as_there_is_room() -> None:
    def layers(length: int) -> Layers:
        return [(torch.randn(1, 2, length, 16), torch.randn(1, 2, length, 16)) for _ in range(2)]

    each = 2 * 2 * 2 * 10 * 16 * 4  # layers, keys and values, heads, tokens, width, bytes
    prefixes, told = Prefixes(2 * each), {name: layers(10) for name in "abc"}
    for name, its in told.items():
        prefixes.keep(name, range(10), its)
    prefixes.keep("too large", range(30), layers(30))
    prefixes.keep(None, range(10), layers(10))
    known = {name: prefixes.known(name, range(20)) for name in ("a", "b", "c", "too large", None)}
    assert {name: its[0][0].shape[2] if its else 0 for name, its in known.items()} == {
        "a": 0, "b": 10, "c": 10, "too large": 0, None: 0,
    }  # fmt: skip
    assert torch.equal(known["b"][1][1], told["b"][1][1])
    assert prefixes.known("c", range(10))[0][0].shape[2] == 9  # something has to be read for there to be a next token
    assert prefixes.known("c", range(5, 10)) == ()


def test_a_prompt_that_adds_little_is_not_kept_again() -> None:
    prefixes = Prefixes(10**9)
    layers = [(torch.zeros(1, 2, 200, 16), torch.zeros(1, 2, 200, 16))]
    for length in (10, 40, 120):
        prefixes.keep("a", range(length), [(keys[..., :length, :], values[..., :length, :]) for keys, values in layers])
        assert prefixes.known("a", range(500))[0][0].shape[2] == (120 if length == 120 else 10)


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_answers_that_are_processed_together_are_not_alike_by_chance(tiny: VideoQA, penalty: float) -> None:
    batch = Batch(tiny, most_running=8, prefill_tokens=1000)
    options = [{"repetition_penalty": penalty}, {"min_new_tokens": 4}, {"temperature": 0.8, "top_k": 5}]
    told = [asked(question, max_new_tokens=10, seed=1, options=each) for each in options for question in QUESTIONS[:3]]
    for kept in told:
        batch.add(written(tiny, kept))
    run(batch)
    for kept in told:
        torch.manual_seed(1)
        question = kept.ticket.asked.turns[0].content
        alone = tiny.ask(None, question, max_new_tokens=10, **kept.ticket.asked.drawing.options)
        assert list(kept.done.token_ids) == alone.token_ids


def test_rows_that_join_and_leave_answer_as_they_would_alone(tiny: VideoQA) -> None:
    batch = Batch(tiny, most_running=3, prefill_tokens=37)
    told = []
    for index, question in enumerate(QUESTIONS * 2):
        kept = asked(question, max_new_tokens=3 + 4 * index)
        video = frames(index) if index % 3 else None
        told.append((kept, question, video))
        batch.add(written(tiny, kept, video))
        for _ in range(index):
            batch.step()
    run(batch)
    for kept, question, video in told:
        alone = tiny.ask(video, question, num_frames=64, max_new_tokens=kept.ticket.asked.drawing.max_new_tokens or 0)
        assert list(kept.done.token_ids) == alone.token_ids
        assert kept.text == alone.text
        assert kept.done.reason == alone.finish_reason


def test_sampled_answers_are_those_of_their_seed(tiny: VideoQA) -> None:
    options = [{"temperature": 0.7}, {"temperature": 1.3, "top_p": 0.8}, {"top_p": 0.5}]
    batch = Batch(tiny, most_running=8, prefill_tokens=1000)
    told = [asked(QUESTIONS[1], max_new_tokens=16, seed=seed, options=each) for seed in (3, 4) for each in options]
    for kept in told:
        batch.add(written(tiny, kept, frames(3)))
    run(batch)
    for kept in told:
        drawing = kept.ticket.asked.drawing
        torch.manual_seed(drawing.seed or 0)
        alone = tiny.ask(frames(3), QUESTIONS[1], max_new_tokens=16, **drawing.options)
        assert list(kept.done.token_ids) == alone.token_ids
    assert len({kept.done.token_ids for kept in told}) == len(told)


def test_no_seed_draws_other_tokens_each_time(tiny: VideoQA) -> None:
    batch = Batch(tiny, most_running=2, prefill_tokens=1000)
    told = [asked("Why?", max_new_tokens=24, options={"temperature": 1.0}) for _ in range(2)]
    for kept in told:
        batch.add(written(tiny, kept))
    run(batch)
    assert told[0].done.token_ids != told[1].done.token_ids


def test_a_stop_text_ends_the_answer_in_front_of_it(tiny: VideoQA) -> None:
    whole = tiny.ask(None, "Why?", max_new_tokens=16).text
    stop = whole[5:8]
    kept = asked("Why?", max_new_tokens=16, stops=(stop, "never said"))
    batch = Batch(tiny, most_running=2, prefill_tokens=1000)
    batch.add(written(tiny, kept))
    run(batch)
    assert kept.text == whole[: whole.index(stop)]
    assert kept.done.reason == "stop"


def test_logprobs_are_those_of_the_model(tiny: VideoQA) -> None:
    kept = asked("Why?", max_new_tokens=4, num_alternatives=3)
    batch = Batch(tiny, most_running=2, prefill_tokens=1000)
    batch.add(written(tiny, kept))
    run(batch)
    scored = [one for event in kept.events for one in getattr(event, "scored", ())]
    assert [one.token_id for one in scored] == list(kept.done.token_ids)
    inputs = tiny.prepare(None, "Why?")
    ids = torch.cat([inputs["input_ids"], torch.tensor([kept.done.token_ids])], dim=1)
    with torch.no_grad():
        logprobs = tiny.model(input_ids=ids).logits[0].float().log_softmax(-1)
    place = inputs["input_ids"].shape[1] - 1
    for step, one in enumerate(scored):
        assert one.logprob == pytest.approx(float(logprobs[place + step, one.token_id]), abs=1e-4)
        values, likeliest = logprobs[place + step].topk(3)
        assert [token for token, _ in one.alternatives] == likeliest.tolist()
        assert [value for _, value in one.alternatives] == pytest.approx(values.tolist(), abs=1e-4)


def test_an_answer_nobody_waits_for_ends_and_the_others_do_not(tiny: VideoQA) -> None:
    batch = Batch(tiny, most_running=4, prefill_tokens=1000)
    told = [asked(question, max_new_tokens=20) for question in QUESTIONS[:3]]
    for kept in told:
        batch.add(written(tiny, kept))
    for _ in range(6):
        batch.step()
    told[0].ticket.give_up()
    run(batch)
    assert told[0].refusal.code == "cancelled"
    for kept, question in zip(told[1:], QUESTIONS[1:3], strict=True):
        assert list(kept.done.token_ids) == tiny.ask(None, question, max_new_tokens=20).token_ids


def test_what_one_prompt_breaks_is_its_own(tiny: VideoQA) -> None:
    batch = Batch(tiny, most_running=4, prefill_tokens=16)
    good, bad = asked(QUESTIONS[0], max_new_tokens=9), asked(QUESTIONS[1], max_new_tokens=9)
    batch.add(written(tiny, good))
    batch.add(replace(written(tiny, bad, frames(2)), features=torch.zeros(3, 5)))
    run(batch)
    assert bad.refusal.status == 500
    assert list(good.done.token_ids) == tiny.ask(None, QUESTIONS[0], max_new_tokens=9).token_ids


def test_scores_that_are_no_numbers_are_no_token() -> None:
    def answer(**options: Any) -> Any:
        told: dict[str, Any] = {
            "token_ids": [],
            "processors": [],
            "alike": None,
            "do_sample": False,
            "chance": torch.Generator(),
        }
        return SimpleNamespace(**(told | options))

    logits = torch.zeros(5, 8)
    logits[0, 3], logits[1, 2], logits[3, 4], logits[4] = 1.0, torch.nan, torch.inf, -torch.inf
    answers = [answer(do_sample=is_sampled) for is_sampled in (False, True, False, False, True)]

    def chosen() -> list[int]:
        return [int(one) for one in choose(answers, logits) if isinstance(one, torch.Tensor)]

    assert chosen() == [3, NONE, 0, NONE, NONE]
    logits[1, 2] = 60.0
    assert chosen()[1] == 2


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0}], ids=["greedy", "sampled"])
def test_an_answer_of_no_numbers_fails_and_is_not_made_up(options: dict[str, Any]) -> None:
    qa = without_numbers(VideoQA(*tiny_model(seed=0)))
    batch = Batch(qa, most_running=2, prefill_tokens=1000)
    kept = asked("Why?", max_new_tokens=3, options=options, num_alternatives=2)
    batch.add(written(qa, kept))
    run(batch)
    assert (kept.refusal.status, kept.text) == (500, "")


def test_log_probability_of_what_cannot_come_is_json(tiny: VideoQA) -> None:
    [told] = logprobs_of(tiny.processor.tokenizer, [Scored(40, -1.5, ((41, -torch.inf),))]).content
    assert (told.logprob, told.top_logprobs[0].logprob) == (-1.5, -9999.0)


@pytest.mark.parametrize("name", ["__init__", "grown", "rest"])
def test_words_that_cannot_be_told_end_one_answer(tiny: VideoQA, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    batch = Batch(tiny, most_running=4, prefill_tokens=1000)
    told = [asked(question, max_new_tokens=4 + index) for index, question in enumerate(QUESTIONS[:3])]
    call, good = getattr(AnswerText, name), {"__init__": 1, "grown": 3, "rest": 1}[name]
    calls: list[int] = []

    def fails_once(self: AnswerText, *arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == good + 1:
            raise RuntimeError("no words")
        return call(self, *arguments, **options)

    monkeypatch.setattr(AnswerText, name, fails_once)
    for kept in told:
        batch.add(written(tiny, kept))
    run(batch)
    ends = [kept.events[-1] for kept in told]
    assert sum(isinstance(end, RefusedError) for end in ends) == 1
    for kept, question in zip(told, QUESTIONS[:3], strict=True):
        if isinstance(kept.events[-1], Done):
            most = kept.ticket.asked.drawing.max_new_tokens or 0
            assert list(kept.done.token_ids) == tiny.ask(None, question, max_new_tokens=most).token_ids


def test_a_prompt_nobody_waits_for_is_dropped_while_others_run(tiny: VideoQA) -> None:
    batch = Batch(tiny, most_running=1, prefill_tokens=1000)
    first, second = asked(QUESTIONS[0], max_new_tokens=20), asked(QUESTIONS[1], max_new_tokens=20)
    for kept in (first, second):
        batch.add(written(tiny, kept))
    batch.step()
    second.ticket.progress = ("answering", 0, 1)
    second.ticket.give_up()
    batch.step()
    assert second.refusal.code == "cancelled"
    assert len(batch.running) == 1


def test_after_an_end_of_all_rows_are_as_new(tiny: VideoQA) -> None:
    batch = Batch(tiny, most_running=2, prefill_tokens=1000)
    first, second = asked("Why?", max_new_tokens=5), asked("Why?", max_new_tokens=5)
    batch.add(written(tiny, first))
    batch.step()
    batch._rows.lengths.append(7)  # as if something had ended between a row and its answer
    batch.end_all(RefusedError(500, "failed.", code="internal_error"))
    assert first.refusal.status == 500
    batch.add(written(tiny, second))
    run(batch)
    assert list(second.done.token_ids) == tiny.ask(None, "Why?", max_new_tokens=5).token_ids


def out_of_memory(*arguments: object) -> None:
    raise MemoryError(f"no room for {len(arguments)}")


def test_memory_that_is_not_there_ends_the_running_and_not_the_next(
    tiny: VideoQA, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batch(tiny, most_running=4, prefill_tokens=1000)
    first, second = asked("Why?", max_new_tokens=5), asked("Why?", max_new_tokens=5)
    batch.add(written(tiny, first))
    batch.step()
    with monkeypatch.context() as broken:
        broken.setattr(Rows, "step", out_of_memory)
        batch.step()
    assert (first.refusal.status, first.refusal.code) == (503, "out_of_memory")
    batch.add(written(tiny, second))
    run(batch)
    assert list(second.done.token_ids) == tiny.ask(None, "Why?", max_new_tokens=5).token_ids


@pytest.mark.parametrize("prefill_tokens", [20, 60, 1000])
def test_prompts_that_are_read_together_are_answered_as_they_would_be_alone(tiny: VideoQA, prefill_tokens: int) -> None:
    batch = Batch(tiny, most_running=5, prefill_tokens=prefill_tokens, prefix_bytes=10**9)
    videos = [frames(4), frames(7), None]
    told = []
    for index, question in enumerate(QUESTIONS * 4):
        video = videos[index % 3]
        kept = asked(question, max_new_tokens=2 + index % 7)
        clip = None if video is None else tiny.encode(video, num_frames=len(video)).clip
        batch.add(write_prompt(tiny, kept.ticket, clip, 12, None if video is None else f"video {len(video)}"))
        told.append((kept, question, video, 2 + index % 7))
    together = 0
    while not batch.is_idle:
        batch.step()
        together = max(together, len(batch._readings.running))
    for kept, question, video, most in told:
        look: dict[str, Any] = {} if video is None else {"num_frames": len(video)}
        alone = tiny.ask(video, question, max_new_tokens=most, **look)
        assert list(kept.done.token_ids) == alone.token_ids
    known = [kept.done.num_known for kept, _, video, _ in told if video is not None]
    assert sum(number == 0 for number in known) == 2  # each video was read once
    assert together > 1 or prefill_tokens == 1000  # read to their end within a step


def test_whose_error_it_is_shows_when_each_is_read_by_itself(tiny: VideoQA, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(tiny, most_running=8, prefill_tokens=1000)
    told = [asked(question, max_new_tokens=5) for question in QUESTIONS[:3]]
    for kept in told:
        batch.add(written(tiny, kept))
    bad = len(batch._waiting[1].request.input_ids)
    forward = batch._readings._forward

    def breaks(embeds: torch.Tensor, *others: Any) -> torch.Tensor:
        if embeds.shape[1] >= bad:
            raise ValueError("not this one")
        return forward(embeds, *others)

    monkeypatch.setattr(batch._readings, "_forward", breaks)
    run(batch)
    assert told[1].refusal.status == 500
    for index in (0, 2):
        assert list(told[index].done.token_ids) == tiny.ask(None, QUESTIONS[index], max_new_tokens=5).token_ids


def test_few_prompts_wait_for_others_and_never_long(tiny: VideoQA) -> None:
    batch = Batch(tiny, most_running=3, prefill_tokens=1000)
    told = [asked("Why?", max_new_tokens=most) for most in (30, 30, 3, 3, 3)]
    for kept in told:
        batch.add(written(tiny, kept))
    steps = 0
    while not told[-1].ended.is_set():
        batch.step()
        steps += 1
    assert steps < 30
    assert not told[0].ended.is_set()


def test_short_prompts_do_not_overtake_a_long_one_for_ever(tiny: VideoQA) -> None:
    batch = Batch(tiny, most_running=64, prefill_tokens=6)
    long = asked("Why? " * 60, max_new_tokens=1)  # more than 32 x 6 tokens: it is read alone
    batch.add(written(tiny, asked("Why?", max_new_tokens=1)))
    batch.step()
    batch.add(written(tiny, long))
    later = [asked("Why?", max_new_tokens=1) for _ in range(20)]
    steps = 0
    while not long.ended.is_set():
        if steps % 4 == 0 and steps // 4 < len(later):
            batch.add(written(tiny, later[steps // 4]))
        batch.step()
        steps += 1
    assert not any(kept.ended.is_set() for kept in later)
