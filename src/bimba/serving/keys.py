"""Keys of a server and the headers of a request in, whose request it is out."""

import hashlib
import hmac
from collections.abc import Sequence

from bimba.serving.refusals import RefusedError


class Keys:
    """Keys of which a request has to bring one.

    Args:
        keys: none, and nobody is asked for one.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    @property
    def are_asked_for(self) -> bool:
        """Whether anybody is asked for one."""
        return bool(self._digests)

    def owner_of(self, key: bytes) -> str | None:
        """Whose a key is; None if it is none of ours.

        Every key is compared, each in constant time, whichever it is.
        """
        digest = hashlib.sha256(key).digest()
        matches = [hmac.compare_digest(digest, one) for one in self._digests]
        return digest.hex()[:16] if any(matches) else None

    def owner(self, headers: Sequence[tuple[bytes, bytes]]) -> str:
        """Who a request comes from: "" where nobody is asked for a key.

        Raises:
            RefusedError: it brings no key, a wrong one, or more than one.
        """
        if not self._digests:
            return ""
        brought = [value for name, value in headers if name.lower() == b"authorization"]
        scheme, _, key = brought[0].partition(b" ") if len(brought) == 1 else (b"", b"", b"")
        owner = self.owner_of(key)
        if scheme.lower() != b"bearer" or owner is None:
            raise RefusedError(401, "bring a key of this server: Authorization: Bearer KEY.", code="invalid_api_key")
        return owner
