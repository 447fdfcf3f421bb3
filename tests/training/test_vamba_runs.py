"""Whole runs that train a tiny Vamba: what they learn, what changes nothing, how they go on, and what they leave."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

import bimba
from bimba.checkpoints.loading import LoadOptions, load_model
from bimba.cli.training_plan import plan_training
from bimba.errors import InputError
from bimba.models.vamba.modeling import VambaForConditionalGeneration
from bimba.models.vamba.processing import VambaProcessor
from bimba.training.data import Example, ExampleDataset, VambaCollator, read_samples
from bimba.training.data.opening import open_dataset
from bimba.training.loop.environment import check_sharding
from bimba.training.loop.saving import step_of
from bimba.training.loop.trainer import BimbaTrainer
from bimba.training.model.parts import prepare_parts
from bimba.training.model.start import start_vamba
from bimba.training.model.vamba_teacher import VambaTeacher
from bimba.training.recipe.data_settings import Packing
from bimba.training.recipe.reading import read_recipe
from bimba.training.recipe.settings import Distillation
from bimba.training.run import train
from mixed_samples import IMAGE, TEXT, VIDEO, write_samples
from processes import outcomes
from vamba_runs import EVERY_PART, MIXER, PIXELS, plain_qwen2_vl, vamba_recipe

MIXED = [VIDEO, TEXT, IMAGE, TEXT, TEXT, TEXT, VIDEO, IMAGE]


def logged(run: Path) -> list[tuple[float, float]]:
    """Loss and gradient norm of each step."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [(line["loss"], line["grad_norm"]) for line in lines]


def result(run: Path) -> dict[str, Tensor]:
    return load_file(run / "model" / "model.safetensors")


def check_same(one: Path, other: Path, bar: float = 2e-5) -> None:
    """Two runs logged the same losses and norms, and ended with the same weights."""
    first, second = logged(one), logged(other)
    assert len(first) == len(second) > 0
    for left, right in zip(first, second, strict=True):
        assert left == pytest.approx(right, rel=bar)
    weights, others = result(one), result(other)
    assert weights.keys() == others.keys()
    furthest = max((weights[name] - others[name]).abs().max().item() for name in weights)
    assert furthest < 50 * bar


@pytest.fixture(scope="module")
def run(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on videos, images and texts."""
    folder = tmp_path_factory.mktemp("vamba") / "run"
    train(mixed(folder, media))
    return folder


def mixed(folder: Path, media: Path, **changes: Any) -> Any:
    source = write_samples(folder.with_suffix(".json"), media, MIXED)
    # An epsilon that is large, so that weights whose gradient is nothing but rounding do not walk.
    settings = {"data__sources": [source], "schedule__max_steps": 4, "schedule__epsilon": 1e-4}
    return vamba_recipe(folder, media, **(settings | changes))


def examples_of(dataset: ExampleDataset, count: int) -> list[Example]:
    found = [dataset[index] for index in range(count)]
    examples = [example for example in found if isinstance(example, Example)]
    assert len(examples) == count
    return examples


class TestWhatIsLearned:
    def test_losses_fall_and_every_part_moves(self, media: Path, tmp_path: Path) -> None:
        recipe = vamba_recipe(tmp_path / "run", media, schedule__max_steps=12, schedule__learning_rate=3e-3)
        start = {name: tensor.clone() for name, tensor in start_vamba(recipe)[0].state_dict().items()}
        outcome = train(recipe)
        assert outcome.losses[1] < 0.8 * outcome.losses[0]
        end = result(recipe.output)
        moved = {name for name in end if not torch.equal(end[name], start[name])}
        idle = {name for name in start if "layers.2.vision_mixer" in name}
        assert len(idle) == 9
        # Attention does not change when all keys move together, but rounding does not know that.
        assert moved == set(start) - idle

    def test_the_balance_stays_between_its_bounds(self, media: Path, tmp_path: Path) -> None:
        train_all = EVERY_PART | {"alpha": {"mode": "full", "learning_rate": 2.0}}
        train(vamba_recipe(tmp_path / "run", media, train=train_all, schedule__max_steps=4, schedule__warmup=0))
        alphas = [tensor.item() for name, tensor in result(tmp_path / "run").items() if name.endswith("alpha")]
        assert len(alphas) == 3
        assert all(0 <= alpha <= 1 for alpha in alphas)
        assert any(alpha in (0, 1) for alpha in alphas), "a step of 2 leads over an edge"

    def test_adapters_are_merged_into_the_result(self, media: Path, tmp_path: Path) -> None:
        parts = {name: {"mode": "frozen"} for name in ("cross_attn", "vision_mixer", "alpha")}
        only_lora = {"kind": "vamba", **parts, "language_model": {"mode": "lora"}, "lora": {"rank": 2, "alpha": 4}}
        recipe = vamba_recipe(tmp_path / "run", media, train=only_lora, schedule__max_steps=3)
        start = start_vamba(recipe)[0].state_dict()
        train(recipe)
        end = result(recipe.output)
        moved = {name for name in end if not torch.equal(end[name], start[name])}
        assert moved == {f"model.layers.{n}.self_attn.{p}_proj.weight" for n in range(3) for p in "qv"}


class TestWhatChangesNothing:
    @pytest.mark.parametrize(
        "changes",
        [
            {"data__packing": {"samples": 2}},
            {"data__packing": {"tokens": 100_000}},
            {"compute__gradient_checkpointing": True},
            {"schedule__batch_size": 1, "schedule__accumulation": 2},
            {"data__workers": 1},
        ],
        ids=["packed by samples", "packed by tokens", "checkpointed", "accumulated", "read ahead"],
    )
    def test_the_same_is_learned(self, changes: dict[str, Any], run: Path, media: Path, tmp_path: Path) -> None:
        train(mixed(tmp_path / "other", media, **changes))
        check_same(run, tmp_path / "other")

    def test_questions_of_one_video_in_a_row_are_learned_as_if_each_had_its_own(self, tmp_path: Path) -> None:
        options = {"seconds": 2, "size": "96x64", "fps": 10, "needles": 2, "needle_seconds": 0.5, "kinds": ["shape"]}
        stream = [{"stream": {"videos": 3, "options": options}}]
        recipe = vamba_recipe(tmp_path / "run", tmp_path, data__sources=stream)
        model, processor = start_vamba(recipe)
        dataset = open_dataset(recipe, read_samples(recipe.data.sources, 0), model.config, processor)
        examples = examples_of(dataset, 3)
        apart = 0.0
        for example in examples:
            for ids, labels in example.conversations:
                batch = {"input_ids": torch.tensor([ids]), "labels": torch.tensor([labels])}
                patches = processor.normalise(example.patches[0])
                with torch.no_grad():
                    output = model(
                        **batch,
                        pixel_values_videos=patches.values,
                        video_grid_thw=torch.tensor([patches.grid]),
                        num_items_in_batch=1,
                    )
                apart += output.loss.item()
        for packing in (None, Packing(samples=3)):
            batch = VambaCollator(processor, packing)(examples)
            del batch["info"]
            values = batch.pop("pixel_values_videos")
            patches = processor.normalise(examples[0].patches[0]._replace(values=values))
            with torch.no_grad():
                output = model(**batch, pixel_values_videos=patches.values, num_items_in_batch=1)
            assert output.loss.item() == pytest.approx(apart, rel=1e-5)

    def test_a_run_that_is_interrupted_ends_as_if_it_had_not_been(
        self, run: Path, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recipe = mixed(tmp_path / "other", media)
        step = BimbaTrainer.training_step

        def stop(self: BimbaTrainer, *arguments: Any, **named: Any) -> Any:
            if self.state.global_step == 3:
                raise KeyboardInterrupt
            return step(self, *arguments, **named)

        with monkeypatch.context() as patch:
            patch.setattr(BimbaTrainer, "training_step", stop)
            with pytest.raises(KeyboardInterrupt):
                train(recipe)
        assert [step_of(path) for path in recipe.output.glob("checkpoint-*")] == [2]
        train(recipe)
        check_same(run, recipe.output, bar=1e-6)


def _train(recipe: Any) -> None:
    train(recipe)


class TestSeveralProcesses:
    def test_two_learn_what_one_does_even_where_one_of_them_sees_no_video(self, media: Path, tmp_path: Path) -> None:
        one = mixed(tmp_path / "one", media, schedule__batch_size=2)
        two = mixed(tmp_path / "two", media, schedule__batch_size=1)
        train(one)
        outcomes(2, _train, two)
        check_same(one.output, two.output)

    def test_a_run_of_texts_alone_waits_for_nobody(self, media: Path, tmp_path: Path) -> None:
        source = write_samples(tmp_path / "texts.json", media, [TEXT] * 4)
        recipe = vamba_recipe(tmp_path / "run", media, data__sources=[source], schedule__max_steps=2)
        outcomes(2, _train, recipe)
        assert len(logged(recipe.output)) == 2

    def test_zero3_is_refused(self) -> None:
        class Plugin:
            zero_stage = 3

        class State:
            deepspeed_plugin = Plugin()

        class Accelerator:
            state = State()

        with pytest.raises(InputError, match="ZeRO-3 cannot train a Vamba"):
            check_sharding(Accelerator(), 1, "vamba")
        check_sharding(Accelerator(), 1, "bimba")


class TestResult:
    def test_it_is_loaded_by_bimba_and_by_transformers(self, run: Path, media: Path) -> None:
        qa = bimba.load(str(run / "model"), device="cpu")
        processor: Any = qa.processor
        assert processor.num_frames == 4
        answer = qa.ask(str(min(media.glob("*.mp4"))), "What?", num_frames=4, max_new_tokens=4)
        assert len(answer.token_ids) <= 4
        model: Any = AutoModelForImageTextToText.from_pretrained(run / "model")
        assert type(model) is VambaForConditionalGeneration
        assert AutoProcessor.from_pretrained(run / "model").num_frames == 4
        weights = result(run)
        assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())

    def test_its_card_says_what_it_is(self, run: Path) -> None:
        card = (run / "model" / "README.md").read_text()
        assert "arxiv:2503.11579" in card
        assert '"vamba"' in card
        assert "| vision_mixer | full, learning rate 0.001 |" in card
        assert "selective scan" not in card
        assert "trained with `bimba train` from random weights" in card

    def test_from_a_qwen2_vl_in_half_precision_to_a_second_stage(
        self, vamba_numbers: Path, media: Path, tmp_path: Path
    ) -> None:
        """Both stages, as the shipped recipes say it: what the first one leaves is what the second one starts from."""
        folder = plain_qwen2_vl(vamba_numbers, tmp_path / "qwen")
        model = {"start": "checkpoint", "path": str(folder), "mixer": MIXER, "pixels": PIXELS}
        first = mixed(
            tmp_path / "first", media, model=model, train={"kind": "vamba"}, compute__precision="bf16",
            compute__gradient_checkpointing=True, data__packing={"samples": 2}, data__labels="released",
        )  # fmt: skip
        train(first)
        stages = {"merger": {"mode": "full"}, "language_model": {"mode": "full"}}
        second = mixed(
            tmp_path / "second", media, train={"kind": "vamba", **stages}, compute__precision="bf16",
            model={"start": "checkpoint", "path": str(first.output / "model"), "pixels": PIXELS},
        )  # fmt: skip
        train(second)
        before = load_file(folder / "model.safetensors")
        after_first, after_second = result(first.output), result(second.output)
        kept = {name for name in before if torch.equal(before[name].bfloat16().float(), after_first[name])}
        assert kept == set(before), "the first stage trains nothing of the Qwen2-VL"
        changed = {name for name in after_second if not torch.equal(after_first[name], after_second[name])}
        assert {"visual.merger.mlp.0.weight", "model.embed_tokens.weight", "model.norm.weight"} <= changed
        assert not any(name.startswith(("lm_head", "visual.blocks", "visual.patch_embed")) for name in changed)
        assert all(math.isfinite(loss) for loss, _ in logged(second.output))

    def test_a_head_that_is_the_embedding_stays_it(self, vamba_numbers: Path, media: Path, tmp_path: Path) -> None:
        """The smaller Qwen2-VL have one table for both: it is a weight of the language model, and is written once."""
        folder = plain_qwen2_vl(vamba_numbers, tmp_path / "qwen", tied=True)
        model = {"start": "checkpoint", "path": str(folder), "mixer": MIXER, "pixels": PIXELS}
        trained = {"kind": "vamba", "language_model": {"mode": "full"}}
        recipe = mixed(tmp_path / "run", media, model=model, train=trained, schedule__max_steps=2)
        train(recipe)
        weights = result(recipe.output)
        assert "lm_head.weight" not in weights
        before = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
        assert not torch.equal(weights["model.embed_tokens.weight"], before)
        loaded: Any = load_model(recipe.output / "model", None, LoadOptions(device="cpu"))[0]
        assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


class TestPlan:
    def test_it_counts_what_the_run_trains(self, run: Path, media: Path, tmp_path: Path) -> None:
        recipe = mixed(tmp_path / "planned", media)
        name = tmp_path / "recipe.yaml"
        shutil.copy(run / "recipe.yaml", name)
        plan = plan_training(str(name), recipe)
        trained = prepare_parts(start_vamba(recipe)[0], recipe.train)
        assert plan.trained == trained.by_part
        assert plan.modes["vision_mixer"] == "full"
        assert plan.num_all == trained.num_all
        assert plan.state == "new"


class TestTeacher:
    @pytest.mark.parametrize("top_k", [None, 5])
    def test_a_model_is_not_far_from_itself_and_a_run_learns_from_it(
        self, top_k: int | None, run: Path, media: Path, tmp_path: Path
    ) -> None:
        told = {"teacher": str(run / "model"), "weight": 0.5, "temperature": 2.0, "top_k": top_k}
        recipe = mixed(tmp_path / "student", media, distillation=told, schedule__seed=1)
        model, processor = load_model(run / "model", None, LoadOptions(device="cpu", dtype="float32"))
        assert isinstance(model, VambaForConditionalGeneration)
        assert isinstance(processor, VambaProcessor)
        teacher = VambaTeacher(model, processor, processor, Distillation.model_validate(told))
        dataset = open_dataset(recipe, read_samples(recipe.data.sources, 0), model.config, processor)
        examples = examples_of(dataset, 2)
        batch = VambaCollator(processor)(examples)
        del batch["info"]
        batch["pixel_values_videos"] = processor.normalise(examples[0].patches[0]).values
        with torch.no_grad():
            own = model(**batch).logits
            other = start_vamba(recipe)[0](**batch).logits
        assert teacher.distance(batch, own).item() == pytest.approx(0, abs=1e-4)
        assert teacher.distance(batch, other).item() > 0.1
        outcome = train(recipe)
        assert math.isfinite(outcome.losses[1])

    def test_a_teacher_of_another_kind_is_refused(self, media: Path, tmp_path: Path) -> None:
        recipe = mixed(tmp_path / "student", media, distillation={"teacher": "bimba-nano"})
        with pytest.raises(InputError, match="is a bimba, the student a vamba"):
            train(recipe)


def test_the_shipped_small_run_begins_as_it_says(tmp_path: Path) -> None:
    recipe = read_recipe("vamba/cpu", [f"output={tmp_path / 'run'}", "schedule.max_steps=3", "log.every=1"])
    outcome = train(recipe)
    assert outcome.steps == 3
    assert outcome.failed == {}
    assert outcome.losses[1] < outcome.losses[0]
