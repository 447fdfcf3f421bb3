"""The public implementation's numbers: hidden states, logits, greedy tokens, losses and gradients."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.modeling import VambaForConditionalGeneration

Loads = Callable[..., VambaForConditionalGeneration]
Reads = Callable[[str], dict[str, Tensor]]
Tells = Callable[[str], Any]

VISION = ("pixel_values_videos", "video_grid_thw", "pixel_values", "image_grid_thw")
HIDDEN_BAR, LOGITS_BAR, RELATIVE_BAR = 1e-4, 1e-3, 1e-4
ROUNDING = 1e-6
"""Of gradients that are sums of thousands of larger ones, which all but cancel."""
EVERY_MODEL = pytest.mark.parametrize("implementation", ["eager", "sdpa"])
BOTH = pytest.mark.parametrize("name", ["a", "b"])


@pytest.fixture(scope="module")
def vamba_folders(vamba_numbers: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Released folders: "a" with the class defaults, "b" with position embeddings and layer norm of its own."""
    opposite = tmp_path_factory.mktemp("vamba") / "config_b"
    shutil.copytree(vamba_numbers / "tiny_vamba" / "config_b_opposite", opposite)
    default = vamba_numbers / "tiny_vamba" / "config_a_default"
    shutil.copy(default / "model.safetensors", opposite)
    return {"a": default, "b": opposite}


@pytest.fixture
def load_vamba(vamba_folders: dict[str, Path]) -> Callable[..., VambaForConditionalGeneration]:
    """Loads one of the two models, ready to answer."""

    def load(name: str, implementation: str = "sdpa") -> VambaForConditionalGeneration:
        folder = vamba_folders[name]
        model: Any = VambaForConditionalGeneration.from_pretrained(folder, attn_implementation=implementation)
        loaded: VambaForConditionalGeneration = model.eval()
        return loaded

    return load


@pytest.fixture
def read_golden(vamba_numbers: Path) -> Callable[[str], dict[str, Tensor]]:
    """Reads tensors of end-to-end runs."""
    return lambda name: load_file(vamba_numbers / "e2e" / f"{name}.safetensors")


@pytest.fixture
def told_golden(vamba_numbers: Path) -> Callable[[str], Any]:
    """Reads what is told of end-to-end runs."""
    return lambda name: json.loads((vamba_numbers / "e2e" / f"{name}.json").read_text())


def model_inputs(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """What the model's forward takes of golden inputs."""
    return {name: tensors[name] for name in ("input_ids", "attention_mask", *VISION) if name in tensors}


def largest(difference: Tensor) -> float:
    return difference.abs().max().item()


@BOTH
@EVERY_MODEL
@pytest.mark.parametrize("kind", ["video", "image"])
def test_every_layer_and_the_logits(
    name: str, implementation: str, kind: str, load_vamba: Loads, read_golden: Reads
) -> None:
    model, inputs = load_vamba(name, implementation), model_inputs(read_golden(f"{kind}_inputs"))
    wanted = read_golden(f"{kind}_config_{name}_forward")
    streams: list[Tensor] = []
    for layer in model.model.layers[:-1]:
        layer.register_forward_hook(lambda _module, _inputs, output: streams.append(output[1]))
    with torch.no_grad():
        output = model(**inputs, output_hidden_states=True)
        pixels, grid = [inputs[key] for key in VISION if key in inputs]
        assert largest(model.get_vision_tokens(pixels, grid) - wanted["visual_embeds"][0]) <= HIDDEN_BAR
    assert len(output.hidden_states) == 4
    for index, states in enumerate(output.hidden_states):
        assert largest(states - wanted[f"hidden_states.{index}"]) <= HIDDEN_BAR
    for index, stream in enumerate(streams):
        assert largest(stream - wanted[f"layer{index}.video_out"]) <= HIDDEN_BAR
    assert largest(output.logits - wanted["logits"]) <= LOGITS_BAR


@BOTH
@pytest.mark.parametrize("kind", ["video", "image"])
def test_greedy_tokens_with_the_cache_are_those_without(
    name: str, kind: str, load_vamba: Loads, read_golden: Reads
) -> None:
    model, inputs = load_vamba(name), model_inputs(read_golden(f"{kind}_inputs"))
    wanted = read_golden(f"{kind}_config_{name}_generate")
    output = model.generate(
        **inputs,
        max_new_tokens=24,
        do_sample=False,
        eos_token_id=None,
        output_logits=True,
        return_dict_in_generate=True,
    )
    new = output.sequences[0, inputs["input_ids"].shape[1] :]
    assert new.tolist() == wanted["nocache_generated_ids"].tolist()
    assert largest(torch.cat(output.logits) - wanted["nocache_step_logits"]) <= LOGITS_BAR


TRAINING = [
    ("video_single", "a"), ("video_single", "b"), ("images_packed", "a"), ("images_packed", "b"),
    ("video_multiqa_packed", "a"),
]  # fmt: skip


def training_batch(case: str, read_golden: Reads) -> dict[str, Any]:
    """A golden batch with its pixels, which some leave in another file."""
    batch = read_golden(f"train_batch_{case}")
    inputs = model_inputs(batch) | {"labels": batch["labels"]}
    if case == "video_single":
        inputs["pixel_values_videos"] = read_golden("video_inputs")["pixel_values_videos"]
    if case == "video_multiqa_packed":
        inputs["pixel_values_videos"] = read_golden("train_batch_video_two")["pixel_values_videos"][256:384]
    if "packed" in case:
        del inputs["attention_mask"]
        inputs["position_ids"] = batch["position_ids"]
        kind = "image" if case == "images_packed" else "video"
        inputs[f"{kind}_segments"] = torch.tensor([1, 2] if kind == "image" else [0])
    return inputs


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@pytest.mark.parametrize(("case", "name"), TRAINING)
def test_losses_and_gradients(
    case: str, name: str, checkpointing: bool, load_vamba: Loads, read_golden: Reads, told_golden: Tells
) -> None:
    wanted, told = read_golden(f"train_{case}_config_{name}"), told_golden(f"train_{case}_config_{name}")
    model = load_vamba(name, told["attn_implementation"]).train()
    if checkpointing:
        new_name = hasattr(model, "activation_checkpointing_enable")
        enable = model.activation_checkpointing_enable if new_name else model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    output = model(**training_batch(case, read_golden))
    output.loss.backward()
    assert output.loss.item() == pytest.approx(told["loss"], rel=RELATIVE_BAR)
    assert largest(output.logits - wanted["logits"]) <= LOGITS_BAR if "logits" in wanted else True
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    for key, norm in told["grad_norm_per_parameter"].items():
        gradient = gradients.pop(key)
        if norm is None:
            assert gradient is None
        else:
            assert gradient is not None
            assert float(gradient.norm()) == pytest.approx(norm, rel=RELATIVE_BAR, abs=ROUNDING)
    assert not gradients
    for group, norm in told["grad_norm"].items():
        some = [p.grad for key, p in model.named_parameters() if group in ("all", "") or f".{group}" in f".{key}"]
        squares = sum(float(gradient.norm()) ** 2 for gradient in some if gradient is not None)
        assert squares**0.5 == pytest.approx(norm, rel=RELATIVE_BAR)
    for key in [key for key in wanted if key.startswith("grad.")]:
        gradient = dict(model.named_parameters())[key.removeprefix("grad.")].grad
        assert gradient is not None
        assert largest(gradient - wanted[key]) <= RELATIVE_BAR * float(wanted[key].norm()) + ROUNDING


@BOTH
def test_batch_of_two(name: str, load_vamba: Loads, read_golden: Reads) -> None:
    wanted = read_golden(f"batch2_config_{name}_sdpa_patched")
    batch = read_golden("train_batch_video_two")
    inputs = model_inputs(batch) | {"labels": batch["labels"]}
    for implementation in ("sdpa", "eager"):
        with torch.no_grad():
            output = load_vamba(name, implementation)(**inputs)
        is_token = batch["attention_mask"].bool()
        assert largest((output.logits - wanted["logits"])[is_token]) <= LOGITS_BAR
        assert float(output.loss) == pytest.approx(float(wanted["loss"]), rel=RELATIVE_BAR)
        for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
            assert largest(output.logits[row, :length] - wanted[f"single{row}_logits"][0]) <= LOGITS_BAR


def test_alpha_is_clamped_and_left_alone_in_inference(load_vamba: Loads, read_golden: Reads) -> None:
    wanted, model = read_golden("alpha_clamp_config_a"), load_vamba("a")
    alphas = [layer.alpha for layer in model.model.layers]
    for alpha, value in zip(alphas, wanted["alpha_before"], strict=True):
        alpha.data.fill_(float(value))
    inputs = training_batch("video_single", read_golden)
    with torch.no_grad():
        assert largest(model(**inputs).logits - wanted["logits"]) <= LOGITS_BAR
    assert torch.cat([alpha.detach() for alpha in alphas]).equal(wanted["alpha_before"])
    output = model.train()(**inputs)
    assert largest(output.logits - wanted["logits"]) <= LOGITS_BAR
    assert torch.cat([alpha.detach() for alpha in alphas]).equal(wanted["alpha_after"])
    output.loss.backward()
    assert all(alpha.grad is not None and float(alpha.grad) != 0 for alpha in alphas)


def test_released_folder_has_every_name(vamba_numbers: Path) -> None:
    names = json.loads((vamba_numbers / "keys_7b.json").read_text())
    with torch.device("meta"):
        model = VambaForConditionalGeneration(VambaConfig())
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == {
        key: shape for key, (shape, _) in names.items()
    }
