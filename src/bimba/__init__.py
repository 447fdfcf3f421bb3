"""Ask questions about long videos.

The flow of data, which the folders show from top to bottom:

    video.sampling   which frames                    64 indices and their seconds
    video.decode     decode                          uint8 [64, H, W, 3]
    video.pixels     pixels                          [64, 3, 384, 384]
    text.prompts     prompt                          chat text, ids, label mask
    models           vision features, projector      [64, 27, 27, 3584]
    compressors      queries, interleave, scan       [64, 14, 14, 3584]
    models           separators, splice              13,440 tokens in the prompt
    models           language model                  logits
    inference        text                            the answer

Importing this module imports neither torch nor transformers. transformers' Auto classes know our models afterwards.
"""

from typing import TYPE_CHECKING, Any

from bimba.models.auto_classes import register_when_imported

if TYPE_CHECKING:
    from bimba.inference import Answer, AnswerStream, Chat, VideoQA, load
    from bimba.video.source import Video

__version__ = "0.1.0"
__all__ = ["Answer", "AnswerStream", "Chat", "Video", "VideoQA", "__version__", "load"]

register_when_imported()


def __getattr__(name: str) -> Any:
    """Import the public names, and torch with most of them, when they are first used."""
    if name == "Video":
        from bimba.video.source import Video

        return Video
    if name in __all__:
        from bimba import inference

        return getattr(inference, name)
    raise AttributeError(f"module 'bimba' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
