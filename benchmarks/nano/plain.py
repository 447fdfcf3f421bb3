"""Figures that are kept in a file: the base of their classes, and the machine that they were made on."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Figures(BaseModel):
    """Checked values that go into JSON and back."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Machine(Figures):
    """What something ran on, and with which code; no names of hosts and no paths.

    Attributes:
        processor: its name.
        num_cores: of it.
        gpus: names of those that were there.
        system: kind of system and of processor, without the version of the kernel.
        python: its version.
        bimba: its version.
        commit: of a clone, if it was one.
        is_dirty: the package differed from the commit.
        versions: of libraries.
        time: when this was written down.
    """

    processor: str
    num_cores: int
    gpus: tuple[str, ...]
    system: str
    python: str
    bimba: str
    commit: str | None
    is_dirty: bool
    versions: dict[str, str]
    time: str

    @classmethod
    def of(cls, provenance: Mapping[str, Any]) -> Self:
        """Take what is told to everybody from `bimba.provenance.code_and_machine`."""
        code = provenance["code"]
        system = provenance["system"].split()
        return cls(
            processor=provenance["processor"],
            num_cores=provenance["num_cores"],
            gpus=tuple(provenance["gpus"]),
            system=f"{system[0]} {system[-1]}",
            python=provenance["python"],
            bimba=provenance["bimba"],
            commit=None if code is None else code["commit"],
            is_dirty=code is not None and code["is_dirty"],
            versions={name: number for name, number in provenance["versions"].items() if number is not None},
            time=provenance["time"],
        )

    @property
    def hardware(self) -> str:
        """In words."""
        return f"{self.processor}, {self.num_cores} cores, {', '.join(self.gpus) or 'no GPU'}; {self.system}"

    @property
    def code(self) -> str:
        """In words."""
        if self.commit is None:
            return f"bimba {self.bimba}, of no commit that is known"
        return f"bimba {self.bimba}, commit `{self.commit}`" + (" and changes to it" if self.is_dirty else "")
