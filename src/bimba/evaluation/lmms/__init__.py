"""Our models in lmms-eval (github.com/EvolvingLMMs-Lab/lmms-eval): its requests in, answers and losses out.

lmms-eval finds `manifest` through the entry point of the installed package; `--model bimba` then names our class. The
flow: visuals (what a request shows -> frames) -> model (asks) ; tasks (a prepared benchmark -> a task of lmms-eval),
which calls functions (what the task's YAML names).
"""

from typing import Any

MODEL_NAME = "bimba"


def manifest() -> Any:
    """What lmms-eval is told of our model, when it starts."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id=MODEL_NAME, simple_class_path=f"{__name__}.model.BimbaModel")
