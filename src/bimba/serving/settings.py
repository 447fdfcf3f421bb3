"""How a server is set up: plain values, checked where they are declared."""

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bimba.errors import InputError

MIB, GIB = 2**20, 2**30


class MediaLimits(BaseModel):
    """How large a video may be.

    Attributes:
        upload_bytes: of one uploaded or fetched file.
        request_bytes: of any other request, data URLs included.
        letters: of all texts of a request.
        waiting_bytes: of all such requests that are not answered yet, together.
        uploads: that are taken at once.
        stored_bytes: of all uploaded files together.
        duration_seconds: of a video.
        pixels: of a frame.
        frames: that a file may hold.
        decode_seconds: that finding out what a file holds, and decoding the chosen frames, may take each.
        decode_bytes: of memory of the process that decodes.
        fetch_seconds: that fetching an address may take.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    upload_bytes: int = Field(default=GIB, ge=1)
    request_bytes: int = Field(default=64 * MIB, ge=1024)
    letters: int = Field(default=1_000_000, ge=1)
    waiting_bytes: int = Field(default=GIB, ge=1024)
    uploads: int = Field(default=8, ge=1)
    stored_bytes: int = Field(default=20 * GIB, ge=1)
    duration_seconds: float = Field(default=4 * 3600.0, gt=0)
    pixels: int = Field(default=4096 * 2304, ge=1)
    frames: int = Field(default=1_000_000, ge=1)
    decode_seconds: float = Field(default=120.0, gt=0)
    decode_bytes: int = Field(default=4 * GIB, ge=GIB // 2)
    fetch_seconds: float = Field(default=60.0, gt=0)


class ServeSettings(BaseModel):
    """How a server answers.

    Attributes:
        model_name: what requests call the model.
        api_keys: of which a request must bring one; none for a server that asks for none.
        media_root: folder below which requests may name files; None for no such folder.
        url_hosts: hosts whose addresses are fetched.
        store: folder for uploads and encoded videos.
        cache_bytes: of encoded videos on disk, together.
        limits: how large a video may be.
        running: answers that are generated together, at most.
        waiting: requests that wait for their turn, at most.
        seconds: that a request may take.
        frames: that are looked at where a request does not say.
        sampling: how they are chosen where a request does not say.
        max_video_tokens: for which fewer are taken where a request does not say; None for what the model can read.
        max_new_tokens: of an answer where a request does not say.
        prefix_bytes: of what was read of prompts, kept beside the model for the next question about a video.
        prefill_tokens: of a prompt that are read between two steps of the others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_name: str
    api_keys: tuple[str, ...] = ()
    media_root: Path | None = None
    url_hosts: tuple[str, ...] = ()
    store: Path
    cache_bytes: int = Field(default=10 * GIB, ge=0)
    limits: MediaLimits = MediaLimits()
    running: int = Field(default=16, ge=1)
    waiting: int = Field(default=64, ge=0)
    seconds: float = Field(default=600.0, gt=0)
    frames: int | Literal["auto"] = 64
    sampling: str = "uniform"
    max_video_tokens: int | None = Field(default=None, ge=1)
    max_new_tokens: int = Field(default=512, ge=1)
    prefix_bytes: int = Field(default=GIB, ge=0)
    prefill_tokens: int = Field(default=512, ge=1)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what is bound to a host."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def checked_root(folder: Path | None) -> Path | None:
    """The folder below which requests may name files.

    Raises:
        InputError: there is no such folder.
    """
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder} is no folder.", fix="name the folder that holds the videos (--media-root).")
    return folder
