"""The Vamba model: token ids and pixels in, logits out; videos are read once, and text reads what is kept of them.

Shapes: B samples, n rows of text for each of them (beams), L text tokens, V video tokens, D width, N videos.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, DynamicCache, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.models.qwen2_vl.modeling_qwen2_vl import (
    Qwen2VisionTransformerPretrainedModel,
    Qwen2VLAttention,
    Qwen2VLRMSNorm,
    Qwen2VLRotaryEmbedding,
)
from transformers.utils.output_capturing import capture_outputs

from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.context import KeysValues, VideoContext, joined, readable_videos
from bimba.models.vamba.cross_attention import CrossAttention, Rotation, additive
from bimba.models.vamba.layer import TextStep, VambaDecoderLayer, VideoStep
from bimba.models.vamba.mixer import Mamba2Mixer
from bimba.models.vamba.video_stream import Pictures, VideoBatch, VideoReading

logger = logging.getLogger(__name__)


@dataclass
class VambaOutput(CausalLMOutputWithPast):
    """As transformers has it, and what is kept of the videos.

    Args:
        cross_attentions: weights [B n, H, L, V] of each layer, if attention weights are asked for.
        video_features: to be handed in again with the cache, instead of the pixels.
    """

    cross_attentions: tuple[Tensor, ...] | None = None
    video_features: VideoContext | None = None


@dataclass
class VambaModelOutput(BaseModelOutputWithPast):
    """As transformers has it, and what is kept of the videos.

    Args:
        cross_attentions: as in `VambaOutput`.
        kept: keys and values of the videos in each layer, if they were read along the way and are wanted.
    """

    cross_attentions: tuple[Tensor, ...] | None = None
    kept: list[KeysValues] | None = None


class VambaPreTrainedModel(PreTrainedModel):
    """What transformers needs to know to load, initialise, shard and checkpoint the model."""

    config_class = VambaConfig
    config: VambaConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    input_modalities = ["image", "video", "text"]  # noqa: RUF012 - transformers' convention, as below
    supports_gradient_checkpointing = True
    _no_split_modules = ["VambaDecoderLayer", "Qwen2VLVisionBlock"]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    # Decay rates are exponents: bfloat16 would move them by percents.
    _keep_in_fp32_modules_strict = ["A_log"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True

    def _init_weights(self, module: nn.Module) -> None:
        """Initial values of our own modules; Qwen2-VL's are linear layers, norms and an embedding."""
        super()._init_weights(module)  # type: ignore[no-untyped-call] # untyped there
        if isinstance(module, Mamba2Mixer):
            num_layers = self.config.text_config.num_hidden_layers
            module.initialise(uniform=init.uniform_, copy=init.copy_, num_layers=num_layers)
        elif isinstance(module, VambaDecoderLayer):
            init.constant_(module.alpha, 0.5)


class VambaModel(VambaPreTrainedModel):
    """Embedding, layers of two streams and final norm; named as in the released checkpoint."""

    _can_record_outputs = {  # noqa: RUF012 - transformers' convention
        "hidden_states": VambaDecoderLayer,
        "attentions": Qwen2VLAttention,
        "cross_attentions": CrossAttention,
    }

    def __init__(self, config: VambaConfig) -> None:
        super().__init__(config)
        text_config = config.text_config
        if text_config._attn_implementation is None:  # noqa: SLF001 - transformers' own name
            # The layers ask the text's config, which transformers leaves without one when nothing is asked for.
            text_config._attn_implementation = config._attn_implementation  # noqa: SLF001 - as above
        self.embed_tokens = nn.Embedding(text_config.vocab_size, text_config.hidden_size, text_config.pad_token_id)
        self.layers = nn.ModuleList(VambaDecoderLayer(config, index) for index in range(text_config.num_hidden_layers))
        self.norm = Qwen2VLRMSNorm(text_config.hidden_size, eps=text_config.rms_norm_eps)
        self.rotary_emb = Qwen2VLRotaryEmbedding(text_config)
        self.gradient_checkpointing = False
        self.post_init()  # type: ignore[no-untyped-call] # untyped there

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding."""
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding."""
        self.embed_tokens = cast("nn.Embedding", value)

    @property
    def is_checkpointing(self) -> bool:
        """Whether activations are computed again in the backward pass."""
        return any(bool(layer.gradient_checkpointing) for layer in self.layers)

    def video_step(self, batch: VideoBatch) -> VideoStep:
        """What all layers need to know of videos that are read from their beginning."""
        return VideoStep(self.rotation(batch.tokens, batch.positions), batch.seq_idx)

    def rotation(self, like: Tensor, positions: Tensor) -> Rotation | None:
        """Cosines and sines of video positions [3, B, V], if the model wants them."""
        if not self.config.cross_attn_use_position_embeddings:
            return None
        rotation: Rotation = self.rotary_emb(like, positions)
        return rotation

    @capture_outputs  # type: ignore[untyped-decorator] # as transformers' own models do
    def forward(
        self,
        embeds: Tensor,
        step: TextStep,
        batch: VideoBatch | None = None,
        context: VideoContext | None = None,
        *,
        keep: bool = False,
        **capture: Any,
    ) -> VambaModelOutput:
        """Embedded text [B n, L, D] -> its last hidden states [B n, L, D].

        Args:
            embeds: [B n, L, D].
            step: what all layers need to know of the text.
            batch: videos, read along the way; or
            context: those that were read before; or neither.
            keep: hand out keys and values of the videos that were read.
            capture: `output_hidden_states`, `output_attentions`; the decorator looks after them.
        """
        del capture
        video = None if batch is None else batch.tokens
        video_step = None if batch is None else self.video_step(batch)
        kept = []
        for index, layer in enumerate(self.layers):
            known = None if context is None else context.layers[index]
            embeds, video, made, _ = layer(embeds, video, text_step=step._replace(kept=known), video_step=video_step)
            if keep and made is not None:
                kept.append(made)
        return VambaModelOutput(last_hidden_state=self.norm(embeds), kept=kept or None)


class VambaForConditionalGeneration(VideoReading, VambaPreTrainedModel, GenerationMixin):  # type: ignore[misc] # config
    """Qwen2-VL whose text reads videos by cross-attention, and whose videos go through Mamba-2.

    Source: Vamba, arXiv 2503.11579. A video leaves no token in `input_ids`: `num_videos` tells which videos belong to
    which row. Names of weights are the released ones.
    """

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012 - transformers' convention

    def __init__(self, config: VambaConfig) -> None:
        super().__init__(config)
        self.visual = Qwen2VisionTransformerPretrainedModel._from_config(config.vision_config)  # noqa: SLF001
        self.model = VambaModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.gradient_checkpointing = False
        self.post_init()  # type: ignore[no-untyped-call] # untyped there

    def get_input_embeddings(self) -> nn.Module:
        """The token embedding."""
        embedding: nn.Module = self.model.embed_tokens
        return embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the token embedding."""
        self.model.set_input_embeddings(value)

    reads_videos_once = False
    """Each new token reads the videos, too."""

    @property
    def text_model(self) -> Any:
        """What reads prompts, and keeps keys and values of them."""
        return self

    @property
    def input_device(self) -> torch.device:
        """Where prompts go: the device of the embedding; the CPU if its weights are offloaded (hooks take it on)."""
        device = self.model.embed_tokens.weight.device
        return torch.device("cpu") if device.type == "meta" else device

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        video_grid_thw: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        num_videos: Tensor | Sequence[int] | None = None,
        num_images: Tensor | Sequence[int] | None = None,
        video_segments: Tensor | None = None,
        image_segments: Tensor | None = None,
        text_segments: Tensor | None = None,
        video_features: VideoContext | Sequence[VideoContext] | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> VambaOutput:
        """Logits over text that reads videos.

        Args:
            input_ids: [B n, L]; no placeholders of videos.
            attention_mask: [B n, L] with what the cache holds, 0 for padding; or bool [B, 1, L, L], which tokens
                (columns) each token (row) sees, for attention by sdpa or eager.
            pixel_values_videos: patches of all videos, as Qwen2-VL's processor makes them.
            video_grid_thw: (t, h, w) of each video [N, 3].
            pixel_values: patches of images, instead of videos.
            image_grid_thw: (t, h, w) of each image [N, 3].
            num_videos: how many of the videos, one after the other, each row has [B]; one each if not given, or all if
                there is one row.
            num_images: likewise of images.
            video_segments: of packed rows, which of several conversations reads each video [N]: from 1, 0 for all.
            image_segments: likewise of images.
            text_segments: which conversation each token belongs to [B, L], from 1; by where positions begin at 0, if
                not given.
            video_features: what was kept of the videos, instead of their pixels: of B samples, or of each of them.
            position_ids: [B n, L]; from the attention mask if not given. Without an attention mask, rows whose
                positions begin again at 0 are packed: no conversation sees the others.
            past_key_values: of the text so far.
            inputs_embeds: [B n, L, D], instead of ids.
            labels: [B, L], -100 where nothing is learned.
            use_cache: return a cache and the video context.
            logits_to_keep: how many logits, counted from the end, are wanted (0: all); or at which places [K], whose
                loss alone is computed then.
            kwargs: `output_attentions`, `output_hidden_states`, and what the loss takes (`num_items_in_batch`).

        Returns:
            logits [B n, L, vocabulary] (or [B n, K, vocabulary]), cache, context, and the loss if labels are given.

        Raises:
            ValueError: inputs that exclude each other, or videos and rows that do not fit.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds.")
        embeds = self.model.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if kwargs.get("output_attentions") and self.config.text_config._attn_implementation != "eager":  # noqa: SLF001
            raise ValueError('attention weights are there with attn_implementation="eager" only.')
        pictures = Pictures.of(
            (pixel_values_videos, video_grid_thw, num_videos, video_segments),
            (pixel_values, image_grid_thw, num_images, image_segments),
        )
        batch = None if pictures is None else self.gather(pictures, len(embeds))
        context = joined(video_features, len(embeds))
        if batch is not None and context is not None:
            raise ValueError("give pixels or video_features, not both.")
        packed = position_ids is not None and attention_mask is None and past_key_values is None
        past_key_values = self._cache(use_cache, past_key_values, packed=packed)
        videos = context if batch is None else batch
        step = self._text_step(embeds, attention_mask, position_ids, past_key_values, videos, text_segments)
        captured = {name: kwargs.pop(name) for name in ("output_attentions", "output_hidden_states") if name in kwargs}
        output = self.model(embeds, step, batch, context, keep=past_key_values is not None, **captured)
        kept_logits = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(output.last_hidden_state[:, kept_logits])
        loss = None
        if labels is not None:
            if isinstance(logits_to_keep, Tensor):
                kwargs["shift_labels"] = nn.functional.pad(labels[:, 1:], (0, 1), value=-100)[:, logits_to_keep]
            loss = self.loss_function(logits, labels, vocab_size=self.config.text_config.vocab_size, **kwargs)
        if batch is not None and output.kept is not None:
            context = VideoContext([self.kept(made) for made in output.kept], batch.lengths, batch.segments)
        return VambaOutput(
            loss=loss,
            logits=logits,
            past_key_values=past_key_values,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
            cross_attentions=output.cross_attentions,
            video_features=context,
        )

    def _cache(self, use_cache: bool | None, cache: Any, *, packed: bool) -> Any:
        """The cache that is read with, a new one if there is none yet; None where nothing is kept."""
        if use_cache and self.training and self.model.is_checkpointing:
            logger.warning("use_cache=True does not go with gradient checkpointing; nothing is cached.")
            return None
        if use_cache is None and cache is None:
            use_cache = self.config.text_config.use_cache and not self.training and not packed
        if use_cache is False:
            return None
        return DynamicCache(config=self.config.text_config) if cache is None and use_cache else cache

    def _text_step(
        self,
        embeds: Tensor,
        attention_mask: Any,
        position_ids: Tensor | None,
        cache: Any,
        videos: VideoBatch | VideoContext | None,
        text_segments: Tensor | None,
    ) -> TextStep:
        """What all layers need to know of the text."""
        num_rows, length, _ = embeds.shape
        given = position_ids if attention_mask is None else None
        if position_ids is None:
            seen = 0 if cache is None else cache.get_seq_length()
            position_ids = torch.arange(seen, seen + length, device=embeds.device).expand(num_rows, -1)
            if isinstance(attention_mask, Tensor) and attention_mask.ndim == 2:
                position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -length:]
        if isinstance(attention_mask, dict):  # made by `generate` for caches of a fixed size
            mask: Any = attention_mask["full_attention"]
        elif attention_mask is not None and attention_mask.ndim == 4:
            mask = additive(attention_mask, embeds, self.config.text_config)
        else:
            mask = create_causal_mask(
                config=self.config.text_config,
                inputs_embeds=embeds,
                attention_mask=attention_mask,
                past_key_values=cache,
                position_ids=given,  # by which it finds packed rows
            )
        readable = None
        if videos is not None:
            if text_segments is None:
                text_segments = (position_ids == 0).cumsum(-1)
            readable = readable_videos(videos.lengths, videos.size, videos.segments, text_segments, embeds.device)
        rotation = self.model.rotary_emb(embeds, position_ids[None].expand(3, -1, -1))
        return TextStep(mask=mask, rotation=rotation, position_ids=given, cache=cache, readable=readable)

    @torch.no_grad()
    def generate(  # type: ignore[override] # prompts come as input_ids, as transformers itself calls them
        self,
        input_ids: Tensor | None = None,
        *,
        pixel_values_videos: Tensor | None = None,
        video_grid_thw: Tensor | None = None,
        pixel_values: Tensor | None = None,
        image_grid_thw: Tensor | None = None,
        num_videos: Tensor | Sequence[int] | None = None,
        num_images: Tensor | Sequence[int] | None = None,
        video_features: VideoContext | Sequence[VideoContext] | None = None,
        **kwargs: Any,
    ) -> Any:
        """The `generate` of transformers; videos are read once, whatever the beams, and not copied for them.

        Args:
            input_ids: [B, L].
            pixel_values_videos: as in `forward`, as are all that follow.
            video_grid_thw: as in `forward`.
            pixel_values: as in `forward`.
            image_grid_thw: as in `forward`.
            num_videos: as in `forward`.
            num_images: as in `forward`.
            video_features: as in `forward`.
            kwargs: as `transformers.GenerationMixin.generate` takes them.

        Returns:
            ids [B, L + new], the prompt included, or what `return_dict_in_generate` asks for.

        Raises:
            ValueError: no prompt, an assistant model, or pixels and features at once.
        """
        if input_ids is None:
            input_ids = kwargs.pop("inputs", None)  # transformers' own name
        prompt = kwargs.get("inputs_embeds") if input_ids is None else input_ids
        if prompt is None:
            raise ValueError("generate needs input_ids, or inputs_embeds.")
        if kwargs.get("assistant_model") is not None:
            raise ValueError("generate takes no assistant_model: it would not see the video.")
        pictures = Pictures.of(
            (pixel_values_videos, video_grid_thw, num_videos, None), (pixel_values, image_grid_thw, num_images, None)
        )
        context = joined(video_features, len(prompt))
        if pictures is not None:
            if context is not None:
                raise ValueError("give pixels or video_features, not both.")
            context = self.read_videos(self.gather(pictures, len(prompt)))
        generate: Any = GenerationMixin.generate  # typed for models that transformers brings along
        return generate(self, input_ids, video_features=context, **kwargs)


AutoModelForImageTextToText.register(VambaConfig, VambaForConditionalGeneration, exist_ok=True)
