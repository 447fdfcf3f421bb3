"""What transformers' `from_pretrained` was given in; an adapter of ours, opened on its base, out if it is one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from transformers.utils.hub import cached_file

from bimba.checkpoints.adapter import open_adapter
from bimba.checkpoints.base import BASE_NAME
from bimba.checkpoints.opened import OpenedModel
from bimba.checkpoints.source import HUB_ID, find_source, is_our_adapter

_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "token")


def open_if_adapter(name: str | Path, options: Mapping[str, Any]) -> OpenedModel | None:
    """Open an adapter of ours; None if it is anything else, which transformers opens by itself.

    Args:
        name: folder or hub id.
        options: keywords of `from_pretrained`, of which those that say where a hub id is fetched are read.

    Raises:
        CheckpointError: the adapter or its base is incomplete, or they do not fit.
    """
    folder = Path(name)
    if not folder.is_dir():
        if not HUB_ID.fullmatch(str(name)):
            return None
        where = {key: options[key] for key in _HUB_OPTIONS if options.get(key) is not None}
        found = cached_file(
            str(name),
            BASE_NAME,
            **where,
            _raise_exceptions_for_gated_repo=False,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
        if found is None:
            return None
        folder = Path(snapshot_download(str(name), **where))
    return open_adapter(find_source(folder)) if is_our_adapter(folder) else None
