"""Messages between a process and its decoding worker: a JSON header in a line, then as many bytes as it announces.

Nothing is pickled: a worker that a hostile file has taken over can send wrong pictures, but no code.
"""

import json
from typing import IO, Any

Message = tuple[dict[str, Any], bytes]

_LONGEST_HEADER = 2**26
_LONGEST_CONTENT = 2**30


def write_message(pipe: IO[bytes], header: dict[str, Any], content: bytes | memoryview = b"") -> None:
    """Send a header and bytes."""
    pipe.write(json.dumps(header | {"num_bytes": len(content)}).encode() + b"\n")
    pipe.write(content)
    pipe.flush()


def read_message(pipe: IO[bytes]) -> Message | None:
    """Take the next message; None when the other side is gone, or sends what is none."""
    line = pipe.readline(_LONGEST_HEADER)
    try:
        header = json.loads(line)
        num_bytes = header["num_bytes"]
        content = pipe.read(num_bytes) if 0 <= num_bytes <= _LONGEST_CONTENT else b""
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return (header, content) if len(content) == num_bytes else None
