"""A data set in, the number of tokens of each of its samples out; remembered in a file until something changes."""

import hashlib
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from bimba.errors import InputError
from bimba.files import write_whole
from bimba.text.prompts import PROMPT_VERSION
from bimba.training.data.example import Failure
from bimba.training.data.example_dataset import ExampleDataset
from bimba.training.data.workers import ask_all

logger = logging.getLogger(__name__)

Lengths = tuple[list[int], list[Failure]]


def measure_lengths(
    dataset: ExampleDataset,
    *,
    workers: int,
    cache_file: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Lengths:
    """Measure all samples; no frame is decoded.

    Args:
        dataset: of the samples.
        workers: processes that measure; 0 measures in this one.
        cache_file: where the result is kept; it is measured anew when samples, their files, the choice of frames, the
            tokenizer or the model's sizes are others.
        on_progress: called with how many samples are measured and how many there are.

    Returns:
        tokens of each sample, 0 of those that cannot be read, and why those cannot.
    """
    key = None if cache_file is None else _key(dataset)
    if cache_file is not None and (known := _remembered(cache_file, key, len(dataset))) is not None:
        return known
    lengths, failures = [], []
    for found in ask_all(dataset, _measure, workers=workers, on_progress=on_progress):
        lengths.append(0 if isinstance(found, Failure) else found)
        if isinstance(found, Failure):
            failures.append(found)
    if cache_file is not None:
        _remember(cache_file, key, lengths, failures)
    return lengths, failures


def _measure(dataset: ExampleDataset, index: int) -> int | Failure:
    return dataset.measure(index)


def _key(dataset: ExampleDataset) -> str:
    """A hash of everything that a length depends on."""
    tokenizer = dataset.processor.tokenizer
    words = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else sorted(tokenizer.get_vocab().items())
    facts = {
        "prompts": PROMPT_VERSION,
        "samples": dataset.store.fingerprint(),
        "frames": dataset.frames.model_dump(mode="json"),
        "max_tokens": dataset.max_tokens,
        **dataset.sizes(),
        "tokenizer": [words, tokenizer.chat_template],
    }
    digest = hashlib.sha256(json.dumps(facts).encode())
    for path in sorted(_media(dataset)):
        digest.update(f"{path}\n{_stamp(path)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _media(dataset: ExampleDataset) -> set[Path]:
    found: set[Path] = set()
    for index in range(len(dataset)):
        with suppress(InputError):  # a damaged entry names no files
            found.update(dataset.store[index].media)
    return found


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return "absent"
    return f"{status.st_size} {status.st_mtime_ns}"


def _remembered(file: Path, key: str | None, num_samples: int) -> Lengths | None:
    if not file.exists():
        return None
    try:
        lengths, failures = _checked(json.loads(file.read_text(encoding="utf-8")), key, num_samples)
    except (OSError, ValueError, TypeError, KeyError) as error:
        logger.warning("%s is not used, all samples are measured anew: %s", file, error)
        return None
    logger.info("lengths of %d samples from %s", num_samples, file)
    return lengths, failures


def _checked(record: Any, key: str | None, num_samples: int) -> Lengths:
    """Lengths and failures of a file's content.

    Raises:
        ValueError, TypeError, KeyError: it is damaged, or was made of other samples or settings.
    """
    if record["key"] != key:
        raise ValueError("it was made of other samples, files or settings")
    lengths, failures = record["lengths"], [Failure(str(name), str(reason)) for name, reason in record["failures"]]
    if len(lengths) != num_samples or not all(type(length) is int and length >= 0 for length in lengths):
        raise ValueError("it is damaged")
    return list(lengths), failures


def _remember(file: Path, key: str | None, lengths: list[int], failures: list[Failure]) -> None:
    record = {"key": key, "lengths": lengths, "failures": [[failure.name, failure.reason] for failure in failures]}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(record))
    except OSError as error:  # measuring again next time is all that it costs
        logger.warning("the lengths of the samples cannot be kept in %s: %s", file, error)
