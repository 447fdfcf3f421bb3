"""A model without its weights and chosen frames in, the seconds that answering takes on this machine out.

A thin model of the same widths looks at a few frames and reads a few hundred tokens. Its layers are timed by
themselves, so that they can be counted as often as the real model has them. Each measurement is repeated with twice as
much until it takes long enough, so that small models are measured whole, and of large ones no more than a moment.
"""

from typing import cast

import torch

from bimba.checkpoints.outline import ModelOutline
from bimba.inference.calibration.measuring import WALL_CLOCK, Clock
from bimba.inference.calibration.of_bimba import time_bimba
from bimba.inference.calibration.of_vamba import time_vamba
from bimba.inference.calibration.thin import Place
from bimba.inference.calibration.time_plan import TimePlan
from bimba.inference.clip import Clip
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.processing import VambaProcessor


def calibrate(
    outline: ModelOutline,
    clip: Clip,
    num_prompt_tokens: int,
    *,
    device: torch.device,
    attn_implementation: str | None = None,
    clock: Clock = WALL_CLOCK,
) -> TimePlan | None:
    """Estimate what a question about chosen frames takes on this machine.

    Args:
        outline: the model; with the dtype that it would be loaded in.
        clip: the chosen frames; some of them are decoded.
        num_prompt_tokens: of the prompt: of the text, and of BIMBA's video, which stands in it.
        device: where the model would be.
        attn_implementation: as of `bimba.load`.
        clock: what the time is taken from.

    Returns:
        the estimate; None for a model of which no layer can be told from the rest.

    Raises:
        VideoError: a frame cannot be decoded.
        InputError: that kind of attention cannot be had here.
    """
    config, place = outline.config, Place(device, outline.dtype, attn_implementation)
    if not isinstance(config, VambaConfig):
        return time_bimba(config, clip, num_prompt_tokens, place, clock)
    processor = cast("VambaProcessor", outline.processor)
    return time_vamba(config, processor, clip, num_prompt_tokens, place, clock)
