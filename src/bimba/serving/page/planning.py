"""A file and how to look at it in, what it is and what it comes to out; nothing of it is decoded."""

from typing import Any

from bimba.errors import BimbaError
from bimba.inference.clip import ClipFile
from bimba.inference.request import RequestBuilder, build_request
from bimba.inference.video_qa import VideoQA
from bimba.serving.engine.ticket import Look, Media
from bimba.serving.media.checking import check_video, open_isolated
from bimba.serving.refusals import refused
from bimba.serving.settings import MediaLimits
from bimba.text.prompts import Message

_ANY_QUESTION = (Message("user", "What happens?"),)


def looked_into(media: Media, limits: MediaLimits) -> ClipFile:
    """What a file holds, found out in a process of its own.

    Raises:
        RefusedError: it cannot be read, or is larger or longer than is allowed.
    """
    try:
        with open_isolated(media.path, limits) as video:
            check_video(video, limits)
            return ClipFile(video)
    except BimbaError as error:
        raise refused(error, "file", {media.path: media.name}) from error


def described(file: ClipFile) -> dict[str, Any]:
    """What a file is, in plain values."""
    info = file.info
    width, height = info.display_size
    seconds = round(info.duration_seconds, 3)
    return {"kind": info.kind, "seconds": seconds, "width": width, "height": height, "frames": info.num_frames}


def planned(qa: VideoQA[Any, Any], file: ClipFile, look: Look) -> dict[str, Any]:
    """What a question about a file comes to, in plain values: frames and tokens, or what is wrong with them.

    Args:
        qa: the model.
        file: that is asked about.
        look: how it is looked at.
    """
    builder = RequestBuilder(
        qa.processor, file, _ANY_QUESTION, look.sampling, look.time_sentence, max_video_tokens=look.max_video_tokens
    )
    try:
        request = build_request(builder, look.num_frames, qa.context_length, 1)
    except BimbaError as error:
        return {"error": refused(error, "frames", {file.info.path: "the file"}).message}
    clip = request.clip
    if clip is None:
        raise ValueError("there is a file, and no frames of it.")
    return {
        "frames": clip.num_frames,
        "tokens": request.num_video_tokens,
        "reads": qa.context_length,
        "at": [round(seconds, 3) for seconds in clip.frame_seconds],
    }
