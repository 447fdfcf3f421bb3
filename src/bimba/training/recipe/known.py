"""The values of a recipe in, the dotted keys that it may have out; and for a key that it may not have, the nearest."""

import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from bimba.checkpoints.loading import OVERRIDABLE
from bimba.models.bimba.configuration import COMPRESSORS, SELECTIVE_SCAN, BimbaConfig
from bimba.models.vamba.configuration import MIXER, VambaConfig
from bimba.needles import make_needles
from bimba.training.recipe.data_settings import Needles, Stream
from bimba.training.recipe.section import Settings
from bimba.training.recipe.settings import Checkpoint, Parts, Recipe, Scratch
from bimba.training.recipe.train_settings import BIMBA_PARTS, VAMBA_PARTS

_CONFIG = tuple(name for name in BimbaConfig.__annotations__ if name != "model_type")
_BETWEEN = tuple(name for name in _CONFIG if name not in ("vision_config", "text_config", "compressor"))
_CONFIGS = {"bimba": ("model_type", *_CONFIG), "vamba": ("model_type", *VambaConfig.__annotations__)}
_KIND_KEYS = ("start", "kind")
"""Keys that tell which of several sections one is."""
_NEEDLES = tuple(
    name for name in inspect.signature(make_needles).parameters if name not in ("out", "overwrite", "on_progress")
)


@dataclass(frozen=True)
class KnownKeys:
    """Keys that a recipe may have.

    Attributes:
        places: dotted, with the numbers of list entries.
        open: places below which any key is taken, because others check them (e.g. transformers' `vision_config`).
    """

    places: list[str] = field(default_factory=list)
    open: set[str] = field(default_factory=set)

    def __contains__(self, place: str) -> bool:
        return place in self.places or any(place.startswith(f"{start}.") for start in self.open)

    def beside(self, place: str) -> list[str]:
        """Known keys of the mapping that a place is in."""
        above = place.rpartition(".")[0]
        return [known for known in self.places if known.rpartition(".")[0] == above]

    def suggestion(self, place: str) -> str:
        """What could have been meant by an unknown place, as the end of a sentence."""
        word = place.rpartition(".")[2]
        beside = self.beside(place)
        section, part = [*place.split("."), ""][:2]
        if section == "train" and part in (*BIMBA_PARTS, *VAMBA_PARTS) and f"train.{part}" not in self.places:
            return self._parts_of_the_other_kind(part)
        names = [known.rpartition(".")[2] for known in beside]
        near = difflib.get_close_matches(word, names, n=1)
        if near:
            return f"did you mean {beside[names.index(near[0])]}?"
        elsewhere = sorted(self.places, key=lambda known: known.count("."))
        endings = [known.rpartition(".")[2] for known in elsewhere]
        near = difflib.get_close_matches(word, endings, n=1, cutoff=0.8)
        if near:
            return f"did you mean {elsewhere[endings.index(near[0])]}?"
        if names:
            return f"known there: {', '.join(names)}."
        near = difflib.get_close_matches(place, self.places, n=1, cutoff=0.7)  # the mapping itself is unknown
        return f"did you mean {near[0]}?" if near else f"known are {', '.join(Recipe.model_fields)}."

    def _parts_of_the_other_kind(self, word: str) -> str:
        """What a part is of, and which parts there are."""
        is_vamba = "train.merger" in self.places
        here, other = ("Vamba", "BIMBA") if is_vamba else ("BIMBA", "Vamba")
        parts = ", ".join(VAMBA_PARTS if is_vamba else BIMBA_PARTS)
        return f"{word} is a part of a {other} (kind: {other.lower()}); those of a {here} are {parts}."


def known_keys(values: Mapping[str, Any]) -> KnownKeys:
    """Every key that a recipe with these values may have.

    Which ones these are depends on the values: the model's section has other keys for another `start`, and lists have
    as many entries as they have.
    """
    known = KnownKeys()
    _add_section(known, [Recipe], values, ())
    return known


def _add_section(known: KnownKeys, sections: Sequence[type[Settings]], values: Any, place: tuple[str, ...]) -> None:
    """Add the fields of a section; of all of them, if it could be one of several."""
    values = values if isinstance(values, Mapping) else {}
    for section in sections:
        for name, info in section.model_fields.items():
            inner = (*place, name)
            value = values.get(name)
            _add(known, inner)
            below = _chosen(list(_sections_in(info.annotation)), value)
            if isinstance(value, list):
                for index, item in enumerate(value):
                    _add(known, (*inner, str(index)))
                    _add_section(known, below, item, (*inner, str(index)))
            else:
                _add_section(known, below, value, inner)
            for free in _free_names(section, name, value):
                _add(known, (*inner, free))
                known.open.add(".".join((*inner, free)))


def _add(known: KnownKeys, place: tuple[str, ...]) -> None:
    dotted = ".".join(place)
    if dotted not in known.places:
        known.places.append(dotted)


def _sections_in(annotation: Any) -> Iterator[type[Settings]]:
    """Sections that an annotation such as `tuple[Source, ...]` or `Needles | None` names."""
    if inspect.isclass(annotation) and issubclass(annotation, Settings):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections_in(inner)


def _chosen(sections: list[type[Settings]], value: Any) -> list[type[Settings]]:
    """The one section of several whose `start` or `kind` the value names, or which is the default; or all."""
    if len(sections) < 2 or not isinstance(value, Mapping):
        return sections
    key = next((key for key in _KIND_KEYS if all(key in one.model_fields for one in sections)), None)
    if key is None:
        return sections
    fields = [(one, one.model_fields[key]) for one in sections]
    named = [one for one, field in fields if value.get(key, field.default) in get_args(field.annotation)]
    return named or sections


def _free_names(section: type[Settings], name: str, value: Any) -> Sequence[str]:
    """Names that a mapping without a section of its own may have; those below them are checked where they are used."""
    if section in (Checkpoint, Parts) and name == "compressor":
        kind = value.get("type") if isinstance(value, Mapping) else None
        return tuple(COMPRESSORS.get(str(kind), SELECTIVE_SCAN))
    if section is Scratch and name == "config":
        kind = value.get("model_type") if isinstance(value, Mapping) else None
        return _CONFIGS.get(str(kind), _CONFIGS["bimba"])
    names: dict[tuple[type[Settings], str], Sequence[str]] = {
        (Checkpoint, "settings"): OVERRIDABLE,
        (Parts, "settings"): _BETWEEN,
        (Checkpoint, "mixer"): tuple(MIXER),
        (Needles, "options"): _NEEDLES,
        (Stream, "options"): _NEEDLES,
    }
    return names.get((section, name), ())
