"""The shape of every value in this package: frozen, and strict about unknown fields."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """A value: compared by content, never changed in place, refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
