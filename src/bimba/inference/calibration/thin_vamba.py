"""A Vamba's config in, a model of the same widths out: one layer in the vision tower, two for text and video."""

import copy

from bimba.inference.calibration.thin import Place, with_arbitrary_weights, without_words
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.modeling import VambaForConditionalGeneration

_LAYERS = 2
"""One whose mixer runs, and the last, whose mixer never does."""


def thin_vamba(config: VambaConfig, place: Place) -> VambaForConditionalGeneration:
    """A model of the same widths with one layer in the vision tower, two at most for the rest, and few words.

    Args:
        config: the model's.
        place: where and how it would be.

    Raises:
        ValueError: that kind of attention cannot be had.
    """
    thin = copy.deepcopy(config)
    thin.vision_config.depth = 1
    text = without_words(thin.text_config)
    text.num_hidden_layers = min(text.num_hidden_layers, _LAYERS)
    text.layer_types = text.layer_types[:_LAYERS]
    model: VambaForConditionalGeneration = with_arbitrary_weights(thin, place)
    return model
