"""The kinds of models that can be asked about videos; what inference needs of one, each of them has under one name.

Of a processor: `write`, `end_of_video`, `tokens_of`, `least_frames`, `resize_frames`, `normalise`. Of a model:
`encode_stream`, `generate`, `text_model`, `input_device`, `reads_videos_once`.
"""

from torch import Tensor

from bimba.models.bimba.configuration import BimbaConfig
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.vamba.configuration import VambaConfig
from bimba.models.vamba.context import VideoContext
from bimba.models.vamba.modeling import VambaForConditionalGeneration
from bimba.models.vamba.processing import VambaProcessor

VideoConfig = BimbaConfig | VambaConfig
VideoModel = BimbaForConditionalGeneration | VambaForConditionalGeneration
VideoProcessor = BimbaProcessor | VambaProcessor

VideoFeatures = Tensor | VideoContext
"""What the language model reads of a video: BIMBA's tokens [V, D], which stand in the prompt, or Vamba's keys and
values, which stand beside it."""


def model_of(config: VideoConfig) -> VideoModel:
    """The model of a config, with fresh weights (under `torch.device("meta")` without any)."""
    if isinstance(config, VambaConfig):
        return VambaForConditionalGeneration(config)
    return BimbaForConditionalGeneration(config)
