"""Muon for matrices and AdamW for the rest, as one optimizer that is scheduled, saved and resumed like any other."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from bimba.errors import InputError
from bimba.training.loop.optimizer import MuonWithAdamW
from bimba.training.model.parts import parameter_groups, takes_muon
from bimba.training.model.start import start_model
from bimba.training.recipe.train_settings import BIMBA_PARTS, Train
from bimba.training.run import train
from small_runs import small_recipe

RATE, BETAS, EPSILON = 1e-2, (0.9, 0.98), 1e-8


def parameters() -> tuple[nn.Parameter, nn.Parameter]:
    """A matrix and a vector."""
    generator = torch.Generator().manual_seed(0)
    return nn.Parameter(torch.randn(16, 12, generator=generator)), nn.Parameter(torch.randn(5, generator=generator))


def together(matrix: nn.Parameter, vector: nn.Parameter) -> MuonWithAdamW:
    """One optimizer for both."""
    shared = {"lr": RATE, "weight_decay": 0.1}
    groups: list[dict[str, Any]] = [
        {"params": [vector], "is_matrix": False, **shared},
        {"params": [matrix], "is_matrix": True, **shared},
    ]
    return MuonWithAdamW(groups, BETAS, EPSILON)


def step(optimizer: Any, matrix: nn.Parameter, vector: nn.Parameter) -> None:
    """Descend on a bowl."""
    optimizer.zero_grad()
    (matrix.square().sum() + (vector - 1).square().sum()).backward()
    optimizer.step()


def test_each_parameter_moves_as_with_its_own_optimizer() -> None:
    matrix, vector = parameters()
    other_matrix, other_vector = parameters()
    ours = together(matrix, vector)
    muon = torch.optim.Muon([other_matrix], lr=RATE, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW([other_vector], lr=RATE, weight_decay=0.1, betas=BETAS, eps=EPSILON)
    for _ in range(5):
        step(ours, matrix, vector)
        muon.zero_grad()
        adam.zero_grad()
        (other_matrix.square().sum() + (other_vector - 1).square().sum()).backward()
        muon.step()
        adam.step()
    assert torch.equal(matrix, other_matrix)
    assert torch.equal(vector, other_vector)


def test_a_schedule_reaches_both() -> None:
    matrix, vector = parameters()
    optimizer = together(matrix, vector)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    step(optimizer, matrix, vector)
    schedule.step()
    assert [group["lr"] for inner in optimizer.inner for group in inner.param_groups] == [RATE / 2, RATE / 2]


def test_saved_and_loaded_it_goes_on_bit_for_bit() -> None:
    matrix, vector = parameters()
    optimizer = together(matrix, vector)
    for _ in range(3):
        step(optimizer, matrix, vector)
    saved = copy.deepcopy(optimizer.state_dict())
    copied = nn.Parameter(matrix.detach().clone()), nn.Parameter(vector.detach().clone())
    again = together(*copied)
    again.load_state_dict(saved)
    for _ in range(3):
        step(optimizer, matrix, vector)
        step(again, *copied)
    assert torch.equal(matrix, copied[0])
    assert torch.equal(vector, copied[1])
    again.param_groups[0]["lr"] = 7.0
    assert 7.0 in [inner.param_groups[0]["lr"] for inner in again.inner]
    with pytest.raises(ValueError, match="2 are here"):
        again.load_state_dict({"inner": saved["inner"][:1]})


def test_maps_between_vectors_are_matrices_and_nothing_else(needles: Path, tmp_path: Path) -> None:
    recipe = small_recipe(tmp_path / "run", needles, schedule__optimizer="muon")
    model, _ = start_model(recipe)
    taken = {name for name, parameter in model.named_parameters() if takes_muon(name, parameter)}
    assert "language_model.model.layers.0.self_attn.q_proj.weight" in taken
    assert "projector.layers.0.weight" in taken
    assert not any("embed_tokens" in name or "A_log" in name or "norm" in name or "bias" in name for name in taken)
    everything = Train.model_validate({part: {"mode": "full"} for part in BIMBA_PARTS})
    groups = parameter_groups(model.named_parameters(), everything, recipe.schedule)
    matrices = {id(parameter) for group in groups if group["is_matrix"] for parameter in group["params"]}
    assert matrices == {id(parameter) for name, parameter in model.named_parameters() if name in taken}
    adam = recipe.schedule.model_copy(update={"optimizer": "adamw_torch"})
    assert not any("is_matrix" in group for group in parameter_groups(model.named_parameters(), everything, adam))


def test_a_run_that_was_interrupted_ends_as_if_undisturbed(needles: Path, tmp_path: Path) -> None:
    changes = {"schedule__optimizer": "muon", "schedule__scheduler": "constant"}
    train(small_recipe(tmp_path / "whole", needles, **changes))
    short = small_recipe(tmp_path / "torn", needles, **changes, save__keep=9)
    train(short)
    for name in ("model", "checkpoint-8", "checkpoint-6"):  # as if it had been killed after step 5
        for path in sorted((tmp_path / "torn" / name).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        (tmp_path / "torn" / name).rmdir()
    train(short)
    ours, theirs = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("torn", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_torch_without_muon_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, vector = parameters()
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(InputError, match="has no Muon"):
        together(matrix, vector)
