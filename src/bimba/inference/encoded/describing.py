"""A video that is about to be encoded in, everything that its file will tell about it out."""

from pathlib import Path
from typing import Any

from bimba.inference.clip import Clip, ClipArray, ClipFile
from bimba.inference.encoded.origin import Origin
from bimba.inference.encoded.video import About
from bimba.models.bimba.configuration import BimbaConfig
from bimba.provenance import code_and_machine
from bimba.video.source import Video


def describe(
    opened: ClipFile | ClipArray, clip: Clip, config: BimbaConfig, encoder: str, settings: dict[str, Any]
) -> About:
    """What is known of a video before it is read, so that what is written to it meanwhile is noticed later.

    Args:
        opened: the video.
        clip: its chosen frames.
        config: of the model that encodes it.
        encoder: hash of that model.
        settings: how frames are chosen.

    Raises:
        VideoError: the file is gone.
    """
    video = opened.video if isinstance(opened, ClipFile) else None
    file = None if video is None else file_of(video)
    return About(
        encoder=encoder,
        model=Path(config.name_or_path or config.text_config.model_type).name,
        num_frames=clip.num_frames,
        indices=clip.indices,
        frame_seconds=clip.frame_seconds,
        printed_seconds=clip.printed_seconds,
        duration_seconds=clip.duration_seconds,
        settings=settings_of(config, video, settings),
        reading={} if video is None else video.reading,
        origin=None if file is None else Origin.of(file, Path()),
        made_with=code_and_machine(),
    )


def settings_of(config: BimbaConfig, video: Video | None, settings: dict[str, Any]) -> dict[str, Any]:
    """How a video is looked at: what has to be the same for its tokens to be."""
    part: dict[str, Any] = {"start": None, "end": None} if video is None else {"start": video.start, "end": video.end}
    part |= Video("").reading if video is None else video.reading
    pooling = {"temporal_pooling": config.temporal_pooling, "spatial_pooling": config.spatial_pooling}
    return pooling | part | settings


def file_of(video: Video) -> Path | None:
    """The file or folder that a video is; None for what came through a pipe."""
    if not isinstance(video.source, str | Path):
        return None
    path = Path(video.source)
    return path if video.info.path == path else None
