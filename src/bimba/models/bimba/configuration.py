"""Settings of a BIMBA model: vision tower, compressor and language model, as one transformers config."""

from typing import Any, Literal, get_args

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from bimba.compressors.attention import checked_heads
from bimba.compressors.learned_queries import QuerySource
from bimba.models.bimba.towers import patches_per_side
from bimba.ops.interleave import QueryPosition
from bimba.ops.pool import PoolMode, pooled_shape

NewlinePosition = Literal["grid", "frame", "one_token", "no_token"]
"""Where the learned separator goes: after each row, after each frame, once at the end, nowhere."""

SO400M = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
    "vision_use_head": False,
}
"""SigLIP so400m patch14-384 without its last layer: the vision tower of the released model."""

QWEN2_7B: dict[str, Any] = {
    "model_type": "qwen2",
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "tie_word_embeddings": False,
}
"""The language model of the released model."""

SELECTIVE_SCAN: dict[str, Any] = {
    "type": "selective_scan",
    "num_layers": 1,
    "state_dim": 16,
    "conv_width": 4,
    "expand": 2,
    "bidirectional": True,
    "query_position": "interleaved",
    "norm": True,
    "norm_eps": 1e-6,
    "residual": True,
    "multi_scale": True,
    "queries": "pooled",
    "learned_grid": None,
    "question_conditioned": False,
}
"""The released compressor; any of these may be overridden in `BimbaConfig.compressor`."""

POOLING: dict[str, Any] = {"type": "pooling"}
"""The base model, whose video tokens are pooled and nothing else."""

SELF_ATTENTION: dict[str, Any] = {
    "type": "self_attention",
    "num_layers": 1,
    "num_heads": None,
    "norm_eps": 1e-6,
    "multi_scale": True,
}
"""Full self-attention where BIMBA scans; `num_heads` None for heads of width 64."""

PERCEIVER: dict[str, Any] = {
    "type": "perceiver",
    "num_layers": 6,
    "num_heads": None,
    "norm_eps": 1e-5,
    "learned_grid": None,
}
"""Flamingo's resampler; `learned_grid` None for what pooling would leave of the sides of a frame."""

NONE: dict[str, Any] = {"type": "none"}
"""No compression: every token goes to the language model; wants pooling factors of 1."""

COMPRESSORS: dict[str, dict[str, Any]] = {
    settings["type"]: settings for settings in (SELECTIVE_SCAN, POOLING, SELF_ATTENTION, PERCEIVER, NONE)
}
"""Every type of compressor with its settings and their defaults."""


def complete_compressor(settings: dict[str, Any] | None) -> dict[str, Any]:
    """Compressor settings with every default written out.

    Raises:
        ValueError: unknown type or unknown keys.
    """
    settings = dict(SELECTIVE_SCAN if settings is None else settings)
    kind = settings.get("type", "selective_scan")
    defaults = COMPRESSORS.get(kind)
    if defaults is None:
        raise ValueError(f"compressor type {kind!r} is none of {', '.join(COMPRESSORS)}.")
    unknown = settings.keys() - defaults.keys()
    if unknown:
        raise ValueError(f"unknown compressor settings {sorted(unknown)}; known are {', '.join(defaults)}.")
    for name, known in (("query_position", get_args(QueryPosition)), ("queries", get_args(QuerySource))):
        if name in settings and settings[name] not in known:
            raise ValueError(f"{name} {settings[name]!r} is none of {', '.join(known)}.")
    return defaults | settings


@strict
class BimbaConfig(PreTrainedConfig):
    """Composite configuration of `BimbaForConditionalGeneration`; the defaults are the released model's.

    Args:
        vision_config: SigLIP, CLIP or ConvNeXt vision config (or its dictionary with `model_type`).
        text_config: config of any causal language model of transformers.
        compressor: settings of the compressor; `type` is "selective_scan" (BIMBA), "pooling" (the base model),
            "self_attention", "perceiver" or "none" (all tokens; it wants `spatial_pooling` and `temporal_pooling` 1).
            The others are completed from `COMPRESSORS`.
        spatial_pooling: p, queries are pooled from p x p patches.
        temporal_pooling: k, queries are pooled from k frames; frames that do not fill a group get no query.
        pool_mode: "bilinear", "average" or "max".
        newline_position: where the learned separator goes: "grid" (after each row), "frame", "one_token", "no_token".
        vision_feature_layer: which hidden state of the vision tower is used, as an index into all of them.
        vision_feature_select_strategy: "full", or "default" to leave the class token out (CLIP).
        projector_hidden_act: activation between the linear layers of the projector.
        projector_depth: number of linear layers of the projector.
        video_token_id: id of the placeholder that stands for one video token in `input_ids`.
        tokenizer_size: number of the tokenizer's own ids; higher ones have embedding rows but are never generated.
        prompt_style: "chatml" (as released, for Qwen) or "template" (the tokenizer's own chat template).
        time_sentence: the model reads the frames' times in its prompts; if it was trained without, they are left out.

    Raises:
        ValueError: a setting is out of range or unknown.
    """

    model_type = "bimba"
    sub_configs = {"vision_config": AutoConfig, "text_config": AutoConfig}  # noqa: RUF012 - transformers' convention

    vision_config: Any = None  # dictionaries and None become config objects below
    text_config: Any = None
    compressor: Any = None
    spatial_pooling: int = 2
    temporal_pooling: int = 1
    pool_mode: PoolMode = "bilinear"
    newline_position: NewlinePosition = "grid"
    vision_feature_layer: int = -1
    vision_feature_select_strategy: Literal["full", "default"] | None = None
    projector_hidden_act: str = "gelu"
    projector_depth: int = 2
    video_token_id: int | None = None
    tokenizer_size: int | None = None
    prompt_style: Literal["chatml", "template"] = "chatml"
    time_sentence: bool = True
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        self.vision_config = _sub_config(self.vision_config, SO400M)
        self.text_config = _sub_config(self.text_config, QWEN2_7B)
        if self.vision_feature_select_strategy is None:
            is_clip = self.vision_config.model_type == "clip_vision_model"
            self.vision_feature_select_strategy = "default" if is_clip else "full"
        self.tie_word_embeddings = bool(self.text_config.to_dict().get("tie_word_embeddings", False))
        self._check()
        self.replace_compressor(self.compressor)
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call] # untyped there

    def _check(self) -> None:
        """Refuse values that would only fail at the first video."""
        for name in ("spatial_pooling", "temporal_pooling", "projector_depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")

    def replace_compressor(self, settings: dict[str, Any] | None) -> None:
        """Take other settings of the compressor, complete and checked against those of the model.

        Raises:
            ValueError: they are unknown, or do not fit the model.
        """
        compressor = complete_compressor(settings)
        kind = compressor["type"]
        if kind == "none" and self.pool != (1, 1, 1):
            raise ValueError(
                f"compressor type 'none' keeps every token, but spatial_pooling is {self.spatial_pooling} and "
                f"temporal_pooling is {self.temporal_pooling}; both must be 1."
            )
        if "num_heads" in compressor:
            checked_heads(int(self.text_config.hidden_size), compressor["num_heads"])
        if kind == "perceiver":
            side = self.patches_per_side
            grid = list(pooled_shape(self.temporal_pooling, side, side, self.pool, self.pool_mode)[1:])
            if compressor["learned_grid"] is None:
                compressor["learned_grid"] = grid
            if list(compressor["learned_grid"]) != grid:
                raise ValueError(
                    f"learned_grid is {compressor['learned_grid']}, but {side} x {side} patches pooled by "
                    f"{self.spatial_pooling} ({self.pool_mode}) are {grid}."
                )
        self.compressor = compressor

    @property
    def pool(self) -> tuple[int, int, int]:
        """Pooling factors (pt, ph, pw) of the queries."""
        return self.temporal_pooling, self.spatial_pooling, self.spatial_pooling

    @property
    def reads_question(self) -> bool:
        """Whether the question decides what is kept of a video, which is then compressed anew for each question."""
        return bool(self.compressor.get("question_conditioned", False))

    @property
    def patches_per_side(self) -> int:
        """H = W, patches along a side of a frame."""
        return patches_per_side(self.vision_config)


def _sub_config(config: dict[str, Any] | PreTrainedConfig | None, default: dict[str, Any]) -> PreTrainedConfig:
    """A config object from an object, a dictionary with `model_type`, or nothing."""
    if isinstance(config, PreTrainedConfig):
        return config
    settings = dict(default if config is None else config)
    model_type = settings.pop("model_type", default["model_type"])
    return AutoConfig.for_model(model_type, **settings)


AutoConfig.register(BimbaConfig.model_type, BimbaConfig, exist_ok=True)
