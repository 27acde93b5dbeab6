"""An environment file (TOML) as an Environment, or everything that is wrong with it at once."""

import asyncio
import copy
import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from blocks import rules, signal_rows
from blocks.base import OutsideBlock
from blocks.environment import LISTS, SHORTHANDS, Environment, plug_in
from blocks.plug import plug_of
from blocks.rules import Problem
from blocks.secret_manager import SecretManager
from blocks.secret_reference import SecretReference
from blocks.toml_lines import Place, TomlLines
from playbook.analysis.policy import Policy
from playbook.analysis.signals import KINDS
from playbook.errors import BadRequest, ReleaseError
from playbook.lease.signature import Key

Table = dict[str, Any]

POLICIES = {"playbook": Policy, "compressed": Policy.compressed}
FORMS = '{env = "NAME"}, {file = "PATH"} or {secret_manager = "NAME"} (or its full name, projects/P/secrets/S)'
SIGNING_KEYS: Place = ("signing", "keys")
CAUSE = re.compile(r"asked for [^\s:]+: ")
"""What stands before the cause where a secret cannot be read: whom it was asked of, and which it is."""
UNNAMED = "env:UNNAMED"
"""Stands in for a reference that is wrong, so that the rest of the file can be validated."""


async def read(path: Path, *, with_secrets: bool = True) -> Environment:
    """The environment that ``path`` describes. It holds references to secrets; with ``with_secrets`` each is read once,
    to see that it is there.

    Raises BadRequest: every mistake once, with its line, its place in the file and the next step.
    """
    try:
        text = await asyncio.to_thread(path.read_text, encoding="utf-8-sig")  # some editors begin a file with a mark
        written: Table = tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise BadRequest([f"{path}: cannot be read: it is not UTF-8 ({error.reason}). Save it as UTF-8."]) from error
    except RecursionError as error:
        raise BadRequest([f"{path}: cannot be read: too many lists or tables lie in each other."]) from error
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadRequest([f"{path}: cannot be read: {error}"]) from error
    except ValueError as error:
        raise BadRequest([f"{path}: cannot be read: a number has thousands of digits. Correct it."]) from error
    table = plug_in(written)
    policy_written = dict(written["policy"]) if isinstance(written.get("policy"), dict) else {}
    of_policy = list(_apply_policy(table))
    of_signals, rows = signal_rows.apply(table, policy_written)
    found = [
        *_unknown_keys(table),
        *_single_tables(written),
        *of_policy,
        *of_signals,
        *_write_references(table, path.parent),
    ]
    seen = {place for place, _ in found} | _meant(found)
    environment = None
    try:
        environment = Environment.model_validate(table)
    except ValidationError as error:
        wrong = [(_row(place, rows), text) for place, text in map(_problem, error.errors())]
        found += [problem for problem in wrong if problem[0] not in seen]
    seen = {place for place, _ in found}
    trusted = environment or _without(table, seen)
    ruled = [(_row(place, rows), text) for place, text in rules.problems(trusted)] if trusted is not None else []
    found += [problem for problem in ruled if problem[0] not in seen]
    found += await _unreadable_secrets(table, written) if with_secrets else []
    if environment is None or found:
        raise BadRequest(_lines(path, TomlLines(text), written, found))
    return environment


def _lines(path: Path, lines: TomlLines, written: Table, found: Iterable[Problem]) -> list[str]:
    """A line for each problem, in the order of the file."""
    placed = [(_as_written(place, written), text) for place, text in found]
    placed.sort(key=lambda problem: lines.of(problem[0]))
    return list(dict.fromkeys(f"{path}:{lines.of(place)}: {_path(place)}: {text}" for place, text in placed))


def _row(place: Place, rows: list[int]) -> Place:
    """Where the file says what an environment has at ``place`` of its signals."""
    if place[:1] == ("signals",) and len(place) > 1 and isinstance(place[1], int) and place[1] < len(rows):
        return ("signals", rows[place[1]], *place[2:])
    return place


def _as_written(place: Place, written: Table) -> Place:
    """Where the file says what an environment has at ``place``: a vendor's own table, or the port's."""
    for vendor, ports in SHORTHANDS.items():
        for port in ports if vendor in written else ():
            if place[:1] == (port,) and port not in LISTS and port not in written:
                return (vendor, *place[1:])
            if place[:1] == (port,) and port in LISTS and len(place) > 1 and isinstance(place[1], int):
                return (vendor, *place[2:]) if place[1] == 0 else (port, place[1] - 1, *place[2:])
    return place


def _vendor_tables(table: Table) -> Iterator[tuple[Place, Table, type[OutsideBlock]]]:
    """Each table that describes a vendor, with its place and the vendor's block; not those of unknown vendors."""
    for name, field in Environment.model_fields.items():
        if (plug := plug_of(field)) is None:
            continue
        value = table.get(name)
        entries: list[tuple[Place, Any]] = [((name,), value)]
        if isinstance(value, list):
            entries = [((name, index), entry) for index, entry in enumerate(value)]
        for place, entry in entries:
            if isinstance(entry, dict):
                try:
                    yield place, entry, plug.vendor_of(entry)
                except ValueError:
                    continue  # validation names it


def _unknown_keys(table: Table) -> Iterator[Problem]:
    """Keys that a block does not know. Prefect would keep them silently; our own values refuse them themselves."""
    for key in table:
        if key not in Environment.model_fields and key not in SHORTHANDS:
            yield _unknown((key,), [*Environment.model_fields, *SHORTHANDS])
        elif key in SHORTHANDS:
            yield (key,), f"must be a table, [{key}]."
    for place, entry, vendor in _vendor_tables(table):
        for key in entry.keys() - vendor.model_fields.keys() - {"type", "block_type_slug"}:
            yield _unknown((*place, key), vendor.model_fields)


def _single_tables(written: Table) -> Iterator[Problem]:
    """Lists that are written as one table, beside the vendor's own table of which the list is made."""
    for name in sorted(LISTS & written.keys()):
        if not isinstance(written[name], list):
            yield (name,), f"must be a list of tables, [[{name}]]."


def _unknown(place: Place, known: Iterable[str]) -> Problem:
    near = difflib.get_close_matches(str(place[-1]), known, 1)
    return place, f"unknown key; {f'did you mean {near[0]}?' if near else 'remove it.'}"


def _meant(found: Iterable[Problem]) -> set[Place]:
    """What keys that are misspelt mean: those are not missing besides."""
    return {(*place[:-1], text.rpartition("did you mean ")[2].rstrip("?")) for place, text in found if "mean" in text}


def _without(table: Table, wrong: Iterable[Place]) -> Environment | None:
    """The environment with its defaults for what is wrong, so that its other mistakes are found in the same look; None
    where there is none without what is wrong."""
    rest = copy.deepcopy(table)
    for place in wrong:
        while place and isinstance(place[-1], int):
            place = place[:-1]
        around: Any = rest
        for step in place[:-1]:
            known = step in around if isinstance(around, dict) else isinstance(around, list) and isinstance(step, int)
            around = around[step] if known else None
        if isinstance(around, dict) and place:
            around.pop(place[-1], None)
    try:
        return Environment.model_validate(rest)
    except ValidationError:
        return None


def _apply_policy(table: Table) -> Iterator[Problem]:
    """``[policy]`` is a named policy and what differs from it; afterwards it holds every value."""
    overrides = table.setdefault("policy", {})
    if not isinstance(overrides, dict):
        return
    base = overrides.get("base", "playbook")
    if not isinstance(base, str) or base not in POLICIES:
        yield ("policy", "base"), f"there is no policy {base!r}; use {' or '.join(POLICIES)}."
        base = "playbook"
    table["policy"] = POLICIES[base]().model_dump() | {key: one for key, one in overrides.items() if key != "base"}


def _write_references(table: Table, folder: Path) -> list[Problem]:
    """Each reference to a secret takes the form in which it is stored. Says what is wrong, without quoting it."""
    problems: list[Problem] = []
    for place, entry, field in _references(table):
        try:
            entry[field] = str(SecretReference(_reference(entry[field], table, folder)))
        except ValueError:
            # What was written is not repeated: it may be the secret.
            problems.append(((*place, field), f"a secret does not stand in this file; say where it is: {FORMS}."))
            entry[field] = UNNAMED
    return problems


def _references(table: Table) -> list[tuple[Place, Any, Any]]:
    """Where the file refers to a secret: the place of the table or list, it itself, and the key or index in it."""
    signing = table.get("signing")
    keys = signing.get("keys") if isinstance(signing, dict) else None
    return [
        (place, entry, field)
        for place, entry, vendor in _vendor_tables(table)
        for field in secret_fields(vendor)
        if field in entry
    ] + [(SIGNING_KEYS, keys, index) for index in range(len(keys) if isinstance(keys, list) else 0)]


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


async def _unreadable_secrets(table: Table, written: Table) -> list[Problem]:
    """What this machine cannot read of the secrets that the file refers to; nothing of any secret itself.

    One cause is said once: the first place has the whole sentence and names the others.
    """
    manager = table.get("secret_manager")
    endpoint = str(manager.get("api_endpoint", "")) if isinstance(manager, dict) else ""
    reader = SecretManager(project="", api_endpoint=endpoint).value
    causes: dict[str, tuple[Place, str, list[str]]] = {}
    for place, entry, field in _references(table):
        try:
            if entry[field] == UNNAMED:
                continue
            secret = await SecretReference(entry[field], reader=reader).read()
            if place == SIGNING_KEYS:
                Key.of(secret.get_secret_value())
        except (ReleaseError, ValueError) as error:
            text = str(error)
            cause = CAUSE.split(text, maxsplit=1)[-1] if CAUSE.search(text) else _path((*place, field))
            first = causes.setdefault(cause, ((*place, field), text, []))
            if first[0] != (*place, field):
                first[2].append(_path(_as_written((*place, field), written)))
    return [
        (place, f"{text} The same holds for {', '.join(others)}." if others else text)
        for place, text, others in causes.values()
    ]


def _problem(error: Any) -> Problem:
    """One mistake that validation found: where it is, what it is, and what to do."""
    place: Place = tuple(step for step in error["loc"] if step != "[key]")
    if place[:1] == ("signals",) and len(place) > 2 and place[2] in KINDS:
        return _problem_of_signal(place, error)
    if error["type"] == "extra_forbidden":
        return _unknown(place, _fields(place[:-1]))
    if error["type"] == "missing":
        field = _fields(place[:-1]).get(str(place[-1]))
        plug = plug_of(field) if field is not None else None
        if plug and plug.default:
            needed = ", ".join(name for name, wanted in plug.default.model_fields.items() if wanted.is_required())
            return place, f"missing; add a table [{place[0]}]" + (f" with {needed}." if needed else ".")
        return place, f"missing; add it. {getattr(field, 'description', None) or ''}".rstrip()
    if error["type"] == "string_pattern_mismatch":
        known = (_fields(place[:end]).get(str(place[end])) for end in (len(place) - 1, len(place) - 2) if end >= 0)
        return place, _of_another_form(next((one.description for one in known if one is not None), None))
    return place, _said(error)


def _of_another_form(described: str | None) -> str:
    """What is said instead of the expression that a text does not match."""
    return f"does not have the form that it must have. {_capital(described)}" if described else "has a wrong form."


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _said(error: Any) -> str:
    """What is wrong with a value, in a sentence."""
    text = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    for kind in ("String", "Tuple", "List", "Dictionary"):
        text = text.replace(f"{kind} should have", "must have")
    return f"{text.replace('must be a valid tuple', 'must be a list').replace(' after validation', '')}."


def _problem_of_signal(place: Place, error: Any) -> Problem:
    """As `_problem`, in a row of [[signals]]: its kind says which keys it knows."""
    kind, where = KINDS[str(place[2])], (*place[:2], *place[3:4])
    field = kind.model_fields.get(str(place[3])) if len(place) > 3 else None
    if error["type"] == "extra_forbidden":
        return _unknown(where, kind.model_fields)
    if error["type"] == "missing":
        return where, f"missing; add it. {getattr(field, 'description', None) or ''}".rstrip()
    if error["type"] == "string_pattern_mismatch":
        return where, _of_another_form(field.description if field is not None else None)
    text = _said(error)
    return where, f"{text} {field.description}" if field is not None and field.description else text


def _fields(place: Place) -> Mapping[str, Any]:
    """The fields of the table at ``place``; none inside a vendor's, which says itself what it lacks."""
    fields: Mapping[str, Any] = Environment.model_fields
    steps = iter([step for step in place if isinstance(step, str)])
    for step in steps:
        field = fields.get(step)
        if field is None:
            return {}
        plug = plug_of(field)
        if plug is not None:
            return plug.default.model_fields if plug.default else {}
        found = (kind for kind in (field.annotation, *get_args(field.annotation)) if isinstance(kind, type))
        model = next((kind for kind in found if issubclass(kind, BaseModel)), None)
        if get_origin(field.annotation) is dict:
            next(steps, None)  # the name of an entry, which is no field
        fields = model.model_fields if model is not None else {}
    return fields


def _path(place: Place) -> str:
    """``services[1].name``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")
