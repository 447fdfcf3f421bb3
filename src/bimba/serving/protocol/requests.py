"""The body of a chat completion, as OpenAI spells it, in; checked values out. What is not known is refused by name."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, field_validator, model_validator

from bimba.inference.evidence import Method

MOST_MESSAGES = 1000
LONGEST_STOP = 500
"""Letters; each token of an answer is compared with every beginning of a stop text."""

LEAST_TEMPERATURE = 1e-6
"""Above 0; scores that are divided by less leave the range of numbers."""

StopText = Annotated[str, Field(min_length=1, max_length=LONGEST_STOP)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)


class TextPart(_Strict):
    """Words."""

    type: Literal["text"]
    text: str


class VideoAddress(_Strict):
    """Where a video is."""

    url: str = Field(
        description="data:video/mp4;base64,..., file:NAME below the server's media folder, or http(s):// where allowed."
    )


class ImageAddress(_Strict):
    """Where an image is."""

    url: str = Field(
        description="data:image/png;base64,..., file:NAME below the server's media folder, or http(s):// where allowed."
    )
    detail: Literal["auto"] | None = None


class FileNamed(_Strict):
    """A file that was uploaded, or comes along."""

    file_id: str | None = None
    file_data: str | None = Field(default=None, description="data:video/mp4;base64,...")
    filename: str | None = None

    @model_validator(mode="after")
    def _one(self) -> "FileNamed":
        if (self.file_id is None) == (self.file_data is None):
            raise ValueError("give one of file_id and file_data")
        return self


class VideoPart(_Strict):
    """A video."""

    type: Literal["video_url"]
    video_url: VideoAddress


class ImagePart(_Strict):
    """An image: a video of one frame."""

    type: Literal["image_url"]
    image_url: ImageAddress


class FilePart(_Strict):
    """A video or image as a file."""

    type: Literal["file"]
    file: FileNamed


Part = Annotated[TextPart | VideoPart | ImagePart | FilePart, Field(discriminator="type")]


class ChatMessage(_Strict):
    """A turn of the conversation; fields beside role and content are taken where they hold nothing."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    refusal: None = None
    annotations: None = None
    audio: None = None
    function_call: None = None
    tool_calls: None = None


class StreamOptions(_Strict):
    """What a stream tells beside the text."""

    include_usage: bool = False


class ResponseFormat(_Strict):
    """The form of the answer."""

    type: Literal["text"]


class BimbaOptions(_Strict):
    """How the video is looked at; what is not given is as the server was started."""

    num_frames: Annotated[int, Field(ge=1)] | Literal["auto"] | None = None
    max_video_tokens: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Fewer frames are taken where the video would have more tokens."
    )
    sampling: Literal["uniform", "middle", "fps"] | Annotated[float, Field(gt=0, le=1000)] | None = Field(
        default=None, description="How frames are chosen; a number for so many a second."
    )
    start: Annotated[float, Field(ge=0)] | str | None = Field(default=None, description="90, or 1:30.")
    end: Annotated[float, Field(ge=0)] | str | None = None
    time_sentence: bool = True
    evidence: StrictBool | Method = Field(
        default=False,
        description="Tell in the response which moments of the video the answer rests on; true is gradient.",
    )


class ChatRequest(_Strict):
    """A question, and how it is to be answered."""

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MOST_MESSAGES)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=None, description="0, or nothing: the likeliest token each time."
    )
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=4)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    bimba: BimbaOptions | None = None
    # What clients send whether they mean it or not, taken where it changes nothing.
    n: Literal[1] | None = None
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    store: Literal[False] | None = None
    user: str | None = None

    @field_validator("temperature")
    @classmethod
    def _no_trace_of_heat(cls, value: float | None) -> float | None:
        if value is not None and 0 < value < LEAST_TEMPERATURE:
            raise ValueError(f"give 0, or at least {LEAST_TEMPERATURE:f}")
        return value

    @model_validator(mode="after")
    def _agree(self) -> "ChatRequest":
        if self.max_tokens is not None and self.max_completion_tokens is not None:
            raise ValueError("max_tokens and max_completion_tokens are one thing; give one")
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs=true")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream=true")
        return self

    @property
    def evidence(self) -> Method | None:
        """How to find which moments the answer rests on; None if nobody wants to know."""
        wanted = False if self.bimba is None else self.bimba.evidence
        if isinstance(wanted, str):
            return wanted
        return "gradient" if wanted else None

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts at which the answer ends."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def drawing_options(self) -> dict[str, float]:
        """Of `VideoQA.ask`."""
        given = {"temperature": self.temperature, "top_p": self.top_p}
        return {name: value for name, value in given.items() if value is not None}
