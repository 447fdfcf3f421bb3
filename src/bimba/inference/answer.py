"""What comes back from a question: the text and where it came from."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Answer:
    """An answer with its provenance.

    Args:
        text: the answer, special tokens left out.
        token_ids: generated ids, the end-of-turn token included if it came.
        frame_seconds: times of the frames that the model saw, in seconds from the file's start (empty without a
            video, or where frames came without times).
        num_video_tokens: tokens of the video in the prompt, separators included.
        num_prompt_tokens: all tokens of the prompt.
        finish_reason: "stop" (the model ended its turn) or "length" (max_new_tokens was reached).
        timings: seconds of each stage; `first_token` and `generate` count from the end of encoding, `total` from the
            call.
    """

    text: str
    token_ids: list[int]
    frame_seconds: list[float]
    num_video_tokens: int
    num_prompt_tokens: int
    finish_reason: Literal["stop", "length"]
    timings: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON."""
        return asdict(self)
