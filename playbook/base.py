"""The shape of every value in this package: frozen, and strict about unknown fields."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Frozen(BaseModel):
    """A value: compared by content, never changed in place, refuses fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Written(Frozen):
    """A value that people write, in a form or a file: true and false are no numbers there."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_truth(cls, value: object, field: ValidationInfo) -> object:
        entries = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(one, bool) for one in entries):
            known = cls.model_fields[str(field.field_name)].annotation
            if not takes(known, bool):
                raise ValueError("must not be true or false")
        return value


def takes(annotation: Any, kind: type) -> bool:
    """Whether a field with this annotation takes a value of ``kind``."""
    return annotation in (kind, object, Any) or any(takes(one, kind) for one in get_args(annotation))
