import re

import pytest
from needle_runs import VARIED, planned_stream, varied_videos

from bimba.models.bimba.word_tokenizer import UNKNOWN, word_tokenizer
from bimba.needles.contents import descriptions_of
from bimba.needles.questions import CANNOT_TELL, unknown
from bimba.needles.settings import NEEDLE_KINDS
from bimba.needles.vocabulary import needle_words

TOKENIZER = word_tokenizer(needle_words())
KNOWN = set(needle_words())


def spelled(texts: set[str]) -> set[str]:
    """Words that are more than one token, numbers of several digits left out."""
    words = {word for text in texts for word in re.findall(r"\w+", text)}
    return {word for word in words if len(TOKENIZER.tokenize(word)) != 1 and not word.isdigit()}


def said_in(name: str) -> set[str]:
    questions = [question for video in varied_videos(name)[1] for question in video.record.questions]
    texts = {text for q in questions for text in (q.question, q.answer, q.answer_letter, *q.options)}
    return texts | {n.description for video in varied_videos(name)[1] for n in video.record.needles}


@pytest.mark.parametrize("name", VARIED)
def test_every_word_of_questions_and_answers_is_one_token(name: str) -> None:
    assert spelled(said_in(name)) == set()


def test_thousands_of_questions_were_looked_at() -> None:
    questions = {q.question for name in VARIED for video in varied_videos(name)[1] for q in video.record.questions}
    assert len(questions) > 5000


def test_every_description_is_made_of_known_words() -> None:
    assert spelled({text for kind in NEEDLE_KINDS for text in descriptions_of(kind, ())}) == set()


def test_questions_that_cannot_be_answered_are_in_known_words_but_for_the_made_up_ones() -> None:
    stream = planned_stream(split="train", num_unknown=10)
    texts = {question for video in stream for question in video.unknown} | {CANNOT_TELL}
    strange = spelled(texts)
    written = {word for text in unknown._TEMPLATES for word in re.findall(r"\w+", text)}
    listed = set(f"{unknown._WHO} {unknown._DO} {unknown._WHAT} {unknown._HOW}".split())
    assert not strange & (written | listed)
    assert all(re.fullmatch("[a-z]{3,8}", word) for word in strange)


def test_sentences_come_back_and_hold_nothing_unknown() -> None:
    for text in sorted(said_in("all kinds"))[:500]:
        ids = TOKENIZER(text)["input_ids"]
        assert UNKNOWN not in TOKENIZER.convert_ids_to_tokens(ids)
        assert re.sub(r"\s", "", str(TOKENIZER.decode(ids))) == re.sub(r"\s", "", text)


def test_words_are_in_a_fixed_order_and_there_once() -> None:
    assert needle_words() == needle_words()
    assert len(KNOWN) == len(needle_words())
    assert not any(re.search(r"[\s?.,:]", word) for word in KNOWN)
