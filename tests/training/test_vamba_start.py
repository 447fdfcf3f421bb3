"""What training of a Vamba starts from, what of it is trained, and which recipes are refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bimba.checkpoints.qwen2_vl import convert_to_vamba
from bimba.errors import InputError
from bimba.models.vamba.modeling import VambaForConditionalGeneration
from bimba.models.vamba.processing import VambaProcessor
from bimba.training.model.parts import parameter_groups, part_of, prepare_parts
from bimba.training.model.start import read_outline_of, start_model, start_vamba
from bimba.training.recipe.reading import read_recipe, recipe_as_yaml
from bimba.training.recipe.settings import Recipe, Schedule
from bimba.training.recipe.train_settings import VAMBA_PARTS, Train, VambaTrain
from small_runs import small_settings
from vamba_runs import MIXER, PIXELS, plain_qwen2_vl, vamba_recipe, vamba_settings

STAGES: dict[str, dict[str, Any]] = {
    "stage1_pretrain": {},
    "stage2_sft": {"merger": {"mode": "full"}, "language_model": {"mode": "full"}},
}
LAST_MIXER = "model.layers.2.vision_mixer."


def recipe_for(path: Path, **changes: Any) -> Recipe:
    model = {"start": "checkpoint", "path": str(path), **changes.pop("model", {})}
    return vamba_recipe(Path("unused"), Path("unused"), model=model, **changes)


@pytest.fixture(scope="module")
def qwen(vamba_numbers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plain_qwen2_vl(vamba_numbers, tmp_path_factory.mktemp("qwen") / "Qwen2-VL-tiny")


@pytest.fixture
def golden_model(vamba_numbers: Path) -> VambaForConditionalGeneration:
    folder = vamba_numbers / "tiny_vamba" / "config_a_default"
    return start_vamba(recipe_for(folder))[0]


class TestParts:
    @pytest.mark.parametrize("stage", STAGES)
    def test_the_released_stages_train_what_they_did_but_for_what_leads_nowhere(
        self, stage: str, golden_model: VambaForConditionalGeneration, vamba_numbers: Path
    ) -> None:
        """The last layer's mixer, which never got a gradient there, is frozen: processes would wait for it."""
        told = json.loads((vamba_numbers / "init" / f"{stage}.json").read_text())
        trained = prepare_parts(golden_model, VambaTrain(kind="vamba", **STAGES[stage]))
        idle = {name for name in told["trainable"] if name.startswith(LAST_MIXER)}
        assert len(idle) == 9
        assert set(trained.names) == set(told["trainable"]) - idle
        frozen = {name for name, parameter in golden_model.named_parameters() if not parameter.requires_grad}
        assert frozen == set(told["frozen"]) | idle
        first = json.loads((vamba_numbers / "init" / "stage1_pretrain.json").read_text())
        assert idle == set(first["grad_checkpointing_use_reentrant_False"]["without_grad"])

    @pytest.mark.parametrize("stage", STAGES)
    def test_only_matrices_decay(
        self, stage: str, golden_model: VambaForConditionalGeneration, vamba_numbers: Path
    ) -> None:
        """The released code lets norms, decay rates, skips and alpha decay, too; whatever else it does is the same."""
        told = json.loads((vamba_numbers / "init" / f"{stage}.json").read_text())
        train = VambaTrain(kind="vamba", **STAGES[stage])
        trained = prepare_parts(golden_model, train)
        names = {id(parameter): name for name, parameter in golden_model.named_parameters()}
        groups = parameter_groups(golden_model.named_parameters(), train, Schedule(weight_decay=0.1))
        decaying = {names[id(one)] for group in groups if group["weight_decay"] for one in group["params"]}
        resting = {names[id(one)] for group in groups if not group["weight_decay"] for one in group["params"]}
        assert decaying | resting == set(trained.names)
        ends = ("A_log", ".D", "alpha", "norm.weight", "layernorm.weight")
        wrong = {name for name in told["optimizer_group_weight_decay"] if name.endswith(ends)}
        assert wrong, "the released groups are known to be wrong"
        ours = set(trained.names)
        assert decaying == (set(told["optimizer_group_weight_decay"]) - wrong) & ours
        assert resting == (set(told["optimizer_group_no_weight_decay"]) | wrong) & ours
        assert all(name.endswith(("weight",)) and "norm" not in name for name in decaying)

    def test_every_weight_belongs_to_one_part(self, golden_model: VambaForConditionalGeneration) -> None:
        found = {part_of(name) for name, _ in golden_model.named_parameters()}
        assert found == set(VAMBA_PARTS)
        assert part_of("module.visual.merger.mlp.0.weight") == "merger"
        assert part_of("model.layers.0.self_attn.q_proj.lora_A.default.weight") == "language_model"

    def test_each_part_has_its_own_learning_rate(self, golden_model: VambaForConditionalGeneration) -> None:
        train = VambaTrain.model_validate({"kind": "vamba", "alpha": {"mode": "full", "learning_rate": 1e-2}})
        prepare_parts(golden_model, train)
        groups = parameter_groups(golden_model.named_parameters(), train, Schedule(learning_rate=1e-5))
        fast = [group for group in groups if group["lr"] == 1e-2]
        assert [len(group["params"]) for group in fast] == [3]

    def test_adapters_of_the_decoder_stand_beside_its_attention(
        self, golden_model: VambaForConditionalGeneration
    ) -> None:
        train = VambaTrain.model_validate(
            {"kind": "vamba", "language_model": {"mode": "lora"}, "lora": {"rank": 2, "alpha": 4}}
        )
        trained = prepare_parts(golden_model, train)
        adapters = {name for name in trained.names if "lora" in name}
        assert len(adapters) == 3 * 2 * 2
        assert all(".self_attn." in name for name in adapters)

    @pytest.mark.parametrize("part", ["cross_attn", "vision_mixer"])
    def test_all_linear_layers_of_a_part_can_have_adapters(
        self, part: str, golden_model: VambaForConditionalGeneration
    ) -> None:
        modes = {name: {"mode": "frozen"} for name in ("cross_attn", "vision_mixer", "alpha")}
        train = VambaTrain.model_validate(
            {"kind": "vamba", **modes, part: {"mode": "lora"}, "lora": {"rank": 2, "targets": "all-linear"}}
        )
        trained = prepare_parts(golden_model, train)
        assert trained.names
        assert {part_of(name) for name in trained.names} == {part}
        assert not any(name.startswith(LAST_MIXER) for name in trained.names)


class TestStart:
    def test_a_qwen2_vl_becomes_what_convert_writes_of_it(self, qwen: Path, tmp_path: Path) -> None:
        direct, processor = start_model(recipe_for(qwen, model={"mixer": MIXER}, schedule__seed=3))
        convert_to_vamba(qwen, tmp_path / "vamba", mixer=MIXER, seed=3)
        written, _ = start_model(recipe_for(tmp_path / "vamba"))
        one, other = direct.state_dict(), written.state_dict()
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
        assert isinstance(processor, VambaProcessor)

    def test_the_processor_is_as_training_sees_frames(self, qwen: Path) -> None:
        changes: dict[str, Any] = {"frames": {"count": 12, "sampling": "random"}}
        recipe = recipe_for(qwen, model={"mixer": MIXER, "pixels": {"longest_edge": 300}}, **changes)
        _, processor = start_model(recipe)
        assert isinstance(processor, VambaProcessor)
        assert (processor.num_frames, processor.sampling) == (12, "middle")
        assert (processor.longest_edge, processor.shortest_edge) == (300, 256)

    def test_from_scratch_the_marks_are_tokens(self) -> None:
        model, processor = start_model(vamba_recipe(Path("unused"), Path("unused")))
        assert isinstance(processor, VambaProcessor)
        marks = processor.tokenizer("<|vision_start|><|vision_end|>")["input_ids"]
        assert marks == [model.config.vision_start_token_id, model.config.vision_end_token_id]
        assert model.config.text_config.vocab_size >= len(processor.tokenizer)
        assert (processor.longest_edge, processor.shortest_edge) == tuple(PIXELS.values())

    def test_the_same_seed_gives_the_same_weights(self) -> None:
        one, _ = start_model(vamba_recipe(Path("unused"), Path("unused")))
        again, _ = start_model(vamba_recipe(Path("unused"), Path("unused")))
        other, _ = start_model(vamba_recipe(Path("unused"), Path("unused"), schedule__seed=1))
        pairs = zip(one.parameters(), again.parameters(), strict=True)
        assert all(torch.equal(left, right) for left, right in pairs)
        tables = [model.state_dict()["model.embed_tokens.weight"] for model in (one, other)]
        assert not torch.equal(*tables)

    def test_a_vamba_has_mixers_of_its_own(self, vamba_numbers: Path) -> None:
        folder = vamba_numbers / "tiny_vamba" / "config_a_default"
        with pytest.raises(InputError, match=r"model\.mixer is set, but .* is a Vamba"):
            read_outline_of(recipe_for(folder, model={"mixer": MIXER}))

    def test_parts_of_the_other_kind_are_refused_and_named(self, vamba_numbers: Path, tmp_path: Path) -> None:
        folder = vamba_numbers / "tiny_vamba" / "config_a_default"
        settings = small_settings(tmp_path, tmp_path) | {"model": {"start": "checkpoint", "path": str(folder)}}
        with pytest.raises(InputError, match="the model is a vamba, but train is about the parts of a bimba") as caught:
            start_model(Recipe.model_validate(settings))
        assert all(part in caught.value.fix for part in VAMBA_PARTS)

    def test_a_bimba_is_refused_by_a_vambas_recipe(self) -> None:
        recipe = vamba_recipe(Path("unused"), Path("unused"), model={"start": "checkpoint", "path": "bimba-nano"})
        with pytest.raises(InputError, match="the model is a bimba, but train is about the parts of a vamba") as caught:
            start_model(recipe)
        assert "compressor" in caught.value.fix


def refused(tmp_path: Path, **changes: Any) -> str:
    """What reading a recipe with these changes says."""
    settings = vamba_settings(Path("runs/x"), Path("needles")) | changes
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(settings))
    with pytest.raises(InputError) as caught:
        read_recipe(path)
    return caught.value.problem


class TestRecipe:
    def test_what_it_does_not_say_of_frames_is_as_vamba_was_trained(self) -> None:
        frames = vamba_recipe(Path("x"), Path("y")).frames
        assert (frames.sampling, frames.time_sentence) == ("middle", False)

    def test_it_survives_being_written_out(self, tmp_path: Path) -> None:
        recipe = vamba_recipe(Path("x"), Path("y"), data__packing={"tokens": 100})
        (tmp_path / "again.yaml").write_text(recipe_as_yaml(recipe))
        assert read_recipe(tmp_path / "again.yaml") == recipe

    def test_without_a_word_about_parts_the_first_stage_is_trained(self) -> None:
        modes = {part: VambaTrain(kind="vamba").part(part).mode for part in VAMBA_PARTS}
        assert [part for part, mode in modes.items() if mode == "full"] == ["cross_attn", "vision_mixer", "alpha"]

    @pytest.mark.parametrize(
        ("train", "said"),
        [
            ({"kind": "vamba", "compressor": {"mode": "full"}}, "compressor is a part of a BIMBA"),
            ({"cross_attn": {"mode": "full"}}, "cross_attn is a part of a Vamba (kind: vamba)"),
            ({"kind": "vamba", "vision_mixr": {"mode": "full"}}, "did you mean train.vision_mixer?"),
            ({"kind": "vmba"}, "train.kind ({path}:1) is 'vmba': it should be bimba or vamba"),
            ({"kind": "vamba", "alpha": {"mode": "lora"}}, "alpha has no matrices"),
        ],
    )
    def test_wrong_parts_are_told_with_those_there_are(self, train: dict[str, Any], said: str, tmp_path: Path) -> None:
        assert said.format(path=tmp_path / "recipe.yaml") in refused(tmp_path, train=train)

    def test_so_are_those_of_the_command_line(self) -> None:
        with pytest.raises(
            InputError, match=r"train\.compressor\.mode \(command line\) is unknown; compressor is a part"
        ):
            read_recipe("vamba/cpu", ["train.compressor.mode=full"])

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"frames": {"count": 4, "time_sentence": True}}, "a Vamba is not told when its frames are"),
            ({"save": {"result": "adapter"}}, "has nothing to be put onto"),
            ({"model": {"start": "parts", "vision": "a", "language": "b"}}, "model.start is parts"),
            ({"model": {"path": "a", "compressor": {}}}, "model.compressor and model.settings are a BIMBA's"),
            ({"model": {"path": "a"}, "save": {"result": "adapter"}}, "a Vamba is saved whole"),
            ({"model": {"path": "a", "mixer": {"d_stat": 1}}}, "did you mean model.mixer.d_state?"),
            ({"objective": {"words": {}}}, "objective.words"),
            ({"train": {}}, "model.config is that of a vamba"),
        ],
    )
    def test_what_a_vamba_cannot_have_is_refused(self, changes: dict[str, Any], said: str, tmp_path: Path) -> None:
        assert said in refused(tmp_path, **changes)

    @pytest.mark.parametrize(
        ("section", "values", "said"),
        [
            ("frames", {"count": 4, "sampling": "random"}, "frames.sampling is random, which is a Vamba's"),
            ("distillation", {"teacher": "a", "top_k": 10}, "distillation.top_k is for a Vamba"),
        ],
    )
    def test_what_a_bimba_cannot_have_is_refused(
        self, section: str, values: dict[str, Any], said: str, tmp_path: Path
    ) -> None:
        settings = small_settings(tmp_path / "run", tmp_path / "needles") | {section: values}
        with pytest.raises(ValueError, match=said):
            Recipe.model_validate(settings)

    def test_rows_of_several_samples_need_masks(self, tmp_path: Path) -> None:
        data = vamba_settings(tmp_path, tmp_path)["data"] | {"packing": {"samples": 2}}
        compute = {"attn_implementation": "flash_attention_2"}
        assert "has to be sdpa or eager" in refused(tmp_path, data=data, compute=compute)
        assert "one of samples and tokens" in refused(tmp_path, data=data | {"packing": {}})

    def test_train_of_another_kind_replaces_as_a_whole(self, tmp_path: Path) -> None:
        (tmp_path / "parent.yaml").write_text(json.dumps(small_settings(Path("runs/x"), Path("y"))))
        child = {"extends": "parent.yaml", "model": vamba_settings(Path("x"), Path("y"))["model"]}
        frames = {"time_sentence": False, "sampling": "middle"}
        (tmp_path / "child.yaml").write_text(json.dumps(child | {"train": {"kind": "vamba"}, "frames": frames}))
        recipe = read_recipe(tmp_path / "child.yaml")
        assert recipe.train == VambaTrain(kind="vamba")
        assert Train().kind == "bimba"
