"""Answers that share steps: each is what the model answers alone, whoever joins and leaves meanwhile."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from batch_runs import QUESTIONS, asked, frames, run, without_numbers, written
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

from bimba.inference import VideoQA
from bimba.inference.prefix import empty_cache
from bimba.models.bimba.tiny import tiny_model
from bimba.serving.engine.batch import Batch
from bimba.serving.engine.choosing import NONE, choose
from bimba.serving.engine.prefixes import Prefixes
from bimba.serving.engine.prompt import write_prompt
from bimba.serving.engine.rows import Rows
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


def test_prompts_are_kept_as_far_as_there_is_room(tiny: VideoQA) -> None:
    def cache(length: int) -> DynamicCache:
        made = empty_cache(tiny.model.text_model)
        assert made is not None
        for layer in range(2):
            made.update(torch.zeros(1, 2, length, 16), torch.zeros(1, 2, length, 16), layer)
        return made

    each = 2 * 2 * 2 * 10 * 16 * 4  # layers, keys and values, heads, tokens, width, bytes
    prefixes = Prefixes(2 * each)
    for name in "abc":
        prefixes.keep(cache(10), name, range(10))
    prefixes.keep(cache(30), "too large", range(30))
    prefixes.keep(cache(10), None, range(10))
    known = {name: prefixes.fill(cache(0), name, range(20)) for name in ("a", "b", "c", "too large", None)}
    assert known == {"a": 0, "b": 10, "c": 10, "too large": 0, None: 0}
    assert prefixes.fill(cache(0), "c", range(10)) == 9  # something has to be read for there to be a next token


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
    batch.add(replace(written(tiny, bad), features=torch.zeros(3, 5)))
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


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=6), leaving=st.lists(st.integers(0, 5), max_size=4))
@settings(max_examples=20, deadline=None)
def test_rows_hold_what_joined(lengths: list[int], leaving: list[int]) -> None:
    model = tiny_model(seed=0)[0].language_model
    rows, held = Rows(), []
    for length in lengths:
        cache = empty_cache(model)
        assert cache is not None
        for layer in range(2):
            cache.update(torch.randn(1, 2, length, 16), torch.randn(1, 2, length, 16), layer)
        rows.join(cache)
        held.append(cache)
    for row in leaving:
        if row < len(held) and len(held) > 1:
            rows.leave(row)
            held[row] = held[-1]
            held.pop()
    new = torch.randn(2, 2, len(held), 2, 1, 16)
    shared, mask, places = rows.step(torch.device("cpu"))
    for layer in range(2):
        keys, values = shared.update(new[layer, 0], new[layer, 1], layer)
        for row, its in enumerate(held):
            length = its.get_seq_length()
            assert places[row, 0] == length
            assert mask[row].tolist() == [1] * (length + 1) + [0] * (mask.shape[1] - length - 1)
            kept: Any = its.layers[layer]
            assert torch.equal(keys[row, :, :length], kept.keys[0])
            assert torch.equal(values[row, :, :length], kept.values[0])
            assert torch.equal(keys[row, :, length], new[layer, 0, row, :, 0])
            assert torch.equal(values[row, :, length], new[layer, 1, row, :, 0])
