"""A Vamba's batch and another Vamba in, how far the student's next-token distributions are from the teacher's out.

Both read the same batch: no token of a prompt stands for a video, so that prompts are the same whatever their sizes.

Shapes: B rows, K places with logits, M places that are learned, V vocabulary.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bimba.errors import InputError
from bimba.models.vamba.modeling import VambaForConditionalGeneration
from bimba.models.vamba.processing import VambaProcessor
from bimba.text.labels import IGNORE
from bimba.training.model.top_k import top_k_divergence
from bimba.training.recipe.settings import Distillation

_SAME_PATCHES = ("patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std")


class VambaTeacher:
    """A frozen Vamba that shows another how it would go on.

    Args:
        model: the teacher.
        processor: the teacher's.
        student: the student's processor; the teacher sees frames in its size.
        settings: weight, temperature and number of tokens.

    Raises:
        InputError: the teacher reads other words or other patches than the student.
    """

    reads_question = False
    """It need not be told the questions apart from the prompts."""

    def __init__(
        self,
        model: VambaForConditionalGeneration,
        processor: VambaProcessor,
        student: VambaProcessor,
        settings: Distillation,
    ) -> None:
        if processor.tokenizer.get_vocab() != student.tokenizer.get_vocab():
            raise InputError(
                f"the teacher {settings.teacher} has another tokenizer than the student.",
                fix="take a teacher of the same family of language models.",
            )
        for name in _SAME_PATCHES:
            if getattr(processor, name) != getattr(student, name):
                raise InputError(
                    f"the teacher's {name} is {getattr(processor, name)}, the student's {getattr(student, name)}.",
                    fix="take a teacher with the same vision tower.",
                )
        self.model = model.eval().requires_grad_(requires_grad=False)  # type: ignore[no-untyped-call] # untyped there
        self.settings = settings

    def distance(self, inputs: Mapping[str, Any], logits: Tensor) -> Tensor:
        """Sum over the learned places of the Kullback-Leibler divergence from the teacher to the student.

        Multiplied by the square of the temperature, which keeps the size of gradients (Hinton et al., arXiv 1503.02531,
        section 2).

        Args:
            inputs: the student's batch, with `labels` and `logits_to_keep`.
            logits: the student's [B, K, V].
        """
        is_learned = functional.pad(inputs["labels"][:, 1:], (0, 1), value=IGNORE) != IGNORE
        is_learned = is_learned[:, inputs["logits_to_keep"]]
        ours, theirs = logits[is_learned], self._logits(inputs)[is_learned]
        size = min(ours.shape[-1], theirs.shape[-1])  # padding rows of a table may differ in number
        ours, theirs = ours[:, :size], theirs[:, :size]
        count = size if self.settings.top_k is None else min(self.settings.top_k, size)
        values, indices = theirs.topk(count, dim=-1)
        divergence = top_k_divergence(ours, values, indices, self.settings.temperature)
        return divergence.sum() * self.settings.temperature**2

    @torch.no_grad()
    def _logits(self, inputs: Mapping[str, Any]) -> Tensor:
        """The teacher's logits at the same places [B, K, V]."""
        given = {name: value for name, value in inputs.items() if name != "labels"}
        logits: Tensor = self.model(**given | {"use_cache": False}).logits
        return logits
