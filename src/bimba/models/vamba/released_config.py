"""The config.json of a released Vamba or of Qwen2-VL in, settings of `VambaConfig` out.

Released folders say `model_type` "qwen2_vl", as plain Qwen2-VL does; `vision_mamba_mixer_config` tells them apart.
"""

import math
from dataclasses import fields
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

_RELEASED_TYPE, _MIXER = "qwen2_vl", "vision_mamba_mixer_config"
_OURS = ("cross_attn_use_position_embeddings", "cross_attn_use_layer_norm")
_TOKENS = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
_WORKS_WITH: dict[str, Any] = {
    "norm_type": "rmsnorm",
    "residual_in_fp32": False,
    "conv_init": None,
    "d_ssm": None,
    "rmsnorm": True,
    "process_group": None,
}
"""Settings of the released mixer that ours has at one value only, which is the released default."""
_MIXER_SETTINGS = (
    "d_state", "d_conv", "expand", "headdim", "ngroups", "A_init_range", "D_has_hdim", "norm_before_gate",
    "dt_min", "dt_max", "dt_init_floor", "dt_limit", "bias", "conv_bias",
)  # fmt: skip
"""Settings of the released mixer that ours has, too. What else stands there changes no result: sizes of chunks, paths
through the code, and what every config of transformers says."""


def is_released(settings: dict[str, Any]) -> bool:
    """Whether a config.json is that of a released Vamba."""
    return settings.get("model_type") == _RELEASED_TYPE and _has_mixers(settings)


def is_plain_qwen2_vl(settings: dict[str, Any]) -> bool:
    """Whether a config.json is that of a Qwen2-VL without mixers, from which a Vamba may be trained."""
    return settings.get("model_type") == _RELEASED_TYPE and not _has_mixers(settings)


def _has_mixers(settings: dict[str, Any]) -> bool:
    mixer = settings.get(_MIXER)
    return isinstance(mixer, dict) and bool(mixer.get("enable", False))


def settings_of_qwen2_vl(released: dict[str, Any], mixer: dict[str, Any] | None = None) -> dict[str, Any]:
    """Settings of a Vamba with the vision tower and the language model of a Qwen2-VL.

    Args:
        released: config.json of a Qwen2-VL.
        mixer: settings of the mixers; the released ones if not given.
    """
    ours = {name: released[name] for name in (*_OURS, *_TOKENS) if name in released}
    ours["text_config"] = _text_settings(released)
    ours["vision_config"] = _known(released.get("vision_config") or {}, "qwen2_vl_vision")
    tied = bool((released.get("text_config") or released).get("tie_word_embeddings", False))
    tied = tied or bool(released.get("tie_word_embeddings", False))
    ours |= {"mixer": mixer, "tie_word_embeddings": tied, "model_type": "vamba"}
    for name in ("dtype", "torch_dtype"):
        if name in released:
            ours["dtype"] = released[name]
    return ours


def settings_of_released(released: dict[str, Any]) -> dict[str, Any]:
    """Settings of a released Vamba, named as `VambaConfig` names them.

    Raises:
        ValueError: it has settings of another architecture than the released one.
    """
    if not released.get("use_alpha_balancing", False):
        raise ValueError(
            "use_alpha_balancing is not set: how such a model adds self- and cross-attention is not known; the "
            "released one balances them."
        )
    hidden_size = _text_settings(released).get("hidden_size")
    found = released[_MIXER]
    if found.get("hidden_dim", 3584) != hidden_size:
        raise ValueError(f"the mixers are {found.get('hidden_dim', 3584)} wide, the language model {hidden_size}.")
    for name, value in _WORKS_WITH.items():
        if found.get(name, value) != value:
            raise ValueError(f"mixer setting {name} is {found[name]!r}; it must be {value!r}.")
    mixer = {name: found[name] for name in _MIXER_SETTINGS if name in found}
    if "dt_limit" in mixer:
        low, high = mixer["dt_limit"]
        mixer["dt_limit"] = [low, None if high is None or math.isinf(high) else high]
    return settings_of_qwen2_vl(released, mixer)


def released_settings(config: Any) -> dict[str, Any]:
    """A config.json in the released form, of a `VambaConfig`; what the public code reads of it, it reads so."""
    text, vision = config.text_config, config.vision_config
    settings = _own(text, ("rope_parameters", "layer_types"))
    rope = dict(text.rope_parameters)
    settings |= {"rope_theta": rope.pop("rope_theta"), "rope_scaling": rope}
    mixer = dict(config.mixer)
    low, high = mixer["dt_limit"]
    mixer["dt_limit"] = [low, math.inf if high is None else high]
    settings |= {name: getattr(config, name) for name in (*_OURS, *_TOKENS)}
    return settings | {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": _RELEASED_TYPE,
        "use_alpha_balancing": True,
        "tie_word_embeddings": config.tie_word_embeddings,
        "torch_dtype": str(config.dtype or "float32").removeprefix("torch."),
        "vision_config": _own(vision, ("rope_parameters",)) | {"model_type": _RELEASED_TYPE},
        _MIXER: mixer | {"enable": True, "hidden_dim": text.hidden_size, "model_type": _RELEASED_TYPE},
    }


def _own(config: PreTrainedConfig, but: tuple[str, ...]) -> dict[str, Any]:
    """The settings that are a config's own."""
    return {name: value for name, value in _known(config.to_dict(), config.model_type).items() if name not in but}


def _text_settings(released: dict[str, Any]) -> dict[str, Any]:
    """Settings of the language model, which older versions of transformers wrote without a section of their own."""
    section = released.get("text_config") or released
    text = _known(section, "qwen2_vl_text")
    return text | {name: section[name] for name in ("rope_scaling", "rope_theta") if name in section}


def _known(settings: dict[str, Any], kind: str) -> dict[str, Any]:
    """The settings that are a config's own (older versions of transformers wrote more)."""
    own = {field.name for field in fields(type(AutoConfig.for_model(kind)))} - {
        field.name for field in fields(PreTrainedConfig)
    }
    return {name: value for name, value in settings.items() if name in own}
