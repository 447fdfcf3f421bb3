"""The BIMBA model: pixels and token ids in, logits out; its forward calls the stages of the flow one by one.

Shapes: B batch, L prompt, F frames of all videos of the batch, T frames of one video, H x W patches a frame,
S = H W, V tokens of a video in the prompt, D width of the language model.
"""

import copy
import inspect
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    GenerationMixin,
    LogitsProcessorList,
    PreTrainedModel,
    RepetitionPenaltyLogitsProcessor,
)
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_outputs import CausalLMOutputWithPast

from bimba.compressors import (
    NoCompressor,
    PerceiverResampler,
    PoolingCompressor,
    SelectiveScanCompressor,
    SelfAttentionCompressor,
)
from bimba.compressors.learned_queries import LearnedQueries
from bimba.compressors.mixer import ScanDirection, ZeroLinear
from bimba.models.bimba.adapters import OpensAdapters
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.decoding import OnlyTokenizerIds
from bimba.models.bimba.encoding import VideoEncoding
from bimba.models.bimba.separators import Separators
from bimba.models.bimba.splice import splice_videos
from bimba.models.bimba.towers import tower_width


class BimbaProjector(nn.Module):
    """Vision features [..., Dv] -> tokens of the language model's width [..., D]: linear layers with GELU between."""

    def __init__(self, config: BimbaConfig) -> None:
        super().__init__()
        widths = [tower_width(config.vision_config)] + [config.text_config.hidden_size] * config.projector_depth
        self.layers = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(widths))
        self.activation = ACT2FN[config.projector_hidden_act]

    def forward(self, features: Tensor) -> Tensor:
        """[..., Dv] -> [..., D]."""
        for index, layer in enumerate(self.layers):
            features = layer(self.activation(features) if index else features)
        return features


Compressor = SelectiveScanCompressor | PoolingCompressor | SelfAttentionCompressor | PerceiverResampler | NoCompressor


def build_compressor(config: BimbaConfig) -> Compressor:
    """The compressor that the config asks for.

    Raises:
        ValueError: its settings do not hold together.
    """
    settings = dict(config.compressor)
    kind = settings.pop("type")
    if kind == "none":
        return NoCompressor(pool=config.pool)
    if kind == "pooling":
        return PoolingCompressor(pool=config.pool, pool_mode=config.pool_mode)
    learned: dict[str, type[SelectiveScanCompressor | SelfAttentionCompressor | PerceiverResampler]] = {
        "selective_scan": SelectiveScanCompressor,
        "self_attention": SelfAttentionCompressor,
        "perceiver": PerceiverResampler,
    }
    return learned[kind](config.text_config.hidden_size, pool=config.pool, pool_mode=config.pool_mode, **settings)


class BimbaPreTrainedModel(PreTrainedModel):
    """What transformers needs to know to load, initialise, shard and checkpoint the model."""

    config_class = BimbaConfig
    config: BimbaConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    input_modalities = ["video", "text"]  # noqa: RUF012 - transformers' convention, as below
    supports_gradient_checkpointing = True
    _no_split_modules = ["CompressorLayer", "SelfAttentionLayer", "PerceiverLayer"]  # noqa: RUF012
    _skip_keys_device_placement = ["past_key_values"]  # noqa: RUF012
    # Decay rates are exponents: bfloat16 would move them by percents.
    _keep_in_fp32_modules_strict = ["A_log"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def _init_weights(self, module: nn.Module) -> None:
        """Initial values of our own modules; the vision tower and the language model bring theirs."""
        super()._init_weights(module)  # type: ignore[no-untyped-call] # untyped there
        if isinstance(module, ScanDirection):
            module.initialise(uniform=init.uniform_, copy=init.copy_)
        elif isinstance(module, ZeroLinear):
            init.zeros_(module.weight)
        elif isinstance(module, LearnedQueries):
            module.initialise(normal=init.normal_)
        elif isinstance(module, Separators):
            init.normal_(module.newline, std=module.newline.numel() ** -0.5)


class BimbaForConditionalGeneration(  # type: ignore[misc] # config
    OpensAdapters, VideoEncoding, BimbaPreTrainedModel, GenerationMixin
):
    """Vision tower, projector, compressor and language model (BIMBA, arXiv 2503.09590).

    A video enters as `pixel_values_videos` and leaves its trace in `input_ids` as one placeholder
    (`config.video_token_id`) for each of its tokens; the processor counts them.
    """

    def __init__(self, config: BimbaConfig) -> None:
        super().__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.projector = BimbaProjector(config)
        self.compressor = build_compressor(config)
        self.separators = Separators(config.text_config.hidden_size, config.newline_position)
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.gradient_checkpointing = False
        self.post_init()  # type: ignore[no-untyped-call] # untyped there

    def get_input_embeddings(self) -> nn.Module:
        """The language model's token embedding."""
        embedding: nn.Module = self.language_model.get_input_embeddings()
        return embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's token embedding."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module | None:
        """The language model's head."""
        head: nn.Module | None = self.language_model.get_output_embeddings()
        return head

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's head."""
        self.language_model.set_output_embeddings(value)

    reads_videos_once = True
    """What the language model keeps of a prompt holds the video; later tokens need it no more."""

    @property
    def text_model(self) -> Any:
        """What reads prompts, and keeps keys and values of them."""
        return self.language_model

    @property
    def input_device(self) -> torch.device:
        """Where prompts go: the device of the embedding; the CPU if its weights are offloaded (hooks take it on)."""
        device = next(self.get_input_embeddings().parameters()).device
        return torch.device("cpu") if device.type == "meta" else device

    def embed(
        self,
        input_ids: Tensor,
        pixel_values_videos: Tensor | None = None,
        num_video_frames: Tensor | Sequence[int] | None = None,
        video_features: Sequence[Tensor] | None = None,
        *,
        vision_features: Tensor | None = None,
        question_ids: Tensor | None = None,
        question_lengths: Tensor | Sequence[int] | None = None,
        spare_videos: int = 0,
    ) -> Tensor:
        """Prompt with its videos as the language model reads it: [B, L] -> [B, L, D].

        Raises:
            ValueError: more than one kind of video is given, or placeholders and video tokens differ in number.
        """
        if sum(given is not None for given in (pixel_values_videos, video_features, vision_features)) > 1:
            raise ValueError("give one of pixel_values_videos, vision_features and video_features.")
        if pixel_values_videos is not None:
            vision_features = self.get_vision_features(pixel_values_videos)
        if vision_features is not None:
            questions = self._questions(question_ids, question_lengths)
            video_features = self.encode_features(vision_features, num_video_frames, questions)
        video_features = [] if video_features is None else list(video_features)
        placeholder = -1 if self.config.video_token_id is None else self.config.video_token_id
        kept = len(video_features) - spare_videos
        embeds = splice_videos(input_ids, video_features[:kept], placeholder, self.get_input_embeddings())
        for spare in video_features[kept:]:
            embeds = embeds + 0 * spare.sum().to(embeds)
        return embeds

    def _questions(
        self, question_ids: Tensor | None, question_lengths: Tensor | Sequence[int] | None
    ) -> list[Tensor] | None:
        """Embedded questions [C, D] of the videos, for a compressor that reads them."""
        if not self.config.reads_question:
            return None
        if question_ids is None or question_lengths is None:
            raise ValueError("this model reads the question before the video: give question_ids and question_lengths.")
        embedding = self.get_input_embeddings()
        pairs = zip(question_ids, question_lengths, strict=True)
        return [embedding(ids[: int(length)]) for ids, length in pairs]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        pixel_values_videos: Tensor | None = None,
        num_video_frames: Tensor | Sequence[int] | None = None,
        video_features: Sequence[Tensor] | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        vision_features: Tensor | None = None,
        question_ids: Tensor | None = None,
        question_lengths: Tensor | Sequence[int] | None = None,
        spare_videos: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits of the language model over a prompt with videos.

        Args:
            input_ids: [B, L], one placeholder for each video token.
            attention_mask: [B, L], 0 for padding; or bool [B, 1, L, L], which tokens (columns) each token (row) sees,
                for language models of attention alone.
            pixel_values_videos: frames of all videos, one after the other [F, 3, height, width].
            num_video_frames: frames of each video [num_videos]; one video if not given.
            video_features: tokens [V, D] of each video, instead of its pixels (see `get_video_features`).
            position_ids: [B, L]; from the attention mask if not given.
            past_key_values: the language model's cache.
            inputs_embeds: [B, L, D], instead of ids and videos (see `embed`).
            labels: [B, L], -100 where nothing is learned.
            use_cache: return a cache.
            logits_to_keep: how many logits, counted from the end, are wanted (0: all); or at which places [K]. The loss
                then is that of these places alone: in training, those before the tokens that are learned, so that
                thousands of video tokens need no logits.
            vision_features: of all frames [F, S, Dv], instead of pixels (see `get_vision_features`).
            question_ids: words of each video's question [num_videos, C], for a compressor that reads them.
            question_lengths: how many of them are words, not padding [num_videos].
            spare_videos: so many of the last videos stand in no prompt. They weigh nothing, but all parts of the model
                are called and have gradients: processes that train together stay in step over texts without a video.
            kwargs: passed on to the language model.

        Returns:
            logits [B, L, vocabulary] (or [B, K, vocabulary]), the cache, and the loss if labels are given.

        Raises:
            ValueError: not exactly one of ids and embeddings, or placeholders do not fit the videos.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds.")
        if inputs_embeds is None:
            inputs_embeds = self.embed(
                cast("Tensor", input_ids), pixel_values_videos, num_video_frames, video_features,
                vision_features=vision_features, question_ids=question_ids, question_lengths=question_lengths,
                spare_videos=spare_videos,
            )  # fmt: skip
        if labels is not None and isinstance(logits_to_keep, Tensor):
            kwargs["shift_labels"] = nn.functional.pad(labels[:, 1:], (0, 1), value=-100)[:, logits_to_keep]
        accepted = inspect.signature(self.language_model.forward).parameters
        if position_ids is None and past_key_values is None and attention_mask is not None and attention_mask.ndim == 2:
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp(min=0)
        if attention_mask is not None and attention_mask.ndim == 4:
            attention_mask = self._additive(attention_mask, inputs_embeds)
        if position_ids is not None and "position_ids" in accepted:
            kwargs["position_ids"] = position_ids
        output: CausalLMOutputWithPast = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            labels=labels,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )
        return output

    def _additive(self, mask: Tensor, embeds: Tensor) -> Tensor:
        """What attention layers add to their scores for a mask [B, 1, L, L].

        Raises:
            ValueError: the language model has no attention, or one that takes no such mask.
        """
        implementation = self.language_model.config._attn_implementation  # noqa: SLF001 - transformers' own name
        if not self.language_model._supports_sdpa or implementation not in ("sdpa", "eager"):  # noqa: SLF001 - as above
            raise ValueError(f"a mask of pairs of tokens needs attention by sdpa or eager, not {implementation}.")
        return torch.zeros_like(mask, dtype=embeds.dtype).masked_fill(~mask, torch.finfo(embeds.dtype).min)

    @torch.no_grad()
    def generate(  # type: ignore[override] # prompts come as input_ids, as transformers itself calls them
        self,
        input_ids: Tensor | None = None,
        *,
        pixel_values_videos: Tensor | None = None,
        num_video_frames: Tensor | Sequence[int] | None = None,
        video_features: Sequence[Tensor] | None = None,
        vision_features: Tensor | None = None,
        question_ids: Tensor | None = None,
        question_lengths: Tensor | Sequence[int] | None = None,
        logits_processor: LogitsProcessorList | None = None,
        **kwargs: Any,
    ) -> Any:
        """The `generate` of transformers for prompts with videos; the videos are encoded once, whatever the beams.

        The embedded prompt goes to the language model's own `generate`, so each family of language models keeps its
        cache and its positions. As in the public code, everything that looks at earlier tokens (repetition penalty,
        banned n-grams, ...) sees the new ones only. Ids beyond the tokenizer (padding of the embedding table, the
        placeholder) are never generated.

        Args:
            input_ids: [B, L], one placeholder for each video token.
            pixel_values_videos: as in `forward`.
            num_video_frames: as in `forward`.
            video_features: as in `forward`.
            vision_features: as in `forward`.
            question_ids: as in `forward`.
            question_lengths: as in `forward`.
            logits_processor: applied after the tokenizer's ids are picked out.
            kwargs: as `transformers.GenerationMixin.generate` takes them.

        Returns:
            ids [B, L + new], the prompt included, or what `return_dict_in_generate` asks for.

        Raises:
            ValueError: no prompt, no cache, or an assistant model.
        """
        if input_ids is None:
            raise ValueError("generate needs input_ids.")
        if kwargs.get("assistant_model") is not None:
            raise ValueError("generate takes no assistant_model: it would not see the video.")
        config = copy.deepcopy(kwargs.pop("generation_config", None) or self.generation_config)
        config.update(**self.generation_config.to_dict(), defaults_only=True)  # as transformers fills what is not set
        config.update(**{name: kwargs.pop(name) for name in list(kwargs) if name in config.to_dict()})
        if config.use_cache is False:
            # Without a cache each step reads ids again, and the prompt has none: it is embedded.
            raise ValueError("generate needs use_cache=True.")
        processors = LogitsProcessorList([OnlyTokenizerIds(self.config.tokenizer_size, self.config.video_token_id)])
        if config.repetition_penalty not in (None, 1.0):  # said here, transformers warns that it skips the prompt
            processors.append(RepetitionPenaltyLogitsProcessor(config.repetition_penalty))
            config.repetition_penalty = 1.0
        processors.extend(logits_processor or [])
        embeds = self.embed(
            input_ids, pixel_values_videos, num_video_frames, video_features,
            vision_features=vision_features, question_ids=question_ids, question_lengths=question_lengths,
        )  # fmt: skip
        output = self.language_model.generate(
            inputs_embeds=embeds, generation_config=config, logits_processor=processors, **kwargs
        )
        if isinstance(output, Tensor):
            return _after_prompt(input_ids, output)
        output.sequences = _after_prompt(input_ids, output.sequences)
        return output


def _after_prompt(prompt: Tensor, new: Tensor) -> Tensor:
    """Prompts [B, L], each as often as it was answered, with the new tokens [B * n, new] behind them."""
    repeated = prompt.repeat_interleave(len(new) // len(prompt), dim=0)
    return torch.cat([repeated.to(new.device), new], dim=1)


AutoModelForImageTextToText.register(BimbaConfig, BimbaForConditionalGeneration, exist_ok=True)
