"""A script that prints how much its peak memory grew, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")

PEAK = """
from pathlib import Path

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
"""
"""What a script may call."""

AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "65536"}
"""Has glibc give back what is freed at once: what it keeps for later (half of the weights, at times) differs from run
to run, and is not what is held."""


def growth(script: str, *arguments: object) -> int:
    """The number of bytes that a script printed last.

    Args:
        script: may call `peak()`, bytes at the peak so far.
        arguments: its `sys.argv[1:]`.
    """
    command = [sys.executable, "-W", "ignore", "-c", PEAK + script, *map(str, arguments)]
    environment = os.environ | AT_ONCE
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])
