"""What a launcher asked for and cannot be had is refused; processes agree on what one of them found."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import distributed

from bimba.errors import InputError
from bimba.shipped_recipes import shipped_accelerate_configs
from bimba.training.loop.environment import (
    check_environment,
    check_sharding,
    first_decides,
    gathered,
    is_first,
    sharding,
    summed,
    wait_for_all,
)
from bimba.training.recipe.reading import recipe_as_yaml
from bimba.training.recipe.settings import Recipe
from bimba.training.run import train
from processes import Together, in_a_group, outcomes
from small_runs import small_recipe

SHARDINGS = [("ACCELERATE_USE_FSDP", "FSDP"), ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed")]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """It is refused before it looks at its videos."""
    return small_recipe(tmp_path / "run", tmp_path / "no videos")


@pytest.mark.parametrize(("variable", "name"), SHARDINGS, ids=["fsdp2", "zero3"])
def test_sharding_is_refused_on_a_cpu_by_every_process(variable: str, name: str, recipe: Recipe) -> None:
    for ending in Together(2, train, recipe, variables={variable: "true"}).endings():
        assert ending.error == "InputError"
        assert f"{name} is asked for, which shards the model over GPUs, but this run is on a CPU." in ending.message
        assert "torchrun --nproc-per-node N" in ending.message
    assert not recipe.output.exists()


@pytest.mark.parametrize("value", ["false", "False", "0", ""])
def test_what_was_switched_off_is_not_asked_for(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, _ in SHARDINGS:
        monkeypatch.setenv(variable, value)
    assert sharding() is None
    check_environment(on_cpu=True)


def test_deepspeed_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", {}.get)
    with pytest.raises(InputError, match="DeepSpeed is asked for, but it is not installed") as caught:
        check_environment(on_cpu=False)
    assert caught.value.fix == "pip install deepspeed"


LAUNCHED = """
import sys
from bimba.errors import InputError
from bimba.training.recipe.reading import read_recipe
from bimba.training.run import train
try:
    train(read_recipe(sys.argv[1]))
except InputError as error:
    print("InputError:", error, flush=True)
"""


def test_accelerate_launch_with_our_fsdp_file_is_refused_on_a_cpu(recipe: Recipe, tmp_path: Path) -> None:
    """The real launcher, with one process."""
    script, settings = tmp_path / "launched.py", tmp_path / "recipe.yaml"
    script.write_text(LAUNCHED, encoding="utf-8")
    settings.write_text(recipe_as_yaml(recipe), encoding="utf-8")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", "--config_file"]
    done = subprocess.run(
        [*launch, str(shipped_accelerate_configs()["fsdp2"]), str(script), str(settings)],
        check=False, capture_output=True, text=True, timeout=300, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert "InputError: FSDP is asked for" in done.stdout, done.stdout + done.stderr
    assert not recipe.output.exists()


def agree() -> dict[str, object]:
    """What two processes find together."""
    rank = distributed.get_rank()
    wait_for_all()
    return {
        "is first": is_first(),
        "decided": first_decides(lambda: {"found by": rank}),
        "gathered": gathered([f"{rank}-{number}" for number in range(rank + 1)]),
        "summed": summed([rank + 1, 2**40]),
    }


def test_processes_know_what_the_first_found_and_what_all_have() -> None:
    same = {"decided": {"found by": 0}, "gathered": ["0-0", "1-0", "1-1"], "summed": [3, 2**41]}
    assert outcomes(2, in_a_group, agree) == [{"is first": True} | same, {"is first": False} | same]


def test_one_process_agrees_with_itself() -> None:
    assert first_decides(lambda: 3) == 3
    assert gathered([1, 2]) == [1, 2]
    assert summed([1, 2]) == [1, 2]
    assert is_first()
    wait_for_all()


def fail_first() -> None:
    def fail() -> None:
        raise InputError("there is no such file.", fix="name another.")

    first_decides(fail)


def test_an_error_of_the_first_process_stops_all() -> None:
    first, second = Together(2, in_a_group, fail_first).endings()
    assert (first.error, second.error) == ("InputError", "TrainingError")
    assert "there is no such file" in first.message
    assert "the first process stopped: there is no such file" in second.message


def test_a_run_whose_folder_is_taken_is_refused_by_all(recipe: Recipe) -> None:
    recipe.output.mkdir()
    (recipe.output / "something.txt").write_text("else", encoding="utf-8")
    first, second = Together(2, train, recipe).endings()
    assert (first.error, second.error) == ("InputError", "TrainingError")
    assert "is there already, and is no training run" in first.message
    assert "is there already, and is no training run" in second.message


class Sharded:
    """What an accelerator says of itself under DeepSpeed."""

    def __init__(self, stage: int | None) -> None:
        plugin = None if stage is None else SimpleNamespace(zero_stage=stage)
        self.state = SimpleNamespace(deepspeed_plugin=plugin)


def test_zero_3_takes_one_sample_at_a_time() -> None:
    with pytest.raises(InputError, match=r"batch_size is 4; with DeepSpeed ZeRO-3 it has to be 1"):
        check_sharding(Sharded(3), batch_size=4)
    for stage, batch_size in ((3, 1), (2, 4), (None, 4)):
        check_sharding(Sharded(stage), batch_size)
