"""Settings of a Vamba model: Qwen2-VL's vision tower and language model, and the mixers of the video stream."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from bimba.models.vamba.released_config import is_released, settings_of_released

QWEN2_VL_7B: dict[str, Any] = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0, "mrope_section": [16, 24, 24]},
    "bos_token_id": 151643,
    "eos_token_id": 151645,
}
"""The language model of the released model."""

MIXER: dict[str, Any] = {
    "d_state": 128,
    "d_conv": 4,
    "expand": 2,
    "headdim": 64,
    "ngroups": 1,
    "A_init_range": [1, 16],
    "D_has_hdim": False,
    "norm_before_gate": False,
    "dt_min": 0.001,
    "dt_max": 0.1,
    "dt_init_floor": 0.0001,
    "dt_limit": [0.0, None],
    "bias": False,
    "conv_bias": True,
}
"""Mamba-2 of the released model, named as there; the upper `dt_limit` is None for none."""


def complete_mixer(settings: dict[str, Any] | None) -> dict[str, Any]:
    """Mixer settings with every default written out.

    Raises:
        ValueError: unknown keys, or a value that no mixer can have.
    """
    settings = {} if settings is None else dict(settings)
    unknown = settings.keys() - MIXER.keys()
    if unknown:
        raise ValueError(f"unknown mixer settings {sorted(unknown)}; known are {', '.join(MIXER)}.")
    complete = MIXER | settings
    low, high = _pair("dt_limit", complete["dt_limit"])
    if low is None or low < 0 or (high is not None and high <= low):
        raise ValueError(f"mixer setting dt_limit is {complete['dt_limit']!r}; it must be two rising numbers.")
    for name in ("A_init_range", "dt_min", "dt_max"):
        values = _pair(name, complete[name]) if name == "A_init_range" else (complete[name],)
        if not all(_is_positive(value) for value in values):
            raise ValueError(f"mixer setting {name} is {complete[name]!r}; it must be above 0.")
    for name in ("d_state", "d_conv", "expand", "headdim", "ngroups"):
        if not isinstance(complete[name], int) or complete[name] < 1:
            raise ValueError(f"mixer setting {name} is {complete[name]!r}; it must be a whole number of at least 1.")
    return complete


def _pair(name: str, value: Any) -> tuple[Any, Any]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError(f"mixer setting {name} is {value!r}; it must be two numbers.")
    return value[0], value[1]


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and value > 0


@strict
class VambaConfig(PreTrainedConfig):
    """Composite configuration of `VambaForConditionalGeneration`; the defaults are the released model's.

    Released folders (`model_type` "qwen2_vl" with a `vision_mamba_mixer_config`) are read as they are.

    Args:
        vision_config: Qwen2-VL's vision config, or its dictionary.
        text_config: Qwen2-VL's text config, or its dictionary.
        mixer: settings of the Mamba-2 mixers of the video stream, completed from `MIXER`.
        cross_attn_use_position_embeddings: rotate queries and keys of cross-attention by their positions.
        cross_attn_use_layer_norm: the text's input norm is applied to the video stream, too.
        image_token_id: placeholder of Qwen2-VL for an image; in Vamba's prompts none stays.
        video_token_id: likewise for a video.
        vision_start_token_id: goes before the place of a video in the prompt.
        vision_end_token_id: goes behind it.

    Raises:
        ValueError: a setting is out of range or unknown, or the parts do not fit each other.
    """

    model_type = "vamba"
    sub_configs = {"vision_config": AutoConfig, "text_config": AutoConfig}  # noqa: RUF012 - transformers' convention
    keys_to_ignore_at_inference = ["past_key_values", "video_features"]  # noqa: RUF012 - as above

    vision_config: Any = None  # dictionaries and None become config objects below
    text_config: Any = None
    mixer: Any = None
    cross_attn_use_position_embeddings: bool = False
    cross_attn_use_layer_norm: bool = False
    image_token_id: int = 151655
    video_token_id: int = 151656
    vision_start_token_id: int = 151652
    vision_end_token_id: int = 151653
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        self.text_config = _part(self.text_config, QWEN2_VL_7B, "qwen2_vl_text")
        self.vision_config = _part(self.vision_config, {}, "qwen2_vl_vision")
        self.mixer = complete_mixer(self.mixer)
        self._check()
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call] # untyped there

    def _check(self) -> None:
        """Refuse parts that would only fail at the first video."""
        width = self.text_config.hidden_size
        if self.vision_config.hidden_size != width:
            raise ValueError(f"vision tokens are {self.vision_config.hidden_size} wide, the language model {width}.")
        inner, head = self.mixer["expand"] * width, self.mixer["headdim"]
        if inner % head or (inner // head) % self.mixer["ngroups"]:
            raise ValueError(
                f"a mixer of width {inner} cannot be cut into heads of {head} in {self.mixer['ngroups']} groups."
            )
        if "mrope_section" not in (self.text_config.rope_parameters or {}):
            raise ValueError("the language model's rope_parameters have no mrope_section, which every Qwen2-VL has.")
        if "sliding_attention" in self.text_config.layer_types:
            raise ValueError("use_sliding_window is set; Vamba's text sees all of the text before it.")

    @property
    def reads_question(self) -> bool:
        """Whether the question decides what is kept of a video; here all of it is, for any question."""
        return False

    @property
    def temporal_pooling(self) -> int:
        """Frames that become one: every token stays."""
        return 1

    @property
    def time_sentence(self) -> bool:
        """Whether the model was trained with the frames' times in its prompts."""
        return False

    @classmethod
    def get_config_dict(
        cls, pretrained_model_name_or_path: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The settings of a folder as ours, whether it is one of ours or a released one."""
        found, rest = super().get_config_dict(pretrained_model_name_or_path, **kwargs)
        return (settings_of_released(found) if is_released(found) else found), rest


def _part(config: Any, default: dict[str, Any], kind: str) -> PreTrainedConfig:
    """A config object of transformers from an object, a dictionary, or nothing."""
    if isinstance(config, PreTrainedConfig):
        return config
    settings = dict(default if config is None else config)
    settings.pop("model_type", None)
    # By name: their module cannot be imported while transformers' Auto modules are, which import this one.
    return AutoConfig.for_model(kind, **settings)


AutoConfig.register(VambaConfig.model_type, VambaConfig, exist_ok=True)
