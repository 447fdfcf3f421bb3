"""The model that comes with the package: small, safe to open, opened in every way, its words mean something."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

import bimba
from bimba.checkpoints.shipped import NANO, shipped_models
from bimba.errors import BimbaError
from bimba.evaluation.scoring import is_right
from bimba.inference import VideoQA
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.needles import NeedleRun, make_needles
from bimba.needles.questions import ABOUT_ITSELF, CANNOT_TELL

FOLDER = shipped_models()[NANO]
MOST_BYTES = 20_000_000


@pytest.fixture(scope="module")
def nano() -> VideoQA:
    return bimba.load(NANO)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> NeedleRun:
    """A dozen short videos of the test split, with one needle each."""
    return make_needles(
        tmp_path_factory.mktemp("nano"),
        seed=5,
        videos=12,
        seconds=16,
        fps=4,
        size="112x84",
        needles=1,
        kinds="shape,digit,letter,caption",
    )


def test_it_is_small_and_holds_nothing_that_is_unpickled() -> None:
    files = {path.name for path in FOLDER.iterdir()}
    assert files <= {
        "README.md",
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= MOST_BYTES


def test_its_files_name_no_machine() -> None:
    for path in FOLDER.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert "/tmp" not in text
        assert "runs/" not in text


def test_it_is_a_model_like_any_other(nano: VideoQA) -> None:
    assert isinstance(nano.model, BimbaForConditionalGeneration)
    assert nano.model.config.text_config.model_type == "qwen2"
    assert json.loads((FOLDER / "config.json").read_text())["compressor"]["type"] == "selective_scan"


def test_transformers_open_it_alone(nano: VideoQA) -> None:
    model = AutoModelForImageTextToText.from_pretrained(FOLDER)
    assert type(model).__name__ == "BimbaForConditionalGeneration"
    assert type(AutoProcessor.from_pretrained(FOLDER)) is type(nano.processor)
    ours = nano.model.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in model.state_dict().items())


def test_what_it_sees_it_names(nano: VideoQA, run: NeedleRun) -> None:
    """Most of what is asked about single needles; docs/nano.md has the numbers of a whole test split."""
    asked = [(video.file, question) for video in run.manifest.videos for question in video.questions[:3]]
    right = [is_right(nano.ask(run.folder / file, one.question, num_frames=64).text, one.answer) for file, one in asked]
    assert len(right) >= 24
    assert sum(right) / len(right) >= 0.75


@pytest.mark.parametrize(
    "question", ["Who is the president of France?", "What does the man say about the weather?", "Why is the sky blue?"]
)
def test_what_it_does_not_know_it_does_not_make_up(nano: VideoQA, run: NeedleRun, question: str) -> None:
    said = nano.ask(run.folder / run.manifest.videos[0].file, question, num_frames=16).text
    assert is_right(said, CANNOT_TELL)


def test_it_says_what_it_can_be_asked(nano: VideoQA, run: NeedleRun) -> None:
    said = nano.ask(run.folder / run.manifest.videos[0].file, "What can you do?", num_frames=16).text
    assert is_right(said, ABOUT_ITSELF)


def test_it_talks(nano: VideoQA, run: NeedleRun) -> None:
    """Questions one after the other about a video that is read once."""
    video = run.manifest.videos[0]
    chat = nano.chat(run.folder / video.file, num_frames=32)
    said = [chat.ask(question.question).text for question in video.questions[:2]]
    assert all(said)
    assert len(chat.turns) == 4


def test_a_name_that_nothing_has_is_refused() -> None:
    with pytest.raises(BimbaError):
        bimba.load("bimba-nanoo")


def test_its_card_tells_what_it_is_for_and_made_of() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for words in ("## Intended use", "## Training data and licences", "## Limits", "OpenMoji", "recipes/train/nano"):
        assert words in card
    assert json.loads((FOLDER / "config.json").read_text())["model_type"] == "bimba"
    assert Path(FOLDER / "README.md").stat().st_size < 30_000
