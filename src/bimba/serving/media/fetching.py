"""An address of an allowed host in, its file out; nothing inside of the server's own network is ever reached.

A name is looked up once, each of its addresses is checked, and the connection goes to one that was checked: what the
name stands for a moment later does not matter. Redirects are followed by the same rules.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import IO
from urllib.parse import SplitResult, urljoin, urlsplit

from bimba.serving.media.files import too_large
from bimba.serving.refusals import RefusedError

_MOST_REDIRECTS = 3
_BLOCK = 1 << 16
_PORTS = {"http": 80, "https": 443}
_OPEN_INTERNET = ipaddress.IPv6Network("2000::/3")
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""NAT64 (RFC 6052): the last four bytes are the address that is reached."""

_TUNNELS = (ipaddress.IPv6Network("2001::/32"), ipaddress.IPv6Network("2002::/16"))
"""Teredo and 6to4: somewhere in them is another address, which a router on the way may reach."""

_REDIRECTS = (301, 302, 303, 307, 308)


def resolve(host: str, port: int) -> list[str]:
    """Addresses of a host."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def is_public(address: str) -> bool:
    """Whether an address is one of the open internet: not private, loopback, link-local, multicast or reserved."""
    parsed = ipaddress.ip_address(address.split("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        within = parsed.ipv4_mapped
        if within is None and parsed in _TRANSLATED:
            within = ipaddress.IPv4Address(parsed.packed[-4:])
        if within is None:
            return parsed in _OPEN_INTERNET and parsed.is_global and not any(parsed in one for one in _TUNNELS)
        parsed = within
    return parsed.is_global and not parsed.is_multicast


class Fetcher:
    """Fetches files from hosts that are allowed.

    Args:
        hosts: that are allowed: "example.com", or "example.com:8443" for a port of its own.
        most_bytes: of a file.
        seconds: that fetching may take.
        look_up: addresses of a host.
        is_allowed: whether an address may be reached.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        most_bytes: int,
        seconds: float,
        *,
        look_up: Callable[[str, int], list[str]] = resolve,
        is_allowed: Callable[[str], bool] = is_public,
    ) -> None:
        self._hosts = {host.lower() for host in hosts}
        self._most_bytes, self._seconds = most_bytes, seconds
        self._look_up, self._is_allowed = look_up, is_allowed

    def fetch(self, url: str, file: IO[bytes]) -> None:
        """Write what an address holds to a file.

        Raises:
            RefusedError: it is not allowed, cannot be reached, is too large or takes too long.
        """
        deadline = time.monotonic() + self._seconds
        try:
            for _ in range(_MOST_REDIRECTS + 1):
                parts = self._checked(url)
                with self._connected(parts, deadline) as connection:
                    target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
                    connection.request("GET", target, headers={"Accept-Encoding": "identity", "User-Agent": "bimba"})
                    response = connection.getresponse()
                    location = response.getheader("Location")
                    if response.status in _REDIRECTS and location is not None:
                        url = urljoin(url, location)
                        continue
                    if response.status != 200:
                        raise _unreachable(f"the address answers with status {response.status}.")
                    self._copy(response, file, deadline)
                    return
        except (OSError, http.client.HTTPException, ValueError) as error:
            _left(deadline)
            raise _unreachable("the address cannot be fetched.") from error
        raise _unreachable(f"the address redirects more than {_MOST_REDIRECTS} times.")

    def _checked(self, url: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").lower(), parts.port
        except ValueError as error:
            raise _not_allowed("it is no address") from error
        if parts.scheme not in _PORTS or parts.username is not None or parts.password is not None:
            raise _not_allowed("only plain http(s) addresses are fetched")
        named = host if port in (None, _PORTS[parts.scheme]) else f"{host}:{port}"
        if named not in self._hosts:
            raise _not_allowed("its host is none that the server was told to fetch from (--allow-url-host)")
        return parts

    @contextmanager
    def _connected(self, parts: SplitResult, deadline: float) -> Iterator[http.client.HTTPConnection]:
        """A connection to an address of the host that was checked."""
        host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
        addresses = self._look_up(host, port)
        if not addresses or not all(self._is_allowed(address) for address in addresses):
            raise _not_allowed("its host has an address that is not on the open internet")
        seconds = _left(deadline)
        opened = socket.create_connection((addresses[0], port), timeout=seconds)
        with closing(opened), _ended(opened, deadline):
            connection = http.client.HTTPConnection(host, port, timeout=seconds)
            is_secure = parts.scheme == "https"
            connection.sock = (
                ssl.create_default_context().wrap_socket(opened, server_hostname=host) if is_secure else opened
            )
            with closing(connection):
                yield connection

    def _copy(self, response: http.client.HTTPResponse, file: IO[bytes], deadline: float) -> None:
        num_bytes = 0
        while block := response.read1(_BLOCK):
            num_bytes += len(block)
            if num_bytes > self._most_bytes:
                raise too_large(self._most_bytes, "messages")
            file.write(block)
        _left(deadline)  # what ends when the time does may be a part


@contextmanager
def _ended(opened: socket.socket, deadline: float) -> Iterator[None]:
    """A block in which a connection ends with its time: a byte now and then would keep it open for ever."""
    with opened.dup() as same:
        timer = threading.Timer(_left(deadline), _shut, [same])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()


def _shut(opened: socket.socket) -> None:
    with suppress(OSError):  # the other side was first
        opened.shutdown(socket.SHUT_RDWR)


def _left(deadline: float) -> float:
    """Seconds that are left.

    Raises:
        RefusedError: none are.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise _unreachable("the address was not fetched in time.")
    return left


def _not_allowed(why: str) -> RefusedError:
    return RefusedError(400, f"the address is not fetched: {why}.", code="url_not_allowed", param="messages")


def _unreachable(message: str) -> RefusedError:
    return RefusedError(400, message, code="url_unreachable", param="messages")
