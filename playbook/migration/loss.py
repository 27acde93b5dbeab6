"""What a ``down`` would lose: the fields that its changes remove or overwrite. A person is asked with these counted."""

from collections.abc import Iterator, Sequence

from playbook.base import Frozen
from playbook.migration.plan import Batch, Document, Migration

REMOVES = {"$unset": "removed", "$pull": "elements removed", "$pullAll": "elements removed", "$pop": "elements removed"}
OVERWRITES = ("$set", "$inc", "$mul", "$min", "$max", "$currentDate", "$bit")
KEEPS = ("$setOnInsert", "$addToSet", "$push")


class Losing(Frozen):
    """One field that a migration's ``down`` takes from documents, and the query that finds those that have it."""

    migration: str
    collection: str
    field: str
    how: str
    match: Document


class Loss(Frozen):
    """How many documents lose what."""

    losing: Losing
    documents: int

    def __str__(self) -> str:
        one = self.losing
        return f"{one.migration}: {one.field} {one.how} in {self.documents} documents of {one.collection}"


def losing(undo: Sequence[Migration]) -> list[Losing]:
    """What each ``down`` of ``undo``, in this order, takes from the documents that exist now.

    A field that an earlier one renames counts under its name of now. What the later ones meet is not known before the
    earlier ones have run, so every document that has the field counts there: the count is not too small.
    """
    found: list[Losing] = []
    named: dict[tuple[str, str], list[str]] = {}
    for place, migration in enumerate(undo):
        for batch in migration.down:
            for field, how in _lost(batch):
                names = (field, *named.get((batch.collection, field), ()))
                has: list[Document] = [{name: {"$exists": True}} for name in names]
                have: Document = has[0] if len(has) == 1 else {"$or": has}
                match = {"$and": [batch.match, have]} if place == 0 else have
                one = Losing(migration=migration.name, collection=batch.collection, field=field, how=how, match=match)
                found.append(one)
        for batch in migration.down:
            for old, new in _operator(batch, "$rename"):
                key = (batch.collection, str(new))
                earlier = named.get((batch.collection, old), ())
                named[key] = [*named.get(key, ()), old, *earlier]
    return found


def kept_fields(batch: Batch) -> tuple[str, ...]:
    """The fields whose old values are copied before ``batch`` takes them; of one within another, the outer one."""
    names = sorted({field for field, _ in _lost(batch)})
    return tuple(name for name in names if not any(name.startswith(f"{outer}.") for outer in names))


def _lost(batch: Batch) -> Iterator[tuple[str, str]]:
    for operator in batch.change:
        for path, value in _operator(batch, operator):
            if operator == "$rename":
                yield str(value), f"overwritten by {path}"
            elif operator in REMOVES:
                yield _field(path), REMOVES[operator]
            elif operator in OVERWRITES:
                yield _field(path), "overwritten"
            elif operator not in KEEPS or (isinstance(value, dict) and "$slice" in value):
                yield _field(path), f"changed by {operator}"


def _operator(batch: Batch, operator: str) -> Iterator[tuple[str, object]]:
    changes = batch.change.get(operator)
    if isinstance(changes, dict):
        yield from ((str(path), value) for path, value in changes.items())


def _field(path: str) -> str:
    """``path`` up to its first positional part, as ``$exists`` takes it."""
    return path.split(".$", 1)[0]
