"""Make transformers' Auto classes know our models, whichever of bimba and transformers is imported first.

Importing torch or transformers here would make `import bimba` slow, so registration waits: right after an Auto module
of transformers is imported (or now, if it already is), the modules of ours that register with it are imported.
"""

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

REGISTERS_WITH = {
    "transformers.models.auto.configuration_auto": (
        "bimba.models.bimba.configuration",
        "bimba.models.vamba.configuration",
    ),
    "transformers.models.auto.modeling_auto": ("bimba.models.bimba.modeling", "bimba.models.vamba.modeling"),
    "transformers.models.auto.processing_auto": ("bimba.models.bimba.processing", "bimba.models.vamba.processing"),
}
"""Auto module of transformers -> our modules, whose last line registers their class."""


class _RegisteringLoader(Loader):
    """Runs the module's own loader, then imports ours."""

    def __init__(self, wrapped: Loader, ours: Sequence[str]) -> None:
        self._wrapped, self._ours = wrapped, ours

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._wrapped.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._wrapped.exec_module(module)
        # If one is being imported right now (it imports the Auto module itself), this does nothing.
        for module_of_ours in self._ours:
            importlib.import_module(module_of_ours)


class _RegisteringFinder(MetaPathFinder):
    """Finds the Auto modules through the other finders and wraps their loaders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in REGISTERS_WITH:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _RegisteringLoader(spec.loader, REGISTERS_WITH[fullname])
                return spec
        return None


def register_when_imported() -> None:
    """Register with every Auto module that is imported already, and with the others once they are."""
    if any(isinstance(finder, _RegisteringFinder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _RegisteringFinder())
    for auto, ours in REGISTERS_WITH.items():
        if auto in sys.modules:
            for module_of_ours in ours:
                importlib.import_module(module_of_ours)
