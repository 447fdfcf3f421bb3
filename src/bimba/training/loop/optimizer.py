"""Groups of parameters in, an optimizer for them out: Muon for matrices and AdamW for everything else."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from bimba.errors import InputError
from bimba.training.recipe.settings import Schedule


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for the matrices of a model, AdamW (arXiv 1711.05101) for the rest.

    Muon's steps are scaled to the size of AdamW's (as Moonlight does, arXiv 2502.16982), so that one learning rate
    serves both.

    Args:
        groups: as any optimizer of torch takes them, with `is_matrix` in each: whether Muon takes it.
        betas: of AdamW.
        epsilon: of AdamW.

    Raises:
        InputError: this torch has no Muon.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], betas: tuple[float, float], epsilon: float) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise InputError(f"torch {torch.__version__} has no Muon.", fix='pip install "torch>=2.9"')
        listed = [dict(group) for group in groups]
        matrices = [group for group in listed if group.pop("is_matrix")]
        others = [group for group in listed if not any(group is matrix for matrix in matrices)]
        self.inner: list[torch.optim.Optimizer] = []
        if matrices:
            self.inner.append(torch.optim.Muon(matrices, adjust_lr_fn="match_rms_adamw"))
        if others:
            self.inner.append(torch.optim.AdamW(others, betas=betas, eps=epsilon))
        super().__init__([{"params": group["params"], "lr": group["lr"]} for group in listed], {})
        self._share()

    def _share(self) -> None:
        """The groups are those of the inner optimizers, so that a scheduler that changes one changes the other."""
        self.param_groups = [group for optimizer in self.inner for group in optimizer.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override] # torch's is overloaded
        """One step of both."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self.inner:
            optimizer.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of both."""
        for optimizer in self.inner:
            optimizer.zero_grad(set_to_none=set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """The states of both."""
        return {"inner": [optimizer.state_dict() for optimizer in self.inner]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the states of both.

        Raises:
            ValueError: they are of other groups.
        """
        states = state_dict["inner"]
        if len(states) != len(self.inner):
            raise ValueError(f"{len(states)} optimizers were saved, {len(self.inner)} are here")
        for optimizer, state in zip(self.inner, states, strict=True):
            optimizer.load_state_dict(state)
        self._share()


def muon_with_adamw(groups: Iterable[dict[str, Any]], schedule: Schedule) -> MuonWithAdamW:
    """The optimizer of a recipe whose `schedule.optimizer` is "muon".

    Args:
        groups: see `bimba.training.model.parts.parameter_groups`.
        schedule: of the recipe.

    Raises:
        InputError: this torch has no Muon.
    """
    return MuonWithAdamW(groups, betas=schedule.betas, epsilon=schedule.epsilon)
