"""The loss that tells the video's tokens which words stand where."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from bimba.checkpoints.loading import LoadOptions, load_model
from bimba.errors import InputError
from bimba.training.data.streams import MOST_WORDS, NO_WORD
from bimba.training.loop.trainer import BimbaTrainer
from bimba.training.loop.watching import LOG_NAME, read_log
from bimba.training.model.start import start_bimba
from bimba.training.model.words import SHARPNESS, WordLoss
from bimba.training.recipe.settings import Recipe, Words
from bimba.training.run import train
from small_runs import small_recipe
from stream_runs import recipe_of

NOTHING = 3


def words_of(*places: list[int]) -> Tensor:
    """Words [P, K] of some places."""
    return torch.tensor([place + [NO_WORD] * (MOST_WORDS - len(place)) for place in places])


def naive(tokens: Tensor, words: Tensor, table: Tensor, background: float, shown: Iterable[int]) -> Tensor:
    """The definition: a weighted mean of cross entropies with even distributions, over what can be shown."""
    choices = sorted({NOTHING, *shown})
    total, weights = torch.tensor(0.0), 0.0
    for token, place in zip(tokens, words.tolist(), strict=True):
        there = [word for word in place if word != NO_WORD] or [NOTHING]
        cosines = torch.stack([nn.functional.cosine_similarity(token, word, dim=0) for word in table[choices]])
        log_shares = dict(zip(choices, torch.log_softmax(SHARPNESS * cosines, dim=0), strict=True))
        weight = background if place[0] == NO_WORD else 1.0
        total = total - weight * sum(log_shares[word] for word in there) / len(there)
        weights += weight
    return total / weights


@pytest.mark.parametrize("at", ["tokens", "queries"])
def test_it_is_the_mean_cross_entropy_with_the_words(
    at: Literal["tokens", "queries"], needles: Path, tmp_path: Path
) -> None:
    model, _ = start_bimba(small_recipe(tmp_path, needles))
    shown = [0, 1, 2, *range(5, 40)]
    loss = WordLoss(model, Words(at=at, background=0.3), NOTHING, shown)
    generator = torch.Generator().manual_seed(1)
    frames = [4, 2, 4]
    pixels = torch.randn(sum(frames), 3, 70, 70, generator=generator)
    features = model.get_vision_features(pixels)
    projected = model.project(features).split(frames)
    loss._heard.clear()
    found = model.encode_features(features, frames)
    if at == "tokens":
        tokens = [video.flatten(0, -2) for video in projected]
    else:
        per_video = [model.compress(video[None])[0] for video in projected]
        tokens = [video.flatten(0, -2) for video in per_video]
        loss._heard.clear()
        found = model.encode_features(features, frames)
    assert len(found) == 3
    words = [
        torch.randint(4, 40, (len(video), MOST_WORDS), generator=generator).sort(descending=True).values
        for video in tokens
    ]
    for video_words in words:
        video_words[video_words == 4] = NO_WORD  # it comes last
    words[0][:3] = NO_WORD
    words[2] = words[2][:0]  # nobody knows
    table = model.get_parameter("language_model.model.embed_tokens.weight")
    ours = loss.take(table, words, frames)
    theirs = naive(torch.cat(tokens[:2]), torch.cat(words[:2]), table, 0.3, shown)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="was not called"):
        loss.take(table, words, frames)


def test_a_token_between_its_two_words_is_best() -> None:
    table = torch.eye(6)
    words = words_of([0, 1], [])
    loss = WordLoss.__new__(WordLoss)
    loss.settings, loss.nothing, loss.choices = Words(background=1.0), NOTHING, torch.arange(6)
    between = torch.stack([table[0] + table[1], table[NOTHING]])
    best = loss._loss(between, words, table)
    for other in (table[[0, NOTHING]], table[[1, NOTHING]], table[[2, NOTHING]], torch.stack([between[0], table[5]])):
        assert loss._loss(other, words, table) > best


def test_tokens_as_long_as_words_cost_nothing() -> None:
    table = torch.eye(6) * 3
    words = words_of([0, 1], [])
    loss = WordLoss.__new__(WordLoss)
    loss.nothing, loss.choices = NOTHING, torch.arange(6)
    tokens = torch.stack([table[0] + table[1], table[NOTHING]])

    def cost(tokens: Tensor) -> float:
        found = []
        for length in (0.0, 0.5):
            loss.settings = Words(length=length)
            found.append(float(loss._loss(tokens, words, table)))
        return found[1] - found[0]

    as_long = 3 * nn.functional.normalize(tokens, dim=-1)
    assert cost(as_long) == pytest.approx(0, abs=1e-6)
    twice = cost(as_long * torch.tensor([[2.0], [1.0]]))
    assert twice == pytest.approx(0.5 * math.log(2) ** 2 / 2, rel=1e-4)
    assert cost(as_long * torch.tensor([[0.5], [1.0]])) == pytest.approx(twice, rel=1e-4)
    given = as_long.clone().requires_grad_()
    table.requires_grad_()
    loss.settings = Words(length=0.5)
    loss._loss(given * 2, words, table).backward()
    assert given.grad is not None
    assert bool(((given.grad * given.detach()).sum(dim=-1) > 0).all())  # a step makes long tokens shorter


def test_words_that_nothing_can_show_are_left_alone() -> None:
    table = torch.randn(8, 6, generator=torch.Generator().manual_seed(3)).requires_grad_()
    loss = WordLoss.__new__(WordLoss)
    loss.nothing, loss.choices = NOTHING, torch.tensor([1, NOTHING, 5])
    loss.settings = Words()
    tokens = torch.randn(2, 6, generator=torch.Generator().manual_seed(4))
    loss._loss(tokens, words_of([5, 1], []), table).backward()
    assert table.grad is not None
    touched = table.grad.abs().sum(dim=1) > 0
    assert touched.tolist() == [False, True, False, True, False, True, False, False]
    for word in (0, 4, 7):
        with pytest.raises(ValueError, match="not said to show"):
            loss._loss(tokens, words_of([5, word], []), table)


def test_words_become_as_long_as_each_other() -> None:
    table = torch.eye(6) * torch.tensor([1.0, 1, 1, 5, 5, 5])[:, None]
    table.requires_grad_()
    loss = WordLoss.__new__(WordLoss)
    loss.settings, loss.nothing, loss.choices = Words(length=0.5), NOTHING, torch.arange(6)
    loss._loss(3 * torch.eye(6)[[0, NOTHING]], words_of([0], []), table).backward()
    assert table.grad is not None
    assert [float(row) > 0 for row in table.grad.diagonal()] == [False] * 3 + [True] * 3  # short ones grow


def short(tmp_path: Path, **changes: object) -> Recipe:
    """Some steps on streamed videos."""
    return recipe_of(tmp_path, schedule__max_steps=12, schedule__learning_rate=5e-3, **changes)


@pytest.mark.parametrize("at", ["tokens", "queries"])
def test_a_run_lowers_it_and_logs_it(at: str, tmp_path: Path) -> None:
    recipe = short(tmp_path, objective={"answers": 0, "words": {"at": at}})
    train(recipe)
    lines = read_log(recipe.output / LOG_NAME)
    assert lines[-1]["words_loss"] < lines[0]["words_loss"] - 0.5
    assert lines[-1]["loss"] == pytest.approx(lines[-1]["words_loss"], rel=1e-4)
    assert lines[0]["answers_loss"] == 0  # nobody reads the answers


def test_lengths_stay_those_of_words(tmp_path: Path) -> None:
    longer = []
    for number, length in enumerate((0.0, 1.0)):
        objective = {"answers": 0, "words": {"at": "queries", "length": length}}
        recipe = short(tmp_path / str(number), objective=objective)
        model, _ = load_model(train(recipe).folder, None, LoadOptions(device="cpu", dtype="float32"))
        ear = WordLoss(model, Words(), NOTHING, ())
        with torch.no_grad():
            model.get_video_features(torch.randn(4, 3, 70, 70, generator=torch.Generator().manual_seed(2)))
        of_words = model.get_input_embeddings().weight.detach().norm(dim=-1).mean()
        longer.append(abs(float(torch.cat(ear._heard).norm(dim=-1).mean() / of_words) - 1))
    assert longer[1] < 0.5 * longer[0]


def test_answers_and_words_are_added_up(tmp_path: Path) -> None:
    recipe = short(tmp_path, objective={"answers": 0.5, "words": {"weight": 2.0}}, schedule__accumulation=2)
    train(recipe)
    line = read_log(recipe.output / LOG_NAME)[0]
    assert line["loss"] == pytest.approx(0.5 * line["answers_loss"] + 2 * line["words_loss"], rel=1e-4)


def test_after_an_interruption_the_first_entry_is_the_mean_of_its_own_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [
        short(tmp_path / name, objective={"answers": 0.5, "words": {}}, log__every=3, save={"every": 5})
        for name in ("whole", "interrupted")
    ]
    train(runs[0])
    step = BimbaTrainer.training_step

    def stop(trainer: BimbaTrainer, *arguments: Any, **named: Any) -> Any:
        if trainer.state.global_step == 8:  # six are logged, and five are saved
            raise KeyboardInterrupt
        return step(trainer, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(BimbaTrainer, "training_step", stop)
        with pytest.raises(KeyboardInterrupt):
            train(runs[1])
    train(runs[1])
    whole, interrupted = (read_log(run.output / LOG_NAME) for run in runs)
    assert [line["step"] for line in interrupted] == [line["step"] for line in whole] == [1, 3, 6, 9, 12]
    for line in interrupted:
        parts = 0.5 * line["answers_loss"] + line["words_loss"]
        assert line["loss"] == pytest.approx(parts, rel=1e-4), line["step"]
    for one, other in zip(whole[3:], interrupted[3:], strict=True):
        assert one["words_loss"] == pytest.approx(other["words_loss"], rel=1e-5)


def test_a_tokenizer_without_the_word_for_nothing_is_refused(needles: Path, tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path / "run", needles, objective={"words": {}})
    with pytest.raises(InputError, match="a token for 'nothing'"):
        train(recipe)


def test_nothing_to_minimise_is_refused(needles: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing would be minimised"):
        small_recipe(tmp_path / "run", needles, objective={"answers": 0})
    with pytest.raises(ValueError, match="only queries share the moments"):
        Words(at="tokens", of="frames")
