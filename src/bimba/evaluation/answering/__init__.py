"""A video and questions about it in, what a model says and how likely it holds each option out.

`asker` encodes the video once and asks, `beginning` is what all prompts about it share, `prompt` writes the rest.
"""

from bimba.evaluation.answering.asker import Asker, Chunk, Reply, Seen, Tokens
from bimba.evaluation.answering.prompt import Query

__all__ = ["Asker", "Chunk", "Query", "Reply", "Seen", "Tokens"]
