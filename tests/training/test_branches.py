"""Several questions behind one video: the losses are those of the conversations one by one."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.text.labels import IGNORE
from bimba.training.data.branches import join_branches, positions_and_mask
from bimba.training.data.collator import Collator
from bimba.training.data.example import Example
from bimba.training.data.learned import ids_and_labels
from bimba.training.data.opening import open_dataset
from bimba.training.data.samples import read_samples
from bimba.training.data.streams import conversations, open_stream
from bimba.training.model.start import start_bimba
from bimba.training.recipe.settings import Recipe
from stream_runs import STREAM, recipe_of


@pytest.fixture
def made(tmp_path: Path) -> tuple[Recipe, BimbaForConditionalGeneration, BimbaProcessor]:
    """A model from random weights."""
    recipe = recipe_of(tmp_path)
    model, processor = start_bimba(recipe)
    model.eval()  # type: ignore[no-untyped-call] # untyped there
    return recipe, model, processor


def answer_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Loss of each learned place of one row, in order."""
    learned = labels[1:] != IGNORE
    losses = torch.nn.functional.cross_entropy(logits[:-1].float(), labels[1:].clamp(min=0), reduction="none")
    return losses[learned]


@pytest.mark.parametrize("turns", [1, 3])
def test_losses_and_gradients_are_those_of_the_conversations_one_by_one(
    turns: int, made: tuple[Recipe, BimbaForConditionalGeneration, BimbaProcessor]
) -> None:
    recipe, model, processor = made
    (source,) = recipe.data.sources
    assert source.stream is not None
    source = source.model_copy(update={"stream": source.stream.model_copy(update={"turns": turns})})
    model.zero_grad()
    store = read_samples([source], 0)
    dataset = open_dataset(recipe, store, model.config, processor)
    stream = open_stream(source.stream)  # type: ignore[arg-type] # it is one
    rows = [dataset[index] for index in range(3)]
    batch = Collator(processor)(rows)
    keep = ("input_ids", "attention_mask", "position_ids", "pixel_values_videos", "num_video_frames")
    together = model(**{name: batch[name] for name in keep}).logits
    ours = [answer_losses(together[row], batch["labels"][row]) for row in range(3)]
    sum(losses.sum() for losses in ours).backward()  # type: ignore[union-attr] # three tensors
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    for row, losses in enumerate(ours):
        alone = []
        example = rows[row]
        assert isinstance(example, Example)
        for talk in conversations(stream[row], turns):
            ids, labels = ids_and_labels(processor, talk, recipe.data.labels)
            single = Example("one", *expanded(processor, ids, labels), example.pixels)
            given = Collator(processor)([single])
            assert "position_ids" not in given
            logits = model(**{name: given[name] for name in keep if name != "position_ids"}).logits
            alone.append(answer_losses(logits[0], given["labels"][0]))
        torch.testing.assert_close(losses, torch.cat(alone), rtol=1e-5, atol=1e-5)
        torch.cat(alone).sum().backward()
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            scale = float(parameter.grad.abs().max()) + 1e-8
            assert float((gradients[name] - parameter.grad).abs().max()) < 1e-4 * scale + 1e-6, name


def expanded(processor: BimbaProcessor, ids: list[int], labels: list[int]) -> tuple[list[int], list[int]]:
    """A placeholder for each video token."""
    place, count = ids.index(processor.video_token_id), processor.num_video_tokens(4)
    return (
        ids[:place] + [processor.video_token_id] * count + ids[place + 1 :],
        labels[:place] + [IGNORE] * count + labels[place + 1 :],
    )


def test_no_branch_sees_another() -> None:
    positions, mask = positions_and_mask([9, 4], [[3, 5], []], 9)
    assert positions[0].tolist() == [0, 1, 2, 3, 4, 3, 4, 5, 6]
    assert positions[1, :4].tolist() == [0, 1, 2, 3]
    sees = mask[0, 0]
    assert sees[4].nonzero().flatten().tolist() == [0, 1, 2, 3, 4]
    assert sees[7].nonzero().flatten().tolist() == [0, 1, 2, 5, 6, 7]
    assert mask[1, 0, :4, :4].equal(torch.ones(4, 4, dtype=torch.bool).tril())
    assert mask.any(dim=-1).all()  # a row that saw nothing would have no numbers


def test_what_does_not_begin_alike_is_refused() -> None:
    with pytest.raises(ValueError, match="begin alike"):
        join_branches([([1, 9, 2], [0, 0, 0]), ([2, 9, 2], [0, 0, 0])], 9)
    with pytest.raises(ValueError, match="one video"):
        join_branches([([1, 2], [0, 0])], 9)


def test_a_sample_is_described_with_all_of_its_questions(
    made: tuple[Recipe, BimbaForConditionalGeneration, BimbaProcessor],
) -> None:
    recipe, model, processor = made
    store = read_samples(recipe.data.sources, 0)
    dataset = open_dataset(recipe, store, model.config, processor)
    assert store.name(2) == "needles-0[2]"
    assert len(store) == STREAM["videos"]
    described = dataset.describe(2)
    example = dataset[2]
    assert isinstance(example, Example)
    assert dataset.measure(2) == example.ids.count(processor.video_token_id)
    text = "".join(piece.text for piece in dataset.pieces(described))  # type: ignore[arg-type] # it can be read
    for message in described.messages:  # type: ignore[union-attr] # as above
        assert message.content.removeprefix("<image>\n").split()[0] in text
