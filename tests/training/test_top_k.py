"""Distillation from a teacher's most likely tokens: the released loss, and what holds of any divergence."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from bimba.checkpoints.loading import LoadOptions, load_model
from bimba.models.vamba.modeling import VambaForConditionalGeneration
from bimba.text.labels import IGNORE
from bimba.training.model.top_k import top_k_divergence


def test_the_released_loss(vamba_numbers: Path) -> None:
    """Label loss and distillation loss of the golden run: logits at the labels themselves, mean over them."""
    folder = vamba_numbers / "e2e"
    told = json.loads((folder / "distill_config_a.json").read_text())
    cached = load_file(folder / "distill_config_a.safetensors")
    batch = load_file(folder / "train_batch_video_single.safetensors")
    pixels = load_file(folder / "video_inputs.safetensors")["pixel_values_videos"]
    options = LoadOptions(device="cpu", dtype="float32")
    model, _ = load_model(vamba_numbers / "tiny_vamba" / "config_a_default", None, options)
    assert isinstance(model, VambaForConditionalGeneration)
    with torch.no_grad():
        output = model(**batch, pixel_values_videos=pixels)
    is_learned = batch["labels"] != IGNORE
    assert int(is_learned.sum()) == len(cached["top_k_values"]) == 21
    found = top_k_divergence(output.logits[is_learned], cached["top_k_values"], cached["top_k_indices"]).mean()
    assert output.loss.item() == pytest.approx(told["label_loss"], abs=1e-5)
    assert found.item() == pytest.approx(told["distill_loss"], abs=1e-5)
    total = output.loss + told["distill_coeff"] * found
    assert total.item() == pytest.approx(told["loss"], abs=2e-5)
    assert total.item() == pytest.approx(cached["loss"].item(), abs=2e-5)


def test_with_all_tokens_it_is_the_divergence_of_the_whole_vocabulary() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(5, 11, generator=generator), torch.randn(5, 11, generator=generator)
    values, indices = teacher.topk(11)
    wanted = functional.kl_div(student.log_softmax(-1), teacher.log_softmax(-1), reduction="none", log_target=True)
    found = top_k_divergence(student, values, indices)
    assert torch.allclose(found, wanted.sum(-1), atol=1e-6)
    assert (found > 0).all()


def test_a_student_that_agrees_about_the_tokens_is_not_far_whatever_it_thinks_of_others() -> None:
    teacher = torch.randn(3, 9, generator=torch.Generator().manual_seed(1))
    values, indices = teacher.topk(4)
    student = torch.full((3, 9), 7.0).scatter(1, indices, values + 2.0)
    assert top_k_divergence(student, values, indices).abs().max() < 1e-6


def test_a_temperature_softens_both() -> None:
    generator = torch.Generator().manual_seed(2)
    student, teacher = torch.randn(4, 8, generator=generator), torch.randn(4, 8, generator=generator)
    values, indices = teacher.topk(3)
    soft = top_k_divergence(student, values, indices, temperature=4.0)
    assert torch.allclose(soft, top_k_divergence(student / 4, values / 4, indices), atol=1e-6)
    assert soft.mean() < top_k_divergence(student, values, indices).mean()


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        top_k_divergence(torch.zeros(2, 5), torch.zeros(3, 4), torch.zeros(3, 4, dtype=torch.long))
