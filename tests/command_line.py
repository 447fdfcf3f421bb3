"""Words of a command line in, what the installed `bimba` does with them out; and what a refusal looks like."""

import os
import subprocess
import sys
from pathlib import Path

BIMBA = Path(sys.executable).with_name("bimba")


def bimba(
    *words: object, cwd: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the installed command as a user would."""
    environment = {**os.environ, "COLUMNS": "100", "TERM": "dumb", **(env or {})}
    environment.pop("BIMBA_MODEL", None) if env is None else None
    return subprocess.run(
        [BIMBA, *map(str, words)], capture_output=True, text=True, check=False, timeout=120, cwd=cwd, env=environment
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """A clear error: exit code 2, what is wrong, what to do, no traceback, nothing on stdout."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert "\n  fix: " in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr, done.stderr
