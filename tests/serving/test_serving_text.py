"""What can be shown of an answer while it grows."""

from hypothesis import given
from hypothesis import strategies as st

from bimba.models.bimba.tiny import tiny_tokenizer
from bimba.models.bimba.word_tokenizer import word_tokenizer
from bimba.serving.engine.text import AnswerText

BYTES = tiny_tokenizer()
WORDS = word_tokenizer(["a", "red", "square", "do", "is", "not"])


def pieces(ids: list[int], stops: tuple[str, ...] = ()) -> list[str]:
    """Of an answer that comes token by token."""
    text = AnswerText(BYTES, stops, is_streamed=True)
    grown = []
    for count in range(1, len(ids) + 1):
        grown.append(text.grown(ids[:count]))
        if text.is_stopped:
            return [*grown, text.rest(ids[:count])]
    return [*grown, text.rest(ids)]


@given(st.text(max_size=30))
def test_pieces_add_up_to_the_answer_and_hold_no_half_character(said: str) -> None:
    ids = BYTES(said)["input_ids"]
    whole = BYTES.decode(ids, skip_special_tokens=True)
    told = pieces(ids)
    assert "".join(told) == whole
    if "\ufffd" not in whole:
        assert not any("\ufffd" in piece for piece in told)


@given(st.text("ab ", max_size=20), st.lists(st.text("ab ", min_size=1, max_size=4), min_size=1, max_size=3))
def test_nothing_of_a_stop_text_is_shown(said: str, stops: list[str]) -> None:
    told = "".join(pieces(BYTES(said)["input_ids"], tuple(stops)))
    places = [said.find(stop) for stop in stops if stop in said]
    # The first stop text that is whole ends the answer; one that begins earlier may not have been whole by then.
    ends = [said.find(stop) + len(stop) for stop in stops if stop in said]
    seen = said[: min(ends)] if ends else said
    assert told == seen[: min((seen.find(stop) for stop in stops if stop in seen), default=len(seen))]
    assert bool(places) == any(stop in said for stop in stops)


def test_marks_of_the_end_are_not_shown() -> None:
    ids = [*BYTES("yes")["input_ids"], BYTES.convert_tokens_to_ids("<|im_end|>")]
    assert pieces(ids)[-2:] == ["", ""]


def test_words_that_later_ones_change_come_whole_at_the_end() -> None:
    text = AnswerText(WORDS, is_streamed=True)
    ids = WORDS("a red square do not")["input_ids"]
    told = [text.grown(ids[:count]) for count in range(1, len(ids) + 1)]
    assert "".join([*told, text.rest(ids)]) == WORDS.decode(ids)


def test_nothing_is_decoded_where_nobody_reads_along() -> None:
    text = AnswerText(BYTES, is_streamed=False)
    ids = BYTES("yes")["input_ids"]
    assert [text.grown(ids[:1]), text.grown(ids), text.rest(ids)] == ["", "", "yes"]
