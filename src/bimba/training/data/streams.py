"""A stream of needle videos in; each video with all of its questions, and the words of what stands where, out.

Shapes: T frames, H x W patches or queries of one (rows, columns), K words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bimba.needles import KINDS_WITHOUT_TIMES, NeedleSettings, NeedleStream, StreamedVideo
from bimba.needles.contents import COLOURS, descriptions_of
from bimba.needles.questions import ABOUT_ITSELF, CANNOT_TELL, PLACES, QUESTION_KINDS
from bimba.needles.records import Box, Needle
from bimba.needles.seeds import generator, place_in_time
from bimba.needles.settings import known_choices
from bimba.text.prompts import VIDEO_TOKEN, Message
from bimba.training.recipe.data_settings import Stream

NO_WORD = -1
"""Fills up the words of a place; a place of nothing else shows nothing."""
MOST_WORDS = 8
COVERED = 0.25
"""A needle stands in a place if it covers so much of it, or if the place holds so much of the needle."""


@dataclass(frozen=True)
class StreamPlace:
    """A video of a stream in a round of questions; `turns` questions about it make one conversation."""

    stream: NeedleStream
    index: int
    turns: int = 1
    number: int = 0

    def video(self) -> StreamedVideo:
        """Plan it.

        Raises:
            VideoError: a picture cannot be opened.
        """
        return self.stream.video(self.index, self.number)


def open_stream(settings: Stream) -> NeedleStream:
    """The stream of a recipe's source.

    Raises:
        InputError: an option or a kind of question is unknown or out of range, or OpenMoji is needed and missing.
    """
    options = NeedleSettings.of_options({**settings.options, "videos": settings.videos})
    kinds = KINDS_WITHOUT_TIMES if settings.kinds is None else settings.kinds
    known_choices("kinds of questions", kinds, QUESTION_KINDS)
    return NeedleStream(options, kinds=kinds, num_unknown=settings.unknown, num_itself=settings.itself)


def conversations(video: StreamedVideo, turns: int = 1) -> list[list[Message]]:
    """Questions and answers about a video, each by itself or, in random order, `turns` in one conversation."""
    asked = [(question.question, question.answer) for question in video.questions]
    asked += [(question, CANNOT_TELL) for question in video.unknown]
    asked += [(question, ABOUT_ITSELF) for question in video.itself]
    if turns > 1:
        asked = [asked[int(place)] for place in generator(video.seed, "turns").permutation(len(asked))]
    return [_conversation(asked[start : start + turns]) for start in range(0, len(asked), turns)]


def _conversation(asked: Sequence[tuple[str, str]]) -> list[Message]:
    """Questions and answers one after the other; the video stands before the first."""
    messages: list[Message] = []
    for question, answer in asked:
        text = question if messages else f"{VIDEO_TOKEN}\n{question}"
        messages += [Message("user", text), Message("assistant", answer)]
    return messages


def words_of_places(
    video: StreamedVideo,
    groups: Sequence[Sequence[int]],
    grid: tuple[int, int],
    ids_of: Callable[[str], Sequence[int]],
) -> Tensor:
    """Words of what stands in each place of a video.

    Args:
        video: knows its needles.
        groups: frames that are looked at together, T groups of frame numbers.
        grid: (H, W), places of a frame.
        ids_of: token ids of a description.

    Returns:
        int64 [T, H, W, K], -1 where there is no word.
    """
    words = torch.full((len(groups), *grid, MOST_WORDS), NO_WORD)
    for needle in video.record.needles:
        ids = _said_of(needle, ids_of)
        mask = _standing(needle, (video.record.height, video.record.width), grid)
        for number, group in enumerate(groups):
            if any(needle.first_frame <= frame <= needle.last_frame for frame in group):
                for row, column in mask.nonzero().tolist():
                    _add(words[number, row, column], ids)
    return words


def words_of_moments(
    video: StreamedVideo,
    groups: Sequence[Sequence[int]],
    grid: tuple[int, int],
    ids_of: Callable[[str], Sequence[int]],
) -> Tensor:
    """Words of what each query of a window shall keep if the queries share the window's frames in order.

    Query q of a window of F frames and Q = H x W queries, row by row, has the frames from q * F // Q on to those of the
    next, and at least one.

    Args:
        video: knows its needles.
        groups: frames that are looked at together, T groups of frame numbers.
        grid: (H, W), queries of a window.
        ids_of: token ids of a description.

    Returns:
        int64 [T, H, W, K], -1 where there is no word.
    """
    num_queries = grid[0] * grid[1]
    words = torch.full((len(groups), num_queries, MOST_WORDS), NO_WORD)
    for needle in video.record.needles:
        ids = _said_of(needle, ids_of)
        for number, group in enumerate(groups):
            for query in range(num_queries):
                first = query * len(group) // num_queries
                end = max(first + 1, (query + 1) * len(group) // num_queries)
                if any(needle.first_frame <= frame <= needle.last_frame for frame in group[first:end]):
                    _add(words[number, query], ids)
    return words.reshape(len(groups), *grid, MOST_WORDS)


def with_thirds(
    words: Tensor, groups: Sequence[Sequence[int]], num_frames: int, ids_of: Callable[[str], Sequence[int]]
) -> Tensor:
    """Words of places, those of the third of the video that a place is from added where something stands.

    Args:
        words: int64 [T, H, W, K], see `words_of_places`.
        groups: frames that are looked at together, T groups of frame numbers.
        num_frames: of the video.
        ids_of: token ids of a word.

    Returns:
        int64 [T, H, W, K].
    """
    words = words.clone()
    names = [list(ids_of(name)) for name in PLACES]
    for number, group in enumerate(groups):
        middle = (group[0] + group[-1] + 1) / 2
        ids = names[place_in_time(middle / num_frames)]
        for place in words[number].flatten(0, 1):
            if place[0] != NO_WORD:
                _add(place, ids)
    return words


def words_shown(stream: NeedleStream, ids_of: Callable[[str], Sequence[int]], *, thirds: bool = False) -> set[int]:
    """Token ids of all words that places of a stream's videos can have; see `words_of_places` and `with_thirds`."""
    texts = [text for kind in stream.settings.kinds for text in descriptions_of(kind, stream.pictures)]
    return {token for text in (*texts, *COLOURS, *(PLACES if thirds else ())) for token in ids_of(text)}


def _said_of(needle: Needle, ids_of: Callable[[str], Sequence[int]]) -> list[int]:
    """Token ids of a needle's description and colour, each once."""
    return list(dict.fromkeys(ids_of(f"{needle.description} {needle.attributes.get('colour', '')}")))


def _standing(needle: Needle, size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """Places [H, W] that a needle stands in."""
    covered = torch.zeros(grid, dtype=torch.bool)
    for box in needle.boxes:
        rows, columns = _overlap(box, size, grid)
        shared = rows[:, None] * columns[None, :]
        least = min(1.0, float(rows.sum() * columns.sum()))
        covered |= shared >= COVERED * least
    return covered


def _overlap(box: Box, size: tuple[int, int], grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """How much of each row [H] and each column [W] of places a box takes up."""
    left, top, right, bottom = box
    sides = []
    for begin, end, pixels, places in ((top, bottom, size[0], grid[0]), (left, right, size[1], grid[1])):
        place = torch.arange(places)
        low, high = begin / pixels * places, end / pixels * places
        sides.append(((place + 1).clamp(max=high) - place.clamp(min=low)).clamp(min=0))
    return sides[0], sides[1]


def _add(words: Tensor, ids: Sequence[int]) -> None:
    """Write ids behind those that are there, in place, as far as there is room."""
    there = [word for word in words.tolist() if word != NO_WORD]
    new = [word for word in ids if word not in there]
    kept = [*there, *new][: len(words)]
    words[: len(kept)] = torch.tensor(kept)
