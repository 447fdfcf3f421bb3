"""What live input costs in answers: queries in fixed places, and old ones thinned out; bimba-nano on needle videos.

The same questions about the same videos, five ways: the released rule, whose places depend on the length; fixed places;
these in a budget of half the tokens; all of them, averaged in pairs, which we do not do; and every second frame by the
released rule. The last three take as many tokens.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast
from unittest.mock import patch

import torch
from torch import Tensor

import bimba
from benchmarks.reports import write_report
from bimba.checkpoints.shipped import NANO
from bimba.evaluation.answering import Asker, Query, Seen
from bimba.evaluation.needles import Line, NeedleEvaluation
from bimba.evaluation.needles.asked import AskedVideo, asked_videos
from bimba.evaluation.shares import Share
from bimba.inference import VideoQA
from bimba.ops import query_positions

NUM_VIDEOS = 40
LENGTHS = (64,)
SPLIT = "validation"
BATCH_SIZE = 16

Encode = Callable[[Tensor], Tensor]


@dataclass
class Outcome:
    """What one way of encoding came to."""

    name: str
    encode: Encode
    num_tokens: int = 0
    lines: list[Line] = field(default_factory=list)

    def row(self, first: "Outcome") -> str:
        """A row of the table: shares of questions that are right, and which changed against the first way."""
        pairs = list(zip((line.right for line in first.lines), (line.right for line in self.lines), strict=True))
        older = [line.right for line in self.lines if line.place is not None and line.place < 1 / 2]
        newer = [line.right for line in self.lines if line.place is not None and line.place >= 1 / 2]
        lost, won = (sum(pair == change for pair in pairs) for change in ((True, False), (False, True)))
        cells = [_share([line.right for line in self.lines]), _share(older), _share(newer)]
        return f"| {self.name} | {self.num_tokens:,} | {' | '.join(cells)} | {lost} | {won} |"


def grown(qa: VideoQA, features: Tensor, most_groups: int) -> Tensor:
    """Compressed groups [T', H', W', D] of a video that came frame by frame."""
    stream = qa.model.grow(most_groups)
    for number, tokens in enumerate(qa.model.project(features)):
        stream.push(tokens[None, None], [float(number)])
    return stream.finish()[0]


def ways(qa: VideoQA, num_frames: int) -> list[Outcome]:
    """Every way, with its name."""
    half = num_frames // 2

    def released(features: Tensor) -> Tensor:
        return qa.model.compress(qa.model.project(features)[None])[0]

    def averaged(features: Tensor) -> Tensor:
        return torch.stack([pair.mean(0) for pair in grown(qa, features, num_frames).split(2)])

    return [
        Outcome("released places", released),
        Outcome("fixed places", lambda features: grown(qa, features, num_frames)),
        Outcome(f"fixed places, thinned out to {half} groups", lambda features: grown(qa, features, half)),
        Outcome("fixed places, averaged in pairs", averaged),
        Outcome("released places, every second frame", lambda features: released(features[1::2])),
    ]


def places(num_frames: int, num_tokens: int, num_queries: int) -> str:
    """By how much fixed places differ from released ones, for so many tokens and queries a frame."""
    one = query_positions(num_tokens, num_queries)
    fixed = torch.cat([one + number * (num_tokens + num_queries) for number in range(num_frames)])
    apart = (fixed - query_positions(num_frames * num_tokens, num_frames * num_queries)).abs()
    return f"{float((apart > 0).float().mean()):.0%} of the places differ, by {int(apart.max())} at most"


def ask(asker: Asker, qa: VideoQA, asked: AskedVideo, features: Seen, way: Outcome) -> None:
    """Ask all questions about a video that is encoded in one way."""
    packed = qa.model.pack(way.encode(cast("Tensor", features)))
    way.num_tokens = len(packed)
    with patch.object(qa.model, "encode_features", lambda _: [packed]):
        # In words alone: the likelihoods of options would take as long again.
        replies = asker.answer(features, [Query(question.question) for question in asked.questions])
    way.lines += [Line.of(question, reply) for question, reply in zip(asked.questions, replies, strict=True)]


@torch.no_grad()
def measure(qa: VideoQA, num_frames: int) -> str:
    """A section in Markdown about videos of one length."""
    settings = NeedleEvaluation.checked({"model": NANO, "frames": [num_frames], "videos": NUM_VIDEOS, "split": SPLIT})
    asker = Asker(qa, max_new_tokens=settings.max_new_tokens, batch_size=BATCH_SIZE)
    found = ways(qa, num_frames)
    for number, asked in enumerate(asked_videos(settings), start=1):
        features = asker.look(asked.video.frames())
        for way in found:
            ask(asker, qa, asked, features, way)
        print(f"\r{num_frames} frames: video {number} of {NUM_VIDEOS}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    lines = [
        f"## {num_frames} frames, {len(found[0].lines)} questions about {NUM_VIDEOS} videos ({SPLIT} split)",
        "",
        "| way | tokens | right | evidence in the older half | in the newer half | lost | won |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(way.row(found[0]) for way in found),
        "",
        (
            "*lost* and *won*: questions that are right only in the first way, and only in this one. bimba-nano has "
            f"one query a frame: {places(num_frames, 16, 1)}. Of the released model ({num_frames} frames, 729 tokens "
            f"and 196 queries each) {places(num_frames, 729, 196)}."
        ),
    ]
    return "\n".join(lines)


def report() -> Iterator[str]:
    """Sections in Markdown."""
    qa = bimba.load(NANO)
    for num_frames in LENGTHS:
        section = measure(qa, num_frames)
        print(section + "\n", flush=True)
        yield section


def _share(outcomes: list[bool]) -> str:
    share = Share.of(outcomes)
    return f"{share.accuracy:.1%} ({share.low:.1%} to {share.high:.1%})"


if __name__ == "__main__":
    print(f"written to {write_report('Live input', report(), suffix='-live')}")
