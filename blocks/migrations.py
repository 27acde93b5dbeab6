"""The migrations folder: each module read once, found right, and turned into a value."""

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from pydantic import ValidationError

from playbook.errors import BadRequest
from playbook.migration.plan import Batch, Check, Migration, SchemaRange, chain_problems

Yielded = TypeVar("Yielded")

NUMBERS = ("FROM_SCHEMA", "TO_SCHEMA")
EXAMPLE = "yield Batch(collection=…, match=…, change=…)"


def load(folder: str) -> tuple[Migration, ...]:
    """Every migration of ``folder``, in order of name. Modules whose name begins with ``_`` are no migrations.

    Raises BadRequest: everything that is wrong with every module, each line with the file and what to add.
    """
    place = Path(folder)
    if not place.is_dir():
        raise BadRequest([f"migrations.folder: {folder} is no folder here. Correct it, or bring the folder there."])
    found: list[Migration] = []
    problems: list[str] = []
    for path in sorted(place.glob("[!_]*.py")):
        try:
            found.append(read(path))
        except BadRequest as wrong:
            problems += wrong.problems
    problems += chain_problems(found) if not problems else []
    if problems:
        raise BadRequest(problems)
    return tuple(found)


def read(path: Path) -> Migration:
    """The migration in one file. Raises BadRequest, a line for each thing that is missing or wrong."""
    module = _import(path)
    problems = [
        f"{path.name}: has no {name}; add `{name} = …`, a whole number"
        for name in NUMBERS
        if not _is_whole(getattr(module, name, None))
    ]
    is_reversible = getattr(module, "REVERSIBLE", None)
    if not isinstance(is_reversible, bool):
        problems.append(
            f"{path.name}: has no REVERSIBLE; add `REVERSIBLE = True`, or False where down cannot be written"
        )
    needed = ["up", "verify", *(["down"] if is_reversible else [])]
    problems += [
        f"{path.name}: has no {name}; add `def {_form(name)}`" for name in needed if not _function(module, name)
    ]
    if problems:
        raise BadRequest(problems)
    schemas = [getattr(module, name) for name in NUMBERS]
    try:
        return Migration(
            name=path.stem,
            from_schema=schemas[0],
            to_schema=schemas[1],
            is_reversible=bool(is_reversible),
            up=_all(path, "up", Batch, module.up),
            down=_all(path, "down", Batch, module.down) if is_reversible else (),
            checks_before=_all(path, "verify", Check, module.verify, schemas[0]),
            checks_after=_all(path, "verify", Check, module.verify, schemas[1]),
            reads={release: SchemaRange(low=low, high=high) for release, (low, high) in _reads(module).items()},
            digest=digest_of(path),
        )
    except ValidationError as wrong:
        raise BadRequest([f"{path.name}: {error['msg']}" for error in wrong.errors()]) from wrong
    except (AttributeError, TypeError, ValueError) as wrong:
        raise BadRequest(
            [f"{path.name}: READS must be {{'v20251116': (1, 2)}}: a release or a day, and the schemas it reads"]
        ) from wrong


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hex, as migrate-mongo's ``fileHash`` is; empty where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, ValueError):  # ValueError: no name of a file
        return ""


def _import(path: Path) -> ModuleType:
    """The module of a file, whatever characters its name has. Raises BadRequest."""
    spec = importlib.util.spec_from_file_location(f"playbook_migration_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    wrote, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # the folder may be read-only, and is not ours
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a team's own module may raise anything, and all of it means this
        raise BadRequest([f"{path.name}: does not import: {type(error).__name__}: {error}. Correct it."]) from error
    finally:
        sys.dont_write_bytecode = wrote
    return module


def _all(
    path: Path, name: str, kind: type[Yielded], function: Callable[..., Iterable[object]], *arguments: int
) -> tuple[Yielded, ...]:
    """What a function of the module yields. Raises BadRequest where it is not all of ``kind``, or it breaks."""
    try:
        found = tuple(function(*arguments))
    except ValidationError as wrong:
        raise BadRequest([f"{path.name}: {name}: {error['msg']}" for error in wrong.errors()]) from wrong
    except Exception as error:  # as for the import
        raise BadRequest(
            [f"{path.name}: {name} failed: {type(error).__name__}: {error}. It must {EXAMPLE}."]
        ) from error
    strange = [one for one in found if not isinstance(one, kind)]
    if strange or not found:
        came = type(strange[0]).__name__ if strange else "nothing"
        raise BadRequest([f"{path.name}: {name} yields {came}; it must yield {kind.__name__}"])
    return tuple(one for one in found if isinstance(one, kind))


def _reads(module: ModuleType) -> dict[str, Any]:
    found = getattr(module, "READS", {})
    if not isinstance(found, dict):
        raise TypeError("READS is no dictionary")
    return found


def _function(module: ModuleType, name: str) -> bool:
    return callable(getattr(module, name, None))


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _form(name: str) -> str:
    return "verify(schema): yield Check(collection=…, never=…, says=…)" if name == "verify" else f"{name}(): {EXAMPLE}"
