"""Words of a `bimba` command in, the command done by this Python out; an interruption lets it end in its own way."""

import subprocess
import sys

from bimba.errors import BimbaError

INTERRUPTED = 130
"""Exit code of a command that was stopped by Ctrl-C."""
PATIENCE_SECONDS = 10.0
"""A terminal sends Ctrl-C to the command, too; where nobody did, it is sent after so long."""


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Somebody pressed Ctrl-C; what is done is in place."""


class CommandError(BimbaError):
    """A command ended with an error, which it has printed."""


def run_bimba(*words: str) -> None:
    """Run a command to its end; what it prints is seen as it is.

    Args:
        words: without "bimba".

    Raises:
        Stopped: it was interrupted.
        CommandError: it failed.
    """
    print(f"$ bimba {' '.join(words)}", flush=True)
    process = subprocess.Popen([sys.executable, "-m", "bimba", *words])
    try:
        code = process.wait()
    except KeyboardInterrupt:
        _let_it_end(process)
        raise Stopped from None
    if code == INTERRUPTED:
        raise Stopped
    if code:
        raise CommandError(
            f"bimba {' '.join(words)} ended with exit code {code}.", fix="see what it says above; then run this again."
        )


def _let_it_end(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a command that was told to stop; `subprocess.run` would kill it while it writes."""
    while process.poll() is None:
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()
        except KeyboardInterrupt:
            continue  # impatience ends nothing sooner
