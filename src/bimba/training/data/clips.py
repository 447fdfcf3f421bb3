"""A file and a recipe's choice of frames in, the clip that training sees of it out; no frame is decoded yet."""

from pathlib import Path
from typing import cast

from bimba.errors import InputError
from bimba.inference.clip import Clip, ClipFile
from bimba.models.vamba.processing import VambaProcessor
from bimba.training.data.sample import Kind
from bimba.training.recipe.data_settings import Frames
from bimba.video.interval_sampling import Seed
from bimba.video.sampling import Sampling
from bimba.video.source import Video


def bimba_clip(path: Path, kind: Kind, frames: Frames) -> Clip:
    """Chosen frames of a video, or the one frame of an image, as BIMBA chooses them.

    Raises:
        InputError: it is no image where it should be one, or frames of unknown times are to be taken each second.
        VideoError: it cannot be read.
    """
    # Chosen without a word where one frame a second is too many: training would say so once a sample.
    return _opened(path, kind, frames).shortened(frames.count, cast("Sampling", frames.sampling))


def vamba_clip(path: Path, kind: Kind, frames: Frames, processor: VambaProcessor, seed: Seed) -> Clip:
    """Chosen frames of a video, or the one frame of an image, as Vamba chooses them.

    Args:
        path: of the file.
        kind: of the sample.
        frames: which ones.
        processor: the model's.
        seed: of random frames.

    Raises:
        InputError: as `bimba_clip`.
        VideoError: it cannot be read.
    """
    file = _opened(path, kind, frames)
    info, video = file.info, file.video
    choice = processor.choose_frames(
        info.num_frames, info.average_fps, frames.count, sampling=frames.sampling, seed=seed
    )
    seconds = tuple(float(info.frame_seconds[index]) for index in choice.indices)
    return Clip(
        num_frames=len(choice.indices),
        frames=lambda: video.frames(choice.indices),
        frame_seconds=seconds if info.is_timed or info.is_image else (),
        printed_seconds=seconds,
        duration_seconds=info.duration_seconds,
        indices=tuple(choice.indices),
        frame_size=(info.height, info.width),
    )


def _opened(path: Path, kind: Kind, frames: Frames) -> ClipFile:
    file = ClipFile(Video(path, backend=frames.backend))
    info = file.info
    if kind == "image" and info.num_frames > 1:
        raise InputError(
            f"{path} is no image but a {info.kind} of {info.num_frames:,} frames.",
            fix="name it as video in its entry, or take it out.",
        )
    if frames.sampling == "fps" and info.kind == "folder" and not info.is_timed:
        raise InputError(
            f"{path} is a folder of pictures without times, so that none can be taken each second.",
            fix="set frames.sampling to uniform, or make a video of the pictures.",
        )
    return file
