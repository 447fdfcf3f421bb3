"""Files of visitors in, checked as all others are; previews, the example and the way in out."""

import asyncio
import html
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.resources import files as package_files
from typing import Any
from urllib.parse import parse_qs
from weakref import WeakValueDictionary

from fastapi import FastAPI, Request, UploadFile
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from bimba.serving.gate import OWNER
from bimba.serving.media.files import FileStore
from bimba.serving.page.door import LOGIN_PATH, UPLOAD_PATH
from bimba.serving.page.example import EXAMPLE_ID, Example
from bimba.serving.page.pages import Pages, not_open
from bimba.serving.page.previews import Previews
from bimba.serving.page.visitors import Visitors
from bimba.serving.refusals import RefusedError

PURPOSE = "page"
"""Of files that were uploaded on the page; no request for programs finds them."""

MOST_FILES = 8
"""Of one visitor; the oldest go."""

_MOST_FORM_BYTES = 1 << 13
_CHECKS_AT_ONCE = 2
_PRIVATE = {"Cache-Control": "private, no-store"}


def add_media(app: FastAPI, files: FileStore, previews: Previews, example: Example | None, pages: Pages) -> None:
    """Add the paths by which a visitor's video comes and is shown.

    Args:
        app: of the page.
        files: that keep what is uploaded.
        previews: of what a browser cannot play.
        example: that everybody may ask about.
        pages: that are open; files are taken of those, and kept as long as they are.
    """
    checks, making = asyncio.Semaphore(_CHECKS_AT_ONCE), _Turns()

    @app.post(UPLOAD_PATH)
    async def upload(file: UploadFile, request: Request) -> dict[str, Any]:
        owner = request.scope[OWNER]
        await pages.check_open(owner)
        async with checks:
            stored = await asyncio.to_thread(files.add, file.file, file.filename or "", PURPOSE, owner)
        kept = MOST_FILES if pages.is_open(owner) else 0
        for old in files.of(owner)[kept:]:
            with suppress(RefusedError):  # another upload has deleted it
                files.delete(old.id, owner)
        return {"id": stored.id, "name": stored.filename}

    @app.get("/page/previews/{file_id}")
    async def preview(file_id: str, request: Request) -> Response:
        owner = request.scope[OWNER]
        media = files.open(file_id, owner)
        async with making.of(owner):
            path = await asyncio.to_thread(previews.of, media)
        return FileResponse(path, media_type="video/mp4", headers=_PRIVATE)

    @app.get("/page/here", status_code=204)
    async def here(request: Request) -> None:
        if not pages.is_open(request.scope[OWNER]):
            raise not_open()

    @app.post("/page/example")
    async def make_example() -> dict[str, Any]:
        await asyncio.to_thread(_known(example).made)
        return {"id": EXAMPLE_ID, "name": _known(example).name}

    @app.get("/page/example/video")
    async def show_example() -> Response:
        media, _ = await asyncio.to_thread(_known(example).made)
        return FileResponse(media.path, media_type="video/mp4", headers=_PRIVATE)


class _Turns:
    """One is made at a time, and of one visitor one waits: who asks for many keeps himself waiting."""

    def __init__(self) -> None:
        self._one, self._of = asyncio.Semaphore(1), WeakValueDictionary[str, asyncio.Lock]()

    @asynccontextmanager
    async def of(self, owner: str) -> AsyncIterator[None]:
        lock = self._of.setdefault(owner, asyncio.Lock())
        async with lock, self._one:
            yield


def add_way_in(app: FastAPI, visitors: Visitors) -> None:
    """Add where a visitor gives a key, and the icon.

    Args:
        app: of the page.
        visitors: who may come in.
    """

    @app.get("/page/icon.svg")
    async def icon() -> Response:
        return Response(part("icon.svg"), media_type="image/svg+xml", headers={"Cache-Control": "max-age=3600"})

    @app.get("/favicon.ico")
    async def favicon() -> Response:
        return RedirectResponse("/page/icon.svg")

    @app.get(LOGIN_PATH)
    async def ask_for_key() -> Response:
        return _login("")

    @app.post(LOGIN_PATH)
    async def take_key(request: Request) -> Response:
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > _MOST_FORM_BYTES:
                raise RefusedError(413, "a key is shorter than that.", code="too_large")
        keys = parse_qs(body.decode("utf-8", "replace")).get("key", [])
        if len(keys) != 1 or not visitors.has_key(keys[0].strip()):
            return _login("That is no key of this server.", status=401)
        response = RedirectResponse("/", status_code=303)
        response.headers["Set-Cookie"] = visitors.admitted()
        return response


def part(name: str) -> str:
    """A file of the page that comes with the package."""
    return (package_files("bimba.serving.page") / "parts" / name).read_text(encoding="utf-8")


def _login(wrong: str, status: int = 200) -> Response:
    """The form that asks for a key."""
    told = f'<p class="wrong" role="alert" id="wrong">{html.escape(wrong)}</p>' if wrong else ""
    marks = 'aria-invalid="true" aria-describedby="wrong"' if wrong else ""
    text = part("login.html").replace("<!-- wrong -->", told).replace("data-marks", marks)
    return HTMLResponse(text, status_code=status, headers={"Cache-Control": "no-store"})


def _known(example: Example | None) -> Example:
    if example is None:
        raise RefusedError(404, "this server has no example.", code="not_found")
    return example
