"""What an answer rests on in, the lines that tell it on a terminal out."""

from typing import TYPE_CHECKING

from bimba.cli.units import at_time

if TYPE_CHECKING:
    from bimba.inference.evidence import Evidence, Moment

NUM_MOMENTS = 5
_BAR_WIDTH = 30
_WORTH_TELLING = 0.01


def evidence_lines(evidence: "Evidence") -> list[str]:
    """The moments that mattered most, the first the most, each with its share.

    Args:
        evidence: of the answer.
    """
    told = [moment for moment in evidence.top(NUM_MOMENTS) if moment.share >= _WORTH_TELLING]
    if not told:
        return ["evidence: no moment of the video speaks for this answer more than the others"]
    labels = [when(moment) for moment in told]
    width = max(map(len, labels))
    lines = [f"evidence: the moments that speak most for this answer, of {len(evidence.moments)}"]
    for label, moment in zip(labels, told, strict=True):
        bar = "#" * max(1, round(moment.share * _BAR_WIDTH))
        lines.append(f"  {label:<{width}}  {moment.share:4.0%}  {bar}")
    return lines


def when(moment: "Moment") -> str:
    """The time of a moment, `0:07.5` or `0:07.5 to 0:09.5`; its place among the sampled frames where times are unknown.

    Args:
        moment: of a video.
    """
    several = moment.last_frame > moment.first_frame
    if moment.start_seconds is None or moment.end_seconds is None:
        return f"frames {moment.first_frame} to {moment.last_frame}" if several else f"frame {moment.first_frame}"
    start = at_time(moment.start_seconds)
    return f"{start} to {at_time(moment.end_seconds)}" if several else start
