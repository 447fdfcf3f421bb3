"""Procedural videos with questions whose answers are known: settings and a seed go in, videos and their JSON come out.

A haystack runs for any length of time; now and then a picture, a coloured shape, a digit, a letter or a caption (a
needle) is put into it for a moment. Since the generator decides what is shown and when, every question has one right
answer and exact times. The flow, one module a step:

settings -> seeds -> contents, openmoji (what is shown) -> schedule (when) -> haystacks, drawing (how it looks)
-> plan (one video, frame by frame) -> questions -> stream (videos that are never stored)
or writer (frames to a file) -> folder, generate (a run and its JSON)
"""

from bimba.needles.generate import NeedleRun, Progress, make_needles
from bimba.needles.plan import VideoPlan, plan_video, render_frame, render_frames
from bimba.needles.records import Evidence, Manifest, Needle, Question, VideoRecord, read_needles
from bimba.needles.settings import NeedleKind, NeedleSettings, exact_fps
from bimba.needles.stream import KINDS_WITHOUT_TIMES, NeedleStream, StreamedVideo
from bimba.needles.writer import Encoding, choose_encoding, write_video

__all__ = [
    "KINDS_WITHOUT_TIMES",
    "Encoding",
    "Evidence",
    "Manifest",
    "Needle",
    "NeedleKind",
    "NeedleRun",
    "NeedleSettings",
    "NeedleStream",
    "Progress",
    "Question",
    "StreamedVideo",
    "VideoPlan",
    "VideoRecord",
    "choose_encoding",
    "exact_fps",
    "make_needles",
    "plan_video",
    "read_needles",
    "render_frame",
    "render_frames",
    "write_video",
]
