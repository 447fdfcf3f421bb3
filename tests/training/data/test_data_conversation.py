"""Conversations: where the video goes, what is told of its times, and which tokens are learned."""

from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2Config

from bimba.errors import InputError
from bimba.inference.clip import Clip
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.bimba.tiny import tiny_tokenizer
from bimba.text.labels import IGNORE
from bimba.text.prompts import Message, chatml
from bimba.training.data.conversation import build_messages, questions_about_media
from bimba.training.data.learned import Labels, ids_and_labels
from bimba.training.data.sample import Kind, Sample

GOLDEN = Path(__file__).parents[2] / "data/golden"
SENTENCE = (
    "The video lasts for 4.00 seconds, and 2 frames are uniformly sampled from it. These frames are located at "
    "0.00s,2.00s.Please answer the following questions related to this video."
)


def clip_of(duration_seconds: float) -> Clip:
    return Clip(2, lambda: iter(()), (0.0, 2.0), (0.0, 2.0), duration_seconds)


TIMED, UNTIMED = clip_of(4.0), clip_of(0.0)


def sample_of(kind: Kind, num_media: int, *contents: str, system: str | None = None) -> Sample:
    turns = [Message("assistant" if place % 2 else "user", content) for place, content in enumerate(contents)]
    first = [] if system is None else [Message("system", system)]
    return Sample("train.json[0]", kind, tuple(Path(f"{number}") for number in range(num_media)), (*first, *turns))


def built(sample: Sample, clip: Clip = TIMED, *, tell_times: bool = True) -> list[str]:
    clips = [clip] * len(sample.media)
    return [message.content for message in build_messages(sample, clips, tell_times=tell_times)]


@pytest.mark.parametrize(
    ("question", "with_times", "without"),
    [
        ("<image>\nWhat?", f"<image>\n{SENTENCE}\n\nWhat?", "<image>\nWhat?"),
        ("<image>What?", f"<image>\n{SENTENCE}\nWhat?", "<image>\nWhat?"),
        ("What?\n<image>", f"<image>\n{SENTENCE}\nWhat?\n", "<image>\nWhat?"),
        ("Look: <image> What?", f"<image>\n{SENTENCE}\nLook:  What?", "<image>\nLook:  What?"),
        ("What?", f"<image>\n{SENTENCE}\n\nWhat?", "<image>\nWhat?"),
    ],
)
def test_the_video_goes_to_the_front_of_its_question(question: str, with_times: str, without: str) -> None:
    sample = sample_of("video", 1, question, "That.", "Sure?", "Yes.")
    assert built(sample) == [with_times, "That.", "Sure?", "Yes."]
    assert built(sample, tell_times=False) == built(sample, UNTIMED) == [without, "That.", "Sure?", "Yes."]


def test_a_video_may_come_in_a_later_turn() -> None:
    sample = sample_of("video", 1, "Hello.", "Hello!", "<image>\nWhat?", "That.", system="Be brief.")
    assert built(sample, UNTIMED) == ["Be brief.", "Hello.", "Hello!", "<image>\nWhat?", "That."]
    assert built(sample)[3] == f"<image>\n{SENTENCE}\n\nWhat?"
    assert questions_about_media(sample) == ["<image>\nWhat?"]


def test_a_video_that_no_turn_places_goes_to_the_first_question() -> None:
    sample = sample_of("video", 1, "What?", "That.", "Sure?", "Yes.", system="Be brief.")
    assert built(sample, UNTIMED)[:2] == ["Be brief.", "<image>\nWhat?"]
    assert questions_about_media(sample) == ["What?"]


def test_images_have_no_times() -> None:
    assert built(sample_of("image", 1, "<image>\nWhat?", "That."))[0] == "<image>\nWhat?"
    assert built(sample_of("image", 1, "What?", "That."))[0] == "<image>\nWhat?"


def test_several_images_of_a_turn_keep_their_places() -> None:
    sample = sample_of("image", 3, "First <image>, then <image>: same?", "No.", "And this? <image>", "Yes.")
    assert built(sample) == ["First <image>, then <image>: same?", "No.", "<image>\nAnd this?", "Yes."]
    assert len(questions_about_media(sample)) == 3


def test_text_is_left_alone() -> None:
    assert built(sample_of("text", 0, "What is\n2 + 2? ", "4")) == ["What is\n2 + 2? ", "4"]


def test_the_sample_is_not_changed() -> None:
    sample = sample_of("video", 1, "What?\n<image>", "That.")
    assert built(sample) == built(sample)
    assert sample == sample_of("video", 1, "What?\n<image>", "That.")


@pytest.mark.parametrize(
    ("sample", "problem"),
    [
        (sample_of("video", 1, "<image> <image>", "That."), "holds 2 <image> for 1 video"),
        (sample_of("video", 1, "<image>", "That.", "<image>", "That."), "holds 2 <image> for 1 video"),
        (sample_of("image", 2, "What?", "That."), "holds 0 <image> for 2 images"),
        (sample_of("image", 2, "<image>", "That."), "holds 1 <image> for 2 images"),
        (sample_of("image", 1, "<image><image>", "That."), "holds 2 <image> for 1 images"),
        (sample_of("text", 0, "<image>", "That."), "holds 1 <image> for no video or image"),
        (sample_of("video", 1, "What?", "An <image>."), "turn 1, which is the assistant's, holds <image>"),
        (sample_of("video", 1, "What?", "That.", system="<image>"), "turn 0, which is the system's, holds <image>"),
    ],
)
def test_placeholders_that_fit_no_media_are_refused(sample: Sample, problem: str) -> None:
    with pytest.raises(InputError) as raised:
        built(sample)
    assert problem in raised.value.problem


# Labels -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def merging() -> BimbaProcessor:
    """A processor whose tokenizer has words and merged newlines, as the released one's."""
    tokenizer = AutoTokenizer.from_pretrained(GOLDEN / "tiny_base", config=Qwen2Config())
    return BimbaProcessor(cast("PreTrainedTokenizerBase", tokenizer))


def learned_text(processor: BimbaProcessor, messages: list[Message], labels: Labels) -> str:
    _, learned = ids_and_labels(processor, messages, labels)
    return str(processor.tokenizer.decode([token for token in learned if token != IGNORE]))


TALK = [
    Message("user", "<image>\nWhat?\n\nSay."),
    Message("assistant", "That\nis it."),
    Message("user", "Sure?"),
    Message("assistant", "Yes."),
]


def test_the_released_labels_hold_headers_and_marks(merging: BimbaProcessor) -> None:
    text = learned_text(merging, TALK, "released")
    assert text.count("<|im_start|>") == 5
    assert text.count("assistant") == 2


@pytest.mark.parametrize("name", ["processor", "merging"])
def test_assistant_only_labels_are_answers_and_their_ends(name: str, request: pytest.FixtureRequest) -> None:
    processor: BimbaProcessor = request.getfixturevalue(name)
    assert learned_text(processor, TALK, "assistant_only") == "That\nis it.<|im_end|>Yes.<|im_end|>"


@settings(deadline=None, derandomize=True)
@given(st.lists(st.text(st.sampled_from("ab \n\tä≠😀<>|"), min_size=1, max_size=12), min_size=2, max_size=4))
def test_what_is_learned_changes_no_id(contents: list[str]) -> None:
    processor = BimbaProcessor(tiny_tokenizer())
    messages = [Message("assistant" if place % 2 else "user", text) for place, text in enumerate(contents)]
    ids, released = ids_and_labels(processor, messages, "released")
    same, answers = ids_and_labels(processor, messages, "assistant_only")
    assert ids == same
    assert all(label in (IGNORE, token) for token, label in zip(ids, answers, strict=True))
    assert all(label in (IGNORE, other) for label, other in zip(answers, released, strict=True))
    said = processor.tokenizer.decode([token for token in answers if token != IGNORE])
    assert said == "".join(f"{message.content}<|im_end|>" for message in messages if message.role == "assistant")


def test_a_token_that_begins_in_the_header_is_not_learned(merging: BimbaProcessor) -> None:
    """Where the newlines of header and answer are one token, it is given when the answer is generated."""
    messages = [Message("user", "Why?"), Message("assistant", "\nSo.")]
    ids, released = ids_and_labels(merging, messages, "released")
    same, learned = ids_and_labels(merging, messages, "assistant_only")
    assert ids == same
    assert merging.tokenizer.decode([token for token in learned if token != IGNORE]).strip("\n") == "So.<|im_end|>"
    assert sum(label != IGNORE for label in learned) < sum(label != IGNORE for label in released)


def test_a_template_of_its_own_learns_answers_in_both_modes() -> None:
    tokenizer = AutoTokenizer.from_pretrained(GOLDEN / "tiny_base", config=Qwen2Config())
    tokenizer.chat_template = (
        "{% for message in messages %}[{{ message.role }}]{{ message.content }}~{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    processor = BimbaProcessor(tokenizer, prompt_style="template")
    for labels in ("released", "assistant_only"):
        assert learned_text(processor, TALK, labels) == "That\nis it.~Yes.~"


def test_a_tokenizer_without_places_cannot_tell_answers(
    processor: BimbaProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(processor.tokenizer), "is_fast", False)
    with pytest.raises(InputError, match="which letters"):
        ids_and_labels(processor, TALK, "assistant_only")
    assert ids_and_labels(processor, TALK, "released")[0] == ids_of(
        processor, chatml(TALK, add_generation_prompt=False)
    )


def ids_of(processor: BimbaProcessor, text: str) -> list[int]:
    return list(processor.tokenizer(text, add_special_tokens=False)["input_ids"])
