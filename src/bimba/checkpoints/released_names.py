"""Tensor names of the public layout <-> ours, both ways; values stay as they are."""

import re
from collections.abc import Iterable, Mapping

from bimba.checkpoints.tensors import LazyTensor, Rows, Stacked
from bimba.compressors import public_names

COMPRESSOR = "model.compressor."
NEWLINE = "separators.newline"
_PREFIXES = (
    ("model.vision_tower.vision_tower.vision_model.", "vision_tower."),
    ("model.embed_tokens.", "language_model.model.embed_tokens."),
    ("model.layers.", "language_model.model.layers."),
    ("model.norm.", "language_model.model.norm."),
    ("lm_head.", "language_model.lm_head."),
)
_PROJECTOR = re.compile(r"model\.mm_projector\.(\d+)\.(weight|bias)")
_OUR_PROJECTOR = re.compile(r"projector\.layers\.(\d+)\.(weight|bias)")
_NOT_WEIGHTS = re.compile(r".*(rotary_emb\.inv_freq|embeddings\.position_ids)")


def our_names(released_name: str) -> tuple[str, ...]:
    """Our name (or the two whose rows it stacks) for a tensor of the public layout.

    Raises:
        KeyError: the public model has no such tensor.
    """
    if released_name == "model.image_newline":
        return (NEWLINE,)
    projector = _PROJECTOR.fullmatch(released_name)
    if projector is not None and int(projector[1]) % 2 == 0:  # odd places hold the activations
        return (f"projector.layers.{int(projector[1]) // 2}.{projector[2]}",)
    if released_name.startswith(COMPRESSOR):
        parts = public_names.our_names(released_name.removeprefix(COMPRESSOR))
        return tuple(f"compressor.{part}" for part in parts)
    for public, ours in _PREFIXES:
        if released_name.startswith(public):
            return (ours + released_name.removeprefix(public),)
    raise KeyError(released_name)


def released_names(our_tensor_names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Public names that hold these tensors of ours, each with its parts.

    Raises:
        KeyError: a name has no place in the public layout.
    """
    found: dict[str, tuple[str, ...]] = {}
    compressor: list[str] = []
    for name in our_tensor_names:
        projector = _OUR_PROJECTOR.fullmatch(name)
        if name.startswith("compressor."):
            compressor.append(name.removeprefix("compressor."))
        elif name == NEWLINE:
            found["model.image_newline"] = (name,)
        elif projector is not None:
            found[f"model.mm_projector.{2 * int(projector[1])}.{projector[2]}"] = (name,)
        else:
            found[_with_public_prefix(name)] = (name,)
    for public, parts in public_names.public_names(compressor).items():
        found[COMPRESSOR + public] = tuple(f"compressor.{part}" for part in parts)
    return found


def _with_public_prefix(name: str) -> str:
    for public, ours in _PREFIXES:
        if name.startswith(ours):
            return public + name.removeprefix(ours)
    raise KeyError(name)


def is_buffer(released_name: str) -> bool:
    """Whether a public name is a buffer that old versions of transformers saved and that follows from the config."""
    return _NOT_WEIGHTS.fullmatch(released_name) is not None


def to_ours(
    released: Mapping[str, LazyTensor], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[dict[str, LazyTensor], list[str]]:
    """Public tensors under our names.

    Args:
        released: tensors under public names.
        shapes: shapes of the model's tensors under our names; they tell where stacked rows part.

    Returns:
        tensors under our names, and what does not fit: unknown and misshapen tensors, one line each.
    """
    tensors: dict[str, LazyTensor] = {}
    problems: list[str] = []
    for name, tensor in released.items():
        if is_buffer(name):
            continue
        try:
            parts = our_names(name)
        except KeyError:
            problems.append(f"unknown   {name} {list(tensor.shape)}")
            continue
        if any(part not in shapes for part in parts):
            problems.append(f"unknown   {name} {list(tensor.shape)}")
            continue
        rows = [shapes[part][0] if shapes[part] else 1 for part in parts]
        expected = (sum(rows), *shapes[parts[0]][1:])
        if tensor.shape != expected:
            problems.append(f"misshapen {name} {list(tensor.shape)}, the model has {list(expected)}")
            continue
        if len(parts) == 1:
            tensors[parts[0]] = tensor
            continue
        start = 0
        for part, count in zip(parts, rows, strict=True):
            tensors[part] = Rows(tensor, start, start + count)
            start += count
    return tensors, problems


def to_released(ours: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Our tensors under public names.

    Raises:
        KeyError: a name has no place in the public layout.
    """
    return {
        name: ours[parts[0]] if len(parts) == 1 else Stacked(tuple(ours[part] for part in parts))
        for name, parts in released_names(ours).items()
    }
