"""The OpenAPI document, tried by schemathesis: whatever fits it, or nearly does, never breaks the server."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from bimba.inference import VideoQA
from serving_runs import MODEL, Running, running

NUM_EXAMPLES = 12
OPERATIONS = [
    ("/v1/chat/completions", "post"), ("/v1/files", "post"), ("/v1/files", "get"), ("/v1/files/{file_id}", "get"),
    ("/v1/files/{file_id}", "delete"), ("/v1/models", "get"), ("/v1/models/{model}", "get"), ("/healthz", "get"),
    ("/metrics", "get"),
]  # fmt: skip


@pytest.fixture(scope="module")
def server(tiny: VideoQA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server."""
    with running(tiny, tmp_path_factory.mktemp("store"), max_new_tokens=4) as started:
        yield started


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=lambda value: value.strip("/"))
def test_nothing_that_is_sent_breaks_the_server(server: Running, path: str, method: str) -> None:
    operation = schemathesis.openapi.from_url(f"{server.address}/openapi.json")[path][method]
    seen = []

    @settings(max_examples=NUM_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(case=st.one_of(operation.as_strategy(), operation.as_strategy(GenerationMode.NEGATIVE)))
    def send(case: Any) -> None:
        if isinstance(case.body, dict) and "model" in case.body:
            case.body |= {"model": MODEL, "max_tokens": 2}  # else all questions end there, or last long
        response = case.call()
        seen.append(response.status_code)
        assert response.status_code < 500, (case.as_curl_command(), response.text)
        if response.status_code >= 400:
            assert response.json()["error"]["message"]

    send()
    assert len(seen) >= (1 if method == "get" else 5)


def test_the_document_tells_every_path(server: Running) -> None:
    told = httpx.get(f"{server.address}/openapi.json").json()
    assert {(path, method) for path, methods in told["paths"].items() for method in methods} == set(OPERATIONS)
    assert httpx.get(f"{server.address}/docs").status_code == 404
