"""A model and its processor in, the same out if videos become tokens that can be kept; refused if they do not."""

from bimba.errors import InputError
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.models.bimba.processing import BimbaProcessor
from bimba.models.kinds import VideoModel, VideoProcessor


def compressing(
    model: VideoModel, processor: VideoProcessor, what: str
) -> tuple[BimbaForConditionalGeneration, BimbaProcessor]:
    """Model and processor of a BIMBA.

    Args:
        model: of any kind.
        processor: its processor.
        what: somebody wants to do that a BIMBA alone can.

    Raises:
        InputError: it is a model that keeps all of a video, layer by layer.
    """
    if isinstance(model, BimbaForConditionalGeneration) and isinstance(processor, BimbaProcessor):
        return model, processor
    raise InputError(
        f"a Vamba model cannot {what}: it keeps every token of a video, in every layer.",
        fix="ask several questions in one chat, which reads the video once (bimba chat, VideoQA.chat); or take a "
        "BIMBA model.",
    )
