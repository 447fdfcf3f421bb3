"""Runs that are killed, torn, or stopped in the middle go on, and end as if nothing had happened."""

import multiprocessing
import random
import signal
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from bimba.training.loop.saving import UNFINISHED
from bimba.training.loop.watching import LOG_NAME, read_log
from bimba.training.recipe.settings import Recipe
from bimba.training.run import train
from small_runs import small_recipe

NUM_KILLS = 20
STEPS = 24


def recipe_of(output: Path, needles: Path, **changes: Any) -> Recipe:
    """Dropout and several samples a step, so that random states and accumulation matter."""
    lora = {"rank": 2, "alpha": 4, "dropout": 0.3, "targets": ["q_proj"]}
    parts = {"vision_tower": {"mode": "full"}, "separators": {"mode": "full"}, "language_model": {"mode": "lora"}}
    settings: dict[str, Any] = {
        "train": parts | {"lora": lora},
        "schedule__max_steps": STEPS,
        "schedule__scheduler": "constant",  # a step too many would be seen
        "schedule__accumulation": 2,
        "data__group_by_length": True,
    }
    return small_recipe(output, needles, **(settings | changes))


def run_alone(recipe: Recipe) -> None:
    """What a process of its own does."""
    torch.set_num_threads(1)
    train(recipe)


def same_end(one: Path, other: Path) -> None:
    """Two runs have the same last checkpoint, weights and optimizer, and the same model, bit for bit."""
    for name in (f"checkpoint-{STEPS}/trained.safetensors", "model/model.safetensors"):
        ours, theirs = load_file(one / name), load_file(other / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), name
    for run in (one, other):
        assert [line["step"] for line in read_log(run / LOG_NAME)] == list(range(1, STEPS + 1))
        assert not (run / f"checkpoint-{STEPS + 1}").exists()
    states = [torch.load(run / f"checkpoint-{STEPS}" / "optimizer.pt", weights_only=True) for run in (one, other)]
    for key, state in states[0]["state"].items():
        assert all(torch.equal(state[name], states[1]["state"][key][name]) for name in state)


def test_killed_at_twenty_moments_it_ends_as_if_undisturbed(needles: Path, tmp_path: Path) -> None:
    """SIGKILL at random moments; every second one as soon as a checkpoint is being written."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bimba.training.run", "test_resume", "peft"])

    def start(run: Path) -> Any:
        process = context.Process(target=run_alone, args=(recipe_of(run, needles),))
        process.start()
        return process

    undisturbed = tmp_path / "undisturbed"
    for folder in (tmp_path / "first", undisturbed):  # the first one waits for the imports of the server
        begin = time.monotonic()
        process = start(folder)
        process.join()
        assert process.exitcode == 0
        whole_time = time.monotonic() - begin
    chance = random.Random(0)
    kills, during_saves, ended = 0, 0, [undisturbed]
    killed = tmp_path / "killed-1"
    while kills < NUM_KILLS:
        process = start(killed)
        wait_until(process, chance.uniform(0, 0.9) * whole_time)
        if kills % 2:
            wait_until(process, whole_time, killed / UNFINISHED)
            time.sleep(chance.uniform(0, 0.005))
        process.kill()
        process.join()
        if process.exitcode == 0:  # it was faster, and is at its end
            ended.append(killed)
            killed = tmp_path / f"killed-{len(ended)}"
            continue
        assert process.exitcode == -signal.SIGKILL
        during_saves += (killed / UNFINISHED).exists()
        kills += 1
    last = start(killed)
    last.join()
    assert last.exitcode == 0
    for run in (*ended, killed):
        same_end(undisturbed, run)
    assert during_saves >= NUM_KILLS // 4


def wait_until(process: Any, seconds: float, place: Path | None = None) -> None:
    """Wait while a process runs, for a time or until a file is there."""
    deadline = time.monotonic() + seconds
    while process.is_alive() and time.monotonic() < deadline and not (place is not None and place.exists()):
        time.sleep(0.001)
