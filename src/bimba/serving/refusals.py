"""What is wrong with a request in, the status and the JSON that tell it out; no path and no traceback is in it."""

from pathlib import Path
from typing import Any

from bimba.errors import BimbaError
from bimba.video.isolation import IsolationError

_OF_ISOLATION = {
    "time": "took longer to decode than this server allows.",
    "memory": "needs more memory to be decoded than this server allows.",
    "crash": "ended the process that decoded it; it is damaged or hostile.",
}


class RefusedError(Exception):
    """A request that is not answered, and why.

    Args:
        status: of HTTP.
        message: what is wrong, and what to do.
        code: one word for programs.
        param: what of the request is wrong; None if it is no part of it.
        retry_seconds: when to try again; None if that would not help.
    """

    def __init__(
        self, status: int, message: str, *, code: str, param: str | None = None, retry_seconds: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_seconds = retry_seconds

    @property
    def headers(self) -> dict[str, str]:
        """That go with it."""
        headers = {} if self.retry_seconds is None else {"Retry-After": str(self.retry_seconds)}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})

    def to_dict(self) -> dict[str, Any]:
        """As OpenAI's clients read it."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = {401: "authentication_error", 429: "rate_limit_error"}.get(self.status, kind)
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def refused(error: BimbaError, param: str | None, names: dict[Path, str] | None = None) -> RefusedError:
    """What a caller may know of an error of ours.

    Args:
        error: whose words may hold paths.
        param: what of the request is wrong.
        names: what the caller calls the paths that are his.
    """
    name = next(iter((names or {}).values()), "the video")
    if isinstance(error, IsolationError):
        return RefusedError(400, f"{name} {_OF_ISOLATION[error.reason]}", code="invalid_video", param=param)
    message = f"{error.problem} To fix it: {error.fix}"
    for path, called in (names or {}).items():
        for spelling in sorted({str(path), str(path.resolve())}, key=len, reverse=True):
            message = message.replace(spelling, called)
    return RefusedError(400, message, code="invalid_value", param=param)


def unfinished(why: str) -> RefusedError:
    """An answer that was begun and will not be ended.

    Args:
        why: "time" (it took too long), "gone" (nobody waits for it), "leaving" (the server is ending) or "failed".
    """
    return {
        "time": RefusedError(504, "the answer took longer than this server allows.", code="timeout"),
        "gone": RefusedError(499, "the client closed the connection.", code="cancelled"),
        "leaving": RefusedError(503, "the server is going down.", code="shutting_down", retry_seconds=10),
        "memory": RefusedError(503, "there was not enough memory for this answer.", code="out_of_memory"),
        "failed": RefusedError(500, "the server failed; its log says more.", code="internal_error"),
    }[why]
