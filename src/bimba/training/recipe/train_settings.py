"""The section of a recipe about the model's parts: which of them are trained, and how.

A model of either kind has parts of its own, so that the section is of one of two kinds, too.
"""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from bimba.training.recipe.section import Settings

Kind = Literal["bimba", "vamba"]
"""The two kinds of models that can be trained."""

Mode = Literal["frozen", "lora", "full"]
"""How a part of the model is trained: not at all, through low-rank adapters, or every weight of it."""

BIMBA_PARTS = ("vision_tower", "projector", "compressor", "separators", "language_model")
"""Parts of a BIMBA as its submodules are called."""

VAMBA_PARTS = ("vision_tower", "merger", "language_model", "cross_attn", "vision_mixer", "alpha", "head")
"""Parts of a Vamba, named as in the released stages where those name them."""


class Part(Settings):
    """How one part of the model is trained.

    Attributes:
        mode: frozen, lora or full.
        learning_rate: at its height; of the schedule's if None.
    """

    mode: Mode = "frozen"
    learning_rate: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class Lora(Settings):
    """Low-rank adapters of all parts with mode `lora` (arXiv 2106.09685).

    Attributes:
        rank: r.
        alpha: the adapter's output is multiplied by alpha / r.
        dropout: of the adapter's input.
        targets: names of the linear layers that get one, as they end ("q_proj"), or "all-linear".
    """

    rank: int = Field(default=128, ge=1)
    alpha: float = Field(default=32.0, gt=0, allow_inf_nan=False)
    dropout: float = Field(default=0.05, ge=0, lt=1)
    targets: tuple[str, ...] | Literal["all-linear"] = ("q_proj", "v_proj")


class _AnyTrain(Settings):
    """What both kinds of the section share."""

    parts: ClassVar[tuple[str, ...]]
    no_matrices: ClassVar[str]
    """The part that has no matrix an adapter could stand beside."""

    @model_validator(mode="after")
    def _something_is_trained(self) -> Self:
        if all(self.part(name).mode == "frozen" for name in self.parts):
            raise ValueError("every part is frozen; nothing would be trained")
        if self.part(self.no_matrices).mode == "lora":
            raise ValueError(f"{self.no_matrices} has no matrices; it can be frozen or full")
        return self

    def part(self, name: str) -> Part:
        """Settings of a part by its name."""
        part: Part = getattr(self, name)
        return part


class Train(_AnyTrain):
    """What of a BIMBA is trained."""

    parts = BIMBA_PARTS
    no_matrices = "separators"

    kind: Literal["bimba"] = "bimba"
    vision_tower: Part = Part()
    projector: Part = Part(mode="full")
    compressor: Part = Part(mode="full")
    separators: Part = Part()
    language_model: Part = Part()
    lora: Lora = Lora()


class VambaTrain(_AnyTrain):
    """What of a Vamba is trained; the defaults are those of the released first stage.

    Attributes:
        kind: "vamba".
        vision_tower: Qwen2-VL's, without its merger.
        merger: of four patches into a token, as wide as the language model.
        language_model: embedding, self-attention, MLPs and norms.
        cross_attn: by which text reads videos, in each layer.
        vision_mixer: Mamba-2 of the videos, in each layer; the last one's leads nowhere and stays as it is.
        alpha: the balance of self- and cross-attention, a number a layer.
        head: from the last layer to words; no part of its own where it is tied to the embedding.
        lora: adapters of the parts with mode `lora`.
    """

    parts = VAMBA_PARTS
    no_matrices = "alpha"

    kind: Literal["vamba"]
    vision_tower: Part = Part()
    merger: Part = Part()
    language_model: Part = Part()
    cross_attn: Part = Part(mode="full")
    vision_mixer: Part = Part(mode="full")
    alpha: Part = Part(mode="full")
    head: Part = Part()
    lora: Lora = Lora()


AnyTrain = Train | VambaTrain
"""The section, of either kind."""


def kind_of_train(values: Any) -> str:
    """Which kind of section some values are, as they stand in a file or as settings."""
    if isinstance(values, Train | VambaTrain):
        return values.kind
    return str(values.get("kind", "bimba")) if isinstance(values, dict) else "bimba"
