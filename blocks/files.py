"""An environment file (TOML) as an Environment, or everything that is wrong with it at once."""

import asyncio
import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from blocks.base import OutsideBlock
from blocks.environment import Environment
from blocks.secret_manager import SecretManager
from blocks.secret_reference import SecretReference
from playbook.analysis.policy import Policy
from playbook.errors import BadRequest, ReleaseError

Table = dict[str, Any]
Place = tuple[str | int, ...]
"""Where something stands in a file: ``("services", 1, "name")``."""

POLICIES = {"playbook": Policy, "compressed": Policy.compressed}
FORMS = '{env = "NAME"}, {file = "PATH"} or {secret_manager = "NAME"} (or its full name, projects/P/secrets/S)'
UNNAMED = "env:UNNAMED"
"""Stands in for a reference that is wrong, so that the rest of the file can be validated."""


async def read(path: Path, *, with_secrets: bool = True) -> Environment:
    """The environment that ``path`` describes. It holds references to secrets; with ``with_secrets`` each is read once,
    to see that it is there.

    Raises BadRequest: every mistake, each with its place in the file and the next step.
    """
    try:
        table: Table = tomllib.loads(await asyncio.to_thread(path.read_text))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadRequest([f"{path}: cannot be read: {error}"]) from error
    problems = [
        *_unknown_keys(Environment, table, ()),
        *_apply_policy(table),
        *_write_references(table, path.parent),
        *(await _unreadable_secrets(table) if with_secrets else ()),
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


def _write_references(table: Table, folder: Path) -> list[str]:
    """Each reference to a secret takes the form in which it is stored. Answers what is wrong, without quoting it."""
    problems = []
    for key, field in _references(table):
        try:
            table[key][field] = str(SecretReference(_reference(table[key][field], table, folder)))
        except ValueError:
            # What was written is not repeated: it may be the secret.
            problems.append(f"{key}.{field}: a secret does not stand in this file; say where it is: {FORMS}.")
            table[key][field] = UNNAMED
    return sorted(problems)


def _references(table: Table) -> list[tuple[str, str]]:
    """Where the file refers to a secret: table and key."""
    return [
        (key, field)
        for key, value in table.items()
        if key in Environment.model_fields and (block := _nested_block(Environment, key)) and isinstance(value, dict)
        for field in secret_fields(block)
        if field in value
    ]


def secret_fields(block: type[BaseModel]) -> tuple[str, ...]:
    """The fields of a block that refer to a secret."""
    fields = block.model_fields.items()
    return tuple(name for name, field in fields if SecretReference in (field.annotation, *get_args(field.annotation)))


def _reference(written: object, table: Table, folder: Path) -> str:
    """What a file says about a secret, as it is stored. A file's path is made absolute, a secret's name complete."""
    if isinstance(written, str):
        kind, _, place = written.partition(":")
    elif isinstance(written, dict) and len(written) == 1:
        kind, place = (str(one) for one in next(iter(written.items())))
        kind = kind.replace("_", "-")
    else:
        raise ValueError("not a reference")
    if kind == "file":
        place = str((folder / place).resolve())
    if kind == "secret-manager":
        place = _version(place, table)
    return f"{kind}:{place}"


def _version(name: str, table: Table) -> str:
    """The full name of a version of Secret Manager: the project of the file's own, and the latest, where left out."""
    if "/" not in name:
        manager = table.get("secret_manager", table.get("cloud_run"))
        name = f"projects/{manager.get('project', '') if isinstance(manager, dict) else ''}/secrets/{name}"
    return name if "/versions/" in name else f"{name}/versions/latest"


async def _unreadable_secrets(table: Table) -> list[str]:
    """What this machine cannot read of the secrets that the file refers to; nothing of any secret itself."""
    manager = table.get("secret_manager")
    endpoint = str(manager.get("api_endpoint", "")) if isinstance(manager, dict) else ""
    reader = SecretManager(project="", api_endpoint=endpoint).value
    problems = []
    for key, field in _references(table):
        reference = table[key][field]
        try:
            if reference != UNNAMED:
                await SecretReference(reference, reader=reader).read()
        except ReleaseError as error:
            problems.append(f"{key}.{field}: {error}")
    return sorted(problems)


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
