"""What goes wrong while training: it is said, nothing is lost, and the same command goes on."""

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from transformers import TrainingArguments

from bimba.errors import CheckpointError, InputError, TrainingError
from bimba.training.loop import saving
from bimba.training.loop.saving import SEAL, UNFINISHED, what_is_wrong, whole_checkpoint
from bimba.training.loop.watching import LOG_NAME, Silent, read_log
from bimba.training.recipe.settings import Recipe
from bimba.training.run import train
from small_runs import small_recipe


@pytest.fixture
def finished(needles: Path, tmp_path: Path) -> Path:
    """A run that came to its end; its result is taken away, so that it can go on."""
    train(small_recipe(tmp_path / "run", needles))
    shutil.rmtree(tmp_path / "run" / "model")
    return tmp_path / "run"


def test_a_finished_run_has_nothing_to_do(needles: Path, tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path / "run", needles)
    first = train(recipe)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    again = train(recipe)
    assert (again.was_finished, first.was_finished) == (True, False)
    assert (again.steps, again.losses, again.folder) == (first.steps, first.losses, first.folder)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def test_another_recipe_in_the_same_folder_is_refused(needles: Path, finished: Path) -> None:
    with pytest.raises(InputError, match=r"schedule\.learning_rate is 0\.001 there and 0\.002 here"):
        train(small_recipe(finished, needles, schedule__learning_rate=2e-3))
    train(small_recipe(finished, needles, log={"every": 4}))  # which changes nothing that is learned


def test_a_recipe_that_made_no_step_may_be_mended(needles: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    wrong = small_recipe(run, needles, model={"start": "checkpoint", "path": str(tmp_path / "no-such-model")})
    with pytest.raises(CheckpointError):
        train(wrong)
    assert (run / "recipe.yaml").is_file()
    assert not (run / LOG_NAME).exists()
    (run / "run.json").write_text('{"samples": 1, "fingerprint": "of others", "global_batch": 2}')
    assert not train(small_recipe(run, needles)).was_finished
    assert json.loads((run / "run.json").read_text())["fingerprint"] != "of others"


def test_a_folder_with_other_things_in_it_is_refused(needles: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is there already, and is no training run"):
        train(small_recipe(tmp_path, needles))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_every_checkpoint_says_what_made_it(finished: Path) -> None:
    for checkpoint in (finished / "checkpoint-6", finished / "checkpoint-8"):
        made_by = json.loads((checkpoint / "provenance.json").read_text())
        assert made_by["versions"]["torch"] == torch.__version__
        assert (checkpoint / "recipe.yaml").read_text() == (finished / "recipe.yaml").read_text()
        assert what_is_wrong(checkpoint) is None
    assert [path.name for path in sorted(finished.glob("checkpoint-*"))] == ["checkpoint-6", "checkpoint-8"]


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "no seal", "half a seal"])
def test_a_torn_checkpoint_is_left_out_and_the_one_before_taken(
    damage: str, needles: Path, finished: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last = finished / "checkpoint-8"
    weights = last / "trained.safetensors"
    expected = (finished / "checkpoint-8" / "trained.safetensors").read_bytes()
    if damage == "truncated":
        os.truncate(weights, weights.stat().st_size // 2)
    elif damage == "changed":
        content = bytearray(weights.read_bytes())
        content[-5] ^= 1
        weights.write_bytes(content)
    elif damage == "missing":
        (last / "optimizer.pt").unlink()
    elif damage == "no seal":
        (last / SEAL).unlink()
    else:
        os.truncate(last / SEAL, 20)
    said: list[str] = []

    class Hearing(Silent):
        def say(self, message: str) -> None:
            said.append(message)

    train(small_recipe(finished, needles), Hearing())
    assert "checkpoint-8 is not whole" in caplog.text
    assert "goes on after step 6" in said
    assert (finished / "torn-checkpoint-8").is_dir()
    assert (finished / "checkpoint-8" / "trained.safetensors").read_bytes() == expected


@pytest.mark.parametrize(
    "changes", [{"schedule__max_steps": 1}, {"schedule": {"epochs": 0.4}}, {"save__keep": 1}], ids=str
)
def test_a_run_that_lacks_only_its_result_trains_no_further_step(
    changes: dict[str, Any], needles: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(tmp_path / "run", needles, schedule__scheduler="constant", **changes)
    outcome = train(recipe)
    weights = (outcome.folder / "model.safetensors").read_bytes()
    before = sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*"))
    shutil.rmtree(outcome.folder)
    again = train(recipe)
    assert (again.steps, again.losses) == (outcome.steps, outcome.losses)
    assert (again.folder / "model.safetensors").read_bytes() == weights
    assert sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*")) == before


def test_a_folder_is_trained_in_by_one_run_at_a_time(needles: Path, finished: Path) -> None:
    with FileLock(finished / ".lock"), pytest.raises(InputError, match="another process is training in"):
        train(small_recipe(finished, needles))
    train(small_recipe(finished, needles))


def test_what_an_early_interruption_left_is_no_obstacle(needles: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / ".model-1234").mkdir(parents=True)
    (run / ".recipe.yaml.partial").write_text("outp")
    train(small_recipe(run, needles, schedule__max_steps=1))
    assert not (run / ".model-1234").exists()


def test_a_result_of_another_kind_is_another_recipe(needles: Path, finished: Path, model: Path) -> None:
    start = {"start": "checkpoint", "path": str(model)}
    train(small_recipe(finished.parent / "other", needles, model=start))
    with pytest.raises(InputError, match=r'save\.result is "merged" there and "adapter" here'):
        train(small_recipe(finished.parent / "other", needles, model=start, save__result="adapter"))


def test_several_gpus_and_one_process_are_refused(
    needles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingArguments, "n_gpu", 2)
    with pytest.raises(InputError, match="2 GPUs, and one process") as error:
        train(small_recipe(tmp_path / "run", needles))
    assert "torchrun --nproc-per-node 2" in error.value.fix


def test_figures_cannot_go_where_nothing_is_installed(
    needles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    for name, fix in (("wandb", "pip install wandb"), ("tensorboard", 'pip install "bimba[train]"')):
        with pytest.raises(InputError, match=f"log.to names {name}, which is not installed") as error:
            train(small_recipe(tmp_path / "run", needles, log={"to": [name]}))
        assert error.value.fix == fix


@pytest.mark.parametrize("setting", [{"scheduler": "warmup_stable_decay"}, {"optimizer": "adamw_8bit"}], ids=str)
def test_a_schedule_that_cannot_be_had_is_refused_before_anything_is_read(
    setting: dict[str, str], needles: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(tmp_path / "run", needles, schedule=setting)
    with pytest.raises(InputError, match="these settings cannot be had here"):
        train(recipe)
    assert not (tmp_path / "run").exists()


def test_the_log_of_a_run_that_went_on_has_each_step_once(needles: Path, finished: Path) -> None:
    (finished / "checkpoint-8" / SEAL).unlink()
    with (finished / LOG_NAME).open("a") as file:
        file.write('{"step": 9, "lo')  # cut off
    train(small_recipe(finished, needles))
    assert [line["step"] for line in read_log(finished / LOG_NAME)] == list(range(1, 9))


def test_other_samples_than_those_it_began_with_are_refused(needles: Path, tmp_path: Path) -> None:
    samples = [{"id": str(n), "conversations": turns(f"What is {n}?", "It.")} for n in range(4)]
    path = write_samples(tmp_path, samples)
    recipe = text_recipe(tmp_path / "run", needles, path)
    train(recipe)
    shutil.rmtree(tmp_path / "run" / "model")
    write_samples(tmp_path, samples[:3])
    with pytest.raises(InputError, match="4 then, 3 now"):
        train(recipe)


def test_a_step_may_be_dealt_otherwise_but_has_as_many_samples(needles: Path, finished: Path) -> None:
    """Two batches of one sample, instead of one of two, give the same steps; four samples do not."""
    with pytest.raises(InputError, match="began with 2 samples a step; with these processes it would have 4"):
        train(small_recipe(finished, needles, schedule__batch_size=4))
    train(small_recipe(finished, needles, schedule__batch_size=1, schedule__global_batch_size=2))


def test_first_and_last_step_are_logged_however_seldom_others_are(needles: Path, tmp_path: Path) -> None:
    outcome = train(small_recipe(tmp_path / "run", needles, log={"every": 100}))
    assert [line["step"] for line in read_log(tmp_path / "run" / LOG_NAME)] == [1, 8]
    assert outcome.steps == 8


def turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def write_samples(folder: Path, samples: list[dict[str, Any]]) -> Path:
    path = folder / "samples.json"
    path.write_text(json.dumps(samples))
    return path


def text_recipe(output: Path, needles: Path, path: Path, **changes: Any) -> Recipe:
    data = {"sources": [{"json_path": str(path)}], "workers": 0}
    data |= {key.removeprefix("data__"): value for key, value in changes.items() if key.startswith("data__")}
    others = {key: value for key, value in changes.items() if not key.startswith("data__")}
    return small_recipe(output, needles, data=data, **others)


def mixed_samples(needles: Path, num_broken: int) -> list[dict[str, Any]]:
    """Videos, texts, and videos that are not there."""
    video = str(needles / "video_00000.mp4")
    whole = [{"id": f"v{n}", "video": video, "conversations": turns(f"<image>\nWhat is {n}?", "It.")} for n in range(4)]
    texts = [{"id": f"t{n}", "conversations": turns(f"And {n}?", "That.")} for n in range(4)]
    broken = [
        {"id": f"b{n}", "video": f"gone_{n}.mp4", "conversations": turns("<image>\nWhat?", "No.")}
        for n in range(num_broken)
    ]
    return [*whole, *texts, *broken]


def test_unreadable_samples_are_skipped_counted_and_named(
    needles: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_samples(tmp_path, mixed_samples(needles, num_broken=2))
    outcome = train(
        text_recipe(tmp_path / "run", needles, path, data__max_failed=0.5, schedule={"epochs": 2, "batch_size": 2})
    )
    assert outcome.steps == 10
    assert len(outcome.failed) == 2
    assert [caplog.text.count(f"{name} is left out") for name in outcome.failed] == [1, 1]  # in the first epoch alone
    assert all("gone_" in reason for reason in outcome.failed.values())
    last = read_log(tmp_path / "run" / LOG_NAME)[-1]
    assert (last["samples_seen"], last["samples_failed"]) == (16, 2)
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    assert "gone_0.mp4" in card or "b0" in card


def test_a_skipped_sample_weighs_nothing(needles: Path, tmp_path: Path) -> None:
    """The loss of a step with an unreadable sample is that of the others alone."""
    samples = mixed_samples(needles, num_broken=1)
    broken = write_samples(tmp_path, [samples[0], samples[8]])
    schedule = {"max_steps": 1, "batch_size": 2}
    train(text_recipe(tmp_path / "with", needles, broken, data__max_failed=1.0, schedule=schedule))
    (tmp_path / "alone").mkdir()
    alone = write_samples(tmp_path / "alone", [samples[0]])
    train(text_recipe(tmp_path / "without", needles, alone, schedule=schedule))
    losses = [read_log(tmp_path / run / LOG_NAME)[0]["loss"] for run in ("with", "without")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_too_many_unreadable_samples_stop_the_run(needles: Path, tmp_path: Path) -> None:
    path = write_samples(tmp_path, mixed_samples(needles, num_broken=2))
    with pytest.raises(
        TrainingError, match=r"of 10 samples are unreadable, more than data\.max_failed = 0\.1"
    ) as error:
        train(text_recipe(tmp_path / "run", needles, path, data__max_failed=0.1))
    assert "gone_" in error.value.problem
    assert "bimba data check" in error.value.fix


def test_a_loss_that_is_no_number_stops_before_it_spoils_anything(
    needles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weight turns infinite in the fifth step's sight; the step and its samples are named."""
    from bimba.training.loop.trainer import BimbaTrainer

    original = BimbaTrainer.training_step

    def poisoned(self: Any, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        if self.state.global_step == 4:
            inputs["pixel_values_videos"] = inputs["pixel_values_videos"] * float("nan")
        return original(self, model, inputs, num_items_in_batch)

    with monkeypatch.context() as patch:
        patch.setattr(BimbaTrainer, "training_step", poisoned)
        with pytest.raises(
            TrainingError, match=r"the loss is nan at step 5, whose samples are .*needles\.json"
        ) as error:
            train(small_recipe(tmp_path / "run", needles))
    assert "learning rate" in error.value.fix
    assert whole_checkpoint(tmp_path / "run") == tmp_path / "run" / "checkpoint-4"
    train(small_recipe(tmp_path / "run", needles))
    assert len(read_log(tmp_path / "run" / LOG_NAME)) == 8


def test_a_gradient_that_is_no_number_stops_the_run(
    needles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bimba.training.loop.trainer import BimbaTrainer

    monkeypatch.setattr(BimbaTrainer.__mro__[1], "_get_grad_norm", lambda *_, **__: torch.tensor(float("inf")))
    with pytest.raises(TrainingError, match="the gradient is inf at step 1, whose samples are"):
        train(small_recipe(tmp_path / "run", needles))


class FullDisk:
    """Stands for a disk that has room for so many more files of a checkpoint."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, *_: Any, **__: Any) -> None:
        self.room -= 1
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_save_that_fails_leaves_earlier_checkpoints_alone(
    needles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_recipe(tmp_path / "run", needles)
    with monkeypatch.context() as patch:
        patch.setattr(saving, "_reach_disk", FullDisk(room=24))
        with pytest.raises(TrainingError, match=r"could not be written: .*No space left") as error:
            train(recipe)
    assert "free some space" in error.value.fix
    checkpoint = whole_checkpoint(tmp_path / "run")
    assert checkpoint is not None
    assert not (tmp_path / "run" / UNFINISHED).exists()
    train(recipe)
    train(small_recipe(tmp_path / "undisturbed", needles))
    ends = [(tmp_path / run / "checkpoint-8" / "trained.safetensors").read_bytes() for run in ("run", "undisturbed")]
    assert ends[0] == ends[1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB, where one may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=6m", "tmpfs", place], check=False).returncode:
        pytest.skip("no file system may be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_disk_that_is_full_is_said_and_loses_nothing(needles: Path, small_disk: Path) -> None:
    """A checkpoint takes 2.9 MB: the second one does not fit beside the first and what else lies there."""
    (small_disk / "others").write_bytes(bytes(1_000_000))
    recipe = small_recipe(small_disk / "run", needles)
    with pytest.raises(TrainingError, match="could not be written") as error:
        train(recipe)
    assert "free some space" in error.value.fix
    assert whole_checkpoint(small_disk / "run") == small_disk / "run" / "checkpoint-2"
    (small_disk / "others").unlink()
    with pytest.raises(TrainingError, match="could not be written"):
        train(recipe)
    assert whole_checkpoint(small_disk / "run") is not None
