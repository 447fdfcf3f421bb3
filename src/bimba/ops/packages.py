"""The name of an optional package in, why it cannot be used out."""

import importlib
import importlib.util
from functools import cache


@cache
def why_unusable(package: str) -> str | None:
    """Why a package cannot be used, as the end of "it needs ..."; None if it can. Imports it, once.

    An installed package may still refuse: numba does where numpy is newer than it knows.
    """
    if importlib.util.find_spec(package) is None:
        return f"{package}, which is not installed"
    try:
        importlib.import_module(package)
    except (ImportError, OSError) as problem:
        return f"{package}, which cannot be imported: {problem}"
    return None
