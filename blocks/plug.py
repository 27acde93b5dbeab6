"""A field of a block that holds any vendor behind a port, and how the vendor is found by its name in data."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from blocks.base import OutsideBlock

PREFIX = "ethixai-"
"""Begins the slug of each block type of this project; a file may leave it out."""


class Plug:
    """Annotates a field whose type is a port: it takes a block that speaks the port, or a table that describes one.

    A table names its vendor by block type (``type = "slack"``, or ``block_type_slug`` as Prefect stores it). One that
    names none is of ``default``.
    """

    def __init__(self, default: type[OutsideBlock] | None = None) -> None:
        self.default = default

    def __get_pydantic_core_schema__(self, port: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        wanted = next(one.__name__ for one in (*get_args(port), port) if isinstance(one, type))

        def plugged(value: object) -> object:
            block = self.block_of(value) if isinstance(value, dict) else value
            if not isinstance(block, port):
                came = block.get_block_type_name() if isinstance(block, OutsideBlock) else type(value).__name__
                raise ValueError(f"{came} cannot be used here; write a table of a vendor that is a {wanted}")
            return block

        return core_schema.no_info_plain_validator_function(plugged)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "object"}

    def block_of(self, table: dict[str, Any]) -> OutsideBlock:
        """The block that ``table`` describes. Raises ValueError (no such vendor), ValidationError (its fields)."""
        rest = {key: value for key, value in table.items() if key not in ("type", "block_type_slug")}
        return self.vendor_of(table).model_validate(rest)

    def vendor_of(self, table: dict[str, Any]) -> type[OutsideBlock]:
        """The block class that ``table`` names. Raises ValueError."""
        name = table.get("block_type_slug") or table.get("type")
        if name is None and self.default is not None:
            return self.default
        known = vendors()
        found = known.get(str(name)) or known.get(f"{PREFIX}{name}")
        if found is None:
            names = ", ".join(sorted(slug.removeprefix(PREFIX) for slug in known))
            asked = f"there is no vendor {name!r}" if name else 'say which vendor this is, with type = "NAME"'
            raise ValueError(f"{asked}; known are {names}")
        return found


def vendors() -> dict[str, type[OutsideBlock]]:
    """Every block class that is imported, by the slug of its block type."""

    def below(kind: type[OutsideBlock]) -> Iterator[type[OutsideBlock]]:
        for one in kind.__subclasses__():
            yield one
            yield from below(one)

    return {kind.get_block_type_slug(): kind for kind in below(OutsideBlock) if kind._block_type_name}


def plug_of(field: FieldInfo) -> Plug | None:
    """The plug of a field, or of the entries of its list; None where it takes no vendor."""
    inner = [one for annotation in get_args(field.annotation) for one in getattr(annotation, "__metadata__", ())]
    return next((one for one in (*field.metadata, *inner) if isinstance(one, Plug)), None)
