"""An address and a folder in, a socket to listen on and a place for files out; torch is not needed for that."""

import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bimba.errors import InputError

_BACKLOG = 512


def bind(host: str, port: int) -> socket.socket:
    """A socket to listen on.

    Raises:
        InputError: the address is in use, or none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By its name: asyncio sends small answers at once (TCP_NODELAY) where it knows that it speaks TCP.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host.strip("[]"), port))
        bound.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        bound.close()
        raise InputError(
            f"{host}:{port} cannot be listened on: {error}.",
            fix="end what uses it, or name another port (--port) or an address of this machine (--host).",
        ) from error
    return bound


@contextmanager
def store_of(folder: Path | None) -> Iterator[Path]:
    """The folder of a server; a temporary one that goes with it, if none is named.

    Raises:
        InputError: it cannot be made.
    """
    with ExitStack() as stack:
        if folder is None:
            made = Path(tempfile.mkdtemp(prefix="bimba-serve-"))
            stack.callback(shutil.rmtree, made, ignore_errors=True)
        else:
            made = folder
            try:
                made.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(
                    f"{folder} cannot be made: {error.strerror}.", fix="name another folder (--store)."
                ) from error
        yield made
