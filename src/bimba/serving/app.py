"""An engine and where its videos come from in, the application out: OpenAI's paths, and two for those who run it."""

import asyncio
import json
import logging
import re
import secrets
import time
from concurrent.futures import Executor
from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from bimba import __version__
from bimba.serving.answering import Answering
from bimba.serving.asking import asked_of, check_supported
from bimba.serving.engine.engine import Engine
from bimba.serving.gate import OWNER
from bimba.serving.media.files import FileStore, StoredFile
from bimba.serving.media.opening import MediaOpener
from bimba.serving.metrics import CONTENT_TYPE, Metrics
from bimba.serving.protocol.requests import ChatRequest
from bimba.serving.protocol.responses import (
    ChatCompletion,
    ErrorBody,
    FileCard,
    FileDeleted,
    FileList,
    ModelCard,
    ModelList,
)
from bimba.serving.refusals import RefusedError, unfinished
from bimba.serving.settings import ServeSettings

logger = logging.getLogger(__name__)

PURPOSES = ("user_data", "vision")
"""For which files may be uploaded, as OpenAI has them."""

_CHECKS_AT_ONCE = 2
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (400, 401, 403, 404, 408, 413, 429, 500, 503, 504, 507)
}
_FORM = re.compile(r"(str|int|bool|float|constrained-\w+|(literal|list|function-after)\[.*)$")
"""What pydantic calls one of several forms of a value, which no caller knows."""

_LONGEST_NAME = 200
"""Letters that are told of the name of a field, which a caller may have made up."""

_OTHER_FORMS = ("string_type", "list_type", "float_type", "int_type", "bool_type")
_KINDS_OF_MISTAKE = {"extra_forbidden": "unsupported_parameter", "literal_error": "unsupported_value"}


def build_app(
    engine: Engine,
    settings: ServeSettings,
    metrics: Metrics,
    files: FileStore,
    opener: MediaOpener,
    opening: Executor,
) -> FastAPI:
    """The application.

    Args:
        engine: that answers.
        settings: of the server.
        metrics: that are shown.
        files: that are uploaded.
        opener: of videos.
        opening: threads for it; those of others are not to wait for an address that is slow.
    """
    app = FastAPI(title="bimba", version=__version__, docs_url=None, redoc_url=None, responses=_ERRORS)
    tell_errors(app)
    _add_chat(app, engine, settings, metrics, opener, opening)
    _add_files(app, files)
    _add_operation(app, engine, metrics)
    begun = int(time.time())
    card = ModelCard(
        id=settings.model_name,
        created=begun,
        max_model_len=engine.qa.context_length,
        shares_steps=engine.why_alone is None,
        why_alone=engine.why_alone,
    )

    @app.get("/v1/models")
    async def list_models() -> ModelList:
        """The model that answers."""
        return ModelList(data=[card])

    @app.get("/v1/models/{model:path}")
    async def get_model(model: str) -> ModelCard:
        """A model."""
        if model != card.id:
            raise RefusedError(404, "there is no model of that name here.", code="model_not_found", param="model")
        return card

    return app


def _add_chat(
    app: FastAPI, engine: Engine, settings: ServeSettings, metrics: Metrics, opener: MediaOpener, opening: Executor
) -> None:
    @app.post("/v1/chat/completions", response_model=ChatCompletion)
    async def create_chat_completion(body: ChatRequest, request: Request) -> Response:
        """Answer a question about a video, an image, or nothing."""
        check_supported(body, settings, shares_steps=engine.why_alone is None)
        owner = request.scope.get(OWNER, "")
        name = f"chatcmpl-{secrets.token_hex(12)}"
        answering = Answering(engine, metrics, request, body, name, settings.seconds)
        with engine.place():  # before anything is written or fetched for it
            find = partial(asked_of, body, settings, opener, owner)
            asked = await asyncio.get_running_loop().run_in_executor(opening, find)
            try:
                answering.submit(asked)
            except RefusedError:
                if asked.media is not None:
                    asked.media.remove()
                raise
        return await answering.respond()


def _add_files(app: FastAPI, files: FileStore) -> None:
    checks = asyncio.Semaphore(_CHECKS_AT_ONCE)

    @app.post("/v1/files")
    async def create_file(file: UploadFile, purpose: Annotated[str, Form()], request: Request) -> FileCard:
        """Upload a video or an image; it is looked at, and refused if it is none."""
        if purpose not in PURPOSES:
            raise RefusedError(
                400, f"files are taken for {' and '.join(PURPOSES)}.", code="unsupported_value", param="purpose"
            )
        async with checks:
            owner = request.scope.get(OWNER, "")
            stored = await asyncio.to_thread(files.add, file.file, file.filename or "", purpose, owner)
        logger.info("%s has %d bytes", stored.id, stored.num_bytes)
        return _card(stored)

    @app.get("/v1/files")
    async def list_files(request: Request) -> FileList:
        """The files that were uploaded with this key."""
        return FileList(data=[_card(one) for one in files.of(request.scope.get(OWNER, ""))])

    @app.get("/v1/files/{file_id}")
    async def get_file(file_id: str, request: Request) -> FileCard:
        """A file."""
        return _card(files.get(file_id, request.scope.get(OWNER, ""), "file_id"))

    @app.delete("/v1/files/{file_id}")
    async def delete_file(file_id: str, request: Request) -> FileDeleted:
        """Delete a file; what was encoded of it is found by its contents alone."""
        files.delete(file_id, request.scope.get(OWNER, ""))
        return FileDeleted(id=file_id)


def _add_operation(app: FastAPI, engine: Engine, metrics: Metrics) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Whether questions are taken; asks for no key."""
        if engine.is_leaving:
            raise unfinished("leaving")
        return {"status": "ok"}

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def show_metrics() -> Response:
        """Numbers for Prometheus."""
        # Some numbers are looked up on the disk, for which nobody else is to wait.
        text = await asyncio.to_thread(metrics.text)
        return Response(text, headers={"Content-Type": CONTENT_TYPE})


def tell_errors(app: FastAPI) -> None:
    """Every error as OpenAI's clients read it, without a path or a traceback."""

    @app.exception_handler(RefusedError)
    async def tell_refused(request: Request, error: RefusedError) -> Response:
        del request
        return _response(error)

    @app.exception_handler(RequestValidationError)
    async def tell_mistake(request: Request, error: RequestValidationError) -> Response:
        del request
        return _response(_mistake(error))

    @app.exception_handler(HTTPException)
    async def tell_http(request: Request, error: HTTPException) -> Response:
        del request
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "invalid_request")
        return _response(RefusedError(error.status_code, str(error.detail), code=code))

    @app.exception_handler(RecursionError)
    async def tell_depth(request: Request, error: RecursionError) -> Response:
        del request, error
        return _response(RefusedError(400, "the JSON is nested too deeply.", code="invalid_request"))

    @app.exception_handler(Exception)
    async def tell_failure(request: Request, error: Exception) -> Response:
        del request, error  # the server logs it
        return _response(unfinished("failed"))


def _mistake(error: RequestValidationError) -> RefusedError:
    """What is wrong with a body, by its name.

    Where one of several forms would do, each has a mistake of its own; that of the form which was meant lies deepest.
    """
    first = max(error.errors(), key=lambda mistake: (len(mistake["loc"]), mistake["type"] not in _OTHER_FORMS))
    named = ".".join(str(part) for part in first["loc"][1:] if not _FORM.match(str(part)))
    param = named[:_LONGEST_NAME] or None
    if first["type"] == "extra_forbidden":
        message = f"{param} is not supported by this server."
    else:
        message = f"{param}: {first['msg']}." if param else f"{first['msg']}."
    return RefusedError(400, message, code=_KINDS_OF_MISTAKE.get(first["type"], "invalid_value"), param=param)


def _response(error: RefusedError) -> Response:
    content = json.dumps(error.to_dict())
    return Response(content, status_code=error.status, headers=error.headers, media_type="application/json")


def _card(stored: StoredFile) -> FileCard:
    return FileCard(
        id=stored.id,
        bytes=stored.num_bytes,
        created_at=stored.created_at,
        filename=stored.filename,
        purpose=stored.purpose,
    )
