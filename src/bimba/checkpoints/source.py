"""A model's name in, what lies there out: a model of ours, a released base, or an adapter (either's) with its base."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bimba.checkpoints.base import BASE_NAME, read_base
from bimba.checkpoints.released_config import is_released
from bimba.checkpoints.shipped import shipped_models
from bimba.checkpoints.tensors import INDEX_NAME, read_json, weight_files
from bimba.checkpoints.vamba import is_vamba, refuse_plain_qwen2_vl
from bimba.errors import CheckpointError
from bimba.models.bimba.configuration import BimbaConfig

OUR_MODEL_TYPE = BimbaConfig.model_type
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_STEM = "adapter_model"
TRAINABLES_STEM = "non_lora_trainables"
ADAPTER_FOLDER = "adapter"
"""Where an adapter folder of ours holds PEFT's files: transformers takes over folders that have them on top."""

HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
"""Names that can be fetched from the hub: owner/name."""

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "qwen.tiktoken")
_SMALL_PATTERNS = ("*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja")
_SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
)
"""JSON files that are read early, so that a damaged one is named and nothing falls back to defaults in silence."""


@dataclass(frozen=True)
class Source:
    """Where a model's files are.

    Args:
        kind: "ours" (a folder that from_pretrained opens), "our adapter", "released" (BIMBA's public layout) or "vamba"
            (ours or the public one, which are alike).
        folder: our folder, or the released base.
        adapter: the released adapter that goes onto the base.
        base: what our adapter goes onto; None where no weights are asked for.
    """

    kind: Literal["ours", "our adapter", "released", "vamba"]
    folder: Path
    adapter: Path | None = None
    base: "Source | None" = None


def find_source(model: str | Path, base: str | Path | None = None, *, weights: bool = True) -> Source:
    """Find out what a folder or hub id is, and check that its files are there.

    Args:
        model: folder or hub id of a model or an adapter of ours, of a released base, or of a released adapter; or the
            name of a model that comes with the package ("bimba-nano"), which a folder of that name does not change:
            "./bimba-nano", or a `Path`, is the folder.
        base: folder or hub id of the adapter's base; if not given, what the adapter itself names is followed (as a
            folder, as a folder beside the adapter, or as a hub id).
        weights: whether weights must be there; without, only the small files of a hub id are fetched.

    Raises:
        CheckpointError: nothing is there, files are missing (all named), or the base does not belong here.
    """
    return _find(model, base, weights, ())


def _find(model: str | Path, base: str | Path | None, weights: bool, above: tuple[Path, ...]) -> Source:
    """As `find_source`; `above` are the adapters that go onto this one."""
    folder = _local_folder(model, "model" if not above else "base", weights)
    if is_our_adapter(folder):
        return _find_our_adapter(folder, base, weights, above)
    if (folder / ADAPTER_CONFIG).is_file():
        _check_adapter_files(folder, weights)
        base_folder = _base_of(folder, weights) if base is None else _local_folder(base, "base", weights)
        if (base_folder / ADAPTER_CONFIG).is_file():
            raise CheckpointError(f"the base {base_folder} is an adapter itself.", fix="pass the full model as base.")
        _check_base_files(base_folder, weights)
        if not is_released(read_json(base_folder / "config.json")):
            raise CheckpointError(
                f"the adapter {folder} needs a released base (model_type llava_qwen); {base_folder} is "
                f"{read_json(base_folder / 'config.json').get('model_type')!r}.",
                fix="pass lmms-lab/LLaVA-Video-7B-Qwen2, or the folder it was downloaded to, as base.",
            )
        return Source("released", base_folder, folder)
    if base is not None:
        raise CheckpointError(
            f"{folder} has no {ADAPTER_CONFIG}, so it is no adapter, but a base was given.",
            fix="leave base out to load the model alone, or pass the adapter's folder as model.",
        )
    if (folder / "config.json").is_file():
        settings = read_json(folder / "config.json")
        if settings.get("model_type") == OUR_MODEL_TYPE:
            _check_our_files(folder, weights)
            return Source("ours", folder)
        if is_vamba(settings):
            _check_vamba_files(folder, weights)
            return Source("vamba", folder)
        refuse_plain_qwen2_vl(folder, settings)
        if not is_released(settings):
            raise CheckpointError(
                f"{folder} is a {settings.get('model_type')!r} model.",
                fix="pass a BIMBA model, a released base, or a Vamba.",
            )
    _check_base_files(folder, weights)
    return Source("released", folder)


def foreign_folder(model: str | Path, *, weights: bool = True) -> Path | None:
    """Find a model of transformers that is none of ours, to be compared with.

    Args:
        model: folder or hub id.
        weights: whether weights must be there; without, only the small files of a hub id are fetched.

    Returns:
        its folder; None if it is a model or an adapter of ours, a released one, or no model at all (`find_source` says
        what is wrong with it).

    Raises:
        CheckpointError: nothing is there.
    """
    folder = _local_folder(model, "model", weights=False)
    if is_our_adapter(folder) or (folder / ADAPTER_CONFIG).is_file() or not (folder / "config.json").is_file():
        return None
    settings = read_json(folder / "config.json")
    if settings.get("model_type") == OUR_MODEL_TYPE or is_released(settings) or is_vamba(settings):
        return None
    return _local_folder(model, "model", weights=weights)


def is_our_adapter(folder: Path) -> bool:
    """Whether a folder is an adapter of ours, whole or not."""
    if (folder / BASE_NAME).is_file():
        return True
    if not (folder / ADAPTER_FOLDER / ADAPTER_CONFIG).is_file() or any(folder.glob("model*.safetensors*")):
        return False
    config = folder / "config.json"
    return config.is_file() and read_json(config).get("model_type") == OUR_MODEL_TYPE


def _find_our_adapter(folder: Path, base: str | Path | None, weights: bool, above: tuple[Path, ...]) -> Source:
    """An adapter of ours and what it goes onto, which may be an adapter itself."""
    _check_our_adapter_files(folder, weights)
    if not weights:
        return Source("our adapter", folder)
    place = folder.resolve()
    if place in above:
        raise CheckpointError(
            f"the adapter {folder} is its own base.", fix="pass the model that it was made on as base (--base)."
        )
    if base is not None:
        return Source("our adapter", folder, base=_find(base, None, weights, (*above, place)))
    named = read_base(folder)
    # The base of the base is looked up from here, too: that is where both were named.
    below = None if named.base is None else _named_base(named.base, folder, weights)
    return Source(
        "our adapter", folder, base=_find(_named_base(named.path, folder, weights), below, weights, (*above, place))
    )


def _local_folder(name: str | Path, what: str, weights: bool) -> Path:
    """A shipped model's folder, a folder as it is, or a hub id downloaded (or taken from the hub's cache)."""
    shipped = shipped_models()
    if isinstance(name, str) and name in shipped:
        return shipped[name]
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise CheckpointError(f"the {what} {path} is a file.", fix="pass the folder that holds it.")
    if isinstance(name, Path) or not HUB_ID.fullmatch(name):
        raise CheckpointError(
            f"the {what} {str(name)!r} is neither a folder nor a hub id (owner/name)"
            f"{', nor ' + ' or '.join(shipped) if shipped else ''}.",
            fix="check the path; a released model is fetched with: hf download mmiemon/BIMBA-LLaVA-Qwen2-7B "
            "--local-dir DIR",
        )
    return _fetch(name, what, weights)


def _fetch(hub_id: str, what: str, weights: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=None if weights else list(_SMALL_PATTERNS)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"the {what} {hub_id!r} is no folder here and could not be fetched from the hub ({type(error).__name__}).",
            fix=f"check the name and the network, or fetch it elsewhere: hf download {hub_id} --local-dir DIR",
        ) from error


def _base_of(adapter: Path, weights: bool) -> Path:
    """The base that an adapter names: as it is, beside the adapter, or on the hub."""
    name = read_json(adapter / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise CheckpointError(
            f"the adapter {adapter} does not name its base.", fix="pass the folder or hub id of its base as base."
        )
    return _named_base(name, adapter, weights)


def _named_base(name: str, adapter: Path, weights: bool) -> Path:
    """A base as an adapter names it: a folder, a folder beside the adapter, or on the hub."""
    for candidate in (Path(name).expanduser(), adapter.resolve().parent / name):
        if candidate.is_dir():
            return candidate
    if not HUB_ID.fullmatch(name):
        raise CheckpointError(
            f"the adapter {adapter} belongs to the base {name!r}, which is not here.",
            fix="pass the folder or hub id of that base as base (--base).",
        )
    return _fetch(name, "base", weights)


def _check_our_adapter_files(folder: Path, weights: bool) -> None:
    """An adapter of ours is whole or refused."""
    names = ["config.json", "generation_config.json", "processor_config.json", BASE_NAME]
    names.append(f"{ADAPTER_FOLDER}/{ADAPTER_CONFIG}")
    if weights:
        names.append(f"{ADAPTER_FOLDER}/{ADAPTER_STEM}.safetensors")
    missing = [name for name in names if not (folder / name).is_file()] + _missing_parts(folder, weights=False)
    if missing:
        raise CheckpointError(
            f"the adapter folder {folder} lacks {', '.join(missing)}.", fix="copy it again from where it was made."
        )
    _check_readable(folder)
    if read_json(folder / "config.json").get("model_type") != OUR_MODEL_TYPE:
        raise CheckpointError(
            f"the adapter {folder} is for a {read_json(folder / 'config.json').get('model_type')!r} model.",
            fix="copy its config.json again from where it was made.",
        )


def _check_adapter_files(folder: Path, weights: bool) -> None:
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    has_trainables = any((folder / f"{TRAINABLES_STEM}.{ending}").is_file() for ending in ("safetensors", "bin"))
    if missing and is_our_adapter(folder.resolve().parent):
        raise CheckpointError(
            f"{folder} is the inner part of an adapter folder.", fix=f"pass the folder around it: {folder.parent}"
        )
    if missing and not has_trainables:
        raise CheckpointError(
            f"{folder} is an adapter of PEFT, not a released one: it has neither config.json nor {TRAINABLES_STEM}.",
            fix="load the model that it was trained on and put it on: PeftModel.from_pretrained(qa.model, folder); or "
            "merge_and_unload it, save model and processor into one folder, and load that.",
        )
    missing += [
        f"{stem}.bin (or .safetensors)"
        for stem in (ADAPTER_STEM, TRAINABLES_STEM)
        if weights and not any((folder / f"{stem}.{ending}").is_file() for ending in ("safetensors", "bin"))
    ]
    _refuse_missing(folder, missing, "hf download mmiemon/BIMBA-LLaVA-Qwen2-7B")


def _check_base_files(folder: Path, weights: bool) -> None:
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    _refuse_missing(folder, missing + _missing_parts(folder, weights), "hf download lmms-lab/LLaVA-Video-7B-Qwen2")
    _check_readable(folder)
    if weights:
        weight_files(folder)


def _check_vamba_files(folder: Path, weights: bool) -> None:
    """A Vamba, ours or released, is whole or refused."""
    pixels = ("processor_config.json", "preprocessor_config.json")
    missing = [] if any((folder / name).is_file() for name in pixels) else ["preprocessor_config.json"]
    _refuse_missing(folder, missing + _missing_parts(folder, weights), "hf download TIGER-Lab/Vamba-Qwen2-VL-7B")
    _check_readable(folder)
    if weights:
        weight_files(folder)


def _check_our_files(folder: Path, weights: bool) -> None:
    """A folder of ours is whole or refused: what is missing must not be replaced by defaults."""
    missing = [name for name in ("generation_config.json", "processor_config.json") if not (folder / name).is_file()]
    missing += _missing_parts(folder, weights)
    if missing:
        raise CheckpointError(
            f"the model folder {folder} lacks {', '.join(missing)}.",
            fix="copy it again from where it was made: bimba convert ADAPTER OUT --base BASE writes it whole, and so "
            "do model.save_pretrained and processor.save_pretrained together.",
        )
    _check_readable(folder)
    if weights:
        weight_files(folder)


def _missing_parts(folder: Path, weights: bool) -> list[str]:
    """Tokenizer and weights that are not there."""
    missing = []
    has_vocabulary = (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file()
    if not has_vocabulary and not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        missing.append("tokenizer.json (or vocab.json and merges.txt)")
    if weights and not any(folder.glob("model*.safetensors*")):
        missing.append("model.safetensors (or its shards and model.safetensors.index.json)")
    return missing


def _check_readable(folder: Path) -> None:
    for name in _SMALL_FILES:
        if (folder / name).is_file():
            read_json(folder / name)


def _refuse_missing(folder: Path, missing: list[str], command: str) -> None:
    if not missing:
        return
    # Only a folder that holds part of a model is the place to complete it.
    is_part = any((folder / name).is_file() for name in ("config.json", ADAPTER_CONFIG, INDEX_NAME))
    raise CheckpointError(
        f"the model folder {folder} lacks {', '.join(missing)}.",
        fix=f"{command} --local-dir {folder if is_part else 'DIR'}{'' if is_part else ', then name that DIR'}",
    )
