"""Make transformers' Auto classes know our models, whichever of bimba and transformers is imported first.

Importing torch or transformers here would make `import bimba` slow, so registration waits: each Auto module of
transformers gets our classes right after it is imported (or now, if it already is).
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def _register_configs(auto: ModuleType) -> None:
    from bimba.models.bimba.configuration import BimbaConfig

    auto.AutoConfig.register(BimbaConfig.model_type, BimbaConfig, exist_ok=True)


def _register_models(auto: ModuleType) -> None:
    from bimba.models.bimba.configuration import BimbaConfig
    from bimba.models.bimba.modeling import BimbaForConditionalGeneration

    auto.AutoModelForImageTextToText.register(BimbaConfig, BimbaForConditionalGeneration, exist_ok=True)


def _register_processors(auto: ModuleType) -> None:
    from bimba.models.bimba.configuration import BimbaConfig
    from bimba.models.bimba.processing import BimbaProcessor

    auto.AutoProcessor.register(BimbaConfig, BimbaProcessor, exist_ok=True)


REGISTRATIONS: dict[str, Callable[[ModuleType], None]] = {
    "transformers.models.auto.configuration_auto": _register_configs,
    "transformers.models.auto.modeling_auto": _register_models,
    "transformers.models.auto.processing_auto": _register_processors,
}


class _RegisteringLoader(Loader):
    """Runs the module's own loader, then the registration."""

    def __init__(self, wrapped: Loader, register: Callable[[ModuleType], None]) -> None:
        self._wrapped, self._register = wrapped, register

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._wrapped.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._wrapped.exec_module(module)
        self._register(module)


class _RegisteringFinder(MetaPathFinder):
    """Finds the Auto modules through the other finders and wraps their loaders."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        register = REGISTRATIONS.get(fullname)
        if register is None:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _RegisteringLoader(spec.loader, register)
                return spec
        return None


def register_when_imported() -> None:
    """Register with every Auto module that is imported already, and with the others once they are."""
    if any(isinstance(finder, _RegisteringFinder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _RegisteringFinder())
    for name, register in REGISTRATIONS.items():
        module = sys.modules.get(name)
        if module is not None:
            register(module)
