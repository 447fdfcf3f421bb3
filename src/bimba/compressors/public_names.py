"""Key names of the public compressor <-> ours, both ways and bit for bit.

One public tensor is one or two of ours, stacked along dimension 0: x_proj holds step sizes, inputs and read-outs;
in_proj holds the input and the gate.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

SHARED = {
    "in_proj.weight": ("in_proj.weight", "gate_proj.weight"),
    "out_proj.weight": ("out_proj.weight",),
}
FORWARD = {
    "conv1d.weight": ("conv_weight",),
    "conv1d.bias": ("conv_bias",),
    "x_proj.weight": ("step_proj.weight", "readout_proj.weight"),
    "dt_proj.weight": ("dt_proj.weight",),
    "dt_proj.bias": ("dt_bias",),
    "A_log": ("A_log",),
    "D": ("D",),
}
BACKWARD_NAMES = {
    "conv1d.weight": "conv1d_b.weight",
    "conv1d.bias": "conv1d_b.bias",
    "x_proj.weight": "x_proj_b.weight",
    "dt_proj.weight": "dt_proj_b.weight",
    "dt_proj.bias": "dt_proj_b.bias",
    "A_log": "A_b_log",
    "D": "D_b",
}
PARTS_OF: dict[str, tuple[str, ...]] = (
    SHARED
    | {public: tuple(f"forward_scan.{name}" for name in parts) for public, parts in FORWARD.items()}
    | {BACKWARD_NAMES[public]: tuple(f"backward_scan.{name}" for name in parts) for public, parts in FORWARD.items()}
)
"""Public name below `layers.<i>.mixer.` -> our names there, in the order in which they are stacked."""

_KEY = re.compile(r"(layers\.\d+\.)(norm\.weight|mixer\.(.+))")


def our_names(public_key: str) -> tuple[str, ...]:
    """Our key (or two, stacked along dimension 0) for a key of the public compressor.

    Raises:
        KeyError: the public compressor has no such key.
    """
    match = _KEY.fullmatch(public_key)
    if match is None or (match[3] is not None and match[3] not in PARTS_OF):
        raise KeyError(public_key)
    if match[3] is None:
        return (public_key,)
    return tuple(f"{match[1]}mixer.{part}" for part in PARTS_OF[match[3]])


def public_names(keys: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Public keys that hold these keys of ours, each with its parts, in the order of `keys`."""
    public_of = {parts: public for public, parts in PARTS_OF.items()}
    first_parts = {parts[0]: parts for parts in public_of}
    found: dict[str, tuple[str, ...]] = {}
    for key in keys:
        match = _KEY.fullmatch(key)
        if match is None:
            raise KeyError(key)
        if match[3] is None:
            found[key] = (key,)
        elif match[3] in first_parts:
            parts = first_parts[match[3]]
            found[f"{match[1]}mixer.{public_of[parts]}"] = tuple(f"{match[1]}mixer.{part}" for part in parts)
    return found


def from_public_state_dict(state: Mapping[str, Tensor], own_shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Public tensors under our names.

    Args:
        state: tensors under public names.
        own_shapes: shapes of this compressor's tensors under our names.

    Raises:
        ValueError: unknown, missing or misshapen tensors, all of them listed.
    """
    problems: list[str] = []
    result: dict[str, Tensor] = {}
    wanted = public_names(own_shapes)
    problems += [f"missing {key}" for key in wanted if key not in state]
    problems += [f"unknown {key}" for key in state if key not in wanted]
    for key, parts in wanted.items():
        if key not in state:
            continue
        rows = [own_shapes[part][0] for part in parts]
        shape = (sum(rows), *own_shapes[parts[0]][1:])
        if tuple(state[key].shape) != shape:
            problems.append(f"{key} has the shape {tuple(state[key].shape)}, not {shape}")
            continue
        result.update(zip(parts, state[key].split(rows), strict=True))
    if problems:
        raise ValueError("the public weights do not fit this compressor: " + "; ".join(problems))
    return result


def to_public_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under public names."""
    return {
        key: state[parts[0]] if len(parts) == 1 else torch.cat([state[part] for part in parts])
        for key, parts in public_names(state).items()
    }
