"""A model whose vision tower is frozen and a data set in, a cache with the features of every readable clip out.

The flow: which clips the samples need and which of them are missing (`look_up`) -> whether they fit on the disk
(`check_room`) -> decode or draw in worker processes, run the tower, write (`fill_cache`). Several processes deal the
work among themselves. Whatever is interrupted goes on where it was.

Shapes: T frames of a clip, S image size, P patches of a frame, Dv width of the vision tower.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, distributed
from torch.utils.data import DataLoader, Dataset

from bimba.errors import BimbaError, InputError, TrainingError
from bimba.models.bimba.modeling import BimbaForConditionalGeneration
from bimba.training.data.dataset import TrainingDataset
from bimba.training.data.example import Failure
from bimba.training.data.streams import StreamPlace
from bimba.training.features.feature_cache import FeatureCache, FilledCache
from bimba.training.features.tower import tower_digest
from bimba.training.loop.environment import gathered, is_first, wait_for_all
from bimba.training.loop.watching import Watcher
from bimba.training.recipe.settings import Recipe
from bimba.video.sampling import uniform_indices
from bimba.video.source import Video

Item = TypeVar("Item")
Answer = TypeVar("Answer")

LOOKING, FILLING = "files", "features"
"""Stages that a watcher is told of."""

_IN_STEP = 32
"""Clips that a process makes before it waits for the others: whoever waits for a message for too long is ended."""
_NAMED = 3


@dataclass(frozen=True)
class Wanted:
    """A clip whose features are missing.

    Attributes:
        key: of the features.
        name: of the file; of a needle video that of its sample.
        indices: of its T frames.
        path: of the file; None for a needle video.
        sample: number of one that shows it.
    """

    key: str
    name: str
    indices: tuple[int, ...]
    path: Path | None
    sample: int


@dataclass(frozen=True)
class Plan:
    """What a data set needs.

    Attributes:
        num_clips: different ones.
        missing: those among them that are to be made.
        failures: samples that cannot be read.
        num_bytes: of what is missing.
    """

    num_clips: int
    missing: tuple[Wanted, ...]
    failures: tuple[Failure, ...]
    num_bytes: int


@dataclass(frozen=True)
class Filled:
    """What filling a cache came to.

    Attributes:
        cache: of the run.
        plan: what there was to do.
        num_made: clips whose features were made.
        num_bytes: of their files.
        failures: unreadable samples, and files whose frames cannot be decoded, by name.
    """

    cache: FilledCache
    plan: Plan
    num_made: int
    num_bytes: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True)
class Machine:
    """Where and how features are made.

    Attributes:
        device: of the tower while it works.
        precision: "bf16" or "float32".
        workers: processes that decode.
        prefetch: clips that each of them is ahead.
    """

    device: torch.device
    precision: str
    workers: int
    prefetch: int

    @classmethod
    def of(cls, recipe: Recipe, device: torch.device) -> "Machine":
        """As a run trains."""
        return cls(device, recipe.compute.precision, recipe.data.workers, recipe.data.prefetch)


def fill_cache(
    model: BimbaForConditionalGeneration,
    dataset: TrainingDataset,
    cache: FeatureCache,
    machine: Machine,
    watcher: Watcher,
    samples: Sequence[int] | None = None,
) -> Filled:
    """Make the features of the clips of a data set that are not there yet; all processes call it together.

    Args:
        model: its vision tower is frozen, and is where it was when this is over.
        dataset: of the samples; its own cache is not looked at.
        cache: to be filled.
        machine: where and how.
        watcher: told by the first process.
        samples: numbers of those that are needed; all if None.

    Raises:
        TrainingError: they do not fit on the disk, or cannot be written.
        InputError: the processes do not see the same folder.
    """
    if is_first():
        cache.clean()
    plan = look_up(model, dataset, cache, machine, watcher, samples)
    check_room(cache.folder, plan)
    with at_work(model, machine):
        made, reasons = _make(model, dataset, cache, machine, plan, watcher)
    wait_for_all()
    reasons = dict(gathered(list(reasons.items())))
    sizes = gathered(made)
    _check_shared(cache, plan, reasons)
    undecoded = tuple(Failure(wanted.name, reasons[wanted.key]) for wanted in plan.missing if wanted.key in reasons)
    failures = (*plan.failures, *undecoded)
    if is_first():
        _tell(watcher, cache.folder, plan, len(sizes), failures)
    return Filled(FilledCache(cache, reasons), plan, len(sizes), sum(sizes), failures)


def look_up(
    model: BimbaForConditionalGeneration,
    dataset: TrainingDataset,
    cache: FeatureCache,
    machine: Machine,
    watcher: Watcher,
    samples: Sequence[int] | None = None,
) -> Plan:
    """Which clips a data set needs, and which of them the cache lacks; no frame is decoded.

    Files are probed and, the first time, read to their ends for their content hashes.
    """
    needed = range(len(dataset)) if samples is None else samples
    mine = needed[_rank() :: _num_processes()]
    keys: set[str] = set()
    missing: dict[str, Wanted] = {}
    failures: list[Failure] = []
    for done, found in enumerate(_answers(mine, partial(_clips, dataset, cache), machine), start=1):
        if is_first():
            watcher.stage(LOOKING, min(done * _num_processes(), len(needed)), len(needed))
        if isinstance(found, Failure):
            failures.append(found)
            continue
        keys.update(key for key, _ in found)
        missing.update((key, wanted) for key, wanted in found if wanted is not None)
    # By key: an order that depends on no process, so that each can take its share of it.
    everything = dict(sorted(gathered(list(missing.items())), key=lambda one: one[0]))
    wanted = tuple(everything.values())
    num_bytes = sum(len(one.indices) for one in wanted) * _frame_bytes(model, machine) if wanted else 0
    return Plan(len(set(gathered(sorted(keys)))), wanted, tuple(gathered(failures)), num_bytes)


def check_room(folder: Path, plan: Plan) -> None:
    """Refuse to begin what cannot end.

    Raises:
        TrainingError: less is free where the folder is, or will be, than the features take.
    """
    free = free_bytes(folder)
    if plan.num_bytes > free:
        raise TrainingError(
            f"features of {len(plan.missing):,} clips take {plan.num_bytes / 1e9:,.1f} GB; {folder} has "
            f"{free / 1e9:,.1f} GB left.",
            fix="name a folder with room (data.cache=DIR), choose fewer frames (frames.count) or samples, or train "
            "without a cache.",
        )


def free_bytes(folder: Path) -> int:
    """What is free on the disk of a folder that may not be there yet."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def _clips(dataset: TrainingDataset, cache: FeatureCache, index: int) -> list[tuple[str, Wanted | None]] | Failure:
    """Keys of the clips of a sample, each with what is to be made of it if it is missing."""
    place = dataset.store.place(index)
    try:
        if place is not None:  # what is asked about its video does not matter, and takes long to find
            return [_needle_video(dataset, cache, index, place)]
    except BimbaError as error:
        return Failure(dataset.store.name(index), error.problem)
    description = dataset.describe(index)
    if isinstance(description, Failure):
        return description
    found: list[tuple[str, Wanted | None]] = []
    try:
        for path, clip in zip(description.sample.media, description.clips, strict=True):
            key = cache.key(path, clip.indices)
            wanted = Wanted(key, str(path), clip.indices, path, index)
            found.append((key, None if cache.has(key, clip.num_frames) else wanted))
    except BimbaError as error:
        return Failure(description.sample.name, error.problem)
    return found


def _needle_video(
    dataset: TrainingDataset, cache: FeatureCache, index: int, place: StreamPlace
) -> tuple[str, Wanted | None]:
    """Key of the video of a stream's sample, with what is to be made of it if it is missing."""
    indices = tuple(uniform_indices(place.stream.settings.num_frames, dataset.frames.count))
    key = cache.key(place, indices)
    return key, None if cache.has(key, len(indices)) else Wanted(key, dataset.store.name(index), indices, None, index)


def _pixels(dataset: TrainingDataset, wanted: Wanted) -> Tensor | str:
    """Pixels [T, 3, S, S] of a clip, or why there are none."""
    try:
        if wanted.path is not None:
            video = Video(wanted.path, backend=dataset.frames.backend)
            return dataset.processor.make_pixels(video.frames(wanted.indices))
        place = dataset.store.place(wanted.sample)
        if place is None:
            raise ValueError(f"sample {wanted.sample} is no needle video")
        return dataset.stream_pixels(place.video())
    except BimbaError as error:
        return error.problem


def _make(
    model: BimbaForConditionalGeneration,
    dataset: TrainingDataset,
    cache: FeatureCache,
    machine: Machine,
    plan: Plan,
    watcher: Watcher,
) -> tuple[list[int], dict[str, str]]:
    """Make this process's share of what is missing: sizes of the files, and by key what could not be decoded."""
    helpers = [rank for rank, is_whole in enumerate(gathered([_holds_tower(model, cache)])) if is_whole]
    mine = plan.missing[helpers.index(_rank()) :: len(helpers)] if _rank() in helpers else ()
    clips = zip(mine, _answers(mine, partial(_pixels, dataset), machine), strict=True)
    sizes: list[int] = []
    reasons: dict[str, str] = {}
    most = -(-len(plan.missing) // len(helpers))
    for number in range(most):
        wanted, pixels = next(clips, (None, ""))
        if wanted is not None and isinstance(pixels, Tensor):
            # Each clip by itself, so that its features do not depend on what else there is.
            features = model.get_vision_features(pixels)
            sizes.append(cache.put(wanted.key, features, _told(wanted, machine)))
        elif wanted is not None:
            reasons[wanted.key] = str(pixels)
        if is_first():
            watcher.stage(FILLING, min((number + 1) * len(helpers), len(plan.missing)), len(plan.missing))
        if (number + 1) % _IN_STEP == 0:
            wait_for_all()
    return sizes, reasons


def _told(wanted: Wanted, machine: Machine) -> dict[str, Any]:
    """What a file says of itself besides what decides its features; names of files may hold what no text can."""
    name = wanted.name if wanted.path is None else str(wanted.path.absolute())
    path = name.encode("utf-8", "replace").decode()
    return {"path": path, "indices": wanted.indices, "device": machine.device.type, "torch": torch.__version__}


def _holds_tower(model: BimbaForConditionalGeneration, cache: FeatureCache) -> bool:
    """Whether the tower of this process is the first one's.

    FSDP lets the first process alone read the weights; the others hold what was in the memory before.
    """
    return _num_processes() == 1 or tower_digest(model.vision_tower) == cache.made_by.tower


def _check_shared(cache: FeatureCache, plan: Plan, reasons: dict[str, str]) -> None:
    """Whether this process finds what the others made.

    Raises:
        InputError: it does not.
    """
    if _num_processes() == 1:
        return
    made = [wanted for wanted in plan.missing if wanted.key not in reasons]
    lost = [wanted for wanted in made if not cache.has(wanted.key, len(wanted.indices))]
    if any(gathered([bool(lost)])):
        raise InputError(
            f"{len(lost):,} of {len(made):,} clips that were just written to {cache.folder} are not found there by "
            f"process {_rank()}.",
            fix="name a folder that all machines of the run share: data.cache=DIR",
        )


def _tell(watcher: Watcher, folder: Path, plan: Plan, num_made: int, failures: Sequence[Failure]) -> None:
    held = plan.num_clips - len(plan.missing)
    watcher.say(f"features of {plan.num_clips:,} clips in {folder}: {held:,} were there, {num_made:,} were made")
    if failures:
        names = "; ".join(f"{failure.name}: {failure.reason}" for failure in failures[:_NAMED])
        more = f"; and {len(failures) - _NAMED:,} more" if len(failures) > _NAMED else ""
        watcher.say(f"{len(failures):,} samples or files cannot be read and have no features: {names}{more}")


@contextmanager
def at_work(model: BimbaForConditionalGeneration, machine: Machine) -> Iterator[None]:
    """The tower on the device, computing as it does in training; where it was afterwards."""
    tower = model.vision_tower
    place, was_training = tower.device, tower.training
    tower.to(machine.device).eval()
    is_bf16 = machine.precision == "bf16"
    try:
        with torch.no_grad(), torch.autocast(machine.device.type, torch.bfloat16, enabled=is_bf16):
            yield
    finally:
        tower.to(place).train(was_training)


def _frame_bytes(model: BimbaForConditionalGeneration, machine: Machine) -> int:
    """Bytes of the features of one frame, found by making those of a blank one: some norms widen their results."""
    size = int(model.config.vision_config.image_size)
    with at_work(model, machine):
        features = model.get_vision_features(torch.zeros(1, 3, size, size))
    return features.numel() * features.element_size()


class _Answers(Dataset[Answer], Generic[Item, Answer]):
    """What a function says of each of some items."""

    def __init__(self, items: Sequence[Item], ask: Callable[[Item], Answer]) -> None:
        self.items, self.ask = items, ask

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Answer:
        return self.ask(self.items[index])


def _answers(items: Sequence[Item], ask: Callable[[Item], Answer], machine: Machine) -> Iterable[Answer]:
    """Answers in order, from worker processes."""
    if not items:
        return ()
    workers = min(machine.workers, len(items))
    return DataLoader(
        _Answers(items, ask),
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=machine.prefetch if workers else None,
        generator=torch.Generator(),  # a seed is drawn for the workers; not from the generator of the training
    )


def _as_it_is(answer: Answer) -> Answer:
    """What a worker hands over: torch would look into it for what may become tensors."""
    return answer


def _rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def _num_processes() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1
