"""Batches as they are trained on in; what was seen, what failed, how fast it goes and how long it waited out."""

import json
import logging
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from bimba.errors import TrainingError
from bimba.files import write_whole
from bimba.training.data.collator import BatchInfo
from bimba.training.loop.environment import gathered, is_first, summed

logger = logging.getLogger(__name__)

COUNTS_NAME = "counts.json"
MOST_NAMED = 20
"""Failed samples that an error names."""


@dataclass
class Counts:
    """Over all processes, since the run began.

    Attributes:
        samples: that were trained on.
        tokens: of them, videos' included.
        video_tokens: of videos.
        failed: unreadable samples: name and reason.
    """

    samples: int = 0
    tokens: int = 0
    video_tokens: int = 0
    failed: dict[str, str] = field(default_factory=dict)


class Counter:
    """Counts what goes by and times the waiting for it.

    Args:
        num_samples: of one epoch.
        max_failed: share of them that may be unreadable.
    """

    def __init__(self, num_samples: int, max_failed: float) -> None:
        self.num_samples, self.max_failed = num_samples, max_failed
        self.counts = Counts()
        self._waited = 0.0
        self._seen_before = Counts()
        self._begin = self._mark = time.perf_counter()

    def take(self, infos: list[BatchInfo], waited_seconds: float) -> None:
        """Count the batches of one optimizer step; all processes call it together.

        Raises:
            TrainingError: more samples are unreadable than may be.
        """
        self._waited += waited_seconds
        failures = [failure for info in infos for failure in info.failures]
        mine = [
            sum(info.num_samples for info in infos),
            sum(info.num_tokens for info in infos),
            sum(info.num_video_tokens for info in infos),
            len(failures),
        ]
        samples, tokens, video_tokens, num_failed = summed(mine)
        self.counts.samples += samples
        self.counts.tokens += tokens
        self.counts.video_tokens += video_tokens
        if num_failed:
            for failure in gathered(failures):
                if failure.name not in self.counts.failed and is_first():
                    logger.warning("%s is left out: %s", failure.name, failure.reason)
                self.counts.failed[failure.name] = failure.reason
        self._check()

    def _check(self) -> None:
        failed = self.counts.failed
        if len(failed) <= self.max_failed * self.num_samples:
            return
        named = [f"{name}: {reason}" for name, reason in list(failed.items())[:MOST_NAMED]]
        more = [f"... and {len(failed) - MOST_NAMED} more"] if len(failed) > MOST_NAMED else []
        raise TrainingError(
            f"{len(failed)} of {self.num_samples} samples are unreadable, more than data.max_failed = "
            f"{self.max_failed:g} allows:\n    " + "\n    ".join(named + more),
            fix="mend or remove them (bimba data check RECIPE reads all of them and names them), or allow more with "
            "data.max_failed=SHARE.",
        )

    def since_last(self) -> dict[str, float]:
        """Speeds since the last call, to be logged."""
        now = time.perf_counter()
        seconds = max(now - self._mark, 1e-9)
        logs = {
            "samples_per_second": (self.counts.samples - self._seen_before.samples) / seconds,
            "tokens_per_second": (self.counts.tokens - self._seen_before.tokens) / seconds,
            "waiting_share": min(self._waited / seconds, 1.0),
            "samples_seen": self.counts.samples,
            "samples_failed": len(self.counts.failed),
            "memory_gb": peak_memory_bytes() / 1e9,
        }
        self._mark, self._waited = now, 0.0
        self._seen_before = Counts(self.counts.samples, self.counts.tokens)
        return logs

    def save(self, folder: Path) -> None:
        """Write the counts into a checkpoint."""
        write_whole(folder / COUNTS_NAME, json.dumps(asdict(self.counts), indent=2, ensure_ascii=False) + "\n")

    def load(self, folder: Path) -> None:
        """Go on from the counts of a checkpoint."""
        self.counts = read_counts(folder)
        self._seen_before = Counts(self.counts.samples, self.counts.tokens)


def read_counts(folder: Path) -> Counts:
    """Counts of a checkpoint, or of a run that is finished."""
    return Counts(**json.loads((folder / COUNTS_NAME).read_text(encoding="utf-8")))


def peak_memory_bytes() -> int:
    """The most memory in use so far: of the GPU if there is one, else of this process."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    if sys.platform == "win32":
        return 0  # which counts no peaks
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
