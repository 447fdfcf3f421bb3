"""Requests in, those that may come in out: with a key, from here, and no larger than is allowed.

It stands before everything else, so that a body is not read of whom nothing is wanted.
"""

import asyncio
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bimba.serving.keys import Keys
from bimba.serving.media.files import too_large
from bimba.serving.metrics import Metrics
from bimba.serving.page.door import JOIN_PATH, UPLOAD_PATH, Door
from bimba.serving.refusals import RefusedError
from bimba.serving.settings import ServeSettings

OWNER = "bimba.owner"
"""Where the scope of a request says whose key it brought, or which visitor of the page it comes from."""

_OPEN_PATHS = ("/healthz",)
_UPLOADS = ("/v1/files", UPLOAD_PATH)
_FORM_BYTES = 1 << 16
"""Of a form around an uploaded file."""

_SILENCE_SECONDS = 30.0
"""In which something of a body has to come."""

_LEFTOVER_SECONDS, _LEFTOVER_SILENCE_SECONDS, _LEFTOVER_BYTES = 5.0, 0.5, 1 << 26
"""Of a body that is refused; as much is taken and forgotten, since clients read no answer before they have sent all."""

_HOST = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::\d*)?")
_HERE = ("localhost", "127.0.0.1", "[::1]")
_QUESTIONS = "/v1/chat/completions"
_RETRY_SECONDS = 2
_MARKS, _MOST_MARKS = (b"{", b"[", b","), 200_000
"""Of JSON; videos that come along have none. Nobody is answered while millions of small values are read."""


class Gate:
    """Stands before an application.

    Args:
        app: the application.
        settings: keys and limits.
        metrics: told of each response.
        only_here: whether the server is bound to this machine; then requests have to name it, so that no web page that
            gives its own name this machine's address gets in.
        door: of the page, which knows its visitors; None without a page.
    """

    def __init__(
        self, app: ASGIApp, settings: ServeSettings, metrics: Metrics, *, only_here: bool, door: Door | None = None
    ) -> None:
        self._app, self._limits, self._metrics = app if door is None else door, settings.limits, metrics
        self._keys, self._only_here, self._door = Keys(settings.api_keys), only_here, door
        self._taken = _Taken()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            most_bytes = self._check(scope)
        except RefusedError as refusal:
            await self._refuse(refusal, scope, receive, send)
            return
        is_upload = _is_upload(scope)
        # Uploads go to the disk as they come; everything else lies in memory until it is answered.
        taken, most_marks = (_Taken(), None) if is_upload else (self._taken, _MOST_MARKS)
        body = _Body(receive, most_bytes, taken, self._limits.waiting_bytes, most_marks)
        self._taken.uploads += is_upload
        try:
            await self._app(scope, body.receive, self._watched(body, scope, send))
        except RefusedError as refusal:  # of the door, before anything was sent
            await self._refuse(refusal, scope, body.rest, send)
        finally:
            self._taken.uploads -= is_upload
            body.forget()

    def _check(self, scope: Scope) -> int:
        """How large the body may be."""
        headers = list(scope["headers"])
        host = _one(headers, b"host")
        name = _HOST.fullmatch(host)
        if self._only_here and (name is None or name[1] not in _HERE):
            raise RefusedError(403, "this server answers on this machine only.", code="wrong_host")
        origin = _one(headers, b"origin")
        if origin and _host_of(origin) != host:
            raise RefusedError(403, "pages of other sites may not ask this server.", code="wrong_origin")
        visitor = None if self._door is None else self._door.visitor(scope)
        if visitor is not None:
            scope[OWNER] = visitor
        elif scope["path"] not in _OPEN_PATHS:
            scope[OWNER] = self._keys.owner(headers)
        is_upload = _is_upload(scope)
        if is_upload and self._taken.uploads >= self._limits.uploads:
            raise _busy(f"{self._taken.uploads} files are being uploaded, as many as this server takes at once.")
        if scope["path"] == _QUESTIONS and not _one(headers, b"content-type").lower().startswith("application/json"):
            raise RefusedError(
                415, "send JSON, with the header Content-Type: application/json.", code="invalid_content_type"
            )
        most_bytes = self._limits.upload_bytes + _FORM_BYTES if is_upload else self._limits.request_bytes
        told = _one(headers, b"content-length")
        if told.isdecimal() and int(told) > most_bytes:
            raise too_large(most_bytes, None)
        return most_bytes

    async def _refuse(self, refusal: RefusedError, scope: Scope, receive: Receive, send: Send) -> None:
        await _discard(receive)
        self._metrics.requests.labels(str(refusal.status)).inc()
        for message in _response(refusal, scope["path"]):
            await send(message)

    def _watched(self, body: "_Body", scope: Scope, send: Send) -> Send:
        """Counts responses; says what is wrong with a body where the application only knows that something is."""
        is_replaced = False

        async def watched(message: Message) -> None:
            nonlocal is_replaced
            if is_replaced:
                return
            if message["type"] == "http.response.start":
                if body.refusal is not None:
                    is_replaced = True
                    await self._refuse(body.refusal, scope, body.rest, send)
                    return
                self._metrics.requests.labels(str(message["status"])).inc()
            await send(message)

        return watched


@dataclass
class _Taken:
    """What is taken by requests that are not answered yet."""

    num_bytes: int = 0
    uploads: int = 0


class _Body:
    """A body that is counted while it comes; those of questions together, too, since they lie in memory."""

    def __init__(
        self, receive: Receive, most_bytes: int, taken: _Taken, most_together: int, most_marks: int | None
    ) -> None:
        self._receive, self._most_bytes = receive, most_bytes
        self._num_marks, self._most_marks = 0, most_marks
        self._taken, self._most_together = taken, max(most_bytes, most_together)
        self._is_whole = False
        self.num_counted = 0
        self.refusal: RefusedError | None = None

    async def receive(self) -> Message:
        """The next message; the end of the connection, in the place of what is refused."""
        if self._is_whole:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), _SILENCE_SECONDS)
        except TimeoutError:
            self.refusal = RefusedError(408, "nothing more of the request came.", code="timeout")
            return {"type": "http.disconnect"}
        content = message.get("body", b"")
        num_bytes = len(content)
        self._num_marks += 0 if self._most_marks is None else sum(map(content.count, _MARKS))
        self.num_counted += num_bytes
        self._taken.num_bytes += num_bytes
        self._is_whole = not message.get("more_body", False)
        if self.num_counted > self._most_bytes:
            self.refusal = too_large(self._most_bytes, None)
        elif self._most_marks is not None and self._num_marks > self._most_marks:
            message_told = f"it has more than {self._most_marks:,} commas and brackets, which take long to be read."
            self.refusal = RefusedError(413, message_told, code="too_large")
        elif self._taken.num_bytes > self._most_together:
            self.refusal = _busy("the requests that are being answered are as large as this server takes together.")
        return message if self.refusal is None else {"type": "http.disconnect"}

    async def rest(self) -> Message:
        """What comes of it when it is refused."""
        return {"type": "http.disconnect"} if self._is_whole else await self._receive()

    def forget(self) -> None:
        """It lies in memory no more."""
        self._taken.num_bytes -= self.num_counted
        self.num_counted = 0


def _host_of(origin: str) -> str | None:
    """Of the page that asks; None where it is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _is_upload(scope: Scope) -> bool:
    return bool(scope["path"] in _UPLOADS and scope["method"] == "POST")


def _busy(message: str) -> RefusedError:
    return RefusedError(429, message, code="busy", retry_seconds=_RETRY_SECONDS)


async def _discard(receive: Receive) -> None:
    """Take what is on its way of a body, up to a limit, and forget it."""
    end, num_bytes = time.monotonic() + _LEFTOVER_SECONDS, 0
    while time.monotonic() < end and num_bytes < _LEFTOVER_BYTES:
        try:
            message = await asyncio.wait_for(receive(), _LEFTOVER_SILENCE_SECONDS)
        except TimeoutError:
            return
        num_bytes += len(message.get("body", b""))
        if not message.get("more_body", False):
            return


def _one(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> str:
    """The value of a header that may come once; "" if it does not come.

    Raises:
        RefusedError: it comes twice, so that two programs might take each another one.
    """
    values = [value for key, value in headers if key.lower() == name]
    if len(values) > 1:
        raise RefusedError(400, f"the header {name.decode()} comes more than once.", code="invalid_header")
    return values[0].decode("latin-1") if values else ""


def _response(refusal: RefusedError, path: str) -> list[Message]:
    told_as_well = {"detail": refusal.message} if path == JOIN_PATH else {}  # where Gradio's page looks for it
    content = json.dumps(refusal.to_dict() | told_as_well).encode()
    headers = [("content-type", "application/json"), ("content-length", str(len(content))), *refusal.headers.items()]
    # What is still on its way of the body is not waited for.
    headers.append(("connection", "close"))
    told = [(name.lower().encode(), value.encode()) for name, value in headers]
    return [
        {"type": "http.response.start", "status": refusal.status, "headers": told},
        {"type": "http.response.body", "body": content},
    ]
