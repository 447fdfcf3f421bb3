"""Needle videos that are drawn while training: what of them is asked, and what stands where."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from bimba.errors import InputError
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.word_tokenizer import word_tokenizer
from bimba.needles import NeedleStream, StreamedVideo
from bimba.needles.questions import ABOUT_ITSELF, CANNOT_TELL
from bimba.needles.vocabulary import needle_words
from bimba.training.data import TrainingDataset, measure_lengths
from bimba.training.data.example import Example
from bimba.training.data.store import EntryFile, SampleStore
from bimba.training.data.streams import (
    MOST_WORDS,
    NO_WORD,
    conversations,
    open_stream,
    with_thirds,
    words_of_moments,
    words_of_places,
    words_shown,
)
from bimba.training.recipe.data_settings import Frames, Stream

OPTIONS: dict[str, Any] = {
    "seed": 4, "seconds": 12, "fps": 1, "size": "96x64", "needles": "2-3", "needle_seconds": "1-2", "split": "train",
    "kinds": ["shape", "digit", "caption"], "questions": 6,
}  # fmt: skip


def ids_of(text: str) -> list[int]:
    """Tokens of a text, one a word."""
    ids: list[int] = word_tokenizer(needle_words())(text).input_ids
    return ids


@pytest.fixture(scope="module")
def stream() -> NeedleStream:
    """Forty small videos."""
    return open_stream(Stream(videos=40, options=OPTIONS, unknown=1.5, itself=0.5))


def test_every_question_becomes_a_conversation_and_unknown_ones_are_refused(stream: NeedleStream) -> None:
    for index in range(len(stream)):
        video = stream[index]
        talks = conversations(video)
        assert len(talks) == len(video.record.questions) + len(video.unknown) + len(video.itself)
        others = [CANNOT_TELL] * len(video.unknown) + [ABOUT_ITSELF] * len(video.itself)
        assert all(len(talk) == 2 for talk in talks)
        assert [answer.content for _, answer in talks[len(video.record.questions) :]] == others
        assert all(asked.role == "user" and asked.content.startswith("<image>\n") for asked, _ in talks)
    assert 1.2 < sum(len(stream[index].unknown) for index in range(40)) / 40 < 1.8
    assert 0.25 < sum(len(stream[index].itself) for index in range(40)) / 40 < 0.75


def test_no_question_needs_the_times_of_frames(stream: NeedleStream) -> None:
    kinds = {question.kind for index in range(40) for question in stream[index].record.questions}
    assert not kinds & {"at", "when", "caption_at"}
    assert {"order", "count", "colour", "first"} <= kinds


def naive_words(
    video: StreamedVideo, frame: int, place: tuple[int, int], grid: tuple[int, int], covered: float
) -> set[str]:
    """Words of what stands in a place."""
    row, column = place
    record = video.record
    height, width = record.height / grid[0], record.width / grid[1]
    found: set[str] = set()
    for needle in record.needles:
        if not needle.first_frame <= frame <= needle.last_frame:
            continue
        for left, top, right, bottom in needle.boxes:
            wide = max(0.0, min(right, (column + 1) * width) - max(left, column * width))
            high = max(0.0, min(bottom, (row + 1) * height) - max(top, row * height))
            area = min(height * width, (right - left) * (bottom - top))
            if wide * high >= covered * area:
                found |= set(needle.description.split()) | {needle.attributes.get("colour", "")} - {""}
    return found


@pytest.mark.parametrize("grid", [(4, 4), (1, 1), (2, 3)], ids=str)
def test_words_stand_where_needles_do(stream: NeedleStream, grid: tuple[int, int]) -> None:
    tokenizer = word_tokenizer(needle_words())
    for index in range(10):
        video = stream[index]
        groups = [[frame] for frame in range(12)]
        words = words_of_places(video, groups, grid, lambda text: tokenizer(text).input_ids)
        assert words.shape == (12, *grid, MOST_WORDS)
        for frame in range(12):
            for row in range(grid[0]):
                for column in range(grid[1]):
                    ids = [token for token in words[frame, row, column].tolist() if token != NO_WORD]
                    told = set(tokenizer.convert_ids_to_tokens(ids))
                    # Where just a quarter is covered, rounding decides.
                    assert naive_words(video, frame, (row, column), grid, 0.2501) <= told
                    assert told <= naive_words(video, frame, (row, column), grid, 0.2499)


def test_frames_that_are_looked_at_together_share_their_words(stream: NeedleStream) -> None:
    video = stream[0]
    alone = words_of_places(video, [[frame] for frame in range(12)], (1, 1), ids_of)
    together = words_of_places(video, [list(range(start, start + 4)) for start in range(0, 12, 4)], (1, 1), ids_of)
    for group in range(3):
        parts = {int(word) for word in alone[4 * group : 4 * group + 4].flatten() if word != NO_WORD}
        whole = {int(word) for word in together[group].flatten() if word != NO_WORD}
        assert whole == set(list(parts)[:MOST_WORDS]) if len(parts) > MOST_WORDS else whole == parts


def test_what_stands_somewhere_may_tell_its_third_of_the_video(stream: NeedleStream) -> None:
    video = stream[0]
    for length in (1, 2):
        groups = [list(range(start, start + length)) for start in range(0, 12, length)]
        words = words_of_places(video, groups, (2, 2), ids_of)
        told = with_thirds(words, groups, 12, ids_of)
        thirds = ids_of("beginning middle end")
        for number, group in enumerate(groups):
            third = thirds[group[0] // 4]
            for before, after in zip(words[number].flatten(0, 1), told[number].flatten(0, 1), strict=True):
                known = [word for word in before.tolist() if word != NO_WORD]
                assert [word for word in after.tolist() if word != NO_WORD] == [*known, *([third] if known else [])]


def test_the_words_that_a_stream_shows_are_known_before(stream: NeedleStream) -> None:
    shown = words_shown(stream, ids_of)
    groups = [[frame] for frame in range(12)]
    for index in range(10):
        assert set(words_of_places(stream[index], groups, (2, 2), ids_of).flatten().tolist()) <= shown | {NO_WORD}
    thirds = set(ids_of("beginning middle end"))
    assert not thirds & shown
    assert words_shown(stream, ids_of, thirds=True) == shown | thirds
    assert not shown & set(ids_of("what first colour"))


def test_a_place_holds_only_so_many_words() -> None:
    stream = open_stream(Stream(videos=1, options=OPTIONS | {"needles": 3, "needle_seconds": 1}))
    words = words_of_places(stream[0], [list(range(12))], (1, 1), lambda text: range(len(text), len(text) + 6))
    assert words.shape == (1, 1, 1, MOST_WORDS)
    assert (words != NO_WORD).all()
    assert len(torch.unique(words)) == MOST_WORDS


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="no 'kindz'"):
        open_stream(Stream(videos=1, options={"kindz": ["shape"]}))
    with pytest.raises(InputError, match="use 'colour'"):
        open_stream(Stream(videos=1, options=OPTIONS, kinds=("color",)))
    with pytest.raises(InputError, match="do not fit"):
        open_stream(Stream(videos=1, options=OPTIONS | {"needles": 9}))


def test_questions_may_make_conversations_of_several_turns(stream: NeedleStream) -> None:
    for index in range(10):
        video = stream[index]
        alone, together = conversations(video), conversations(video, 3)
        assert together == conversations(video, 3)
        assert [len(talk) for talk in together[:-1]] == [6] * (len(together) - 1)
        assert 0 < len(together[-1]) <= 6
        for talk in together:
            assert talk[0].content.startswith("<image>\n")
            assert not any("<image>" in message.content for message in talk[1:])
            assert [message.role for message in talk] == ["user", "assistant"] * (len(talk) // 2)
        pairs = [
            (question.content.removeprefix("<image>\n"), answer.content)
            for talk in together
            for question, answer in zip(talk[::2], talk[1::2], strict=True)
        ]
        assert Counter(pairs) == Counter((q.content.removeprefix("<image>\n"), a.content) for q, a in alone)
        assert pairs != [(q.content.removeprefix("<image>\n"), a.content) for q, a in alone]


def test_turns_of_a_recipe_reach_the_samples() -> None:
    settings = Stream(videos=2, options=OPTIONS, turns=4)
    store = SampleStore([(EntryFile(Path("s"), Path(), open_stream(settings), settings.turns), [(0, "{}"), (1, "{}")])])
    place = store[1].place
    assert place is not None
    assert (place.index, place.turns) == (1, 4)


def test_queries_of_a_window_share_its_moments_in_order() -> None:
    stream = open_stream(Stream(videos=20, options=OPTIONS))
    tokenizer = word_tokenizer(needle_words())
    for index in range(20):
        video = stream[index]
        windows = [list(range(start, start + 4)) for start in range(0, 12, 4)]

        def ids_of(text: str) -> list[int]:
            return list(tokenizer(text, add_special_tokens=False).input_ids)

        words = words_of_moments(video, windows, (2, 2), ids_of)
        assert words.shape == (3, 2, 2, MOST_WORDS)
        by_frame = words.flatten(0, 2)  # a query a frame
        for frame in range(12):
            shown = [n for n in video.record.needles if n.first_frame <= frame <= n.last_frame]
            expected = {i for n in shown for i in ids_of(f"{n.description} {n.attributes.get('colour', '')}")}
            assert set(by_frame[frame].tolist()) - {NO_WORD} == expected
        # One query for a window has all of its frames; sixteen queries have each frame four times.
        alone = words_of_moments(video, windows, (1, 1), ids_of)[:, 0, 0]
        many = words_of_moments(video, windows, (4, 4), ids_of).flatten(1, 2)
        for window in range(3):
            union = set(words[window].flatten().tolist()) - {NO_WORD}
            assert set(alone[window].tolist()) - {NO_WORD} == union
            for query in range(16):
                assert many[window, query].tolist() == by_frame[4 * window + query // 4].tolist()


def test_the_length_of_a_streamed_video_is_known_without_planning_it(
    processor: BimbaProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [Stream(videos=2, options=OPTIONS), Stream(videos=1, options=OPTIONS | {"seconds": 40})]
    files = [EntryFile(Path(f"s{number}"), Path(), open_stream(source)) for number, source in enumerate(sources)]
    store = SampleStore([(files[0], [(0, "{}"), (1, "{}")]), (files[1], [(0, "{}")])])
    dataset = TrainingDataset(store, processor, Frames(count=30))
    examples = [dataset[index] for index in range(3)]
    monkeypatch.setattr(NeedleStream, "__getitem__", lambda *_: pytest.fail("it was planned"))
    lengths, failures = measure_lengths(dataset, workers=0)
    assert failures == []
    for example, length in zip(examples, lengths, strict=True):
        assert isinstance(example, Example)
        assert length == example.ids.count(processor.video_token_id)
    assert lengths[2] > lengths[0] == lengths[1]
