"""A recipe's sources in, the store of all its samples out.

`prepare_sources` makes what is not there yet (one process does it), `read_samples` reads (every process does).
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bimba.errors import InputError
from bimba.training.data.choosing import chosen_positions
from bimba.training.data.entries import read_entries
from bimba.training.data.mixture import Listed, listed_files, read_mixture
from bimba.training.data.needle_samples import make_needle_videos, needle_entries
from bimba.training.data.store import Entry, EntryFile, SampleStore
from bimba.training.data.streams import open_stream
from bimba.training.recipe.data_settings import Source

logger = logging.getLogger(__name__)

OnProgress = Callable[[str, int, int], None]
"""Told of a stage ("needles" counts frames, "read" counts sources), how much is done and how much there is."""

Part = tuple[EntryFile, list[Entry]]


def prepare_sources(sources: Sequence[Source], on_progress: OnProgress | None = None) -> None:
    """Make the needle videos that are not there yet.

    In a run of several processes one calls this while the others wait; afterwards all may call `read_samples`.

    Raises:
        InputError: an option is unknown or out of range, or a folder holds another run.
        VideoError: a video could not be written.
    """
    for source in sources:
        if source.needles is None:
            continue
        report = None if on_progress is None else lambda done, total: on_progress("needles", done, total)
        make_needle_videos(source.needles, report)


def read_samples(sources: Sequence[Source], seed: int, *, on_progress: OnProgress | None = None) -> SampleStore:
    """Read all samples of all sources, one source after the other.

    Args:
        sources: with needle videos made already, see `prepare_sources`.
        seed: of the strategy "random", together with the source's number and nothing else.
        on_progress: called after each source.

    Returns:
        the samples. Damaged entries are among them, and say what is wrong when they are fetched.

    Raises:
        InputError: a file cannot be read or is no JSON, a source holds no sample, or a strategy is wrong.
    """

    def parts() -> Iterator[Part]:
        for number, source in enumerate(sources):
            yield from _source_parts(source, (seed, number))
            if on_progress is not None:
                on_progress("read", number + 1, len(sources))

    store = SampleStore(parts())
    logger.info("%d samples of %d sources", len(store), len(sources))
    return store


def _source_parts(source: Source, seed: tuple[int, int]) -> list[Part]:
    """Files of a source with their chosen entries."""
    if source.needles is not None:
        folder = source.needles.folder
        file = EntryFile(folder / "needles.json", folder)
        return _chosen([(file, list(enumerate(needle_entries(source.needles))))], source.sampling_strategy, seed)
    if source.stream is not None:
        file = EntryFile(Path(f"needles-{seed[1]}"), Path(), open_stream(source.stream), source.stream.turns)
        videos = [(index, "{}") for index in range(source.stream.videos * source.stream.rounds)]
        return _chosen([(file, videos)], source.sampling_strategy, seed)
    if source.mixture is not None:
        parts = []
        for number, listed in enumerate(read_mixture(source.mixture, source.video_folder)):
            parts += _listed_parts(listed, (*seed, number))
        return _chosen(parts, source.sampling_strategy, seed)
    if source.json_path is None:
        raise ValueError("a source has one of json_path, mixture, needles and stream")
    paths = listed_files(source.json_path)
    return _listed_parts(Listed(paths, source.sampling_strategy, source.video_folder), seed)


def _listed_parts(listed: Listed, seed: tuple[int, ...]) -> list[Part]:
    parts = []
    for path in listed.paths:
        folder = path.parent if listed.video_folder is None else listed.video_folder
        parts.append((EntryFile(path, folder), list(enumerate(read_entries(path)))))
    return _chosen(parts, listed.strategy, seed)


def _chosen(parts: list[Part], strategy: str, seed: tuple[int, ...]) -> list[Part]:
    """What a strategy takes of several files' entries, counted as one list."""
    total = sum(len(entries) for _, entries in parts)
    if not total:
        raise InputError(f"{_names(parts)} holds no samples.", fix="take the source out, or name another file.")
    positions = set(chosen_positions(strategy, total, seed))
    wanted = strategy.partition(":")[2]
    if wanted.isdigit() and int(wanted) > total:
        logger.warning("%s: the strategy is %s, but there are only %d samples", _names(parts), strategy, total)
    chosen, before = [], 0
    for file, entries in parts:
        chosen.append((file, [entry for place, entry in enumerate(entries, start=before) if place in positions]))
        before += len(entries)
    return chosen


def _names(parts: list[Part]) -> str:
    paths: list[Path] = [file.path for file, _ in parts]
    return ", ".join(map(str, paths[:3])) + (", ..." if len(paths) > 3 else "")
