"""Options of a call in, a generation config of transformers out: greedy unless asked otherwise."""

import copy
import difflib
from collections.abc import Callable
from numbers import Integral
from typing import Any

from transformers import GenerationConfig

from bimba.errors import InputError


def is_whole(value: object, *, least: int) -> bool:
    """Whether a value is a whole number (Python's or numpy's) that is large enough."""
    return isinstance(value, Integral) and int(value) >= least


_SAMPLING = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 50,
    "min_p": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
}
"""Options that mean something when sampling only, with transformers' own defaults."""

_RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "temperature": (lambda value: value >= 0, "0 (greedy) or more"),
    "top_p": (lambda value: 0 < value <= 1, "a share above 0, at most 1"),
    "top_k": (lambda value: is_whole(value, least=0), "a whole number"),
    "num_beams": (lambda value: is_whole(value, least=1), "a whole number of at least 1"),
    "repetition_penalty": (lambda value: value > 0, "a number above 0 (1 is none)"),
}
_NOT_OPTIONS = {
    "max_length",
    "return_dict_in_generate",
    "transformers_version",
    "num_return_sequences",
    # transformers would fetch code from the hub for these:
    "num_beam_groups",
    "diversity_penalty",
    "penalty_alpha",
    "dola_layers",
    "constraints",
    "force_words_ids",
}


def generation_settings(defaults: GenerationConfig, max_new_tokens: int, options: dict[str, Any]) -> GenerationConfig:
    """Config of one call.

    The checkpoint's own sampling settings are put aside: an answer is greedy unless `do_sample` or a sampling option
    is given. Its repetition penalty, end and padding ids stay.

    Args:
        defaults: the checkpoint's.
        max_new_tokens: at most so many tokens.
        options: as GenerationConfig names them; `temperature=0` is greedy.

    Raises:
        InputError: an option is unknown or out of range.
    """
    if not is_whole(max_new_tokens, least=1):
        raise InputError(f"max_new_tokens is {max_new_tokens!r}.", fix="ask for a whole number of at least one.")
    known = set(GenerationConfig().to_dict()) - _NOT_OPTIONS
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            raise InputError(
                f"{name!r} is no generation option.",
                fix=f"did you mean {near[0]!r}?" if near else "see transformers.GenerationConfig for the options.",
            )
    wanted = dict(options)
    for name, (is_right, range_text) in _RANGES.items():
        if wanted.get(name) is not None and not is_right(wanted[name]):
            raise InputError(f"{name} is {wanted[name]}.", fix=f"give {range_text}.")
    if wanted.get("use_cache") is False:
        raise InputError("use_cache is False.", fix="leave it out; videos are embedded once and kept in the cache.")
    if wanted.get("temperature") == 0:
        del wanted["temperature"]
        wanted["do_sample"] = False
    asked_to_sample = any(wanted.get(name) is not None for name in _SAMPLING)
    wanted.setdefault("do_sample", asked_to_sample)
    settings = copy.deepcopy(defaults)
    if not wanted["do_sample"]:
        settings.update(**_SAMPLING)
    # One answer as plain ids, without beams, whatever the checkpoint's own config says; options come on top.
    settings.max_length = None
    settings.update(num_beams=1, num_return_sequences=1, return_dict_in_generate=False, use_cache=True)
    try:
        settings.update(max_new_tokens=max_new_tokens, **wanted)
        settings.validate()
    except ValueError as error:
        raise InputError(f"these generation options do not go together: {error}", fix="change them.") from error
    return settings
