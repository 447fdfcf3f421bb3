"""A browser's cookie in, whose files and talks are meant out; made of random bytes that the server has signed."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie

from bimba.serving.keys import Keys
from bimba.serving.refusals import RefusedError

_PREFIX = "page-"
"""Of visitors among the owners of files; no key is called so."""


class Visitors:
    """Knows who was let in; nothing of them is kept.

    Args:
        keys: of the server, of which a visitor has to bring one; without keys everybody is let in.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys, self._secret = keys, secrets.token_bytes(32)
        self._cookie = f"bimba-{secrets.token_hex(4)}"  # all ports of a machine share their cookies

    @property
    def need_a_key(self) -> bool:
        """Whether a visitor is asked for a key."""
        return self._keys.are_asked_for

    def has_key(self, key: str) -> bool:
        """Whether a key is one of the server's."""
        return self._keys.owner_of(key.encode("utf-8", "surrogatepass")) is not None

    def admitted(self) -> str:
        """A cookie for a browser that is let in, as the header Set-Cookie has it; it ends with the browser."""
        token = secrets.token_hex(16)
        return f"{self._cookie}={token}.{self._signature(token)}; Path=/; HttpOnly; SameSite=Lax"

    def known(self, headers: Sequence[tuple[bytes, bytes]]) -> str | None:
        """Who a request comes from; None of a browser that was not let in."""
        lines = [value.decode("latin-1") for name, value in headers if name.lower() == b"cookie"]
        try:
            morsel = SimpleCookie("; ".join(lines)).get(self._cookie)
        except CookieError:
            return None
        token, _, signature = ("" if morsel is None else morsel.value).partition(".")
        if not token or not hmac.compare_digest(self._signature(token).encode(), signature.encode()):
            return None
        return _PREFIX + hashlib.sha256(token.encode()).hexdigest()[:32]

    def owner(self, headers: Sequence[tuple[bytes, bytes]]) -> str:
        """Who a request comes from.

        Raises:
            RefusedError: from a browser that was not let in.
        """
        known = self.known(headers)
        if known is None:
            raise RefusedError(401, "open the page of this server first, and give its key there.", code="not_admitted")
        return known

    def session_of(self, owner: str, session: str) -> str:
        """What a session of a visitor is called behind the door; nobody gets at another's by naming it."""
        return hmac.new(self._secret, f"{owner}/{session}".encode(), "sha256").hexdigest()[:32]

    def _signature(self, token: str) -> str:
        return hmac.new(self._secret, token.encode(), "sha256").hexdigest()
