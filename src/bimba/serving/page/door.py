"""Requests of browsers in; those that this page needs go to it, all others to the interface for programs.

Gradio answers many more paths than a page asks for: it fetches addresses, serves files by their path and takes uploads.
So it is told here what may be asked of it, and everything else it never sees.
"""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Annotated, Literal
from urllib.parse import parse_qs

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bimba.serving.page.visitors import Visitors
from bimba.serving.refusals import RefusedError

UPLOAD_PATH = "/page/files"
LOGIN_PATH = "/page/login"

_HOME = "/"
_JOIN = "/gradio_api/queue/join"
_HEARTBEAT = re.compile(r"/gradio_api/heartbeat/[A-Za-z0-9]{1,64}")
_FOR_ALL = re.compile(r"/(favicon\.ico|theme\.css|page/icon\.svg|page/login|(assets|static)/[\w./@+-]+)")
"""Of everybody: the same for all, or what is needed to get in."""

_FOR_VISITORS = {
    "GET": re.compile(
        r"/(page/(example|previews)/[A-Za-z0-9-]{1,64}|gradio_api/queue/data|gradio_api/heartbeat/[A-Za-z0-9]{1,64})"
    ),
    "POST": re.compile(r"/(page/files|page/example|gradio_api/queue/join)"),
}
_MOST_JOIN_BYTES = 1 << 18
_LEAVING_SECONDS = 1.0
"""How often an open page is looked at for whether the server is leaving."""

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""Gradio compiles its templates in the browser, which is why scripts may do that much; nothing leaves the server."""

_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),  # with no-referrer, forms do not say which page they come from
    (b"cross-origin-opener-policy", b"same-origin"),
]
Plain = str | int | float | bool | None


class _Joined(BaseModel):
    """What a page may ask of Gradio: a function with plain values, so that none of them can name a file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    data: Annotated[list[Plain], Field(max_length=32)]
    event_data: dict[str, Plain] | Plain = None
    fn_index: int
    session_hash: Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,64}$")]
    trigger_id: int | None = None


class Door:
    """Stands before the page.

    Args:
        api: the interface for programs, for everything that is not the page's.
        page: the page.
        visitors: who may come in.
        is_leaving: whether the server is ending; open pages are let go then.
    """

    def __init__(self, api: ASGIApp, page: ASGIApp, visitors: Visitors, is_leaving: Callable[[], bool]) -> None:
        self._api, self._page, self._visitors, self._is_leaving = api, page, visitors, is_leaving

    def visitor(self, scope: Scope) -> str | None:
        """Who asks for something of the page; "" where that does not matter, None if it is not of the page.

        Raises:
            RefusedError: who asks was not let in.
        """
        kind = _kind(scope)
        if kind is None:
            return None
        known = self._visitors.known(scope["headers"])
        if known is None and kind == "visitors":
            raise RefusedError(401, "open the page of this server first, and give its key there.", code="not_admitted")
        return known or ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, to the page or to the interface for programs."""
        if scope["type"] == "lifespan":
            await self._page(scope, receive, send)
        elif _kind(scope) is None:
            await self._api(scope, receive, send)
        elif scope["path"] == _HOME:
            await self._home(scope, receive, send)
        elif scope["path"] == _JOIN:
            await self._page(scope, await _joined(receive), _headed(send))
        elif _HEARTBEAT.fullmatch(scope["path"]):
            await self._page(scope, self._until_leaving(receive), _headed(send))
        else:
            await self._page(scope, receive, _headed(send))

    async def _home(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The page itself; who comes for the first time is let in, or asked for a key."""
        themes = parse_qs(scope["query_string"].decode("latin-1")).get("__theme", [])
        theme = next((one for one in themes if one in ("dark", "light")), None)
        scope = {**scope, "query_string": b"" if theme is None else f"__theme={theme}".encode()}
        if self._visitors.known(scope["headers"]) is not None:
            await self._page(scope, receive, _headed(send))
        elif self._visitors.need_a_key:
            headers = [(b"location", LOGIN_PATH.encode()), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 303, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._page(scope, receive, _headed(send, self._visitors.admitted()))

    def _until_leaving(self, receive: Receive) -> Receive:
        """A connection that a page keeps open for its whole life ends when the server does."""

        async def received() -> Message:
            while not self._is_leaving():
                try:
                    return await asyncio.wait_for(receive(), _LEAVING_SECONDS)
                except TimeoutError:
                    continue
            return {"type": "http.disconnect"}

        return received


def _kind(scope: Scope) -> Literal["all", "visitors"] | None:
    """Whose a path of the page is; None of other paths."""
    path, method = scope["path"], scope["method"]
    if path == _HOME and method in ("GET", "HEAD"):
        return "all"
    if _FOR_ALL.fullmatch(path) and ".." not in path and (method in ("GET", "HEAD") or path == LOGIN_PATH):
        return "all"
    pattern = _FOR_VISITORS.get(method)
    return "visitors" if pattern is not None and pattern.fullmatch(path) else None


async def _joined(receive: Receive) -> Receive:
    """A checked body, to be received again.

    Raises:
        RefusedError: it is none that this page sends.
    """
    body, is_whole = b"", False
    while not is_whole:
        message = await receive()
        if message["type"] == "http.disconnect":
            return receive
        body += message.get("body", b"")
        is_whole = not message.get("more_body", False)
        if len(body) > _MOST_JOIN_BYTES:
            raise RefusedError(413, "the question is too long.", code="too_large")
    try:
        _Joined.model_validate(json.loads(body))
    except (ValidationError, ValueError, RecursionError) as error:
        raise RefusedError(400, "this is nothing that the page asks.", code="invalid_request") from error
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return messages.pop() if messages else await receive()

    return received


def _headed(send: Send, cookie: str | None = None) -> Send:
    """Sends with what browsers are to heed."""
    added = [*_HEADERS] if cookie is None else [*_HEADERS, (b"set-cookie", cookie.encode())]

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return sent
