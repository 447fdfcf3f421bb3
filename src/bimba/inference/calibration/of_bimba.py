"""A BIMBA's config and chosen frames in, the seconds that answering takes on this machine out; no weight is read.

Shapes: S patches a frame, Q queries, D width, L tokens of a prompt.
"""

from math import prod

import torch
from huggingface_hub.errors import StrictDataclassError

from bimba.inference.calibration.answering import FEWEST_TOKENS, head_seconds, read_work, time_answer
from bimba.inference.calibration.measuring import Clock, Timed, repeated
from bimba.inference.calibration.reading import time_reading
from bimba.inference.calibration.thin import FEWEST_FRAMES, VOCABULARY, Place, num_parameters
from bimba.inference.calibration.thin_bimba import depth_of, only_layer, thin_bimba
from bimba.inference.calibration.time_plan import TimePlan
from bimba.inference.clip import Clip
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.encoding import FRAMES_PER_STEP
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.towers import is_convolutional, tower_depth
from bimba.ops.pool import pooled_shape
from bimba.video.pixels import resize_frames


def time_bimba(config: BimbaConfig, clip: Clip, num_prompt_tokens: int, place: Place, clock: Clock) -> TimePlan | None:
    """Estimate what a question about chosen frames takes on this machine.

    Args:
        config: the model's.
        clip: the chosen frames; some of them are decoded.
        num_prompt_tokens: L, of the video and the text.
        place: where and how the model would be.
        clock: what the time is taken from.

    Returns:
        the estimate; None for a model of which no layer can be told from the rest.

    Raises:
        VideoError: a frame cannot be decoded.
        InputError: that kind of attention cannot be had here.
    """
    depth = depth_of(config.text_config)
    if depth is None:
        return None
    try:
        thin = thin_bimba(config, place)
    except (ImportError, ValueError, StrictDataclassError) as error:
        if place.attn_implementation is not None:
            raise place.refusal(error) from error
        return None  # a family whose layers need each other
    seen, read = only_layer(thin.vision_tower), only_layer(thin.language_model)
    if read is None or (seen is None and not is_convolutional(config.vision_config)):
        return None
    side = config.vision_config.image_size
    decode, pixels = time_reading(clip, lambda frames: resize_frames(frames, size=side), clock)
    layers = {"look": [] if seen is None else [seen], "read": [read]}
    with torch.no_grad(), Timed(layers, place.device, clock) as timed:
        looking = _looking(thin, config, clip.num_frames, timed)
        first_token, next_token = _answering(thin, config, num_prompt_tokens, depth, timed)
    return TimePlan(decode, pixels, looking, first_token, next_token, at_once=place.device.type != "cpu")


def _looking(
    thin: BimbaForConditionalGeneration, config: BimbaConfig, num_frames: int, timed: Timed
) -> dict[str, float]:
    """Seconds of the vision tower, the projector and the compressor for all frames."""
    device, side = thin.input_device, config.vision_config.image_size
    question = None
    if config.reads_question:
        question = thin.get_input_embeddings()(torch.zeros(FEWEST_TOKENS, dtype=torch.int64, device=device))

    def look(size: int) -> dict[str, float]:
        pixels = torch.zeros(size, 3, side, side, device=device)
        with timed.counting("vision", "project", "compress") as (seconds, stage):
            thin.encode_stream([pixels], size, question, stage=stage)
        return seconds

    fewest = max(min(FEWEST_FRAMES, num_frames), thin.config.temporal_pooling)
    size, seconds = repeated(look, fewest, max(fewest, min(num_frames, FRAMES_PER_STEP)), timed)
    depth = 1 if is_convolutional(config.vision_config) else tower_depth(config.vision_config)
    vision = seconds["vision"] + (depth - 1) * seconds["look layer"]
    more, compressor = num_frames / size, num_parameters(thin.compressor)
    work = _compress_work(config, num_frames, compressor) / _compress_work(thin.config, size, compressor)
    return {"vision": vision * more, "project": seconds["project"] * more, "compress": seconds["compress"] * work}


def _compress_work(config: BimbaConfig, num_frames: int, num_weights: int) -> float:
    """What a compressor does, up to a factor: so much for each frame, and attention for each pair of its rows."""
    kind, side, width = config.compressor["type"], config.patches_per_side, config.text_config.hidden_size
    if kind not in ("self_attention", "perceiver"):
        return num_frames
    num_queries = prod(pooled_shape(num_frames, side, side, config.pool, config.pool_mode))
    rows, num_layers = num_frames * side**2 + num_queries, config.compressor["num_layers"]
    # Where all rows ask, they do so in each layer before the last.
    asking = num_queries * num_layers if kind == "perceiver" else num_queries + rows * (num_layers - 1)
    return float(2 * num_weights * rows + 4 * width * asking * rows)


def _answering(
    thin: BimbaForConditionalGeneration, config: BimbaConfig, num_tokens: int, depth: int, timed: Timed
) -> tuple[float, float]:
    """Seconds until the first token of an answer, and from one to the next."""

    def read(size: int) -> dict[str, float]:
        return time_answer(thin, size, timed)

    size, seconds = repeated(read, min(FEWEST_TOKENS, num_tokens), num_tokens, timed)
    text, layer = config.text_config, only_layer(thin.language_model)
    weights = 0 if layer is None else num_parameters(layer)
    head = head_seconds(text, VOCABULARY, seconds["next read"], weights)
    more = read_work(text, num_tokens, weights) / read_work(text, size, weights)
    first = seconds["first"] + (depth * more - 1) * seconds["first read"] + head
    return first, seconds["next"] + (depth - 1) * seconds["next read"] + head
