"""Answers questions about needle videos from their words and the list of needles, in another way than the generator.

`is_right` judges a single option by itself; that exactly one of them is right is for the tests to say.
"""

import re
from collections.abc import Callable

from bimba.needles import Needle, VideoRecord

THIRDS = {"beginning": 0, "middle": 1, "end": 2}
SINGULARS = {"shapes": "shape", "digits": "digit", "letters": "letter", "captions": "caption", "pictures": "picture"}
ROUNDING = 0.05 + 1e-9
"""Seconds by which a time written with one decimal is off at most."""


class UnclearError(AssertionError):
    """A question that has several answers, or none."""


def is_right(question: str, option: str, video: VideoRecord) -> bool:
    """Whether an option answers a question."""
    for pattern, rule in RULES:
        match = re.fullmatch(pattern, question)
        if match:
            said = [group for group in match.groups() if group is not None]
            return rule(video, option, *said)
    raise UnclearError(f"nobody knows how to answer {question!r}")


def called(video: VideoRecord, name: str) -> list[Needle]:
    return [needle for needle in video.needles if needle.description == name]


def the(video: VideoRecord, name: str) -> Needle:
    """The one needle of a name."""
    found = called(video, name)
    if len(found) != 1:
        raise UnclearError(f"{len(found)} needles are called {name!r}")
    return found[0]


def in_time(video: VideoRecord) -> list[Needle]:
    return sorted(video.needles, key=lambda needle: needle.start_seconds)


def attribute(needles: list[Needle], name: str) -> str:
    """What an attribute of some needles says, all of which agree."""
    values = {needle.attributes[name] for needle in needles}
    if len(values) != 1:
        raise UnclearError(f"{name} is one of {sorted(values)}")
    return values.pop()


def of_kind(video: VideoRecord, kind: str) -> list[Needle]:
    return [needle for needle in video.needles if needle.kind == kind]


def shows(video: VideoRecord, option: str, kind: str) -> bool:
    return attribute(of_kind(video, kind), {"caption": "text", "picture": "name"}.get(kind, kind)) == option


def has_colour(video: VideoRecord, option: str, subject: str) -> bool:
    words = subject.split()
    kind, name = (words[0], words[1]) if len(words) == 2 else ("shape", subject)
    return attribute([n for n in of_kind(video, kind) if n.attributes[kind] == name], "colour") == option


def is_coloured(video: VideoRecord, option: str, kind: str, colour: str) -> bool:
    return attribute([n for n in of_kind(video, kind) if n.attributes["colour"] == colour], kind) == option


def says_at(video: VideoRecord, option: str, time: str) -> bool:
    captions = sorted(of_kind(video, "caption"), key=lambda n: abs(n.start_seconds - float(time)))
    assert abs(captions[0].start_seconds - float(time)) <= ROUNDING
    return captions[0].attributes["text"] == option


def counts_appearances(video: VideoRecord, option: str, name: str) -> bool:
    return len(called(video, name)) == int(option)


def counts_kind(video: VideoRecord, option: str, plural: str) -> bool:
    needles = of_kind(video, SINGULARS[plural])
    readings = {len(needles), len({n.description for n in needles}), sum(len(n.boxes) for n in needles)}
    if len(readings) != 1:
        raise UnclearError(f"{plural}: appearances, things and copies are {sorted(readings)}")
    return readings == {int(option)}


def counts_copies(video: VideoRecord, option: str, name: str) -> bool:
    return len(the(video, name).boxes) == int(option)


def comes_first(video: VideoRecord, option: str) -> bool:
    return in_time(video)[0].description == option


def comes_last(video: VideoRecord, option: str) -> bool:
    return in_time(video)[-1].description == option


def follows(video: VideoRecord, option: str, name: str) -> bool:
    later = [n for n in in_time(video) if n.start_seconds >= the(video, name).end_seconds]
    return later[0].description == option


def precedes(video: VideoRecord, option: str, name: str) -> bool:
    earlier = [n for n in in_time(video) if n.end_seconds <= the(video, name).start_seconds]
    return earlier[-1].description == option


def stands_in_third(video: VideoRecord, option: str, name: str) -> bool:
    needle, third = the(video, name), THIRDS[option]
    begins, ends = (3 * time / video.seconds for time in (needle.start_seconds, needle.end_seconds))
    if begins < third + 1 - 1e-6 and ends > third + 1 + 1e-6:
        raise UnclearError(f"{name} stands in two thirds")
    return third - 1e-6 <= begins and ends <= third + 1 + 1e-6


def is_shown_at(video: VideoRecord, option: str, time: str) -> bool:
    (needle,) = [n for n in video.needles if n.start_seconds <= float(time) < n.end_seconds]
    return needle.description == option


def appears_at(video: VideoRecord, option: str, name: str) -> bool:
    needle, time = the(video, name), float(option.removesuffix(" seconds"))
    return abs(needle.start_seconds - time) <= ROUNDING or needle.start_seconds <= time < needle.end_seconds


def is_in_order(video: VideoRecord, option: str, listed: str) -> bool:
    mentioned = re.split(", | and ", listed)
    starts = [the(video, name).start_seconds for name in option.split(", ")]
    assert sorted(option.split(", ")) == sorted(mentioned)
    return starts == sorted(starts)


def comes_before(video: VideoRecord, option: str, one: str, other: str) -> bool:
    assert option in (one, other)
    return the(video, option) == min(the(video, one), the(video, other), key=lambda n: n.first_frame)


def is_there(video: VideoRecord, option: str, name: str) -> bool:
    return option == ("yes" if called(video, name) else "no")


def lists_all(video: VideoRecord, option: str) -> bool:
    return option == ", ".join(needle.description for needle in in_time(video))


RULES: list[tuple[str, Callable[..., bool]]] = [
    (r"What does the (caption) say\?|Which words does the (caption) show\?", shows),
    (r"Which (shape|picture) appears in the video\?|What (shape|picture) is shown\?", shows),
    (r"Which (digit|letter) is shown\?|What (digit|letter) appears\?", shows),
    (r"What colour is the (.+)\?|Which colour does the (.+) have\?", has_colour),
    (r"Which (shape|digit|letter) is (\w+)\?", is_coloured),
    (r"What is the (\w+) shape\?", lambda video, option, colour: is_coloured(video, option, "shape", colour)),
    (r"What does the caption that appears at about (\d+\.\d) seconds say\?", says_at),
    (r"How many times does the (.+) appear\?|How often is the (.+) shown\?", counts_appearances),
    (r"How many copies of the (.+) are there at the same time\?", counts_copies),
    (r"How many (\w+) appear in the video\?|How many (\w+) are shown\?", counts_kind),
    (r"What appears first in the video\?|What is the first thing that appears\?", comes_first),
    (r"What appears last in the video\?|What is the last thing that appears\?", comes_last),
    (r"What appears right after the (.+)\?|What is the next thing after the (.+)\?", follows),
    (r"What appears right before the (.+)\?", precedes),
    (r"Does the (.+) appear at the beginning, in the middle or at the end of the video\?", stands_in_third),
    (r"In which part of the video is the (.+): beginning, middle or end\?", stands_in_third),
    (r"What is shown at (\d+\.\d) seconds\?", is_shown_at),
    (r"At about what time does the (.+) appear\?", appears_at),
    (r"In which order do these appear: (.+)\?", is_in_order),
    (r"Which appears first, the (.+) or the (.+)\?", comes_before),
    (r"Does the (.+) appear in the video\?|Is the (.+) shown\?", is_there),
    (r"List everything that appears in the video\.|What (?:appears in the video, in order|happens.*)\?", lists_all),
]
