"""An irreversible one: what users uploaded is no longer kept beside its summary."""

from collections.abc import Iterator

from playbook.migration.plan import Batch, Check

FROM_SCHEMA = 2
TO_SCHEMA = 3
REVERSIBLE = False
READS = {"v20251113": (2, 3)}

RAW = {"raw": {"$exists": True}}


def up() -> Iterator[Batch]:
    """No data set carries its rows."""
    yield Batch(collection="datasets", match=RAW, change={"$unset": {"raw": ""}})


def verify(schema: int) -> Iterator[Check]:
    """Before, every data set had its rows; after, none has."""
    wrong = {"raw": {"$exists": False}} if schema == FROM_SCHEMA else RAW
    yield Check(collection="datasets", never=wrong, says="data sets of the other schema")
