"""Several processes that train together learn what one learns from the same global batches.

They run on the CPU and talk through gloo. Weights are compared with an epsilon of Adam that is large for it: with a
small one, a weight whose gradient is nothing but rounding (a bias of keys, which moves all scores alike) still walks.
"""

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file

from bimba.training.loop.counting import read_counts
from bimba.training.loop.trainer import BimbaTrainer
from bimba.training.loop.watching import read_log
from bimba.training.recipe.settings import Recipe
from bimba.training.run import train
from mixed_samples import BROKEN, IMAGE, TEXT, VIDEO, ids_of, kind_of, write_samples
from processes import Together, outcomes
from small_runs import small_recipe

GLOBAL_BATCH = 4
MIXED = (VIDEO,) * 4 + (IMAGE,) * 3 + (TEXT,) * 6
"""13 samples: three places of an epoch of 4 steps are blank."""

BAR = 1e-5
LEARNING_RATE = 1e-3
FULL = {part: {"mode": "full"} for part in ("vision_tower", "separators", "language_model")}
LORA: dict[str, Any] = {
    "vision_tower": {"mode": "lora"},
    "separators": {"mode": "full"},
    "language_model": {"mode": "lora"},
    "lora": {"rank": 2, "alpha": 4, "dropout": 0, "targets": ["q_proj", "v_proj"]},
}


@dataclass(frozen=True)
class Seen:
    """What a process saw of a run.

    Attributes:
        steps: ids of the samples that it trained on in each step.
        failed: unreadable samples that it had counted at the end, of all processes.
    """

    steps: list[list[str]]
    failed: dict[str, str]


def train_and_tell(recipe: Recipe) -> Seen:
    """What each process of a run does."""
    seen = Seen([], {})
    take = BimbaTrainer.get_batch_samples

    def take_and_tell(self: BimbaTrainer, *arguments: Any) -> Any:
        taken = take(self, *arguments)
        seen.steps.append(ids_of(self._names))
        seen.failed.update(self.task.counter.counts.failed)
        return taken

    with patch.object(BimbaTrainer, "get_batch_samples", take_and_tell):
        train(recipe)
    return seen


class Runs:
    """Runs over the same samples, each in a folder of its own.

    Args:
        folder: where they lie.
        media: videos and images.
        kinds: of samples.
        changes: of the small recipe.
    """

    def __init__(self, folder: Path, media: Path, kinds: Sequence[str] = MIXED, **changes: Any) -> None:
        self.folder, self.media = folder, media
        source = write_samples(folder / "samples.json", media, kinds)
        self.changes: dict[str, Any] = {
            "data__sources": [source],
            "schedule__max_steps": None,
            "schedule__epochs": 2,
            "schedule__batch_size": 1,
            "schedule__global_batch_size": GLOBAL_BATCH,
            "schedule__learning_rate": LEARNING_RATE,
            "schedule__epsilon": 1e-4,
            "save__every": 100,
        } | changes

    def recipe(self, name: str, **changes: Any) -> Recipe:
        return small_recipe(self.folder / name, self.media, **(self.changes | changes))

    def one(self, **changes: Any) -> Path:
        """The run of one process."""
        recipe = self.recipe("one", **changes)
        outcomes(1, train_and_tell, recipe)
        return recipe.output

    def two(self, **changes: Any) -> tuple[Path, list[Seen]]:
        """The run of two processes, and what each of them saw."""
        recipe = self.recipe("two", **changes)
        return recipe.output, outcomes(2, train_and_tell, recipe)


def check_same_log(one: Path, two: Path, bar: float = BAR) -> None:
    """Each step has the same loss, norm, rate and counts."""
    ours, theirs = read_log(one / "log.jsonl"), read_log(two / "log.jsonl")
    assert len(ours) == len(theirs) > 1
    for mine, other in zip(ours, theirs, strict=True):
        for name in ("step", "epoch", "learning_rate", "samples_seen", "samples_failed"):
            assert mine[name] == other[name], name
        for name in ("loss", "grad_norm"):
            assert abs(mine[name] - other[name]) <= bar * mine[name], f"{name} of step {mine['step']}"
    assert read_counts(one) == read_counts(two)


def check_same_weights(one: Path, two: Path) -> None:
    """Each trained tensor ends as the other, measured by its largest weight or one step of the optimizer."""
    step = len(read_log(one / "log.jsonl"))
    place = f"checkpoint-{step}/trained.safetensors"
    ours, theirs = load_file(one / place), load_file(two / place)
    assert ours.keys() == theirs.keys()
    for name, weights in ours.items():
        difference = (weights - theirs[name]).abs().max()
        assert difference <= BAR * max(float(weights.abs().max()), LEARNING_RATE), f"{name}: {difference}"


def has_media(ids: list[str]) -> bool:
    return any(kind_of(sample_id) != TEXT for sample_id in ids)


@pytest.mark.parametrize("parts", [FULL, LORA], ids=["all weights", "LoRA"])
@pytest.mark.parametrize("grouped", [False, True], ids=["in random order", "grouped by length"])
def test_two_processes_learn_what_one_does(grouped: bool, parts: dict[str, Any], media: Path, tmp_path: Path) -> None:
    """Two processes with one sample at a time and two batches a step; one process with a whole step at a time."""
    runs = Runs(tmp_path, media, data__group_by_length=grouped, train=parts)
    one, (two, seen) = runs.one(schedule__batch_size=GLOBAL_BATCH), runs.two()
    check_same_log(one, two)
    check_same_weights(one, two)
    losses = [line["loss"] for line in read_log(one / "log.jsonl")]
    assert losses[-1] != losses[0], "it learns"
    pairs = list(zip(*(process.steps for process in seen), strict=True))
    assert grouped or any(has_media(ours) != has_media(theirs) for ours, theirs in pairs), "texts here, videos there"


def test_one_process_accumulates_what_two_share(media: Path, tmp_path: Path) -> None:
    """One sample at a time, four batches a step; two samples at a time, one batch a step."""
    runs = Runs(tmp_path, media, train=FULL)
    one, (two, _) = runs.one(), runs.two(schedule__batch_size=2)
    check_same_log(one, two)
    check_same_weights(one, two)


@pytest.mark.parametrize("grouped", [False, True], ids=["in random order", "grouped by length"])
def test_in_an_epoch_each_sample_is_trained_on_once_by_one_process(grouped: bool, media: Path, tmp_path: Path) -> None:
    _, seen = Runs(tmp_path, media, data__group_by_length=grouped).two()
    all_ids = {f"{kind}-{number}" for number, kind in enumerate(MIXED)}
    num_steps = -(-len(MIXED) // GLOBAL_BATCH)
    orders = []
    for epoch in range(2):
        parts = [process.steps[epoch * num_steps : (epoch + 1) * num_steps] for process in seen]
        assert [len(part) for part in parts] == [num_steps, num_steps]
        counts = Counter(sample_id for part in parts for ids in part for sample_id in ids)
        assert counts == Counter(all_ids)
        assert all(len(ids) <= GLOBAL_BATCH // 2 for part in parts for ids in part)
        orders.append(parts)
    assert orders[0] != orders[1], "each epoch has an order of its own"


def test_an_unreadable_sample_of_one_process_is_left_out_and_counted_by_all(media: Path, tmp_path: Path) -> None:
    kinds = (VIDEO, TEXT, BROKEN, VIDEO, IMAGE, TEXT, TEXT)
    runs = Runs(tmp_path, media, kinds, data__max_failed=0.2)
    one, (two, seen) = runs.one(), runs.two()
    check_same_log(one, two)
    assert [ids_of(process.failed) for process in seen] == [["broken-2"], ["broken-2"]]
    assert "missing-2.mp4" in next(iter(seen[0].failed.values()))
    assert read_counts(two).samples == 2 * (len(kinds) - 1)
    assert read_log(two / "log.jsonl")[-1]["samples_failed"] == 1


def test_a_step_of_nothing_but_unreadable_samples_moves_on(media: Path, tmp_path: Path) -> None:
    """Four broken samples, then good ones: some step may have none at all, or one of the processes."""
    runs = Runs(tmp_path, media, (BROKEN, BROKEN, VIDEO), data__max_failed=1, schedule__global_batch_size=2)
    one, (two, seen) = runs.one(schedule__weight_decay=0), runs.two(schedule__weight_decay=0)
    check_same_log(one, two)
    assert any(not any(steps) for steps in zip(*(process.steps for process in seen), strict=True))
    assert any(line["loss"] == 0 for line in read_log(two / "log.jsonl"))


def test_too_many_unreadable_samples_stop_every_process(media: Path, tmp_path: Path) -> None:
    kinds = (VIDEO, BROKEN, TEXT, BROKEN, VIDEO, BROKEN, TEXT, IMAGE)
    runs = Runs(tmp_path, media, kinds, data__max_failed=0.2)
    first, second = Together(2, train, runs.recipe("stopped")).endings()
    assert first.error == second.error == "TrainingError"
    assert first.message == second.message
    assert "of 8 samples are unreadable, more than data.max_failed = 0.2 allows" in first.message


def train_with_a_loss_that_breaks(recipe: Recipe) -> None:
    """The second process's loss is no number in the third step."""
    compute = BimbaTrainer.compute_loss

    def break_loss(self: BimbaTrainer, model: Any, inputs: Any, **others: Any) -> Any:
        loss = compute(self, model, inputs, **others)
        return loss * torch.nan if self.state.global_step == 2 and os.environ["RANK"] == "1" else loss

    with patch.object(BimbaTrainer, "compute_loss", break_loss):
        train(recipe)


@pytest.mark.parametrize("max_grad_norm", [0, 1], ids=["not clipped", "clipped"])
def test_a_loss_that_is_no_number_in_one_process_stops_all_and_names_the_samples_of_all(
    max_grad_norm: float, media: Path, tmp_path: Path
) -> None:
    runs = Runs(tmp_path, media, schedule__max_grad_norm=max_grad_norm)
    _, seen = runs.two()
    endings = Together(2, train_with_a_loss_that_breaks, runs.recipe("broken")).endings()
    assert [ending.error for ending in endings] == ["TrainingError", "TrainingError"]
    for ending in endings:
        assert "is nan at step 3" in ending.message
        for process in seen:
            assert all(sample_id in ending.message for sample_id in process.steps[2])


def test_a_killed_run_of_two_processes_goes_on_with_two_and_ends_as_if_undisturbed(media: Path, tmp_path: Path) -> None:
    lora = LORA["lora"] | {"dropout": 0.3}
    runs = Runs(
        tmp_path, media, train=LORA | {"lora": lora}, schedule__epochs=5, save__every=2, data__group_by_length=True
    )  # fmt: skip
    undisturbed, _ = runs.two()
    recipe = runs.recipe("killed")
    together = Together(2, train, recipe)
    while together.is_running() and not (recipe.output / "checkpoint-6").exists():
        time.sleep(0.001)
    together.kill()
    assert not (recipe.output / "model").exists(), "it was over before it was killed"
    seen = outcomes(2, train_and_tell, recipe)
    assert len(seen[0].steps) < 20, "it went on"
    for name in ("checkpoint-20/trained.safetensors", "model/model.safetensors"):
        ours, theirs = load_file(undisturbed / name), load_file(recipe.output / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    check_same_log(undisturbed, recipe.output, bar=0)
    steps = [int(line["step"]) for line in read_log(recipe.output / "log.jsonl")]
    assert all(after == before + 1 for before, after in pairwise(steps))


def test_a_run_of_two_processes_may_go_on_with_one(media: Path, tmp_path: Path) -> None:
    runs = Runs(tmp_path, media, save__every=2)
    undisturbed, _ = runs.two()
    recipe = runs.recipe("killed")
    together = Together(2, train, recipe)
    while together.is_running() and not (recipe.output / "checkpoint-2").exists():
        time.sleep(0.001)
    together.kill()
    assert not (recipe.output / "model").exists(), "it was over before it was killed"
    outcomes(1, train, recipe)
    check_same_log(undisturbed, recipe.output)
    check_same_weights(undisturbed, recipe.output)


def test_a_global_batch_that_cannot_be_dealt_is_refused_by_every_process(media: Path, tmp_path: Path) -> None:
    runs = Runs(tmp_path, media, schedule__global_batch_size=3)
    for ending in Together(2, train, runs.recipe("refused")).endings():
        assert ending.error == "InputError"
        assert "global_batch_size is 3, which 2 processes with batch_size 1 cannot make up" in ending.message
        assert "take a multiple of 2" in ending.message
    assert not (tmp_path / "refused").exists()


def test_reading_ahead_changes_nothing(media: Path, tmp_path: Path) -> None:
    runs = Runs(
        tmp_path, media, train=LORA | {"lora": LORA["lora"] | {"dropout": 0.3}}, data__group_by_length=True,
        schedule__epochs=1,
    )  # fmt: skip
    alone = runs.one()
    for workers in (1, 2):
        recipe = runs.recipe(f"{workers}-ahead", data__workers=workers)
        outcomes(1, train, recipe)
        check_same_log(alone, recipe.output, bar=0)
        check_same_weights(alone, recipe.output)


def test_two_processes_that_each_read_ahead_learn_the_same(media: Path, tmp_path: Path) -> None:
    runs = Runs(tmp_path, media, schedule__epochs=1)
    one, (two, _) = runs.one(), runs.two(data__workers=1)
    check_same_log(one, two)
