"""What a recipe can switch: each of it runs, and does what its name says."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import bimba
from bimba.errors import InputError
from bimba.models.bimba.tiny import tiny_model
from bimba.training.loop.watching import LOG_NAME, Report, Silent, read_log
from bimba.training.model.distillation import Teacher
from bimba.training.recipe.settings import Distillation, Recipe
from bimba.training.run import train
from small_runs import small_recipe, small_settings

LORA = {
    "train": {
        "vision_tower": {"mode": "lora"},
        "language_model": {"mode": "lora"},
        "lora": {"rank": 2, "alpha": 4, "dropout": 0.0},
    }
}


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_log(run / LOG_NAME)]


def on_tiny(model: Path, output: Path, needles: Path, **changes: Any) -> Recipe:
    """A recipe that starts from the tiny model's folder."""
    start = {"start": "checkpoint", "path": str(model)} | changes.pop("start", {})
    return small_recipe(output, needles, model=start, **changes)


COMPRESSORS: dict[str, dict[str, Any]] = {
    "learned queries": {"queries": "learned", "learned_grid": [4, 3, 3]},
    "no norm": {"norm": False},
    "one direction": {"bidirectional": False},
    "queries at the end": {"query_position": "end"},
    "question first": {"question_conditioned": True},
    "pooling": {"type": "pooling"},
    "two layers": {"num_layers": 2},
}


@pytest.mark.parametrize("name", sorted(COMPRESSORS))
def test_the_papers_variants_train_from_recipes_alone(name: str, needles: Path, tmp_path: Path) -> None:
    settings = small_settings(tmp_path / "run", needles)
    settings["model"]["config"]["compressor"] = COMPRESSORS[name]
    outcome = train(small_recipe(tmp_path / "run", needles, model=settings["model"], schedule__max_steps=30))
    assert outcome.losses[1] < 0.9 * outcome.losses[0]
    qa = bimba.load(outcome.folder)
    wanted = COMPRESSORS[name]
    assert {key: qa.model.config.compressor[key] for key in wanted} == wanted
    video = needles / "video_00000.mp4"
    assert qa.ask(video, "What?", num_frames=4, max_new_tokens=2).num_video_tokens == 4 * 3 * 4


def test_gradient_checkpointing_changes_nothing_but_memory(needles: Path, tmp_path: Path) -> None:
    for name, on in (("plain", False), ("recomputed", True)):
        recipe = small_recipe(tmp_path / name, needles, compute__gradient_checkpointing=on, schedule__max_steps=3)
        train(recipe)
    assert losses(tmp_path / "recomputed") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)


def test_bfloat16_trains_what_float32_trains(needles: Path, tmp_path: Path, model: Path) -> None:
    """Frozen weights in bfloat16, trained ones in float32, which is what the checkpoint and the optimizer hold."""
    for name in ("float32", "bf16"):
        train(on_tiny(model, tmp_path / name, needles, compute__precision=name, **LORA))
    assert losses(tmp_path / "bf16") == pytest.approx(losses(tmp_path / "float32"), rel=2e-2)
    weights = load_file(tmp_path / "bf16" / "checkpoint-8" / "trained.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


@pytest.mark.parametrize("result", ["merged", "adapter"])
def test_the_result_is_what_was_trained(result: str, needles: Path, tmp_path: Path, model: Path) -> None:
    """Through `bimba.load`: the loss of the last checkpoint's weights, and other than that of the start."""
    outcome = train(
        on_tiny(model, tmp_path / "run", needles, save__result=result, schedule__learning_rate=1e-2, **LORA)
    )
    assert (outcome.folder / "adapter").is_dir() == (result == "adapter")
    video = needles / "video_00000.mp4"
    logits = []
    for folder in (model, outcome.folder):
        qa = bimba.load(folder)
        with torch.no_grad():
            logits.append(qa.model(**qa.prepare(video, "What?", num_frames=4)).logits)
    assert (logits[0] - logits[1]).abs().max() > 1e-2


def test_accumulated_batches_are_one_large_batch(needles: Path, tmp_path: Path) -> None:
    """Tokens weigh alike, however many of them stand in which batch."""
    for batch_size in (1, 2, 4):
        schedule = {"batch_size": batch_size, "global_batch_size": 4, "max_steps": 4, "learning_rate": 1e-3}
        train(small_recipe(tmp_path / str(batch_size), needles, schedule=schedule))
    assert losses(tmp_path / "1") == pytest.approx(losses(tmp_path / "4"), rel=1e-5)
    assert losses(tmp_path / "2") == pytest.approx(losses(tmp_path / "4"), rel=1e-5)


def test_worker_processes_change_nothing(needles: Path, tmp_path: Path) -> None:
    for workers in (0, 2):
        train(small_recipe(tmp_path / str(workers), needles, data__workers=workers, schedule__max_steps=4))
    assert losses(tmp_path / "2") == losses(tmp_path / "0")


def test_a_teacher_that_is_the_student_is_at_no_distance(needles: Path, tmp_path: Path, model: Path) -> None:
    """Only the labels' part of the loss is left then, and nothing is added by the teacher."""
    plain = on_tiny(model, tmp_path / "plain", needles, schedule__max_steps=1)
    train(plain)
    teacher = {"teacher": str(model), "weight": 0.25, "temperature": 2.0}
    train(on_tiny(model, tmp_path / "taught", needles, schedule__max_steps=1, distillation=teacher))
    assert losses(tmp_path / "taught") == pytest.approx([0.75 * loss for loss in losses(tmp_path / "plain")], rel=1e-5)


def test_a_student_comes_nearer_to_its_teacher(needles: Path, tmp_path: Path, model: Path) -> None:
    teacher = {"teacher": str(model), "weight": 1.0}
    start = {"compressor": {"type": "selective_scan"}, "settings": {"temporal_pooling": 2}}
    outcome = train(
        on_tiny(
            model, tmp_path / "run", needles, start=start, distillation=teacher,
            schedule={"max_steps": 30, "batch_size": 4, "learning_rate": 1e-3},
        )
    )  # fmt: skip
    assert outcome.losses[1] < 0.7 * outcome.losses[0]


def test_a_teacher_with_other_placeholders_reads_the_same_words() -> None:
    """The distance by hand: the teacher's own prompt, its logits at the places of the same words."""
    student, its_processor = tiny_model(seed=1)
    model, processor = tiny_model(seed=2)
    its_processor.temporal_pooling = student.config.temporal_pooling = 2
    student.compressor.pool = student.config.pool
    settings = Distillation(teacher="theirs", temperature=1.5)
    pixels = torch.randn(4, 3, 70, 70, generator=torch.Generator().manual_seed(0))
    text, answer = "<image>what?", " a dog"
    batches = []
    for own in (its_processor, processor):
        ids = own([text + answer], pixel_values_videos=[pixels])["input_ids"]
        labels = torch.full_like(ids, -100)
        labels[:, -len(answer) :] = ids[:, -len(answer) :]
        kept = torch.arange(ids.shape[1] - len(answer) - 1, ids.shape[1] - 1)
        batches.append({"input_ids": ids, "labels": labels, "logits_to_keep": kept})
    ours, theirs = batches
    inputs: dict[str, Any] = ours | {
        "attention_mask": torch.ones_like(ours["input_ids"]),
        "pixel_values_videos": pixels,
        "num_video_frames": torch.tensor([4]),
    }
    assert ours["input_ids"].shape != theirs["input_ids"].shape
    with torch.no_grad():
        logits = student(**inputs).logits
        found = Teacher(model, processor, its_processor, settings).distance(inputs, logits)
        its = model(input_ids=theirs["input_ids"], pixel_values_videos=pixels, logits_to_keep=theirs["logits_to_keep"])
    log_student = torch.log_softmax(logits[0] / 1.5, dim=-1)
    log_teacher = torch.log_softmax(its.logits[0] / 1.5, dim=-1)
    expected = (log_teacher.exp() * (log_teacher - log_student)).sum() * 1.5**2
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_teacher_with_other_words_or_eyes_is_refused() -> None:
    model, processor = tiny_model(seed=0)
    _, student = tiny_model(seed=0)
    student.image_size = 84
    with pytest.raises(InputError, match="image_size is 70, the student's 84"):
        Teacher(model, processor, student, Distillation(teacher="theirs"))
    student.tokenizer.add_tokens(["new"])
    with pytest.raises(InputError, match="theirs has another tokenizer"):
        Teacher(model, processor, student, Distillation(teacher="theirs"))


def test_figures_go_to_tensorboard_and_to_the_watcher(needles: Path, tmp_path: Path) -> None:
    seen: list[Report] = []

    class Watching(Silent):
        def report(self, report: Report) -> None:
            seen.append(report)

    train(small_recipe(tmp_path / "run", needles, log={"to": ["tensorboard"]}), Watching())
    (events,) = (tmp_path / "run").rglob("events.out.tfevents.*")
    accumulator = EventAccumulator(str(events)).Reload()
    names = set(accumulator.Tags()["scalars"])
    figures = {"loss", "tokens_per_second", "samples_per_second", "samples_seen", "samples_failed", "memory_gb"}
    assert {f"train/{name}" for name in figures | {"grad_norm", "learning_rate", "waiting_share"}} <= names
    assert [report.step for report in seen] == list(range(1, 9))
    assert figures <= seen[-1].values.keys()
    assert seen[-1].num_steps == 8


@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")  # torch's own
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # dynamo's, as the next
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`:UserWarning")
def test_compiled_it_learns_the_same(needles: Path, tmp_path: Path) -> None:
    """With the backend that traces all and generates no code, which would take minutes."""
    for name, how in (("plain", False), ("compiled", "aot_eager")):
        train(small_recipe(tmp_path / name, needles, compute__compile=how, schedule__max_steps=2))
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "plain"), rel=1e-4)
