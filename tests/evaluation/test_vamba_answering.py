"""Evaluation asks a Vamba as `VideoQA.ask` does, reading each video once; letters are as likely as the model says."""

from pathlib import Path
from typing import Any

import pytest
import torch

import bimba
from bimba.evaluation.answering import Query
from bimba.evaluation.answering.prompt import write_prompt
from bimba.evaluation.running.answerers import BimbaAnswerer
from bimba.inference.clip import ClipFile
from bimba.needles import make_needles
from bimba.text.prompts import Message
from bimba.video.source import Video
from vamba_model import save_tiny_vamba

QUESTIONS = [Query("What is shown?"), Query("Which is it?\n(A) red\n(B) blue"), Query("How many are there in all?")]


@pytest.fixture(scope="module")
def vamba(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return bimba.load(save_tiny_vamba(golden, tmp_path_factory.mktemp("vamba") / "tiny"))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> ClipFile:
    made = make_needles(
        tmp_path_factory.mktemp("videos"), videos=1, seconds=6, fps=4, size="128x72", needles=1, needle_seconds=1
    )
    return ClipFile(Video(next(made.folder.glob("*.mp4"))))


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_answers_are_those_of_asking(batch_size: int, vamba: Any, file: ClipFile) -> None:
    answerer = BimbaAnswerer(vamba, max_new_tokens=6, batch_size=batch_size)
    answerer.check(20)
    said = answerer.say(answerer.chunks(file.choose(20, "uniform")), QUESTIONS)
    asked = [vamba.ask(file.video, query.question, num_frames=20, max_new_tokens=6).text for query in QUESTIONS]
    assert said == asked
    assert len(set(said)) > 1


@pytest.mark.parametrize("batch_size", [1, 3])
def test_letters_are_as_likely_as_the_model_says(batch_size: int, vamba: Any, file: ClipFile) -> None:
    answerer = BimbaAnswerer(vamba, max_new_tokens=6, batch_size=batch_size)
    found = answerer.choose(answerer.chunks(file.choose(8, "uniform")), QUESTIONS, ["A", "B"])
    letters = [vamba.processor.tokenizer(letter)["input_ids"][0] for letter in "AB"]
    for query, scores in zip(QUESTIONS, found, strict=True):
        inputs = vamba.prepare(file.video, query.question, num_frames=8)
        with torch.no_grad():
            expected = vamba.model(**inputs).logits[0, -1].log_softmax(-1)[letters]
        torch.testing.assert_close(torch.tensor(scores, dtype=torch.float64), expected.double(), atol=1e-4, rtol=1e-4)


def test_prompt_is_cut_behind_the_video(vamba: Any) -> None:
    prompt = write_prompt(vamba.processor, QUESTIONS[0], 30)
    decoded = vamba.processor.tokenizer.decode(prompt.beginning)
    assert decoded.endswith("<|vision_start|><|vision_end|>")
    whole = vamba.processor.write([Message("user", "<image>What is shown?")], [30])[1]
    assert prompt.beginning + prompt.rest == whole
