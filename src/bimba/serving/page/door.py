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

from bimba.serving.page.pages import Pages
from bimba.serving.page.visitors import Visitors
from bimba.serving.refusals import RefusedError

UPLOAD_PATH = "/page/files"
LOGIN_PATH = "/page/login"

JOIN_PATH = "/gradio_api/queue/join"

_HOME = "/"
_EVENTS = "/gradio_api/queue/data"
_HEARTBEAT_PATH = "/gradio_api/heartbeat/"
_HEARTBEAT = re.compile(_HEARTBEAT_PATH + r"([A-Za-z0-9]{1,64})")
_FOR_ALL = re.compile(r"/(favicon\.ico|theme\.css|page/icon\.svg|page/login|(assets|static)/[\w./@+-]+)")
"""Of everybody: the same for all, or what is needed to get in."""

_ODD = re.compile(r"\.\.|//|/\./")
"""In none of those; whoever joins paths might be led astray by it."""

_FOR_VISITORS = {
    "GET": re.compile(
        r"/(page/here|page/(example|previews)/[A-Za-z0-9-]{1,64}|gradio_api/queue/data|gradio_api/heartbeat/[A-Za-z0-9]{1,64})"
    ),
    "POST": re.compile(r"/(page/files|page/example|gradio_api/queue/join)"),
}
_SESSION = re.compile(r"session_hash=([A-Za-z0-9]{1,64})")
_MOST_JOIN_BYTES = 1 << 18
_MOST_UNREAD = 16
"""Of what one page has asked and not read; it lies in memory until it is."""

_UNEXPECTED = (
    b'data: {"msg":"unexpected_error","message":"The answer was cut off. Load the page again.","success":false}\n\n'
)
"""Gradio's own would tell what went wrong inside, with paths."""

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
        pages: that are open.
        num_unread: how much a session has asked and not read.
        is_leaving: whether the server is ending, and nothing is under way on a visitor's page, which is let go then.
    """

    def __init__(
        self,
        api: ASGIApp,
        page: ASGIApp,
        visitors: Visitors,
        pages: Pages,
        num_unread: Callable[[str], int],
        is_leaving: Callable[[str, str], bool],
    ) -> None:
        self._api, self._page, self._visitors, self._pages = api, page, visitors, pages
        self._num_unread, self._is_leaving = num_unread, is_leaving

    def visitor(self, scope: Scope) -> str | None:
        """Who asks for something of the page; "" where that does not matter, None if it is not of the page.

        Raises:
            RefusedError: who asks was not let in.
        """
        kind = _kind(scope)
        if kind is None:
            return None
        if kind == "visitors":
            return self._visitors.owner(scope["headers"])
        return self._visitors.known(scope["headers"]) or ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, to the page or to the interface for programs."""
        if scope["type"] == "lifespan":
            await self._page(scope, receive, send)
        elif _kind(scope) is None:
            await self._api(scope, receive, send)
        elif scope["path"] == _HOME:
            await self._home(scope, receive, send)
        elif scope["path"] == JOIN_PATH:
            await self._join(scope, receive, _headed(send))
        elif scope["path"] == _EVENTS:
            await self._events(scope, receive, _headed(send))
        elif heartbeat := _HEARTBEAT.fullmatch(scope["path"]):
            await self._stay(heartbeat[1], scope, receive, _headed(send))
        else:
            await self._page(scope, receive, _headed(send))

    async def _join(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What a page asks, under the visitor's own name of its session."""
        owner = self._visitors.owner(scope["headers"])
        asked = await _joined(receive)
        if asked is None:
            return
        asked.session_hash = self._visitors.session_of(owner, asked.session_hash)
        await self._pages.check_open(owner, asked.session_hash)
        if self._num_unread(asked.session_hash) >= _MOST_UNREAD:
            raise RefusedError(429, "this page asks faster than it reads. Load it again.", code="busy")
        body = asked.model_dump_json().encode()
        headers = [one for one in scope["headers"] if one[0].lower() not in (b"content-length", b"transfer-encoding")]
        headers.append((b"content-length", str(len(body)).encode()))
        await self._page({**scope, "headers": headers}, _told(body, receive), send)

    async def _events(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The answers to that."""
        owner = self._visitors.owner(scope["headers"])
        named = _SESSION.fullmatch(scope["query_string"].decode("latin-1"))
        if named is None:
            raise RefusedError(400, "this is nothing that the page asks.", code="invalid_request")
        session = self._visitors.session_of(owner, named[1])
        await self._pages.check_open(owner, session)
        await self._page({**scope, "query_string": f"session_hash={session}".encode()}, receive, _plainly(send))

    async def _stay(self, session: str, scope: Scope, receive: Receive, send: Send) -> None:
        """The connection that a page holds for its whole life."""
        owner = self._visitors.owner(scope["headers"])
        session = self._visitors.session_of(owner, session)
        path = f"{_HEARTBEAT_PATH}{session}"
        with self._pages.opened(owner, session):
            until = self._until_leaving(receive, owner, session)
            await self._page({**scope, "path": path, "raw_path": path.encode()}, until, send)

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

    def _until_leaving(self, receive: Receive, owner: str, session: str) -> Receive:
        """A connection that would last ends when the server does."""

        async def received() -> Message:
            while not self._is_leaving(owner, session):
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
    if _FOR_ALL.fullmatch(path) and not _ODD.search(path) and (method in ("GET", "HEAD") or path == LOGIN_PATH):
        return "all"
    pattern = _FOR_VISITORS.get(method)
    return "visitors" if pattern is not None and pattern.fullmatch(path) else None


async def _joined(receive: Receive) -> _Joined | None:
    """What a page asks; None of one that has gone.

    Raises:
        RefusedError: it is none that this page sends.
    """
    body, is_whole = b"", False
    while not is_whole:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        is_whole = not message.get("more_body", False)
        if len(body) > _MOST_JOIN_BYTES:
            raise RefusedError(413, "the question is too long.", code="too_large")
    try:
        return _Joined.model_validate(json.loads(body, parse_constant=_no_number))
    except (ValidationError, ValueError, RecursionError) as error:
        raise RefusedError(400, "this is nothing that the page asks.", code="invalid_request") from error


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _told(body: bytes, receive: Receive) -> Receive:
    """A body that has come, to be received again."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return messages.pop() if messages else await receive()

    return received


def _plainly(send: Send) -> Send:
    """Sends answers; of an error that nobody foresaw, only that there was one."""

    async def sent(message: Message) -> None:
        if b'"msg":"unexpected_error"' in message.get("body", b""):
            message = {**message, "body": _UNEXPECTED}
        await send(message)

    return sent


def _headed(send: Send, cookie: str | None = None) -> Send:
    """Sends with what browsers are to heed."""
    added = [*_HEADERS] if cookie is None else [*_HEADERS, (b"set-cookie", cookie.encode())]

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return sent
