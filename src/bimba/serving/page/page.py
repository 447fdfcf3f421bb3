"""A server's parts in, the page before its interface for programs out."""

import asyncio
import importlib.util
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
    for left in files.for_purpose(PURPOSE):  # of visitors of an earlier server, whom nobody knows any more
        files.delete(left.id, left.owner)
    visitors = Visitors(Keys(settings.api_keys))
    known = Known(page.model, settings.model_name)
    opening = Opening(engine.qa, files, settings.limits, known, page.example)
    asking = Asking(engine, metrics, settings.seconds, known)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    tell_errors(app)
    add_media(app, files, Previews(settings.store / "previews", settings.limits), page.example)
    add_way_in(app, visitors)

    async def laid_out() -> ASGIApp:
        from bimba.serving.page.view import View, mounted  # it takes Gradio seconds to be read

        whole: ASGIApp = mounted(View(Talks(opening.close), opening, asking, settings).blocks(), app)
        return whole

    # Where no event loop runs, Gradio makes several that nobody closes; in this thread one may run already.
    with ThreadPoolExecutor(1) as thread:
        page_app = thread.submit(asyncio.run, laid_out()).result()
    return Door(api, page_app, visitors, lambda: engine.is_leaving)
