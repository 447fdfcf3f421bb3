"""A batch and another model in, how far the student's next-token distributions are from the teacher's out.

The teacher reads the same videos and words, compressed its own way: where the student's prompt has 192 placeholders of
a video, the teacher's may have 12,544. Places that are learned are the same words in the same order in both.

Shapes: B batch, L prompt, K places with logits, M places that are learned, V vocabulary.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bimba.errors import InputError
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.text.labels import IGNORE
from bimba.training.recipe.settings import Distillation

_SAME_PIXELS = ("image_size", "image_mean", "image_std")


class Teacher:
    """A frozen model that shows a student how it would go on.

    Args:
        model: the teacher.
        processor: the teacher's.
        student: the student's processor.
        settings: weight and temperature.

    Raises:
        InputError: the teacher reads other words or other pixels than the student.
    """

    def __init__(
        self,
        model: BimbaForConditionalGeneration,
        processor: BimbaProcessor,
        student: BimbaProcessor,
        settings: Distillation,
    ) -> None:
        if processor.tokenizer.get_vocab() != student.tokenizer.get_vocab():
            raise InputError(
                f"the teacher {settings.teacher} has another tokenizer than the student.",
                fix="take a teacher of the same family of language models.",
            )
        for name in _SAME_PIXELS:
            if getattr(processor, name) != getattr(student, name):
                raise InputError(
                    f"the teacher's {name} is {getattr(processor, name)}, the student's {getattr(student, name)}.",
                    fix="take a teacher with the same vision tower.",
                )
        self.model = model.eval().requires_grad_(requires_grad=False)  # type: ignore[no-untyped-call] # untyped there
        self.processor, self.student, self.settings = processor, student, settings

    @property
    def reads_question(self) -> bool:
        """Whether it has to be told the questions."""
        config: BimbaConfig = self.model.config
        return config.reads_question

    def distance(self, inputs: Mapping[str, Any], logits: Tensor) -> Tensor:
        """Sum over the learned places of the Kullback-Leibler divergence from the teacher to the student.

        Softened by the temperature t and multiplied by t squared, which keeps the size of gradients (Hinton et al.,
        arXiv 1503.02531, section 2).

        Args:
            inputs: the student's batch, with `labels` and `logits_to_keep`.
            logits: the student's [B, K, V].
        """
        learned = _learned(inputs["labels"])[:, inputs["logits_to_keep"]]
        ours = functional.log_softmax(logits[learned].float() / self.settings.temperature, dim=-1)
        theirs = functional.log_softmax(self._logits(inputs).float() / self.settings.temperature, dim=-1)
        size = min(ours.shape[-1], theirs.shape[-1])  # padding rows of a table may differ in number
        divergence = functional.kl_div(ours[:, :size], theirs[:, :size], reduction="sum", log_target=True)
        return divergence * self.settings.temperature**2

    @torch.no_grad()
    def _logits(self, inputs: Mapping[str, Any]) -> Tensor:
        """The teacher's logits at the learned places, row by row [M, V]."""
        counts = [int(count) for count in inputs["num_video_frames"]]
        ids, labels, mask = self._own_rows(inputs, counts)
        learned = _learned(labels)
        kept = learned.any(dim=0).nonzero().squeeze(1)
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            pixel_values_videos=inputs["pixel_values_videos"],
            num_video_frames=counts,
            spare_videos=inputs.get("spare_videos", 0),
            question_ids=inputs.get("question_ids"),
            question_lengths=inputs.get("question_lengths"),
            logits_to_keep=kept,
            use_cache=False,
        )
        logits: Tensor = output.logits[learned[:, kept]]
        return logits

    def _own_rows(self, inputs: Mapping[str, Any], counts: list[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, labels and attention mask [B, L'] with the teacher's number of placeholders."""
        lengths = iter([(self.student.num_video_tokens(n), self.processor.num_video_tokens(n)) for n in counts])
        ids_rows, label_rows = [], []
        rows = zip(inputs["input_ids"], inputs["labels"], inputs["attention_mask"], strict=True)
        for ids, labels, mask in rows:
            length = int(mask.sum())
            pairs = list(zip(ids[:length].tolist(), labels[:length].tolist(), strict=True))
            again = list(self._respaced(pairs, lengths))
            ids_rows.append(torch.tensor([token for token, _ in again]))
            label_rows.append(torch.tensor([label for _, label in again]))
        device = inputs["input_ids"].device
        own_ids = torch.nn.utils.rnn.pad_sequence(ids_rows, batch_first=True)
        own_labels = torch.nn.utils.rnn.pad_sequence(label_rows, batch_first=True, padding_value=IGNORE)
        sizes = torch.tensor([len(row) for row in ids_rows])
        own_mask = (torch.arange(own_ids.shape[1]) < sizes[:, None]).long()
        return own_ids.to(device), own_labels.to(device), own_mask.to(device)

    def _respaced(self, pairs: list[tuple[int, int]], lengths: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """A row's (id, label) pairs with the teacher's number of placeholders for each video."""
        place = 0
        while place < len(pairs):
            if pairs[place][0] != self.student.video_token_id:
                yield pairs[place]
                place += 1
                continue
            old, own = next(lengths)
            yield from [(self.processor.video_token_id, IGNORE)] * own
            place += old


def _learned(labels: Tensor) -> Tensor:
    """Whether the token after each place is learned [B, L]."""
    return functional.pad(labels[:, 1:], (0, 1), value=IGNORE) != IGNORE
