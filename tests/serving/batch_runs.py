"""A model in; prompts as the engine writes them, and batches that come to their end, out, for the tests."""

from typing import Any

import numpy as np
import torch

from bimba.inference import VideoQA
from bimba.serving.engine.batch import Batch
from bimba.serving.engine.prompt import Prompt, write_prompt
from bimba.serving.engine.ticket import Asked, Drawing
from bimba.text.prompts import Message
from serving_runs import Kept

QUESTIONS = ("What is there?", "And what comes after the red square, if anything does?", "Why?", "Is it a dog " * 9)


def frames(count: int) -> np.ndarray:
    """Frames of noise, always the same."""
    return np.random.default_rng(count).integers(0, 255, (count, 40, 50, 3), dtype=np.uint8)


def written(qa: VideoQA[Any, Any], kept: Kept, video: np.ndarray | None = None) -> Prompt:
    """The prompt of a question, its video encoded."""
    clip = None
    if video is not None:
        clip = qa.encode(video, num_frames=len(video)).clip
    return write_prompt(qa, kept.ticket, clip, most_new_tokens=12)


def asked(question: str, **drawing: Any) -> Kept:
    """A question, and what its asker is told."""
    return Kept(Asked((Message("user", question),), drawing=Drawing(**drawing), is_streamed=True))


def run(batch: Batch) -> None:
    """Step until everybody has his answer."""
    while not batch.is_idle:
        batch.step()


def without_numbers(qa: VideoQA) -> VideoQA:
    """A model whose every score is no number."""
    with torch.no_grad():
        qa.model.language_model.get_output_embeddings().weight.fill_(torch.nan)
    return qa
