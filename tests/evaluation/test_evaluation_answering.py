"""Asking many questions about a video that is encoded once gives what asking each by itself gives."""

import functools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from bimba.errors import InputError
from bimba.evaluation.answering import Asker, Query
from bimba.evaluation.answering.beginning import Beginning
from bimba.evaluation.answering.prompt import option_ids, write_prompt
from bimba.inference import VideoQA
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_config, tiny_model, tiny_tokenizer

QUERIES = [
    Query("What colour is the star?", ("red", "dark blue", "green")),
    Query("Why?"),
    Query("Which of the shapes that are there is the first one that appears, if there are some?", ("a", "red star")),
    Query("Is it there?", ("yes", "no")),
]
BAR = 1e-4
NUM_NEW = 24

Frames = NDArray[np.uint8]


@pytest.fixture(scope="module")
def frames() -> Frames:
    return np.random.default_rng(0).integers(0, 255, (16, 36, 64, 3), dtype=np.uint8)


def wide(**settings: Any) -> VideoQA:
    """A tiny model whose weights are wide enough for its answers to differ."""
    config = BimbaConfig(**tiny_config(320).to_diff_dict() | settings)
    processor = BimbaProcessor.from_config(config, tiny_tokenizer())
    torch.manual_seed(0)
    model = BimbaForConditionalGeneration(config)
    model.eval()  # type: ignore[no-untyped-call] # untyped there
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2.0)
    model.generation_config.eos_token_id = 258
    model.generation_config.pad_token_id = 256
    model.generation_config.repetition_penalty = 1.2
    return VideoQA(model, processor)


MAMBA = {"model_type": "mamba", "vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 8}
MODELS: dict[str, dict[str, Any]] = {
    "attention": {},
    "recurrent": {"text_config": MAMBA},
    "pooled in time": {"temporal_pooling": 4},
    "question first": {"compressor": {"question_conditioned": True}},
    "template": {"prompt_style": "template"},
}


@pytest.fixture(params=MODELS, scope="module")
def qa(request: pytest.FixtureRequest) -> VideoQA:
    made = wide(**MODELS[request.param])
    if request.param == "template":
        made.processor.tokenizer.chat_template = (
            "{% for turn in messages %}<|im_start|>{{ turn['role'] }}: {{ turn['content'] }}<|im_end|>{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant: {% endif %}"
        )
    return made


def by_hand(qa: VideoQA, frames: Frames, query: Query, option: str) -> float:
    """Log-probability of an option, with a prompt, a video and logits of its own."""
    inputs = qa.prepare(frames, f"<image>\n{query.question}", max_new_tokens=NUM_NEW)
    said = [*option.encode(), "<|im_end|>"]
    tokenizer = qa.processor.tokenizer
    answer = [tokenizer.convert_tokens_to_ids(x) if isinstance(x, str) else byte_id(qa, x) for x in said]
    ids = torch.cat([inputs["input_ids"], torch.tensor([answer])], dim=1)
    inputs |= {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.no_grad():
        logits = qa.model(**inputs).logits[0].double()
    start = ids.shape[1] - len(answer)
    total = 0.0
    for place, token in enumerate(answer, start=start):
        weights = logits[place - 1].exp()
        total += float((weights[token] / weights.sum()).log())
    return total


def byte_id(qa: VideoQA, byte: int) -> int:
    [token] = qa.processor.tokenizer(chr(byte), add_special_tokens=False)["input_ids"]
    return int(token)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_each_question_is_answered_as_if_it_were_asked_alone(qa: VideoQA, frames: Frames, batch_size: int) -> None:
    asker = Asker(qa, max_new_tokens=NUM_NEW, batch_size=batch_size)
    replies = asker.answer(asker.look(frames), QUERIES)
    alone = [qa.ask(frames, f"<image>\n{query.question}", max_new_tokens=NUM_NEW) for query in QUERIES]
    assert [list(reply.token_ids) for reply in replies] == [answer.token_ids for answer in alone]
    assert [reply.said for reply in replies] == [answer.text for answer in alone]
    assert len({reply.token_ids for reply in replies}) > 1, "equal answers would pass any comparison"
    for query, reply in zip(QUERIES, replies, strict=True):
        expected = [by_hand(qa, frames, query, option) for option in query.options]
        assert list(reply.scores) == pytest.approx(expected, abs=BAR)


def test_the_tiny_model_answers_as_it_does_alone(tiny: VideoQA, frames: Frames) -> None:
    asker = Asker(tiny, max_new_tokens=NUM_NEW, batch_size=16)
    for query, reply in zip(QUERIES, asker.answer(asker.look(frames), QUERIES), strict=True):
        answer = tiny.ask(frames, f"<image>\n{query.question}", max_new_tokens=NUM_NEW)
        assert list(reply.token_ids) == answer.token_ids


def test_answers_that_end_early_lose_the_padding_behind_them(frames: Frames) -> None:
    qa = wide()
    asker = Asker(qa, max_new_tokens=NUM_NEW, batch_size=4)
    features = asker.look(frames)
    first = [reply.token_ids[0] for reply in asker.answer(features, QUERIES)]
    qa.model.generation_config.eos_token_id = [first[0], 258]  # the first question's answer ends at once
    asker = Asker(qa, max_new_tokens=NUM_NEW, batch_size=4)
    replies = asker.answer(features, QUERIES)
    assert replies[0].token_ids == (first[0],)
    assert max(len(reply.token_ids) for reply in replies) > 1
    alone = [qa.ask(frames, f"<image>\n{query.question}", max_new_tokens=NUM_NEW).token_ids for query in QUERIES]
    assert [list(reply.token_ids) for reply in replies] == alone


def test_a_video_is_encoded_once_for_all_questions(
    tiny: VideoQA, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    original = tiny.model.get_vision_features

    def counted(pixels: Tensor) -> Tensor:
        seen.append(len(pixels))
        return original(pixels)

    monkeypatch.setattr(tiny.model, "get_vision_features", counted)
    asker = Asker(tiny, max_new_tokens=2, batch_size=2)
    features = asker.look([*frames, *frames[:4]])
    asker.answer(features, QUERIES)
    assert seen == [16, 4]


def test_features_are_those_of_all_pixels_together(tiny: VideoQA, frames: Frames) -> None:
    asker = Asker(tiny, max_new_tokens=2, batch_size=2)
    many = [*frames, *frames[:4]]
    with torch.no_grad():
        whole = tiny.model.get_vision_features(tiny.processor.make_pixels(iter(many)))
    looked = asker.look(many)
    assert isinstance(looked, torch.Tensor)
    assert looked.equal(whole)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_plain_attention_reads_the_beginning_once(frames: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    def times_read(qa: VideoQA) -> int:
        """How often the language model reads as much as the beginning has."""
        read: list[int] = []
        original = qa.model.language_model.forward

        @functools.wraps(original)
        def counted(*args: Any, **options: Any) -> Any:
            embeds = options.get("inputs_embeds")
            read.append(1 if embeds is None else embeds.shape[1])
            return original(*args, **options)

        asker = Asker(qa, max_new_tokens=1, batch_size=1)
        features = asker.look(frames)
        monkeypatch.setattr(qa.model.language_model, "forward", counted)
        asker.answer(features, QUERIES)
        beginning = write_prompt(qa.processor, Query("Why?"), qa.processor.num_video_tokens(len(frames))).beginning
        return sum(places >= len(beginning) for places in read)

    num_prompts = len(QUERIES) + sum(len(query.options) for query in QUERIES)
    assert times_read(wide()) == 1
    assert times_read(wide(text_config=MAMBA)) == 1 + num_prompts


def test_the_prompt_is_worded_as_in_training(tiny: VideoQA) -> None:
    prompt = write_prompt(tiny.processor, Query("What is it?"), 3)
    text = tiny.processor.tokenizer.decode(prompt.beginning + prompt.rest)
    assert text == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<image><image><image>\n"
        "What is it?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_an_option_ends_with_the_turn(tiny: VideoQA) -> None:
    ends = [tiny.processor.tokenizer.convert_tokens_to_ids("<|im_end|>")]
    ids = option_ids(tiny.processor, Query("What is it?"), "red star", ends)
    assert tiny.processor.tokenizer.decode(ids) == "red star<|im_end|>"


def test_an_option_ends_with_the_turn_where_the_template_rewrites_it() -> None:
    processor = tiny_model(seed=0)[1]
    processor.prompt_style = "template"
    processor.tokenizer.chat_template = (
        "{{ messages | length }}{% for turn in messages %}{{ turn['content'] }}{% endfor %}"
    )
    ids = option_ids(processor, Query("What is it?"), "red star", [258, 256])
    assert processor.tokenizer.decode(ids[:-1]) == "red star"
    assert ids[-1] == 256


def test_a_video_that_is_too_long_is_refused_before_it_is_encoded(tiny: VideoQA) -> None:
    asker = Asker(tiny, max_new_tokens=24, batch_size=2)
    asker.check(64)
    with pytest.raises(InputError, match=r"about 4000 frames has .* reads 32,768 at most") as raised:
        asker.check(4000)
    assert "--frames" in raised.value.fix


def test_a_question_that_does_not_fit_any_more_is_refused(frames: Frames) -> None:
    qa = wide(text_config=tiny_config(320).text_config.to_diff_dict() | {"max_position_embeddings": 320})
    asker = Asker(qa, max_new_tokens=24, batch_size=2)
    asker.check(16)
    with pytest.raises(InputError, match="reads 320 at most"):
        asker.answer(asker.look(frames), QUERIES)


def test_no_questions_have_no_answers(tiny: VideoQA, frames: Frames) -> None:
    asker = Asker(tiny, max_new_tokens=2, batch_size=2)
    assert asker.answer(asker.look(frames[:2]), []) == []


def test_models_that_read_each_prompt_whole_have_no_copies() -> None:
    qa = wide(text_config=MAMBA)
    with torch.no_grad():
        beginning = Beginning(qa.model, [1, 2, 3], torch.zeros(0, 64))
    with pytest.raises(ValueError, match="does not go on"):
        beginning._copies(2)


LETTERS = ("A", "B", "C")


@pytest.mark.parametrize("batch_size", [1, 3])
def test_letters_are_as_likely_as_the_model_says(frames: Frames, batch_size: int) -> None:
    qa = wide()
    asker = Asker(qa, max_new_tokens=4, batch_size=batch_size)
    turns = [f"<image>{question}\nA. x\nB. y\nC. z\nThe best answer is:" for question in ("What?", "Why is it so?")]
    found = asker.choose(asker.look(frames), [Query(turn, turn=turn) for turn in turns], LETTERS)
    for turn, scores in zip(turns, found, strict=True):
        with torch.no_grad():
            logits = qa.model(**qa.prepare(frames, turn, time_sentence=False)).logits[0, -1].log_softmax(-1)
        ids = [qa.processor.tokenizer.convert_tokens_to_ids(letter) for letter in LETTERS]
        assert np.abs(np.array(scores) - logits[ids].numpy()).max() < BAR


def test_a_turn_of_its_own_is_said_as_it_is(frames: Frames) -> None:
    qa = wide()
    asker = Asker(qa, max_new_tokens=8, batch_size=2)
    turn = "Look: <image>The best answer is:"
    [reply] = asker.answer(asker.look(frames), [Query("What?", turn=turn)])
    assert reply.said == qa.ask(frames, turn, time_sentence=False, max_new_tokens=8).text


def test_letters_without_tokens_are_refused(tiny: VideoQA, frames: Frames) -> None:
    asker = Asker(tiny, max_new_tokens=4, batch_size=2)
    with pytest.raises(InputError, match="no token for each of A, BC") as raised:
        asker.choose(asker.look(frames), [Query("What?")], ("A", "BC"))
    assert "--score generate" in raised.value.fix
