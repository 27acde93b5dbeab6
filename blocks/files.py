"""An environment file (TOML) as an Environment, or everything that is wrong with it at once."""

import asyncio
import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr, ValidationError

from blocks.base import OutsideBlock
from blocks.environment import Environment
from blocks.secret_manager import SecretManager
from playbook.analysis.policy import Policy
from playbook.errors import BadRequest, ReleaseError

Table = dict[str, Any]
Place = tuple[str | int, ...]
"""Where something stands in a file: ``("services", 1, "name")``."""

POLICIES = {"playbook": Policy, "compressed": Policy.compressed}
FORMS = '{env = "NAME"}, {file = "PATH"} or {secret_manager = "projects/P/secrets/S/versions/latest"}'
NOT_LOOKED_UP = "not-looked-up"


async def read(path: Path, *, with_secrets: bool = True) -> Environment:
    """The environment that ``path`` describes, its secrets looked up, or left out with ``with_secrets=False``.

    Raises BadRequest: every mistake, each with its place in the file and the next step.
    """
    try:
        table: Table = tomllib.loads(await asyncio.to_thread(path.read_text))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadRequest([f"{path}: cannot be read: {error}"]) from error
    problems = [
        *_unknown_keys(Environment, table, ()),
        *_apply_policy(table),
        *await _look_up_secrets(table, path.parent, with_secrets),
    ]
    seen = {problem.split(":", 1)[0] for problem in problems}
    try:
        environment = Environment.model_validate(table)
    except ValidationError as error:
        problems += [line for line in map(_line, error.errors()) if line.split(":", 1)[0] not in seen]
    if problems:
        raise BadRequest([f"{path}: {problem}" for problem in problems])
    return environment


def _unknown_keys(block: type[OutsideBlock], table: Table, place: Place) -> Iterator[str]:
    """Keys that a block does not know. Prefect would keep them, silently; our own values refuse them themselves."""
    for key, value in table.items():
        if key not in block.model_fields:
            yield _unknown((*place, key), block.model_fields)
        elif (nested := _nested_block(block, key)) and isinstance(value, dict):
            yield from _unknown_keys(nested, value, (*place, key))


def _unknown(place: Place, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(str(place[-1]), known, 1)
    next_step = f"did you mean {near[0]}?" if near else "remove it."
    return f"{_path(place)}: unknown key; {next_step}"


def _nested_block(block: type[OutsideBlock], key: str) -> type[OutsideBlock] | None:
    """The block that a field of a block holds, where it holds one."""
    annotation = block.model_fields[key].annotation
    found = (kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type))
    return next((kind for kind in found if issubclass(kind, OutsideBlock)), None)


def _apply_policy(table: Table) -> Iterator[str]:
    """``[policy]`` is a named policy and what differs from it; afterwards it holds every value."""
    overrides = table.setdefault("policy", {})
    if not isinstance(overrides, dict):
        return
    base = overrides.pop("base", "playbook")
    if base not in POLICIES:
        yield f"policy.base: there is no policy {base!r}; use {' or '.join(POLICIES)}."
        return
    table["policy"] = POLICIES[base]().model_dump() | overrides


async def _look_up_secrets(table: Table, folder: Path, with_secrets: bool) -> list[str]:
    """Each reference to a secret is replaced by the secret. Answers what went wrong, without a word of any secret."""
    problems = []
    for key, value in table.items():
        block = _nested_block(Environment, key) if key in Environment.model_fields else None
        if block is None or not isinstance(value, dict):
            continue
        for field in value.keys() & _secret_fields(block):
            try:
                value[field] = await _secret(value[field], table, folder) if with_secrets else _form(value[field])
            except (ReleaseError, OSError, UnicodeDecodeError, ValueError) as error:
                problems.append(f"{key}.{field}: {error}")
                value[field] = NOT_LOOKED_UP
    return sorted(problems)


def _secret_fields(block: type[BaseModel]) -> set[str]:
    fields = block.model_fields.items()
    return {name for name, field in fields if SecretStr in (field.annotation, *get_args(field.annotation))}


def _form(reference: object) -> str:
    """A stand-in for a secret that is not looked up. Raises ValueError where the reference is none."""
    if isinstance(reference, dict) and len(reference) == 1:
        kind, where = next(iter(reference.items()))
        if kind in ("env", "file", "secret_manager") and isinstance(where, str):
            return NOT_LOOKED_UP
    # What was written is not repeated: it may be the secret.
    raise ValueError(f"a secret does not stand in this file; say where it is: {FORMS}.")


async def _secret(reference: object, table: Table, folder: Path) -> str:
    """The secret that ``reference`` points to. Raises ValueError, OSError or ReleaseError, saying what to do."""
    _form(reference)
    match reference:
        case {"env": str(name)}:
            if not os.environ.get(name):
                raise ValueError(f"the environment variable {name} is not set; export it and try again.")
            return os.environ[name]
        case {"file": str(name)}:
            return await asyncio.to_thread((folder / name).read_text)
        case {"secret_manager": str(name)}:
            manager = table.get("secret_manager", {})
            endpoint = manager.get("api_endpoint", "") if isinstance(manager, dict) else ""
            found = await SecretManager(project="", api_endpoint=endpoint).value(name)
            return found.get_secret_value()
    raise AssertionError("every form is handled")


def _line(error: Any) -> str:
    """One mistake that validation found: where it is, what it is, and what to do."""
    place: Place = tuple(rollout for rollout in error["loc"] if rollout != "[key]")
    if error["type"] == "extra_forbidden":
        return _unknown(place, _fields(place[:-1]))
    if error["type"] == "missing":
        field = _fields(place[:-1]).get(str(place[-1]))
        kind = _nested_block(Environment, str(place[0])) if len(place) == 1 else None
        if kind:
            needed = ", ".join(name for name, wanted in kind.model_fields.items() if wanted.is_required())
            return f"{_path(place)}: missing; add a table [{place[0]}]" + (f" with {needed}." if needed else ".")
        return f"{_path(place)}: missing; add it. {getattr(field, 'description', None) or ''}".rstrip()
    return f"{_path(place)}: {error['msg'].removeprefix('Value error, ')}."


def _fields(place: Place) -> Mapping[str, Any]:
    """The fields of the table at ``place``."""
    model: type[BaseModel] = Environment
    for rollout in place:
        if isinstance(rollout, int):
            continue
        annotation = model.model_fields[rollout].annotation
        found = (kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type))
        model = next(kind for kind in found if issubclass(kind, BaseModel))
    return model.model_fields


def _path(place: Place) -> str:
    """``services[1].name``."""
    return "".join(f"[{rollout}]" if isinstance(rollout, int) else f".{rollout}" for rollout in place).removeprefix(".")
