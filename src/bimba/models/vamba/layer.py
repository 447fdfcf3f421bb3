"""One layer: the text and what is kept of the video in, both one layer further out.

Shapes: B samples, n rows of text for each of them (beams), L text tokens, V video tokens (of a piece), D width.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2MLP, Qwen2VLAttention, Qwen2VLRMSNorm

from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.context import KeysValues, Readable
from bimba.models.vamba.cross_attention import CrossAttention, Rotation
from bimba.models.vamba.mixer import Mamba2Block, MixerState


class VideoStep(NamedTuple):
    """What a layer needs to know of video tokens.

    Args:
        rotation: of their positions; None if the model rotates none.
        seq_idx: which sequence each token belongs to, int [B, V]; the mixers start anew where it changes.
        state: of the layer's mixer, after what came before; None at the beginning.
        keep_state: whether the state is wanted afterwards.
    """

    rotation: Rotation | None = None
    seq_idx: Tensor | None = None
    state: MixerState | None = None
    keep_state: bool = False


class TextStep(NamedTuple):
    """What a layer needs to know to take the text on.

    Args:
        mask: of self-attention, as its implementation wants it.
        rotation: of the text's positions.
        position_ids: the positions [B n, L], for implementations that find packed rows by them.
        cache: keys and values of the text so far.
        readable: which video tokens it sees; None without a video.
        kept: keys and values of the video; None where they are made from its tokens now.
    """

    mask: Any
    rotation: Rotation
    position_ids: Tensor | None = None
    cache: Any = None
    readable: Readable | None = None
    kept: KeysValues | None = None


class VambaDecoderLayer(GradientCheckpointingLayer):
    """Self-attention and cross-attention of the text side by side, and Mamba-2 for the video.

    Text: r + alpha self_attn(norm(r)) + (1 - alpha) cross_attn(norm(r), video), then the MLP as in Qwen2-VL. Video:
    Mamba-2 with its residual, after the text has read it (Vamba, arXiv 2503.11579, section 3). Where there is no video,
    self-attention has all the weight: the layer is then Qwen2-VL's.

    Args:
        config: the model's.
        layer_idx: number of the layer. The last one has a mixer, as released, that nothing reads and nobody runs.
    """

    def __init__(self, config: VambaConfig, layer_idx: int) -> None:
        super().__init__()
        text_config = config.text_config
        self.self_attn = Qwen2VLAttention(text_config, layer_idx)
        self.cross_attn = CrossAttention(text_config, layer_idx)
        self.mlp = Qwen2MLP(text_config)
        self.input_layernorm = Qwen2VLRMSNorm(text_config.hidden_size, eps=text_config.rms_norm_eps)
        self.post_attention_layernorm = Qwen2VLRMSNorm(text_config.hidden_size, eps=text_config.rms_norm_eps)
        self.vision_mixer = Mamba2Block(text_config.hidden_size, **config.mixer)
        self.alpha = nn.Parameter(torch.full((1,), 0.5))
        self.norms_video = config.cross_attn_use_layer_norm
        self.rotates_across = config.cross_attn_use_position_embeddings
        self.is_last = layer_idx == text_config.num_hidden_layers - 1

    def forward(
        self,
        hidden_states: Tensor | None,
        video: Tensor | None = None,
        *,
        text_step: TextStep | None = None,
        video_step: VideoStep | None = None,
    ) -> tuple[Tensor | None, Tensor | None, KeysValues | None, MixerState | None]:
        """Take the text, the video, or both one layer further.

        Args:
            hidden_states: of the text [B n, L, D]; None to read a video alone.
            video: tokens [B, V, D]; None if keys and values are kept, or without a video.
            text_step: with the text.
            video_step: with the video.

        Returns:
            text [B n, L, D], video [B, V, D], the video's keys and values, and the mixer's state; what was not asked
            for is None.
        """
        kept, next_video, state = None, None, None
        if video is not None and video_step is not None:
            if self.norms_video:
                video = self.input_layernorm(video)
            kept = self.cross_attn.keys_values(video, video_step.rotation)
            next_video, state = (video, None) if self.is_last else self._mixed(video, video_step)
        if hidden_states is not None and text_step is not None:
            hidden_states = self._read(hidden_states, text_step, text_step.kept if kept is None else kept)
        return hidden_states, next_video, kept, state

    def _mixed(self, video: Tensor, step: VideoStep) -> tuple[Tensor, MixerState | None]:
        if step.keep_state:
            mixed: tuple[Tensor, MixerState] = self.vision_mixer(
                video, seq_idx=step.seq_idx, state=step.state, return_state=True
            )
            return mixed
        return self.vision_mixer(video, seq_idx=step.seq_idx, state=step.state), None

    def _read(self, hidden_states: Tensor, step: TextStep, kept: KeysValues | None) -> Tensor:
        """The text after attention to itself and to the video, and the MLP."""
        normed = self.input_layernorm(hidden_states)
        attended, _ = self.self_attn(
            normed, step.mask, step.position_ids, step.cache, position_embeddings=step.rotation
        )
        if kept is not None and step.readable is not None:
            rotation = step.rotation if self.rotates_across else None
            read, _ = self.cross_attn(normed, kept, step.readable, rotation)
            weight = self._weight(step.readable)
            attended = weight * attended + (1 - weight) * read
        hidden_states = hidden_states + attended
        output: Tensor = hidden_states + self.mlp(self.post_attention_layernorm(hidden_states))
        return output

    def _weight(self, readable: Readable) -> Tensor:
        """Weight of self-attention [1], or [B n, 1 or L, 1] where some text sees no video."""
        if self.training and self.alpha.requires_grad:
            # The optimizer may have stepped over the edge. From there clamping alone would give no gradient back, ever.
            self.alpha.data.clamp_(0, 1)  # past autograd: another forward may still wait for its backward
        alpha = self.alpha.clamp(0, 1)
        if readable.some is None:
            return alpha
        return torch.where(readable.some.repeat_interleave(readable.rows_per_sample, dim=0), alpha, 1.0)
