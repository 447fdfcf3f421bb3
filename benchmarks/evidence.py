"""Whether evidence points at what it should: bimba-nano on needle videos, whose needles' times are known.

`python -m benchmarks.evidence` asks about videos of the test split (`--split validation` for the one on which methods
were compared and chosen), and writes results/<date>-evidence.md with pictures beside it.

A method hits if the moment with its highest score shows one of the needles that the question is about.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

import bimba
from benchmarks import evidence_cost
from benchmarks.evidence_methods import METHODS, Watched
from benchmarks.reports import RESULTS, write_report
from bimba.checkpoints.shipped import NANO
from bimba.cli.evidence_picture import draw_evidence
from bimba.evaluation.answering import Asker, Query
from bimba.evaluation.answering.prompt import write_prompt
from bimba.evaluation.metrics.resampling import interval, over_draws
from bimba.evaluation.needles import NeedleEvaluation
from bimba.evaluation.needles.asked import asked_videos
from bimba.evaluation.scoring import is_right
from bimba.evaluation.shares import wilson_interval
from bimba.inference import VideoQA
from bimba.inference.clip import Clip
from bimba.inference.evidence import Evidence, find_evidence
from bimba.inference.request import Request
from bimba.needles import Question, StreamedVideo
from bimba.video.contact_sheet import save_picture

FRAMES, SEED = 60, 4711
OURS = {"gradient": "**evidence by gradients (the default)**", "occlusion": "**evidence by occlusion**"}
CALLED = OURS | METHODS
ONE_NEEDLE = frozenset({"retrieval", "colour", "shape", "glyph"})
NUM_PICTURES = 4


@dataclass(frozen=True)
class Found:
    """What came of one question.

    Attributes:
        video: number of its video.
        kind: of the question.
        right: whether the answer is.
        hits: of each method, whether its highest score is at a needle that is asked about.
        any_needle: of each method, whether it is at any needle.
    """

    video: int
    kind: str
    right: bool
    hits: dict[str, bool]
    any_needle: dict[str, bool]


Group = Callable[[Found], bool]
GROUPS: dict[str, Group] = {
    "retrieval, right": lambda found: found.right and found.kind == "retrieval",
    "one needle, right": lambda found: found.right and found.kind in ONE_NEEDLE,
    "all but counts, right": lambda found: found.right and found.kind != "count",
    "all, right": lambda found: found.right,
    "all, wrong": lambda found: not found.right,
}


class Case:
    """A question about a video, and its answer.

    Args:
        qa: the model.
        watched: the video.
        video: the same, with its frames.
        question: with its needles.
        answer_ids: what the model said.
    """

    def __init__(
        self, qa: VideoQA, watched: Watched, video: StreamedVideo, question: Question, answer_ids: Sequence[int]
    ) -> None:
        self._qa, self._watched, self._video, self.question = qa, watched, video, question
        self._answer_ids = list(answer_ids)
        self._prompt_ids = _prompt_ids(qa, question, len(watched.read))

    def evidence(self, method: str) -> Evidence:
        """By one of bimba's own methods."""
        fps = float(self._video.record.fps)
        seconds = tuple(number / fps for number in range(self._video.record.num_frames))
        clip = Clip(len(seconds), self._video.frames, seconds, seconds, self._video.record.seconds)
        request = Request(clip, "", self._prompt_ids, len(self._watched.read), [])
        return find_evidence(
            self._qa.model,
            self._qa.processor,
            request,
            self._watched.read,
            self._answer_ids,
            method="occlusion" if method == "occlusion" else "gradient",
        )

    def found(self, number: int, right: bool, with_occlusion: bool) -> Found:
        """Where each method points."""
        places = {
            method: int(np.argmax([moment.score for moment in self.evidence(method).moments]))
            for method in OURS
            if method == "gradient" or with_occlusion
        }
        others = self._watched.scores(self._prompt_ids, self._answer_ids)
        places |= {method: int(scores.argmax()) for method, scores in others.items()}
        asked = [(needle.first_frame, needle.last_frame) for needle in self.question.evidence]
        every = [(needle.first_frame, needle.last_frame) for needle in self._video.record.needles]
        return Found(number, self.question.kind, right, _within(places, asked), _within(places, every))

    def draw(self, path: Path) -> None:
        """Draw where the answer comes from."""
        evidence = self.evidence("gradient")
        save_picture(draw_evidence(evidence, self._video.frames(), self.question.question), path)


def _prompt_ids(qa: VideoQA, question: Question, num_tokens: int) -> list[int]:
    prompt = write_prompt(qa.processor, Query(question.question, question.options), num_tokens)
    return prompt.beginning + prompt.rest


def _within(places: dict[str, int], stretches: Sequence[tuple[int, int]]) -> dict[str, bool]:
    return {method: any(first <= place <= last for first, last in stretches) for method, place in places.items()}


def ask_all(split: str, num_videos: int, num_occluded: int, pictures: Path | None) -> list[Found]:
    """Ask about every video, and see where each method points.

    Args:
        split: of the needle videos.
        num_videos: how many.
        num_occluded: of so many of them evidence by occlusion, too, which takes long.
        pictures: beginning of the names of pictures of the first right answers of different kinds; None for none.
    """
    settings = NeedleEvaluation.checked(
        {
            "model": NANO, "frames": (FRAMES,), "videos": num_videos, "split": split, "seed": SEED, "unknown": 0.0,
            "needle_kinds": ("shape", "digit", "letter", "caption", "picture"),
        }
    )  # fmt: skip
    qa = bimba.load(NANO)
    asker = Asker(qa, max_new_tokens=settings.max_new_tokens, batch_size=16)
    found: list[Found] = []
    drawn: set[str] = set()
    for number, asked in enumerate(asked_videos(settings)):
        features = asker.look(asked.video.frames())
        if not isinstance(features, torch.Tensor):
            raise TypeError("bimba-nano looks at features.")
        watched = Watched(qa, features)
        questions = [question for question in asked.video.record.questions if question.evidence]
        replies = asker.answer(features, [Query(question.question, question.options) for question in questions])
        for question, reply in zip(questions, replies, strict=True):
            case = Case(qa, watched, asked.video, question, reply.token_ids)
            right = is_right(reply.said, question.answer)
            found.append(case.found(number, right, number < num_occluded))
            if pictures is not None and right and question.kind not in drawn and len(drawn) < NUM_PICTURES:
                drawn.add(question.kind)
                case.draw(pictures.with_name(f"{pictures.name}-{question.kind}.png"))
        print(f"video {number + 1} of {num_videos}: {len(found)} questions", file=sys.stderr, flush=True)
    return found


def share(found: Iterable[Found], hits: Callable[[Found], bool]) -> str:
    """A share with its 95 % interval: "93% (88% to 97%) of 120".

    Whole videos are drawn; where all hit or none does, every draw is alike, and the interval is Wilson's.
    """
    chosen = list(found)
    if not chosen:
        return "-"
    videos = sorted({one.video for one in chosen})
    right, count = np.zeros(len(videos)), np.zeros(len(videos))
    for one in chosen:
        place = videos.index(one.video)
        right[place] += hits(one)
        count[place] += 1
    if right.sum() in (0, count.sum()):
        low, high = wilson_interval(right.sum(), len(chosen))
    else:
        low, high = interval(over_draws(len(videos), lambda weights: weights @ right / (weights @ count)))
    return f"{right.sum() / count.sum():.0%} ({low:.0%} to {high:.0%}) of {len(chosen)}"


def tables(found: Sequence[Found]) -> Iterator[str]:
    """Sections: all methods by group, those that bimba has by kind, and any needle at all."""
    names = [method for method in CALLED if any(method in one.hits for one in found)]
    yield _table(
        "Share of questions where the top moment shows a needle that is asked about",
        GROUPS,
        [
            (CALLED[method], [share(_with(found, method, GROUPS[name]), _hits(method)) for name in GROUPS])
            for method in names
        ],
    )
    kinds = sorted({one.kind for one in found})
    yield _table(
        "The same by kind of question, right answers",
        [CALLED[method] for method in OURS],
        [(kind, [share(_with(found, method, _of(kind)), _hits(method)) for method in OURS]) for kind in kinds],
    )
    yield _table(
        "Share where the top moment shows any needle of the video, all answers",
        ["any needle"],
        [(CALLED[method], [share(_with(found, method, lambda _: True), _any(method))]) for method in names],
    )


def _table(title: str, columns: Iterable[str], rows: Sequence[tuple[str, list[str]]]) -> str:
    heads = list(columns)
    lines = [f"| {name} | {' | '.join(cells)} |" for name, cells in rows]
    return "\n".join([f"## {title}", "", f"| | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads), *lines])


def _with(found: Iterable[Found], method: str, group: Group) -> list[Found]:
    return [one for one in found if method in one.hits and group(one)]


def _of(kind: str) -> Group:
    return lambda found: found.right and found.kind == kind


def _hits(method: str) -> Callable[[Found], bool]:
    return lambda found: found.hits[method]


def _any(method: str) -> Callable[[Found], bool]:
    return lambda found: found.any_needle[method]


def main() -> None:
    """Measure, print, write results/<date>-evidence.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--occluded", type=int, default=8, help="videos for occlusion, which takes long")
    given = parser.parse_args()
    torch.set_num_threads(1)
    suffix = "-evidence" if given.split == "test" else f"-evidence-{given.split}"
    pictures = RESULTS / f"{datetime.now(UTC).date().isoformat()}{suffix}"
    found = ask_all(given.split, given.videos, given.occluded, pictures if given.split == "test" else None)
    num_right = sum(one.right for one in found)
    intro = (
        f"{NANO}, {given.videos} videos of the {given.split} split (seed {SEED}), {FRAMES} frames each; {len(found)} "
        f"questions that name a moment, {num_right} of them answered right. Intervals are the middle 95 % of 5,000 "
        "draws of whole videos; where all hit or none does, Wilson's. Occlusion was tried on the first "
        f"{given.occluded} videos only."
    )
    sections = [intro, *tables(found), evidence_cost.report()]
    for section in sections:
        print(section + "\n")
    print(f"written to {write_report('Evidence', sections, suffix=suffix)}")


if __name__ == "__main__":
    main()
