"""Addresses: what is fetched, and everything that is not, first of all what lies in the server's own network."""

import io
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from bimba.serving.media.fetching import Fetcher, is_public, resolve
from bimba.serving.refusals import RefusedError


class Pages(BaseHTTPRequestHandler):
    """A few pages, as strangers may have them."""

    def do_GET(self) -> None:
        address: Any = self.server.server_address
        port = address[1]
        told = {
            "/video": (200, {}, b"a video"),
            "/large": (200, {}, b"x" * 2000),
            "/gone": (404, {}, b""),
            "/here": (302, {"Location": "/video"}, b""),
            "/loop": (302, {"Location": "/loop"}, b""),
            "/away": (302, {"Location": "http://elsewhere.example/video"}, b""),
            "/inside": (302, {"Location": f"http://inside.example:{port}/video"}, b""),
            "/to-file": (302, {"Location": "file:///etc/passwd"}, b""),
            "/query?a=b%20c": (200, {}, self.path.encode()),
        }
        if self.path.startswith("/endless"):
            self.drip()
            return
        status, headers, body = told[self.path]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if self.path != "/large":  # which does not say how large it is
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drip(self) -> None:
        """A byte at a time, as long as somebody listens."""
        self.send_response(200)
        if self.path == "/endless-body":
            self.end_headers()
        self.flush_headers()
        with suppress(OSError):
            while True:
                self.wfile.write(b"x")
                time.sleep(0.02)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a server on this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


ADDRESSES = {"good.example": ["127.0.0.1"], "inside.example": ["10.0.0.7"], "both.example": ["127.0.0.1", "10.0.0.7"]}


def fetcher(port: int, *, most_bytes: int = 1000, seconds: float = 10.0) -> Fetcher:
    """As if 127.0.0.1 were on the open internet, under names of the test's own."""
    return Fetcher(
        [f"{name}:{port}" for name in ADDRESSES],
        most_bytes,
        seconds,
        look_up=lambda host, port: ADDRESSES[host] if port else [],
        is_allowed=lambda address: address == "127.0.0.1",
    )


def fetched(port: int, url: str, **limits: float) -> bytes:
    file = io.BytesIO()
    fetcher(port, **limits).fetch(url, file)  # type: ignore[arg-type] # most_bytes is whole
    return file.getvalue()


def test_what_is_allowed_is_fetched(port: int) -> None:
    assert fetched(port, f"http://good.example:{port}/video") == b"a video"
    assert fetched(port, f"http://GOOD.example:{port}/here#part") == b"a video"
    assert fetched(port, f"http://good.example:{port}/query?a=b%20c") == b"/query?a=b%20c"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/large", "larger than the 1,000 bytes"),
        ("/gone", "status 404"),
        ("/loop", "redirects more than 3"),
        ("/away", "none that the server was told"),
        ("/inside", "not on the open internet"),
        ("/to-file", "only plain http"),
    ],
)
def test_what_strangers_answer_leads_nowhere_else(port: int, path: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        fetched(port, f"http://good.example:{port}{path}")


def test_a_host_with_one_address_inside_is_not_reached(port: int) -> None:
    with pytest.raises(RefusedError, match="not on the open internet"):
        fetched(port, f"http://both.example:{port}/video")


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example/video",
        "http://good.example/video",
        "http://good.example:1/video",
        "http://me@good.example:{port}/video",
        "http://good.example:{port}@other.example/video",
        "http://good.example.other.example:{port}/video",
        "http://good.example:{port}x/video",
        "http://[good.example/video",
        "http:///video",
        "gopher://good.example:{port}/video",
    ],
)
def test_hosts_are_those_that_were_named(port: int, url: str) -> None:
    with pytest.raises(RefusedError, match="not fetched"):
        fetched(port, url.format(port=port))


def test_time_is_limited(port: int) -> None:
    with pytest.raises(RefusedError, match="in time"):
        fetched(port, f"http://good.example:{port}/video", seconds=0.0)


@pytest.mark.parametrize("path", ["/endless-header", "/endless-body"])
def test_a_host_that_sends_a_byte_now_and_then_is_not_waited_for(port: int, path: str) -> None:
    with pytest.raises(RefusedError, match="in time"):
        fetched(port, f"http://good.example:{port}{path}", seconds=0.5)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_never_reached_though_it_is_named(port: int, host: str) -> None:
    with pytest.raises(RefusedError, match="not on the open internet"):
        Fetcher([f"{host}:{port}"], 1000, 10.0).fetch(f"http://{host}:{port}/video", io.BytesIO())
    assert "127.0.0.1" in resolve(host, port)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "2002:7f00:1::",
        "2002:808:808::1",
        "2001:0:808:808::1",
        "2001:db8::1",
        "fec0::1",
        "4000::1",
    ],
)
def test_addresses_inside_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_addresses_outside_are(address: str) -> None:
    assert is_public(address)
