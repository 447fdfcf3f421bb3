"""Inference: a video and a question in, the answer out."""

from bimba.inference.answer import Answer
from bimba.inference.chat import Chat
from bimba.inference.live import LiveVideo
from bimba.inference.load import load
from bimba.inference.run import AnswerStream
from bimba.inference.video_qa import VideoQA

__all__ = ["Answer", "AnswerStream", "Chat", "LiveVideo", "VideoQA", "load"]
