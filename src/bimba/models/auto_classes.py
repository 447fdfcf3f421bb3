"""Make transformers' Auto classes know our models, whichever of bimba and transformers is imported first.

Importing torch or transformers here would make `import bimba` slow, so registration waits: once an Auto module of
transformers is imported (or now, if it already is), the modules of ours that register with it are imported. They need
modules of transformers that import the Auto modules themselves, so it waits until none of these is half imported.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

REGISTERS_WITH = {
    "transformers.models.auto.configuration_auto": (
        "bimba.models.bimba.configuration",
        "bimba.models.vamba.configuration",
    ),
    "transformers.models.auto.modeling_auto": ("bimba.models.bimba.modeling", "bimba.models.vamba.modeling"),
    "transformers.models.auto.processing_auto": ("bimba.models.bimba.processing", "bimba.models.vamba.processing"),
}
"""Auto module of transformers -> our modules, whose last line registers their class."""

_WATCHED = (
    "transformers.models.auto.", "transformers.models.qwen2_vl.", "transformers.modeling_", "transformers.generation",
    "bimba.models.",
)  # fmt: skip
"""How the modules begin that import an Auto module, and are imported by ours."""


class _Watch:
    """How many watched modules are being imported, and what to do when the outermost of them is there."""

    def __init__(self) -> None:
        self._depth = 0
        self._is_registering = False

    def run(self, loader: Loader, module: ModuleType) -> None:
        """Import a module, and register if nothing around it is half imported."""
        self._depth += 1
        try:
            loader.exec_module(module)
        finally:
            self._depth -= 1
        self.register()

    def register(self) -> None:
        """Register with the Auto modules that are imported, unless it has to wait."""
        if self._depth or self._is_registering:
            return
        self._is_registering = True
        try:
            for auto, ours in REGISTERS_WITH.items():
                if auto in sys.modules:
                    for name in ours:
                        importlib.import_module(name)
        finally:
            self._is_registering = False


class _WatchingLoader(Loader):
    """The module's own loader, which tells the watch."""

    def __init__(self, wrapped: Loader, watch: _Watch) -> None:
        self._wrapped, self._watch = wrapped, watch

    def __getattr__(self, name: str) -> Any:
        """Whatever else is asked of a loader (source, resources) the own one knows."""
        return getattr(self._wrapped, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._wrapped.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._watch.run(self._wrapped, module)


class _WatchingFinder(MetaPathFinder):
    """Finds watched modules through the other finders and wraps their loaders."""

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_WATCHED):
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _WatchingLoader(spec.loader, self._watch)
                return spec
        return None


def register_when_imported() -> None:
    """Register with every Auto module that is imported already, and with the others once they are."""
    if any(isinstance(finder, _WatchingFinder) for finder in sys.meta_path):
        return
    watch = _Watch()
    sys.meta_path.insert(0, _WatchingFinder(watch))
    watch.register()
