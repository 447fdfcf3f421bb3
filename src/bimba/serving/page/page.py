"""A server's parts in, the page before its interface for programs out."""

import asyncio
import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.types import ASGIApp

from bimba.serving.app import tell_errors
from bimba.serving.engine.engine import Engine
from bimba.serving.keys import Keys
from bimba.serving.media.files import FileStore
from bimba.serving.metrics import Metrics
from bimba.serving.page.asking import Asking
from bimba.serving.page.door import Door
from bimba.serving.page.example import Example
from bimba.serving.page.knowing import Known
from bimba.serving.page.opening import Opening
from bimba.serving.page.pages import Pages
from bimba.serving.page.previews import Previews
from bimba.serving.page.routes import PURPOSE, add_media, add_way_in
from bimba.serving.page.talks import Talks
from bimba.serving.page.visitors import Visitors
from bimba.serving.settings import ServeSettings

NEEDED = "gradio"


@dataclass(frozen=True)
class PageSettings:
    """What a page needs to know beside the settings of its server.

    Attributes:
        model: the model's name, as the package or its folder has it.
        example: a video that everybody may ask about; None for none.
    """

    model: str
    example: Example | None = None


def is_installed() -> bool:
    """Whether there can be a page."""
    return importlib.util.find_spec(NEEDED) is not None


def open_page(
    api: ASGIApp, page: PageSettings, settings: ServeSettings, engine: Engine, metrics: Metrics, files: FileStore
) -> Door:
    """The page, with the interface for programs behind it.

    Args:
        api: the interface for programs.
        page: what is on the page.
        settings: of the server.
        engine: that answers.
        metrics: told of it.
        files: that keep what is uploaded.
    """
    for old in files.for_purpose(PURPOSE):  # of visitors of an earlier server, whom nobody knows any more
        files.delete(old.id, old.owner)
    visitors = Visitors(Keys(settings.api_keys))
    known = Known(page.model, settings.model_name)
    opening = Opening(engine.qa, files, settings.limits, known, page.example)
    asking = Asking(engine, metrics, settings.seconds, known)
    talks = Talks(opening.end)

    def left(owner: str, session: str) -> None:
        talks.forget(owner, session)
        if not pages.is_open(owner):  # what was uploaded and never opened
            for one in files.of(owner):
                files.delete(one.id, owner)

    pages = Pages(left)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    tell_errors(app)
    add_media(app, files, Previews(settings.store / "previews", settings.limits), page.example, pages)
    add_way_in(app, visitors)

    async def laid_out() -> tuple[ASGIApp, Callable[[str], int]]:
        from bimba.serving.page.view import View, mounted  # it takes Gradio seconds to be read

        view = View(talks, opening, asking, settings)
        return mounted(view.blocks(), app), view.num_unread

    def is_leaving(owner: str, session: str) -> bool:
        return engine.is_leaving and not talks.is_busy(owner, session)

    # Where no event loop runs, Gradio makes several that nobody closes; in this thread one may run already.
    with ThreadPoolExecutor(1) as thread:
        page_app, num_unread = thread.submit(asyncio.run, laid_out()).result()
    return Door(api, page_app, visitors, pages, num_unread, is_leaving)
