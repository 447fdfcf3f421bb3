"""What `from_pretrained` is given in, the model out: adapter folders of ours are opened on their base.

What an adapter folder is stands in `checkpoints`, above the models in the flow, which may not import it. So it is named
here, and imported when a model is loaded.
"""

import importlib
from pathlib import Path
from typing import Any, Self

OPENER = "bimba.checkpoints.pretrained"
"""Module whose `open_if_adapter` tells adapters of ours from what transformers opens by itself."""


class OpensAdapters:
    """`from_pretrained` for adapter folders, too; stands before `PreTrainedModel` among a model's bases."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Self:
        """Load a model, or put an adapter of ours onto its base and load that.

        Args:
            pretrained_model_name_or_path: folder or hub id; None with a config and a `state_dict`.
            model_args: as transformers takes them.
            kwargs: as transformers takes them.

        Raises:
            CheckpointError: an adapter or its base is incomplete, or they do not fit.
        """
        parent: Any = super()
        name = pretrained_model_name_or_path
        opened = None
        if isinstance(name, str | Path) and kwargs.get("state_dict") is None:
            opened = importlib.import_module(OPENER).open_if_adapter(name, kwargs)
        if opened is None:
            loaded = parent.from_pretrained(name, *model_args, **kwargs)
        else:
            kwargs["config"] = kwargs.get("config") or opened.config
            loaded = parent.from_pretrained(None, *model_args, state_dict=dict(opened.tensors), **kwargs)
            # With output_loading_info there is a report beside the model.
            model = loaded[0] if isinstance(loaded, tuple) else loaded
            model.generation_config = opened.generation_config
        result: Self = loaded
        return result
