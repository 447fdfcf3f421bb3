"""config.json of the public layout in, a BimbaConfig out; and back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig, Qwen2Config

from bimba.checkpoints.tensors import read_json
from bimba.errors import CheckpointError
from bimba.models.bimba.configuration import POOLING, SELECTIVE_SCAN, SO400M, BimbaConfig

RELEASED_MODEL_TYPE = "llava_qwen"
VISION_CONFIG_NAME = "vision_config.json"
_SO400M_NAME = "siglip-so400m-patch14-384"
_TEXT_SETTINGS = (
    "attention_dropout",
    "bos_token_id",
    "eos_token_id",
    "hidden_act",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "max_window_layers",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
    "sliding_window",
    "tie_word_embeddings",
    "use_cache",
    "use_sliding_window",
    "vocab_size",
)
SPATIAL_POOLING = 2
"""The public model pools 2 x 2 patches whatever its config says of mm_spatial_pool_stride."""


def is_released(settings: Mapping[str, object]) -> bool:
    """Whether a config.json is of the public layout."""
    return str(settings.get("model_type", "")).startswith("llava")


def read_released_config(base: Path, adapter: Path | None) -> BimbaConfig:
    """Config of a released base, with the compressor that the adapter (if any) brings.

    Only `compressor_type` comes from the adapter; the public loader takes all else from the base, too.

    Raises:
        CheckpointError: the model is of another family, or its config asks for what BIMBA does not have.
    """
    settings = read_json(base / "config.json")
    if settings.get("model_type") != RELEASED_MODEL_TYPE:
        raise CheckpointError(
            f"{base} is a {settings.get('model_type')!r} model; the released base is {RELEASED_MODEL_TYPE!r}.",
            fix="pass lmms-lab/LLaVA-Video-7B-Qwen2 (or a fine-tune of it) as base.",
        )
    if settings.get("mm_resampler_type") is not None:
        raise CheckpointError(
            f"{base} asks for the resampler {settings['mm_resampler_type']!r}.", fix="pass a base without one."
        )
    own_settings = settings if adapter is None else read_json(adapter / "config.json")
    return BimbaConfig(
        vision_config=_vision_settings(base, settings),
        text_config=_text_config(settings),
        compressor=_compressor_settings(own_settings, base if adapter is None else adapter),
        spatial_pooling=SPATIAL_POOLING,
        temporal_pooling=settings.get("temporal_pooling", 1),
        pool_mode=settings.get("mm_spatial_pool_mode", "bilinear"),
        newline_position=_newline_position(settings, base),
        projector_depth=_projector_depth(settings, base),
        prompt_style="chatml",
    )


def _text_config(settings: Mapping[str, Any]) -> Qwen2Config:
    chosen = {name: settings[name] for name in _TEXT_SETTINGS if name in settings}
    rope = {"rope_type": "default", "rope_theta": settings.get("rope_theta", 1_000_000.0)}
    scaling = dict(settings.get("rope_scaling") or {})
    if "type" in scaling:  # the older spelling of the same setting
        scaling.setdefault("rope_type", scaling.pop("type"))
    rope.update(scaling)
    return Qwen2Config(**chosen, rope_parameters=rope)


def _vision_settings(base: Path, settings: Mapping[str, object]) -> dict[str, Any]:
    """Sizes of the vision tower: its own file, or so400m, which the released base does not spell out."""
    own = base / VISION_CONFIG_NAME
    if own.is_file():
        return {"model_type": "siglip_vision_model", "vision_use_head": False} | read_json(own)
    tower = str(settings.get("mm_vision_tower"))
    if _SO400M_NAME not in tower:
        raise CheckpointError(
            f"{base} names the vision tower {tower!r} and has no {VISION_CONFIG_NAME}.",
            fix=f"put its sizes into {own} (hidden_size, image_size, ... as SiglipVisionConfig names them).",
        )
    return dict(SO400M)


def _compressor_settings(settings: Mapping[str, object], where: Path) -> dict[str, Any]:
    kind = settings.get("compressor_type")
    if kind in (None, "none", ""):
        return dict(POOLING)
    if kind != "bimba":
        raise CheckpointError(
            f"{where} has the compressor {kind!r}; only 'bimba' is known.", fix="pass a released BIMBA adapter."
        )
    return dict(SELECTIVE_SCAN)


def _newline_position(settings: Mapping[str, Any], base: Path) -> Any:
    """Separators as the public code places them: merge type and newline position decide together."""
    if settings.get("add_faster_video"):
        raise CheckpointError(f"{base} asks for add_faster_video.", fix="pass a base without it; no release uses it.")
    merge = settings.get("mm_patch_merge_type", "flat")
    position = settings.get("mm_newline_position", "one_token")
    if not merge.startswith("spatial"):
        return "no_token"
    if position == "one_token" and "unpad" not in merge:
        return "no_token"
    return position


def _projector_depth(settings: Mapping[str, Any], base: Path) -> int:
    kind = str(settings.get("mm_projector_type"))
    if kind.startswith("mlp") and kind.endswith("x_gelu") and kind[3:-6].isdigit():
        return int(kind[3:-6])
    raise CheckpointError(
        f"{base} has the projector {kind!r}.", fix="pass a base with an mlp2x_gelu projector, as the released one has."
    )


def write_released_config(config: BimbaConfig) -> dict[str, Any]:
    """config.json of the public layout for a model of ours.

    Raises:
        CheckpointError: the model has parts that the public layout cannot express.
    """
    text, vision = config.text_config, config.vision_config
    kind = config.compressor["type"]
    if text.model_type != "qwen2" or vision.model_type != "siglip_vision_model":
        raise CheckpointError(
            f"the public layout holds SigLIP and Qwen2; this model is {vision.model_type} and {text.model_type}.",
            fix="keep the model in its own folder; from_pretrained reads it.",
        )
    if kind not in (SELECTIVE_SCAN["type"], POOLING["type"]):
        raise CheckpointError(
            f"the public layout has no compressor of the type {kind}.",
            fix="keep the model in its own folder; from_pretrained reads it.",
        )
    settings = {name: getattr(text, name) for name in _TEXT_SETTINGS}
    rope = dict(text.rope_parameters)
    theta = rope.pop("rope_theta")
    scaling = rope if rope.get("rope_type", "default") != "default" else None
    return settings | {
        "architectures": ["LlavaQwenForCausalLM"],
        "model_type": RELEASED_MODEL_TYPE,
        "rope_theta": theta,
        "rope_scaling": scaling,
        "torch_dtype": str(config.dtype or "float32").removeprefix("torch."),
        "compressor_type": "bimba" if kind == "selective_scan" else None,
        "mm_hidden_size": vision.hidden_size,
        "mm_newline_position": config.newline_position,
        "mm_patch_merge_type": "spatial_unpad",
        "mm_projector_type": f"mlp{config.projector_depth}x_gelu",
        "mm_spatial_pool_mode": config.pool_mode,
        "mm_spatial_pool_stride": config.spatial_pooling,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": f"google/{_SO400M_NAME}",
        "temporal_pooling": config.temporal_pooling,
        "use_mm_proj": True,
    }


def vision_sizes(config: BimbaConfig) -> dict[str, Any] | None:
    """vision_config.json of a tower that is not so400m; None for the released tower, which has no such file."""
    sizes = _settings(config.vision_config)
    return None if sizes == _settings(BimbaConfig().vision_config) else sizes


def check_expressible(config: BimbaConfig, written: Path) -> None:
    """Read a written folder back and compare: the public layout must say everything that our config says.

    Raises:
        CheckpointError: settings that would be lost, all of them named.
    """
    lost = differences(config, read_released_config(written, None))
    if lost:
        raise CheckpointError(
            f"the public layout has no place for {', '.join(lost)}.",
            fix="keep the model in its own folder; from_pretrained reads it.",
        )


def differences(config: BimbaConfig, other: BimbaConfig) -> list[str]:
    """Settings of the model that `other` says otherwise: `pool_mode = 'average'`, `vision_config.hidden_act = ...`."""
    pairs = (
        ("", config, other),
        ("vision_config.", config.vision_config, other.vision_config),
        ("text_config.", config.text_config, other.text_config),
    )
    return [
        f"{part}{name} = {value!r}"
        for part, ours, theirs in pairs
        for name, value in _settings(ours).items()
        if _settings(theirs).get(name) != value
    ]


_NOT_COMPARED = {
    "_name_or_path",
    "architectures",
    "dtype",
    "text_config",
    "tokenizer_size",
    "torch_dtype",
    "transformers_version",
    "video_token_id",
    "vision_config",
}
"""What follows from the weights and the tokenizer, or only names things."""


def _settings(config: PreTrainedConfig) -> dict[str, Any]:
    """What a config says of the model itself."""
    return {name: value for name, value in config.to_dict().items() if name not in _NOT_COMPARED}
