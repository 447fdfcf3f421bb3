"""PEFT treats the model like any other: adapters on the language model alone, trained, merged, saved and loaded."""

from pathlib import Path

import pytest
import torch

import bimba
from bimba.models.bimba.tiny import tiny_model

peft = pytest.importorskip("peft")


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT calls switches of transformers by their old names
def test_adapter_is_trained_merged_saved_and_loaded(tmp_path: Path) -> None:
    model, processor = tiny_model(seed=0)
    settings = peft.LoraConfig(r=4, target_modules=r"language_model\..*\.(q_proj|v_proj)")
    trained = peft.get_peft_model(model, settings)
    adapted = [name for name, _ in trained.named_parameters() if "lora_A" in name]
    assert len(adapted) == 4
    assert all("language_model" in name for name in adapted)
    pixels = torch.randn(4, 3, 70, 70, generator=torch.Generator().manual_seed(0))
    batch = processor("<image>what?", pixel_values_videos=[pixels])
    optimizer = torch.optim.AdamW([p for p in trained.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(4):
        loss = trained(**batch, labels=batch["input_ids"]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    with torch.no_grad():
        expected = trained(**batch).logits
    trained.save_pretrained(tmp_path / "adapter")
    again = peft.PeftModel.from_pretrained(tiny_model(seed=0)[0], tmp_path / "adapter")
    with torch.no_grad():
        assert torch.equal(again(**batch).logits, expected)
    again.merge_and_unload().save_pretrained(tmp_path / "merged")
    processor.save_pretrained(tmp_path / "merged")
    qa = bimba.load(tmp_path / "merged", device="cpu")
    with torch.no_grad():
        assert (qa.model(**batch).logits - expected).abs().max() < 1e-5
