"""How long people wait before anything happens: `bimba --help`, `import bimba`, beside what they would wait anyway."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 7
GOAL_SECONDS = 0.5
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import bimba": [sys.executable, "-c", "import bimba"],
    "bimba --help": [str(Path(sys.executable).with_name("bimba")), "--help"],
    "bimba ask --help": [str(Path(sys.executable).with_name("bimba")), "ask", "--help"],
    "import torch": [sys.executable, "-c", "import torch"],
    "bimba.load and torch": [sys.executable, "-c", "import bimba; bimba.load"],
}


def measure() -> dict[str, list[float]]:
    """Seconds of each command; the commands take turns, so that a slow moment of the machine hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for run in range(RUNS + 1):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if run:  # the first round fills the file cache
                seconds[name].append(time.perf_counter() - start)
    return seconds


def report() -> str:
    """A table in Markdown."""
    seconds = measure()
    bare = statistics.median(seconds["python -c pass"])
    lines = [
        f"## Start-up ({RUNS} runs each, taking turns)",
        "",
        "| command | median s | min - max | x bare Python |",
        "| --- | --- | --- | --- |",
    ]
    for name, values in seconds.items():
        median = statistics.median(values)
        spread = f"{min(values):.2f} - {max(values):.2f}"
        lines.append(f"| `{name}` | {median:.2f} | {spread} | {median / bare:.1f} |")
    held = statistics.median(seconds["bimba --help"]) < GOAL_SECONDS
    lines += ["", f"Goal for `bimba --help`: below {GOAL_SECONDS} s: {'holds' if held else 'does not hold'}."]
    return "\n".join(lines)
