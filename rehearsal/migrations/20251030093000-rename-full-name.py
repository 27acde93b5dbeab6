"""The playbook's own example (4, scenario 3): a field of every user gets another name."""

from collections.abc import Iterator

from playbook.migration.plan import Batch, Check

FROM_SCHEMA = 1
TO_SCHEMA = 2
REVERSIBLE = True
READS = {
    "v20251030": (1, 2),  # from this day on releases read either name
    "v20251106": (2, 2),  # and from this day on only the new one
}
"""Which schemas a release can read; a day means every release from then on."""

OLD, NEW = {"oldField": {"$exists": True}}, {"newField": {"$exists": True}}


def up() -> Iterator[Batch]:
    """Every user has the field under its new name."""
    yield Batch(collection="users", match=OLD, change={"$rename": {"oldField": "newField"}})


def down() -> Iterator[Batch]:
    """Every user has it under its old name again."""
    yield Batch(collection="users", match=NEW, change={"$rename": {"newField": "oldField"}})


def verify(schema: int) -> Iterator[Check]:
    """No user has the name of the other schema."""
    wrong = NEW if schema == FROM_SCHEMA else OLD
    yield Check(collection="users", never=wrong, says="users with the field of the other schema")
