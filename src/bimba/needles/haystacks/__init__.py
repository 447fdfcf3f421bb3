"""What needles are hidden in: settings and a random generator go in, frames at chosen times come out.

A haystack is drawn (`procedural`), panned over a photo (`photos`), taken from a video of the user's (`videos`), or cut
together from several of these (`scenes`).
"""

from bimba.needles.haystacks.procedural import FrameArray, Haystack
from bimba.needles.haystacks.scenes import check_haystack, choose_haystack

__all__ = ["FrameArray", "Haystack", "check_haystack", "choose_haystack"]
