"""How a request looks as a form in the Prefect UI: the order of its fields, which must be filled in, what each accepts.

Prefect checks a form against its JSON schema and shows each refusal beside its field. Of a pattern that does not match
it shows the expression; of a constant, "'at least one word' was expected". So what a field must look like is a
condition, and the constant of its ``else`` says in words what to write.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from playbook.base import Written
from playbook.text import Name, Said

REQUIRED = "x-required"
"""Marks a field that the form insists on. The model itself keeps a default, so that a request from a script without
the field is answered with every field that is missing, in words."""
CHOICES = "x-choices"
"""Marks a field whose choices an environment file gives (`deployed`)."""
SERVICES = "services"
FORM = "x-form"
"""Marks a model that people fill in."""
INTERNAL = "x-internal"
"""Marks a field that only this project fills in: the form does not show it."""


def must_match(expression: str, says: str) -> dict[str, Any]:
    """The whole field matches ``expression``; where it does not, the form shows "'``says``' was expected"."""
    return {"if": {"pattern": f"^(?:{expression})$"}, "else": {"const": says}}


NOT_BLANK = must_match(r"[\s\S]*\w[\s\S]*", "at least one word")
AT_MOST = "x-at-most"


@dataclass(frozen=True)
class AtMost:
    """How many characters a text of a form may have, or how many entries a list.

    The form refuses more in words; the model takes it, so that a request from a script is answered by `too_many`.
    """

    limit: int

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(core), AT_MOST: self.limit}


Line = Annotated[Said, AtMost(500)]
"""A sentence."""
Person = Annotated[Name, AtMost(200)]
"""The name of a person, or of what asks in their place."""


def too_many(written: BaseModel) -> list[str]:
    """A line for each field of ``written`` that has more characters or entries than it may have."""
    found = []
    for name, one in type(written).model_fields.items():
        value = getattr(written, name)
        limit = next((mark.limit for mark in one.metadata if isinstance(mark, AtMost)), None)
        if limit is not None and len(value) > limit:
            unit = "characters" if isinstance(value, str) else "entries"
            found.append(f"{name}: it has {len(value)} {unit}; at most {limit} are taken")
    return found


def _at_most(one: JsonSchemaValue) -> None:
    """The limit of a text or a list as a condition, beside the word that a required text must have."""
    limit = one.pop(AT_MOST, None)
    if limit is None or one.get("if", NOT_BLANK["if"]) != NOT_BLANK["if"]:
        return  # a form of its own says what the text looks like
    if one.get("type") == "array":
        one |= {"if": {"maxItems": limit}, "else": {"const": f"at most {limit} entries"}}
    elif "if" in one:
        one |= must_match(rf"(?=[\s\S]*\w)[\s\S]{{0,{limit}}}", f"at least one word, at most {limit} characters")
    else:
        one |= {"if": {"maxLength": limit}, "else": {"const": f"at most {limit} characters"}}


def field(*, required: bool = False, choices: str = "", example: str = "", **more: Any) -> dict[str, Any]:
    """What a form's field says beyond its type: the ``json_schema_extra`` of a pydantic field."""
    extra: dict[str, Any] = {REQUIRED: True, **NOT_BLANK} if required else {}
    extra |= {CHOICES: choices} if choices else {}
    extra |= {"examples": [example]} if example else {}
    return extra | more


def who(title: str = "Requested by", description: str = "Your name. It is recorded and announced.") -> Any:
    """The field for a person's name."""
    return Field("", title=title, description=description, json_schema_extra=field(required=True, example="Aziz"))


def sentence(description: str, example: str, title: str = "Reason") -> Any:
    """A required field for one sentence."""
    return Field("", title=title, description=description, json_schema_extra=field(required=True, example=example))


class Form(Written):
    """A request that people fill in. Its JSON schema lists the fields in the order of the class."""

    earlier_names: ClassVar[Mapping[str, str]] = {}
    """Name that scripts and earlier versions use -> the field's name. The form does not show it, and Prefect lets it
    through."""

    @model_validator(mode="before")
    @classmethod
    def _reads_earlier_names(cls, value: object) -> object:
        if not isinstance(value, dict) or not (cls.earlier_names.keys() & value.keys()):
            return value
        renamed = {cls.earlier_names[name]: one for name, one in value.items() if name in cls.earlier_names}
        return renamed | {name: one for name, one in value.items() if name not in cls.earlier_names}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler(core)
        found = handler.resolve_ref_schema(schema)
        _arrange(found)
        if cls.earlier_names:
            found.pop("additionalProperties", None)  # the model still refuses unknown fields
        return schema


def _arrange(schema: JsonSchemaValue) -> None:
    """Positions, required fields, and no choice between a value and none: an empty box is none."""
    schema[FORM] = True
    properties: dict[str, JsonSchemaValue] = schema.get("properties", {})
    for name in [name for name, one in properties.items() if one.get(INTERNAL)]:
        del properties[name]
        schema.pop("additionalProperties", None)  # it may be sent all the same; the model still refuses unknown fields
    required = list(schema.get("required", ()))
    for position, (name, one) in enumerate(properties.items()):
        one |= {"position": position, "title": one.get("title", name.capitalize())}
        if one.pop(REQUIRED, False):
            one.pop("default", None)
            required.append(name)
        _at_most(one)
        _leave_empty(one)
    if required:
        schema["required"] = list(dict.fromkeys(required))


def _leave_empty(one: JsonSchemaValue) -> None:
    """A box instead of a choice between a value and none. A whole model stays a choice, and is shown where wanted.

    The UI sends null for an empty box, and Prefect refuses null where the field has a default.
    """
    kinds = [kind for kind in one.get("anyOf", ()) if kind != {"type": "null"}]
    if "anyOf" in one and len(kinds) == 1 and "$ref" not in kinds[0]:
        del one["anyOf"]
        one.pop("default", None)
        one.update(kinds[0])
    if "anyOf" not in one and "default" in one and one["default"] is None:
        del one["default"]


def deployed(schema: dict[str, Any], environment: str, services: Sequence[str], *, is_internal: bool) -> dict[str, Any]:
    """The parameter schema of a deployment as its form shows it: with the choices that ``environment`` gives.

    ``schema`` is what Prefect stores (``parameter_openapi_schema``), or what this function made of it before. Where the
    project itself starts the deployment, only what a person may fill in is shown.
    """
    found: dict[str, Any] = _with_choices(schema, {SERVICES: list(services)})
    properties = found.setdefault("properties", {})
    if is_internal:
        forms = {f"#/definitions/{name}" for name, one in found.get("definitions", {}).items() if one.get(FORM)}
        properties = {key: one for key, one in properties.items() if key == "environment" or _refers(one) & forms}
        found |= {"properties": properties, "required": []}
        if not any(map(_refers, properties.values())):
            found.pop("definitions", None)
    for name, one in found["properties"].items():
        one["title"] = name.replace("_", " ").capitalize()
        _leave_empty(one)
    if "environment" in properties:
        properties["environment"] |= {"enum": [environment], "default": environment}
        properties["environment"]["description"] = "This deployment acts on this environment only."
        found["required"] = list(dict.fromkeys([*found.get("required", ()), "environment"]))
    return found


def _refers(schema: dict[str, Any]) -> set[str]:
    """The definitions that a property takes."""
    return {one["$ref"] for one in (schema, *schema.get("anyOf", ())) if "$ref" in one}


def _with_choices(schema: Any, choices: Mapping[str, list[str]]) -> Any:
    if isinstance(schema, list):
        return [_with_choices(one, choices) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _with_choices(one, choices) for key, one in schema.items()}
    if values := choices.get(str(schema.get(CHOICES))):
        (found["items"] if found.get("type") == "array" else found)["enum"] = values
    return found
