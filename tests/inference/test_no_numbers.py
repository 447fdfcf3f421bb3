"""Scores that are no numbers end an answer with an error, whichever way it is generated; nothing is made up of them."""

from pathlib import Path
from typing import Any

import pytest
import torch

import bimba
from bimba.errors import GenerationError
from bimba.inference import VideoQA
from bimba.models.bimba.tiny import tiny_model
from vamba_model import save_tiny_vamba

WAYS: list[dict[str, Any]] = [{}, {"temperature": 1.0}, {"num_beams": 2}, {"repetition_penalty": 1.3}]


@pytest.fixture(params=["bimba", "vamba"])
def qa(request: pytest.FixtureRequest, golden: Path, tmp_path: Path) -> VideoQA[Any, Any]:
    """A model of each kind."""
    if request.param == "bimba":
        return VideoQA(*tiny_model(seed=0))
    return bimba.load(save_tiny_vamba(golden, tmp_path / "vamba"))


def spoil(qa: VideoQA[Any, Any], value: float) -> None:
    """Make the scores of all tokens one value, or of some no number."""
    with torch.no_grad():
        head = qa.model.text_model.get_output_embeddings()
        head.weight.fill_(value)


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_an_answer_is_not_made_of_no_numbers(qa: VideoQA[Any, Any], options: dict[str, Any]) -> None:
    assert qa.ask(None, "Why?", max_new_tokens=3, **options).token_ids
    spoil(qa, torch.nan)
    with pytest.raises(GenerationError, match="no numbers") as caught:
        qa.ask(None, "Why?", max_new_tokens=3, **options)
    assert "float32 or bfloat16" in str(caught.value)


def test_a_stream_ends_with_the_same_error(qa: VideoQA[Any, Any]) -> None:
    spoil(qa, torch.inf)
    pieces = qa.stream(None, "Why?", max_new_tokens=3)
    with pytest.raises(GenerationError, match="no numbers"):
        list(pieces)
