"""What is wrong with a request that has not the shape of its form, in plain sentences: the field, what it takes, and
what to do."""

import difflib
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from playbook.text import clean

Place = tuple[str | int, ...]
SHOWN = 60
"""Characters of a wrong value that are shown."""
WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "date": "a day such as 2025-11-16",
    "datetime": "a time such as 2025-11-16T14:00:00Z",
    "NoneType": "null",
}
KINDS = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "date": "a day such as 2025-11-16",
}
NEXT = "Correct the request and start it again."


def call_problems(given: Mapping[str, object], annotations: Mapping[str, Any], needed: tuple[str, ...]) -> list[str]:
    """The parameters of a run that its flow does not know, and those that it needs and did not get."""
    known = [name for name in annotations if name != "return"]
    found = [_unknown((), name, known) for name in given if name not in known]
    return found + [f"{name}: it is missing; {_takes(annotations[name])}." for name in needed if name not in given]


def shape_problems(errors: list[Any], annotations: Mapping[str, Any]) -> list[str]:
    """One line for each field that pydantic's ``errors`` are about. ``annotations``: of the flow's parameters."""
    lines: dict[str, str] = {}
    for error in errors:
        place, annotation = _field_of(error["loc"], annotations)
        line = _line(place, annotation, error, annotations)
        lines.setdefault(_name(place), line if line.endswith((".", "?")) else f"{line}.")
    return list(lines.values())


def _line(place: Place, annotation: Any, error: Any, annotations: Mapping[str, Any]) -> str:
    kind, name, given = str(error["type"]), _name(place), clean(repr(error.get("input")), SHOWN)
    if kind == "extra_forbidden":
        model = _model(_at(place[:-1], annotations))
        return _unknown(place[:-1], str(place[-1]), list(_shown(model)) if model else [])
    if kind == "missing":
        return f"{name}: it is missing; {_takes(annotation)}"
    said = str(error.get("msg", "")).removeprefix("Value error, ")
    if kind in ("value_error", "assertion_error") and said:
        return f"{name}: {given} is not taken: {said}"
    limit = error.get("ctx", {})
    bound = next((f"{words} {limit[key]}" for key, words in BOUNDS.items() if key in limit), "")
    return f"{name}: {given} is not taken; {_takes(annotation, kind)}{f', {bound}' if bound else ''}"


BOUNDS = {"ge": "at least", "le": "at most", "gt": "more than", "lt": "less than", "max_length": "at most so long:"}


def _takes(annotation: Any, kind: str = "") -> str:
    """What a field takes, for the end of a line."""
    choices = list(_choices(annotation))
    if choices:
        return f"it takes one of: {', '.join(choices)}"
    if model := _model(annotation):
        what = "a list of objects" if _is_list(annotation) else "an object"
        return f"it takes {what} with the fields {', '.join(_shown(model))}"
    said = set(_words(annotation))
    is_whole = "a whole number" in said  # its alternatives are there to be refused in words
    wider = {"true or false", "a number"} if is_whole else set()
    words = [one for one in dict.fromkeys(_words(annotation)) if one not in wider] or [
        KINDS.get(kind.split("_")[0], "another value")
    ]
    return f"it takes {' or '.join(words)}"


def _unknown(place: Place, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    or_else = f" Is it {near[0]}?" if near else ""
    where = _name((*place, clean(name, SHOWN)))
    return f"{where}: there is no such field; the fields are {', '.join(known) or 'none'}.{or_else}"


def _field_of(loc: Place, annotations: Mapping[str, Any]) -> tuple[Place, Any]:
    """The field that an error is about, without the alternatives of a union that pydantic adds to its place."""
    place: list[str | int] = []
    annotation: Any = annotations.get(str(loc[0])) if loc else None
    for index, step in enumerate(loc):
        if index:
            model = _model(annotation)
            if isinstance(step, int):
                annotation = next(iter(_entries(annotation)), None)
            elif model is not None and step in model.model_fields:
                annotation = _annotation(model, step)
            elif model is not None and index == len(loc) - 1 and not _is_alternative(step, annotation):
                annotation = None  # an unknown field
            else:
                continue
        place.append(step)
    return tuple(place), annotation


def _is_alternative(step: object, annotation: Any) -> bool:
    """Whether a step of a place names one alternative of a union, or a function that pydantic calls."""
    names = {one.__name__ for one in get_args(annotation) if isinstance(one, type)}
    return str(step) in names or "-" in str(step) or "[" in str(step)


def _at(place: Place, annotations: Mapping[str, Any]) -> Any:
    return _field_of(place, annotations)[1] if place else None


def _annotation(model: type[BaseModel], name: str) -> Any:
    return typing.get_type_hints(model, include_extras=False).get(name, model.model_fields[name].annotation)


def _parts(annotation: Any) -> Iterator[Any]:
    """The annotation, and each alternative of a union."""
    if get_origin(annotation) in (Union, UnionType):
        for one in get_args(annotation):
            yield from _parts(one)
    elif hasattr(annotation, "__metadata__"):
        yield from _parts(get_args(annotation)[0])
    else:
        yield annotation


def _is_list(annotation: Any) -> bool:
    return any(get_origin(one) in (list, tuple) for one in _parts(annotation))


def _entries(annotation: Any) -> Iterator[Any]:
    for one in _parts(annotation):
        if get_origin(one) in (list, tuple):
            yield get_args(one)[0]


def _model(annotation: Any) -> type[BaseModel] | None:
    """The model of a field, or of the entries of its list."""
    for one in (*_parts(annotation), *(part for entry in _entries(annotation) for part in _parts(entry))):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return one
    return None


def _shown(model: type[BaseModel]) -> list[str]:
    """The fields that a person may fill in."""
    extra = {name: one.json_schema_extra for name, one in model.model_fields.items()}
    return [name for name, one in extra.items() if not (isinstance(one, dict) and one.get("x-internal"))]


def _choices(annotation: Any) -> Iterator[str]:
    for one in (*_parts(annotation), *(part for entry in _entries(annotation) for part in _parts(entry))):
        if get_origin(one) is Literal:
            yield from map(str, get_args(one))
        elif isinstance(one, type) and issubclass(one, Enum):
            yield from (str(member.value) for member in one)


def _words(annotation: Any) -> Iterator[str]:
    for one in _parts(annotation):
        if get_origin(one) in (list, tuple):
            yield f"a list, each entry {' or '.join(_words(get_args(one)[0])) or 'a value'}"
        elif isinstance(one, type) and one.__name__ in WORDS and one is not type(None):
            yield WORDS[one.__name__]


def _name(place: Place) -> str:
    """``request.overrides[0].item``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return text.removeprefix(".") or "the request"
