"""Nothing in; what a number was measured on out: hardware, versions, commit."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LIBRARIES = ("bimba", "torch", "transformers", "av", "numpy", "pillow", "safetensors")


def commit() -> str:
    """Short name of the commit, with a mark if files are changed."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=10"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def processor() -> str:
    """Name of the processor, where the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def provenance() -> dict[str, str]:
    """Everything that a reader needs to judge a number."""
    facts = {
        "commit": commit(),
        "processor": f"{processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }
    return facts | {name: version(name) for name in LIBRARIES}
