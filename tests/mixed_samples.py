"""A folder in, a training file there of videos, images and texts out: samples of very different lengths."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from small_runs import make_videos

VIDEO, IMAGE, TEXT, BROKEN = "video", "image", "text", "broken"

ANSWERS = ("One.", "One thing and another.", "Nothing.", "One thing, another, and a third that nobody asked about.")


def make_media(folder: Path) -> None:
    """Three videos and two images."""
    make_videos(folder)
    for number, colour in enumerate(("red", "blue")):
        Image.new("RGB", (90 + number, 60), colour).save(folder / f"image-{number}.png")


def write_samples(path: Path, media: Path, kinds: Sequence[str]) -> dict[str, Any]:
    """Write a file with a sample of each kind, in this order; the id of a sample is its kind and number.

    Returns:
        the source, as a recipe names it.
    """
    videos = sorted(file.name for file in media.glob("*.mp4"))
    entries = []
    for number, kind in enumerate(kinds):
        about: dict[str, Any] = {
            VIDEO: {"video": videos[number % len(videos)]},
            IMAGE: {"image": f"image-{number % 2}.png"},
            BROKEN: {"video": f"missing-{number}.mp4"},
            TEXT: {},
        }[kind]
        question = "How many are there?" if kind == TEXT else "<image>\nWhat is to be seen?"
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": ANSWERS[number % len(ANSWERS)]}]
        entries.append({"id": f"{kind}-{number}", "conversations": turns, **about})
    path.write_text(json.dumps(entries), encoding="utf-8")
    return {"json_path": str(path), "video_folder": str(media)}


def ids_of(names: Iterable[str]) -> list[str]:
    """Ids of samples by their names."""
    return [name.partition("(id ")[2].removesuffix(")") for name in names]


def kind_of(sample_id: str) -> str:
    """Kind of a sample by its id."""
    return sample_id.partition("-")[0]
