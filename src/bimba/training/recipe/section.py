"""What every section of a recipe is: frozen, typed, and without keys that nobody reads."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A section of a recipe: frozen, and unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
