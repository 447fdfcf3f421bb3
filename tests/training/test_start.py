"""What training starts from: a model that is there, two halves, or random weights; and what of it is trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import (
    CLIPConfig,
    CLIPModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipConfig,
    SiglipModel,
)

from bimba.errors import CheckpointError, InputError
from bimba.inference import VideoQA
from bimba.models.bimba.tiny import tiny_tokenizer
from bimba.training.model.matching import begin_matching
from bimba.training.model.parts import decays, parameter_groups, part_of, prepare_parts
from bimba.training.model.start import read_bimba_outline, start_bimba
from bimba.training.recipe.settings import Recipe
from bimba.training.recipe.train_settings import Lora, Part, Train
from small_runs import small_recipe, small_settings

VISION: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 70,
    "patch_size": 14,
}
TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 320,
}
PIXELS = '{"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}'


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vision towers and language models as their authors publish them, with texts and heads that we do not need."""
    folder = tmp_path_factory.mktemp("halves")
    torch.manual_seed(0)
    small_text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    SiglipModel(SiglipConfig(vision_config=VISION, text_config=small_text)).save_pretrained(folder / "siglip")
    CLIPModel(CLIPConfig(vision_config=VISION, text_config=small_text)).save_pretrained(folder / "clip")
    (folder / "clip" / "preprocessor_config.json").write_text(PIXELS)
    tokenizer = tiny_tokenizer()
    for name, model in {
        "qwen": Qwen2ForCausalLM(Qwen2Config(**TEXT)),
        "llama": LlamaForCausalLM(LlamaConfig(**TEXT)),
    }.items():
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def parts_recipe(halves: Path, vision: str, language: str, **settings: Any) -> Recipe:
    model = {"start": "parts", "vision": str(halves / vision), "language": str(halves / language)}
    return small_recipe(Path("unused"), Path("unused"), model=model | {"settings": settings})


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize(("vision", "language"), [("siglip", "qwen"), ("clip", "llama")])
def test_two_halves_become_one_model(halves: Path, vision: str, language: str, precision: str) -> None:
    """The weights are those of the halves, everything between them is fresh, and a video goes through."""
    recipe = parts_recipe(halves, vision, language, vision_feature_layer=-2, temporal_pooling=2)
    recipe = recipe.model_copy(update={"compute": recipe.compute.model_copy(update={"precision": precision})})
    model, processor = start_bimba(recipe)
    model.to(torch.float32)  # type: ignore[arg-type] # the wrapper in transformers hides the signature
    half = (SiglipModel if vision == "siglip" else CLIPModel).from_pretrained(halves / vision)
    whole = dict(model.vision_tower.named_parameters())
    for name, expected in half.vision_model.named_parameters():
        if ".head." not in f".{name}":
            found = whole[name] if name in whole else whole[f"vision_model.{name}"]
            assert torch.allclose(found, expected, atol=1e-2 if precision == "bf16" else 0), name
    kind = Qwen2ForCausalLM if language == "qwen" else LlamaForCausalLM
    words = kind.from_pretrained(halves / language).get_input_embeddings()(torch.tensor([5]))
    assert torch.allclose(model.get_input_embeddings()(torch.tensor([5])), words, atol=1e-2)
    assert not model.compressor.layers[0].mixer.out_proj.weight.any()
    assert processor.image_mean == ([0.48, 0.46, 0.41] if vision == "clip" else [0.5, 0.5, 0.5])
    frames = torch.zeros(4, 70, 70, 3, dtype=torch.uint8)
    assert VideoQA(model, processor).ask(frames, "What?", max_new_tokens=2).num_video_tokens == 2 * 3 * 4
    config, outlined = read_bimba_outline(recipe)
    assert config.vision_config.hidden_size == 48
    assert outlined.num_video_tokens(4) == processor.num_video_tokens(4)


def test_halves_that_cannot_be_read_are_named(halves: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"the vision tower .*nowhere.* cannot be read"):
        start_bimba(parts_recipe(halves, "nowhere", "qwen"))
    (tmp_path / "clip").mkdir()
    CLIPConfig(vision_config=VISION).save_pretrained(tmp_path / "clip")
    with pytest.raises(CheckpointError, match="how its pixels are normalised"):
        read_bimba_outline(parts_recipe(tmp_path, "clip", str(halves / "qwen")))
    with pytest.raises(InputError, match=r"model\.settings do not hold: .*spatial_pooling"):
        start_bimba(parts_recipe(halves, "siglip", "qwen", spatial_pooling=0))


def test_the_same_seed_gives_the_same_start_and_another_another(tmp_path: Path) -> None:
    recipes = [small_recipe(tmp_path, tmp_path, schedule={"seed": seed}) for seed in (1, 1, 2)]
    one, same, other = ([p.clone() for p in start_bimba(recipe)[0].parameters()] for recipe in recipes)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_scratch_takes_a_vocabulary_that_fits_and_the_papers_compressor(tmp_path: Path) -> None:
    model, processor = start_bimba(small_recipe(tmp_path, tmp_path))
    assert model.config.text_config.vocab_size == 320
    assert model.config.tokenizer_size == len(processor.tokenizer) - 1  # the placeholder is no word
    bound = model.compressor.dim**-0.5
    weight = model.compressor.layers[0].mixer.in_proj.weight
    assert 0.95 * bound < weight.abs().max() <= bound  # torch's own range, not normal of 0.02


def test_attention_may_begin_with_looking_for_its_like(tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path, tmp_path, model={**scratch_of(tmp_path), "attention": "matching"})
    model, _ = start_bimba(recipe)
    attention = model.language_model.model.layers[0].self_attn
    head, width = attention.head_dim, attention.q_proj.in_features
    groups = attention.k_proj.out_features // head
    shared = attention.q_proj.weight.view(groups, -1, head, width)
    assert (shared == attention.k_proj.weight.view(groups, 1, head, width)).all()
    values = attention.v_proj.weight.view(groups, 1, head, width).expand_as(shared).reshape(-1, width)
    through = attention.o_proj.weight @ values  # what a token gets of one that every head attends to
    kept = attention.v_proj.weight.T @ attention.v_proj.weight  # onto what values can hold
    torch.testing.assert_close(through, 0.5 * kept, rtol=0, atol=1e-5)
    assert float(torch.trace(through.detach())) == pytest.approx(0.5 * len(attention.v_proj.weight), abs=1e-3)
    other, _ = start_bimba(small_recipe(tmp_path, tmp_path))
    first = other.language_model.model.layers[0].self_attn
    assert not torch.equal(first.q_proj.weight[: len(first.k_proj.weight)], first.k_proj.weight)


def test_attention_that_is_not_there_cannot_begin_like_that() -> None:
    with pytest.raises(InputError, match="no layers with q_proj and o_proj"):
        begin_matching(torch.nn.Linear(2, 2))
    wide = torch.nn.Module()
    for name, (rows, columns) in {"q": (8, 4), "k": (8, 4), "v": (8, 4), "o": (4, 8)}.items():
        setattr(wide, f"{name}_proj", torch.nn.Linear(columns, rows))
    wide.head_dim = 4  # type: ignore[assignment] # as transformers keeps it
    with pytest.raises(InputError, match="values of 8 numbers cannot be handed on in 4"):
        begin_matching(wide)


def scratch_of(tmp_path: Path) -> dict[str, Any]:
    return small_settings(tmp_path, tmp_path)["model"]  # type: ignore[no-any-return] # plain values


def test_a_checkpoint_keeps_its_compressor_unless_a_fresh_one_is_asked_for(model: Path, tmp_path: Path) -> None:
    kept, _ = start_bimba(small_recipe(tmp_path, tmp_path, model={"start": "checkpoint", "path": str(model)}))
    assert kept.compressor.layers[0].mixer.out_proj.weight.any()
    fresh = {"start": "checkpoint", "path": str(model), "compressor": {"bidirectional": False}}
    new, _ = start_bimba(small_recipe(tmp_path, tmp_path, model=fresh))
    assert new.compressor.layers[0].mixer.backward_scan is None
    assert not new.compressor.layers[0].mixer.out_proj.weight.any()
    assert new.config.compressor["bidirectional"] is False


def trained_of(tmp_path: Path, train: Train) -> tuple[Any, Any]:
    model, _ = start_bimba(small_recipe(tmp_path, tmp_path))
    return model, prepare_parts(model, train)


def test_only_what_the_recipe_names_is_trained(tmp_path: Path) -> None:
    train = Train(projector=Part(), compressor=Part(mode="full"), language_model=Part(mode="lora"), lora=Lora(rank=4))
    model, trained = trained_of(tmp_path, train)
    assert set(trained.by_part) == {"compressor", "language_model"}
    assert all("lora_" in name for name in trained.names if part_of(name) == "language_model")
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == trained.num_parameters
    assert trained.num_parameters < trained.num_all


def test_trained_weights_are_float32_and_frozen_ones_stay_as_they_are(tmp_path: Path) -> None:
    model, _ = start_bimba(small_recipe(tmp_path, tmp_path))
    model.to(torch.bfloat16)  # type: ignore[arg-type] # the wrapper in transformers hides the signature
    trained = prepare_parts(model, Train(vision_tower=Part(mode="lora"), lora=Lora(rank=2)))
    for name, parameter in model.named_parameters():
        exact = name in trained.names or name.endswith("A_log")
        assert parameter.dtype == (torch.float32 if exact else torch.bfloat16), name


def test_weights_without_a_say_in_the_features_are_not_trained(tmp_path: Path) -> None:
    """Otherwise processes that train together would wait for their gradients."""
    _, trained = trained_of(tmp_path, Train(vision_tower=Part(mode="full")))
    assert any(name.startswith("vision_tower.") for name in trained.names)
    assert not any("post_layernorm" in name for name in trained.names)


def test_lora_on_layers_that_are_not_there_is_refused(tmp_path: Path) -> None:
    train = Train(language_model=Part(mode="lora"), lora=Lora(targets=("query",)))
    with pytest.raises(InputError, match=r"none of its linear layers is called \('query',\)") as error:
        trained_of(tmp_path, train)
    assert "q_proj" in error.value.fix


def test_lora_on_all_linear_layers_leaves_the_head_out(tmp_path: Path) -> None:
    train = Train(
        compressor=Part(), projector=Part(), language_model=Part(mode="lora"), lora=Lora(targets="all-linear")
    )
    _, trained = trained_of(tmp_path, train)
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name in trained.names}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_lora_on_the_compressor_reaches_the_scan(tmp_path: Path) -> None:
    train = Train(projector=Part(), compressor=Part(mode="lora"), lora=Lora(rank=2, targets="all-linear"))
    model, trained = trained_of(tmp_path, train)
    torch.nn.init.normal_(model.compressor.layers[0].mixer.out_proj.base_layer.weight)
    model.get_video_features(torch.randn(4, 3, 70, 70))[0].sum().backward()
    own = dict(model.named_parameters())
    for name in trained.names:
        if "lora_B" in name:
            assert own[name].grad is not None, name
            assert own[name].grad.any(), name


def test_weight_decay_spares_rates_skips_steps_biases_and_norms(tmp_path: Path) -> None:
    recipe = small_recipe(
        tmp_path,
        tmp_path,
        train={"vision_tower": {"mode": "full", "learning_rate": 2e-6}, "language_model": {"mode": "full"}},
        schedule={"weight_decay": 0.1, "learning_rate": 1e-5},
    )
    model, _ = start_bimba(recipe)
    prepare_parts(model, recipe.train)
    spared = {name for name, p in model.named_parameters() if p.requires_grad and not decays(name, p)}
    ends = {name.rpartition(".")[2] for name in spared if name.startswith("compressor.")}
    assert ends == {"A_log", "D", "dt_bias", "conv_bias", "weight"}  # the last is the norm's
    assert not any(name.endswith(("proj.weight", "conv_weight", "embed_tokens.weight")) for name in spared)
    groups = parameter_groups(model.named_parameters(), recipe.train, recipe.schedule)
    assert sum(len(group["params"]) for group in groups) == sum(p.requires_grad for p in model.parameters())
    assert {group["lr"] for group in groups} == {2e-6, 1e-5}
    by_id = {id(p): name for name, p in model.named_parameters()}
    for group in groups:
        for parameter in group["params"]:
            name = by_id[id(parameter)]
            assert group["lr"] == (2e-6 if name.startswith("vision_tower.") else 1e-5)
            assert group["weight_decay"] == (0 if name in spared else 0.1)


def test_a_name_of_no_part_is_a_bug() -> None:
    assert part_of("module._orig_mod.compressor.layers.0") == "compressor"
    with pytest.raises(ValueError, match="belongs to no part"):
        part_of("head.weight")


def test_tokenizers_of_folders_serve_a_model_from_scratch(tmp_path: Path) -> None:
    tokenizer: Tokenizer = tiny_tokenizer().backend_tokenizer
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>").save_pretrained(tmp_path / "words")
    recipe = small_recipe(tmp_path, tmp_path)
    settings = recipe.model.model_dump() | {"tokenizer": str(tmp_path / "words")}
    _, processor = start_bimba(small_recipe(tmp_path, tmp_path, model=settings))
    assert processor.tokenizer.eos_token == "<|im_end|>"
