"""A BIMBA's config in, a model of the same widths out, with one layer in each part."""

import copy
from typing import Any

from torch import nn

from bimba.inference.calibration.thin import FEWEST_FRAMES, Place, with_arbitrary_weights, without_words
from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.towers import is_convolutional


def thin_bimba(config: BimbaConfig, place: Place) -> BimbaForConditionalGeneration:
    """A model of the same widths with one layer in each part, few words, and arbitrary weights.

    A convolutional tower, whose layers differ from each other, is left whole. Of more frames than two that are pooled
    into one, it pools two.

    Args:
        config: the model's.
        place: where and how it would be.

    Raises:
        ValueError: there is no such model with one layer.
    """
    settings = config.to_dict()
    settings["text_config"] = without_words(_with_one_layer(config.text_config))
    if not is_convolutional(config.vision_config):
        settings["vision_config"] = _with_one_layer(config.vision_config)
    if config.compressor.get("queries") != "learned":  # whose groups are counted
        settings["temporal_pooling"] = min(config.temporal_pooling, FEWEST_FRAMES)
    settings |= {"vision_feature_layer": -1, "video_token_id": None, "tokenizer_size": None}
    model: BimbaForConditionalGeneration = with_arbitrary_weights(BimbaConfig.from_dict(settings), place)
    model.language_model.generation_config = model.generation_config
    return model


def only_layer(module: nn.Module) -> nn.Module | None:
    """The layer of a model that has one; None if it keeps its layers in no list."""
    lists = (part for part in module.modules() if isinstance(part, nn.ModuleList) and len(part) == 1)
    first = next(lists, None)
    return None if first is None else first[0]


def _with_one_layer(config: Any) -> Any:
    """The same config with one layer, and of what is listed for each layer that of the first."""
    thin, depth = copy.deepcopy(config), depth_of(config)
    for name, value in config.to_dict().items():
        if isinstance(value, list) and len(value) == depth:
            setattr(thin, name, value[:1])
    thin.num_hidden_layers = 1
    return thin


def depth_of(config: Any) -> int | None:
    """Layers of a part; the attribute follows each family's own name for it (n_layer, ...)."""
    return int(config.num_hidden_layers) if hasattr(config, "num_hidden_layers") else None
