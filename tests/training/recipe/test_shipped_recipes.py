"""Every recipe and launch file that comes with the package holds, and says what the sources say."""

import argparse
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file  # type: ignore[import-untyped]
from accelerate.commands.launch import launch_command_parser  # type: ignore[import-untyped]
from accelerate.utils import DeepSpeedPlugin, FullyShardedDataParallelPlugin  # type: ignore[import-untyped]
from torch.distributed.fsdp import StateDictType
from transformers import AutoConfig

from bimba import shipped_recipes as shipped
from bimba.models.bimba.configuration import SELECTIVE_SCAN, BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.kinds import model_of
from bimba.needles.settings import NeedleSettings
from bimba.shipped_recipes import shipped_ablation, shipped_accelerate_configs, shipped_recipes
from bimba.training.model.start import read_bimba_outline, read_outline_of
from bimba.training.recipe.data_settings import Needles
from bimba.training.recipe.reading import read_recipe, recipe_as_yaml
from bimba.training.recipe.settings import Checkpoint, Parts, Recipe, Scratch
from bimba.training.recipe.train_settings import VAMBA_PARTS

REPOSITORY = Path(__file__).resolve().parents[3]
ABLATIONS = ("learned_queries", "no_norm", "one_direction", "pooling", "queries_at_the_end", "question_conditioned")


def test_names() -> None:
    nano = ["nano/1-vision", "nano/2-words", "nano/3-names", "nano/4-answers"]
    names = [*(f"ablation/{name}" for name in ABLATIONS), "bimba_llava_qwen2_7b", "cpu", *nano, "paper_ablation"]
    names += ["vamba/1-align", "vamba/2-instruct", "vamba/cpu"]
    assert sorted(shipped_recipes()) == names
    assert list(shipped_accelerate_configs()) == ["ddp", "fsdp2", "zero2", "zero3"]


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_loads_and_survives_being_written_out(name: str, tmp_path: Path) -> None:
    recipe = read_recipe(name)
    written = tmp_path / "again.yaml"
    written.write_text(recipe_as_yaml(recipe), encoding="utf-8")
    assert read_recipe(written) == recipe
    assert recipe.output == Path("runs", name), "runs of two recipes do not mix"


@pytest.mark.parametrize("name", shipped_ablation())
def test_a_recipe_of_the_small_ablation_loads_and_survives_being_written_out(name: str, tmp_path: Path) -> None:
    recipe = read_recipe(shipped_ablation()[name])
    written = tmp_path / "again.yaml"
    written.write_text(recipe_as_yaml(recipe), encoding="utf-8")
    assert read_recipe(written) == recipe
    assert recipe.output == Path("runs", "small_ablation", name), "runs of two recipes do not mix"
    assert isinstance(recipe.model, Checkpoint)
    assert recipe.model.path == "bimba-nano"


@pytest.mark.parametrize(
    "path",
    [*shipped_recipes().values(), *shipped_ablation().values(), *shipped_accelerate_configs().values()],
    ids=str,
)
def test_a_file_says_what_it_is_and_how_to_run_it(path: Path) -> None:
    comment = path.read_text(encoding="utf-8").split("\n\n")[0]
    assert all(line.startswith("#") for line in comment.splitlines())
    assert "Run:" in comment
    assert "bimba train" in comment


def test_the_released_run_has_the_released_values() -> None:
    recipe = read_recipe("bimba_llava_qwen2_7b")
    assert isinstance(recipe.model, Checkpoint)
    assert recipe.model.path == "lmms-lab/LLaVA-Video-7B-Qwen2"
    assert recipe.model.compressor == SELECTIVE_SCAN
    assert recipe.model.settings == {}
    folders = {source.json_path.parts[2] for source in recipe.data.sources if source.json_path is not None}
    assert folders == {f"{length}_{kind}_v0_1" for length in ("1_2_m", "2_3_m") for kind in ("academic", "youtube")}
    assert all(source.sampling_strategy == "all" for source in recipe.data.sources)
    assert recipe.frames.count == 64
    assert recipe.frames.sampling == "uniform"
    assert recipe.frames.time_sentence
    assert recipe.data.labels == "released"
    assert recipe.schedule.epochs == 1
    assert recipe.schedule.max_steps is None
    assert (recipe.train.lora.rank, recipe.train.lora.alpha, recipe.train.lora.dropout) == (128, 32, 0.05)
    assert recipe.train.lora.targets == ("q_proj", "v_proj")
    assert recipe.train.vision_tower.mode == "lora"
    assert recipe.train.language_model.mode == "lora"
    assert recipe.train.part("compressor").mode == "full"
    assert recipe.train.part("projector").mode == "full"
    assert recipe.schedule.optimizer == "adamw_torch"
    assert recipe.schedule.learning_rate == 1e-6
    assert recipe.train.vision_tower.learning_rate == 2e-6
    assert recipe.train.language_model.learning_rate is None
    assert recipe.schedule.scheduler == "cosine"
    assert recipe.schedule.warmup == 0.03
    assert recipe.schedule.weight_decay == 0
    assert recipe.compute.precision == "bf16"
    assert recipe.compute.gradient_checkpointing
    assert (recipe.schedule.batch_size, recipe.schedule.accumulation) == (1, 2)
    assert recipe.schedule.global_batch_size is None
    assert recipe.save.result == "adapter"


def test_the_ablation_has_the_papers_values() -> None:
    recipe = read_recipe("paper_ablation")
    assert isinstance(recipe.model, Parts)
    assert (recipe.model.vision, recipe.model.language) == ("openai/clip-vit-large-patch14-336", "lmsys/vicuna-7b-v1.5")
    vision = AutoConfig.for_model("clip_vision_model", image_size=336, patch_size=14)
    config = BimbaConfig(vision_config=vision, compressor=recipe.model.compressor, **recipe.model.settings)
    frames, rows, columns = recipe.frames.count, config.patches_per_side, config.patches_per_side
    assert (frames, rows, columns) == (64, 24, 24)
    sizes = zip((frames, rows, columns), config.pool, strict=True)
    assert tuple(size // factor for size, factor in sizes) == (16, 12, 12)
    assert recipe.schedule.global_batch_size == 128
    assert recipe.schedule.learning_rate == 2e-5
    assert len(recipe.data.sources) == 8


@pytest.mark.parametrize(
    ("name", "compressor"),
    [
        ("learned_queries", {"queries": "learned", "learned_grid": [16, 12, 12]}),
        ("no_norm", {"norm": False}),
        ("one_direction", {"bidirectional": False}),
        ("queries_at_the_end", {"query_position": "end"}),
        ("question_conditioned", {"question_conditioned": True}),
    ],
)
def test_a_variant_changes_one_thing(name: str, compressor: dict[str, Any]) -> None:
    full, variant = read_recipe("paper_ablation"), read_recipe(f"ablation/{name}")
    assert isinstance(variant.model, Parts)
    assert variant.model.compressor == SELECTIVE_SCAN | compressor
    assert isinstance(full.model, Parts)
    assert variant.model.model_copy(update={"compressor": full.model.compressor}) == full.model
    assert variant.model_copy(update={"model": full.model, "output": full.output}) == full


def test_the_variant_without_a_scan_has_no_compressor_to_train() -> None:
    variant = read_recipe("ablation/pooling")
    assert isinstance(variant.model, Parts)
    assert variant.model.compressor == {"type": "pooling"}
    assert variant.train.part("compressor").mode == "frozen"


class TestCpu:
    @pytest.fixture
    def recipe(self) -> Recipe:
        return read_recipe("cpu")

    def test_its_model_is_small(self, recipe: Recipe) -> None:
        assert isinstance(recipe.model, Scratch)
        config, _ = read_bimba_outline(recipe)
        with torch.device("meta"):
            assert BimbaForConditionalGeneration(config).num_parameters() < 2e6

    def test_its_needles_can_be_made(self, recipe: Recipe) -> None:
        [source] = recipe.data.sources
        assert isinstance(source.needles, Needles)
        values = NeedleSettings.of_options(source.needles.options)
        assert values.num_frames == 40
        assert values.needle_seconds[0] > values.seconds / recipe.frames.count, "each is seen at least once"

    def test_it_needs_no_gpu(self, recipe: Recipe) -> None:
        assert (recipe.compute.device, recipe.compute.precision) == ("cpu", "float32")


class TestVamba:
    def test_the_first_stage_has_the_released_values(self) -> None:
        recipe = read_recipe("vamba/1-align")
        assert isinstance(recipe.model, Checkpoint)
        assert recipe.model.path == "Qwen/Qwen2-VL-7B-Instruct"
        assert recipe.model.mixer is None
        trained = {name for name in VAMBA_PARTS if recipe.train.part(name).mode == "full"}
        assert trained == {"cross_attn", "vision_mixer", "alpha"}
        assert (recipe.schedule.learning_rate, recipe.schedule.global_batch_size) == (1e-5, 16)
        assert {source.json_path.parts[1] for source in recipe.data.sources if source.json_path} == {
            "CC12M",
            "PixelProse",
        }
        assert recipe.data.labels == "released"

    def test_the_second_stage_has_the_released_values(self) -> None:
        recipe = read_recipe("vamba/2-instruct")
        assert isinstance(recipe.model, Checkpoint)
        assert Path(recipe.model.path) == read_recipe("vamba/1-align").output / "model"
        frozen = {name for name in VAMBA_PARTS if recipe.train.part(name).mode == "frozen"}
        assert frozen == {"vision_tower", "head"}
        assert (recipe.schedule.learning_rate, recipe.schedule.global_batch_size) == (5e-6, 32)
        assert (recipe.frames.count, recipe.frames.sampling, recipe.frames.time_sentence) == (512, "random", False)
        assert recipe.data.labels == "released"

    def test_the_small_one_is_small_and_needs_no_gpu(self) -> None:
        recipe = read_recipe("vamba/cpu")
        assert (recipe.compute.device, recipe.compute.precision) == ("cpu", "float32")
        config, _ = read_outline_of(recipe)
        with torch.device("meta"):
            assert model_of(config).num_parameters() < 2e6


def test_the_wheel_and_the_source_archive_hold_them() -> None:
    build = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    assert build["targets"]["wheel"]["force-include"] == {"recipes": "bimba/recipes"}
    assert "recipes" in build["targets"]["sdist"]["include"]


def test_an_installed_package_has_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "bimba" / "recipes"
    (installed / "train" / "deep").mkdir(parents=True)
    (installed / "train" / "deep" / "a.yaml").touch()
    monkeypatch.setattr(shipped, "_PLACES", (installed, REPOSITORY / "recipes"))
    assert shipped_recipes() == {"deep/a": installed / "train" / "deep" / "a.yaml"}
    assert "ddp" in shipped_accelerate_configs()
    monkeypatch.setattr(shipped, "_PLACES", ())
    assert shipped_recipes() == {}


def launch_config(name: str) -> ClusterConfig:
    config = load_config_from_file(str(shipped_accelerate_configs()[name]))
    assert isinstance(config, ClusterConfig)
    return config


@pytest.fixture
def known_arguments() -> set[str]:
    """What `accelerate launch` takes; it sets keys of a file beside these without a word."""
    parser: argparse.ArgumentParser = launch_command_parser()
    return {action.dest for action in parser._actions}


@pytest.mark.parametrize(
    ("name", "kind"), [("ddp", "MULTI_GPU"), ("fsdp2", "FSDP"), ("zero2", "DEEPSPEED"), ("zero3", "DEEPSPEED")]
)
def test_accelerate_knows_every_key(name: str, kind: str, known_arguments: set[str]) -> None:
    path = shipped_accelerate_configs()[name]
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    config = launch_config(name)  # refuses unknown keys of the first level
    assert config.distributed_type.value == kind
    assert config.mixed_precision == "bf16"
    below = [key for value in values.values() if isinstance(value, dict) for key in value]
    assert set(below) <= known_arguments


@pytest.mark.parametrize(("name", "stage"), [("zero2", 2), ("zero3", 3)])
def test_deepspeed_gets_its_stage(name: str, stage: int) -> None:
    settings = launch_config(name).deepspeed_config
    assert settings is not None
    plugin = DeepSpeedPlugin(**settings)
    config = plugin.deepspeed_config
    assert config["zero_optimization"]["stage"] == stage
    assert config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] is (stage == 3)
    assert not plugin.zero3_init_flag
    assert (config["gradient_accumulation_steps"], config["gradient_clipping"]) == ("auto", "auto")


def test_fsdp_gets_its_version_and_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = launch_config("fsdp2").fsdp_config
    assert settings is not None
    for name in list(os.environ):
        if name.startswith("FSDP_"):
            monkeypatch.delenv(name)
    for key, value in settings.items():  # as `accelerate launch` hands them on
        name = {"FSDP_TRANSFORMER_LAYER_CLS_TO_WRAP": "FSDP_TRANSFORMER_CLS_TO_WRAP"}.get(key.upper(), key.upper())
        monkeypatch.setenv(name, str(value))
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert not plugin.cpu_ram_efficient_loading
    assert plugin.transformer_cls_names_to_wrap == ["Qwen2DecoderLayer"]
    assert plugin.state_dict_type == StateDictType.FULL_STATE_DICT
