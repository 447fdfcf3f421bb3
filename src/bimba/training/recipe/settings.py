"""The contents of a recipe file in, typed and checked settings of a training run out.

A recipe says everything that decides what a run does. Its own fields are here; how a file, its parents and overrides
become one is in `reading`.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from bimba.models.bimba.configuration import complete_compressor
from bimba.models.vamba.configuration import complete_mixer
from bimba.training.recipe.data_settings import BIMBA_SAMPLING, Data, Frames
from bimba.training.recipe.section import Settings
from bimba.training.recipe.train_settings import Kind, Train, VambaTrain, kind_of_train


def _checked_compressor(settings: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if settings is None else complete_compressor(settings)


def _checked_mixer(settings: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if settings is None else complete_mixer(settings)


class Pixels(Settings):
    """To which size a Vamba's frames are scaled; None for what the model that training starts from says.

    Attributes:
        longest_edge: frames whose longer side has more pixels are reduced to so many first.
        shortest_edge: sides with fewer pixels are then stretched to so many.
        min_pixels: of a frame, at least, after Qwen2-VL's own resize.
        max_pixels: at most.
    """

    longest_edge: int | None = Field(default=None, ge=1)
    shortest_edge: int | None = Field(default=None, ge=1)
    min_pixels: int | None = Field(default=None, ge=1)
    max_pixels: int | None = Field(default=None, ge=1)


class Checkpoint(Settings):
    """Start from a model that is there.

    Attributes:
        path: folder or hub id: a model of ours, a released base, an adapter on its base, a Vamba, or a plain Qwen2-VL,
            which becomes a Vamba.
        base: of an adapter, if not the one that it names.
        compressor: settings of a fresh compressor (see `BimbaConfig.compressor`); None keeps the checkpoint's own.
        settings: other settings than the checkpoint's, e.g. `temporal_pooling`; see `bimba.load`.
        mixer: settings of the fresh mixers (see `VambaConfig.mixer`) of a Vamba that begins as a Qwen2-VL; the released
            ones if None.
        pixels: how large a Vamba sees frames.
    """

    start: Literal["checkpoint"] = "checkpoint"
    path: str = Field(min_length=1)
    base: str | None = None
    compressor: dict[str, Any] | None = None
    settings: dict[str, Any] = Field(default={})
    mixer: dict[str, Any] | None = None
    pixels: Pixels = Pixels()

    _compressor = field_validator("compressor")(_checked_compressor)
    _mixer = field_validator("mixer")(_checked_mixer)


class Parts(Settings):
    """Start from a vision tower and a language model that have not met; everything between them is fresh.

    Attributes:
        vision: folder or hub id of a SigLIP or CLIP model of transformers.
        language: folder or hub id of a causal language model of transformers, with its tokenizer.
        compressor: settings of the compressor.
        settings: other settings of `BimbaConfig`, e.g. `spatial_pooling`, `temporal_pooling`, `prompt_style`.
    """

    start: Literal["parts"]
    vision: str = Field(min_length=1)
    language: str = Field(min_length=1)
    compressor: dict[str, Any] = Field(default={}, validate_default=True)
    settings: dict[str, Any] = Field(default={})

    _compressor = field_validator("compressor")(_checked_compressor)


class Scratch(Settings):
    """Start from random weights.

    Attributes:
        config: fields of `BimbaConfig`, or, with `model_type: vamba` among them, of `VambaConfig`; the vocabulary is
            made as large as the tokenizer if it is not given.
        tokenizer: "bytes" (a token a byte), "needles" (a token a word of needle videos), or a folder or hub id.
        attention: of the language model: "random", or "matching": tokens begin with looking for others like them.
        pixels: how large a Vamba sees frames.
    """

    start: Literal["scratch"]
    config: dict[str, Any]
    tokenizer: str = "bytes"
    attention: Literal["random", "matching"] = "random"
    pixels: Pixels = Pixels()

    @property
    def kind(self) -> Kind:
        """Which model these are the settings of."""
        return "vamba" if self.config.get("model_type") == "vamba" else "bimba"

    @model_validator(mode="after")
    def _is_of_a_kind(self) -> Self:
        named = self.config.get("model_type", "bimba")
        if named not in get_args(Kind):
            raise ValueError(f"config.model_type is {named!r}; it should be {' or '.join(get_args(Kind))}")
        if self.kind == "bimba" and self.pixels != Pixels():
            raise ValueError("pixels are a Vamba's; how large a BIMBA sees frames is its vision_config's image_size")
        return self


class Schedule(Settings):
    """How long, how fast, in which steps.

    Attributes:
        epochs: passes over the data.
        max_steps: optimizer steps, instead of `epochs`.
        batch_size: samples of one process at a time.
        accumulation: batches that each process adds up for one optimizer step.
        global_batch_size: samples of one optimizer step over all processes, instead of `accumulation`.
        learning_rate: at its height, of the parts that name none.
        scheduler: of the learning rate, as transformers names them.
        warmup: share of the steps over which the learning rate rises.
        weight_decay: of matrices; decay rates, skips, step sizes, biases and norms are exempt.
        optimizer: as transformers names them, or "muon" (Muon for matrices, AdamW for all else).
        betas: of Adam.
        epsilon: of Adam.
        max_grad_norm: gradients are scaled down to this norm; 0 leaves them.
        seed: of everything random.
    """

    epochs: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    max_steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=1, ge=1)
    accumulation: int = Field(default=1, ge=1)
    global_batch_size: int | None = Field(default=None, ge=1)
    learning_rate: float = Field(default=1e-5, gt=0, allow_inf_nan=False)
    scheduler: str = "cosine"
    warmup: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    optimizer: str = "adamw_torch"
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = Field(default=1e-8, gt=0)
    max_grad_norm: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    seed: int = Field(default=0, ge=0, lt=2**32)


class Compute(Settings):
    """How the arithmetic is done; none of it changes what is learned beyond rounding.

    Attributes:
        precision: "bf16" (frozen weights in bfloat16, trained ones in float32, bfloat16 products) or "float32".
        gradient_checkpointing: compute activations again in the backward pass instead of keeping them.
        compile: torch.compile of the model; true, or the name of one of its backends.
        attn_implementation: as transformers names them.
        device: "auto", or "cpu" to leave a GPU alone.
    """

    precision: Literal["bf16", "float32"] = "bf16"
    gradient_checkpointing: bool = True
    compile: bool | str = False
    attn_implementation: str | None = None
    device: Literal["auto", "cpu"] = "auto"


class Words(Settings):
    """Tokens of the video shall be near the words of what stands there: a loss beside that of the answers.

    It needs data that know what stands where, which streams of needle videos do.

    Attributes:
        weight: of this loss.
        at: "tokens" (each patch, before the compressor) or "queries" (what the compressor leaves).
        of: "places" (a token is near the words of what stands in its place, at any of its moments) or "frames" (the
            queries of a window share its moments in order: the first is near the words of what is shown first, wherever
            in the frame that is), which an average cannot be.
        background: weight of places where nothing stands.
        thirds: tokens that show something shall also be near the word of the third of the video that they are from
            (beginning, middle, end): positions within a video are many, and a language model finds them late.
        length: weight of a second part: tokens, and words, shall be as long as words are on average. Directions alone
            leave the lengths free, and tokens that grow a thousand times as long as words drown all that the language
            model's layers add to them.
    """

    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    at: Literal["tokens", "queries"] = "queries"
    of: Literal["places", "frames"] = "places"
    background: float = Field(default=0.2, ge=0, allow_inf_nan=False)
    thirds: bool = False
    length: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _only_queries_have_windows(self) -> Self:
        if self.of == "frames" and self.at == "tokens":
            raise ValueError('of is "frames" and at "tokens"; only queries share the moments of a window')
        return self


class Objective(Settings):
    """What is minimised.

    Attributes:
        answers: weight of the next-token loss of answers; 0 leaves the language model alone.
        words: a loss of the video's tokens by themselves, if there is one.
    """

    answers: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    words: Words | None = None

    @model_validator(mode="after")
    def _something_is_minimised(self) -> Self:
        if not self.answers and self.words is None:
            raise ValueError("answers weighs 0 and there is no words; nothing would be minimised")
        return self


class Distillation(Settings):
    """Learn from another model's answers, too: its next-token distribution at the places that are learned.

    Attributes:
        teacher: folder or hub id.
        base: of an adapter.
        weight: of the teacher's part of the loss; the rest is the labels'.
        temperature: both distributions are softened by it.
        top_k: compare only the teacher's so many most likely tokens, their shares scaled to 1, as Vamba's public code
            does; all of the vocabulary if None.
    """

    teacher: str = Field(min_length=1)
    base: str | None = None
    weight: float = Field(default=0.5, ge=0, le=1)
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    top_k: int | None = Field(default=None, ge=2)


class Save(Settings):
    """What is kept.

    Attributes:
        every: steps between checkpoints, or a share of the run if below 1.
        keep: so many of the last checkpoints are kept.
        result: "merged" (a whole model) or "adapter" (what was trained, to be put onto the model it started from).
    """

    every: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    keep: int = Field(default=2, ge=1)
    result: Literal["merged", "adapter"] = "merged"


class Log(Settings):
    """What is written down while training.

    Attributes:
        every: steps between entries.
        to: "tensorboard", "wandb" or both; entries always go to `log.jsonl` and the terminal.
    """

    every: int = Field(default=1, ge=1)
    to: tuple[Literal["tensorboard", "wandb"], ...] = ()


class Recipe(Settings):
    """A training run.

    Attributes:
        output: folder of the run: checkpoints, logs, and the result in `model/`.
        model: what training starts from.
        train: what is trained.
        data: on which samples.
        frames: which frames of a video are seen.
        schedule: how long and how fast.
        compute: how the arithmetic is done.
        objective: what is minimised.
        distillation: a teacher, if there is one.
        save: checkpoints and result.
        log: what is written down.
    """

    output: Path
    model: Annotated[Checkpoint | Parts | Scratch, Field(discriminator="start")]
    train: Annotated[
        Annotated[Train, Tag("bimba")] | Annotated[VambaTrain, Tag("vamba")], Discriminator(kind_of_train)
    ] = Train()
    data: Data
    frames: Frames = Frames()
    schedule: Schedule = Schedule()
    compute: Compute = Compute()
    objective: Objective = Objective()
    distillation: Distillation | None = None
    save: Save = Save()
    log: Log = Log()

    @model_validator(mode="before")
    @classmethod
    def _frames_of_a_vamba(cls, values: Any) -> Any:
        """What a Vamba's recipe does not say of frames is as the model was trained, not as BIMBA was."""
        if not isinstance(values, dict) or kind_of_train(values.get("train")) != "vamba":
            return values
        frames = values.get("frames", {})
        return values | {"frames": _FRAMES_OF_VAMBA | frames} if isinstance(frames, dict) else values

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not isinstance(self.model, Checkpoint) and self.save.result == "adapter":
            raise ValueError(f"save.result is adapter, but a model from {self.model.start} has nothing to be put onto")
        if self.data.cache is not None and self.train.vision_tower.mode != "frozen":
            raise ValueError("data.cache keeps features of a frozen vision tower, but train.vision_tower is trained")
        if self.data.cache is not None and self.distillation is not None:
            raise ValueError("data.cache leaves out the pixels that the teacher of distillation needs")
        if self.data.keep_tokens and (problem := self._beyond_kept_tokens()) is not None:
            raise ValueError(f"data.keep_tokens {problem}")
        if isinstance(self.model, Scratch) and self.model.kind != self.train.kind:
            raise ValueError(
                f"model.config is that of a {self.model.kind}, but train is about the parts of a {self.train.kind}; "
                f"set train.kind to {self.model.kind}"
            )
        return self

    def _beyond_kept_tokens(self) -> str | None:
        """Why the tokens of videos cannot be kept."""
        if self.train.kind == "vamba":
            return "keeps tokens of a BIMBA's compressor; a Vamba has none"
        before = [part for part in self.train.parts if part != "language_model"]
        trained = [part for part in before if self.train.part(part).mode != "frozen"]
        if trained:
            return f"keeps what the parts before the language model make, but train.{trained[0]} is trained"
        if any(source.stream is None for source in self.data.sources):
            return "is for needle streams alone; for files, data.cache keeps features"
        if self.objective.words is not None:
            return "leaves out the parts that objective.words listens to, and which are frozen"
        if self.distillation is not None:
            return "leaves out the pixels that the teacher of distillation needs"
        if self.data.cache is not None:
            return "has no use for the features of data.cache; leave one of them out"
        return None

    @model_validator(mode="after")
    def _is_what_its_kind_can_have(self) -> Self:
        problem = self._beyond_vamba() if self.train.kind == "vamba" else self._beyond_bimba()
        if problem is not None:
            raise ValueError(problem)
        return self

    def _beyond_vamba(self) -> str | None:
        """What this recipe asks for that a Vamba does not have."""
        if isinstance(self.model, Parts):
            return (
                "model.start is parts, but a Vamba starts from a checkpoint (also a plain Qwen2-VL's) or from scratch"
            )
        if isinstance(self.model, Scratch) and self.model.attention != "random":
            return "model.attention is for a BIMBA, whose language model may start from nothing"
        if isinstance(self.model, Checkpoint) and (self.model.compressor is not None or self.model.settings):
            return (
                "model.compressor and model.settings are a BIMBA's; a Vamba drops no token, so that nothing is pooled"
            )
        if self.objective.words is not None or not self.objective.answers:
            return "objective.words, and answers that weigh nothing, are for a BIMBA, whose video tokens become words"
        if self.data.cache is not None:
            return "data.cache keeps features of a BIMBA's vision tower; a Vamba's frames are looked at each time"
        if self.save.result == "adapter":
            return "save.result is adapter, but a Vamba is saved whole (merged), LoRA layers included"
        if self.frames.time_sentence:
            return "frames.time_sentence is true, but a Vamba is not told when its frames are"
        shares_rows = self.data.packing is not None or any(source.stream is not None for source in self.data.sources)
        if shares_rows and "flash" in (self.compute.attn_implementation or ""):
            return (
                "compute.attn_implementation has to be sdpa or eager where conversations share rows (packing, streams)"
            )
        return None

    def _beyond_bimba(self) -> str | None:
        """What this recipe asks for that a BIMBA does not have."""
        if self.data.packing is not None:
            return "data.packing is for a Vamba; samples of a BIMBA have a row each"
        if self.frames.sampling not in BIMBA_SAMPLING:
            allowed = ", ".join(BIMBA_SAMPLING)
            return f"frames.sampling is {self.frames.sampling}, which is a Vamba's; it should be one of {allowed}"
        if isinstance(self.model, Checkpoint) and (self.model.mixer is not None or self.model.pixels != Pixels()):
            return "model.mixer and model.pixels are a Vamba's; set train.kind to vamba if this model is one"
        if self.distillation is not None and self.distillation.top_k is not None:
            return "distillation.top_k is for a Vamba; a BIMBA learns from all of the teacher's words"
        return None


_FRAMES_OF_VAMBA = {"sampling": "middle", "time_sentence": False}
