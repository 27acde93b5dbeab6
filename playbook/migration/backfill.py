"""Walking a collection in bounded ranges of ``_id``, so that a kill at any point goes on where it was.

Pure: the ids come in, the next range goes out. ``match`` excludes what ``change`` made, so a range that is written
again changes nothing, and a checkpoint that is behind costs a look and no document.
"""

import re
from collections.abc import Sequence
from typing import Self

from pydantic import Field

from playbook.base import Frozen
from playbook.migration.plan import Batch


class Range(Frozen):
    """Documents whose ``_id`` lies between ``first`` and ``last``, both included. Both are of one type."""

    first: object
    last: object


class Backfill(Frozen):
    """How far a migration's batches are done. Kept in the database beside what it changes."""

    migration: str
    epoch: int = Field(description="of the lease that may write; a newer one fences this")
    batch: int = Field(0, description="which batch is under way, from 0")
    after: object = Field(None, description="the last _id that is done in it; None: nothing yet")
    totals: tuple[int, ...] = Field((), description="documents in each batch's collection when it began")
    matching: tuple[int, ...] = Field((), description="how many were to be changed when the batch was reached")
    changed: tuple[int, ...] = Field((), description="how many have been")

    @classmethod
    def begin(cls, migration: str, epoch: int, totals: Sequence[int], matching: Sequence[int]) -> Self:
        """Nothing is changed yet."""
        changed = (0,) * len(matching)
        return cls(migration=migration, epoch=epoch, totals=tuple(totals), matching=tuple(matching), changed=changed)

    def reached(self, matching: int) -> Self:
        """At the start of its batch, which so many documents meet now: the batches before it may have made them."""
        counts = list(self.matching)
        counts[self.batch] = matching
        return self.model_copy(update={"matching": tuple(counts)})

    def past(self, done: Range, changed: int) -> Self:
        """After a range was written, which changed so many documents."""
        counts = list(self.changed)
        counts[self.batch] += changed
        return self.model_copy(update={"after": done.last, "changed": tuple(counts)})

    def counted(self, left: int) -> Self:
        """Put right by what is left to change: the write before a kill was never counted."""
        counts = list(self.changed)
        counts[self.batch] = max(0, self.matching[self.batch] - left)
        return self.model_copy(update={"changed": tuple(counts)})

    def next_batch(self) -> Self:
        """On to the batch after this one."""
        return self.model_copy(update={"batch": self.batch + 1, "after": None})

    def drift(self, collections: Sequence[str], totals: Sequence[int]) -> list[str]:
        """Which counts are not what they were to be, of batches in these ``collections``, which have ``totals`` now."""
        found = [
            f"{name} had {total} documents and has {now}"
            for name, total, now in zip(collections, self.totals, totals, strict=True)
            if now != total
        ]
        found += [
            f"{name}: {changed} of {wanted} were changed"
            for name, wanted, changed in zip(collections, self.matching, self.changed, strict=True)
            if changed != wanted
        ]
        return list(dict.fromkeys(found))  # two batches may be of one collection

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        wanted = sum(self.matching)
        return min(1.0, sum(self.changed) / wanted) if wanted else 1.0

    def __str__(self) -> str:
        return f"{sum(self.changed)} of {sum(self.matching)} documents"


class Trial(Frozen):
    """What a batch would do, tried on copies of a few documents."""

    collection: str
    total: int
    matching: int
    tried: int = Field(description="how many copies were changed")
    changed: int
    still_matching: int = Field(description="how many of the copies match after the change: must be 0")
    fields_before: tuple[str, ...] = Field((), description="of one document; names only, never values")
    fields_after: tuple[str, ...] = ()

    def problem(self, batch: Batch) -> str:
        """Why the batch must not run; empty where it may."""
        if self.still_matching:
            return (
                f"{self.collection}: {self.still_matching} of {self.tried} copies still match {sorted(batch.match)} "
                "after the change, so documents could be changed twice. Narrow match to what is not changed yet."
            )
        if self.changed < self.tried:
            return (
                f"{self.collection}: the change left {self.tried - self.changed} of {self.tried} copies as they were."
            )
        return ""

    def __str__(self) -> str:
        gone = [name for name in self.fields_before if name not in self.fields_after]
        new = [name for name in self.fields_after if name not in self.fields_before]
        told = ", ".join([f"−{name}" for name in gone] + [f"+{name}" for name in new]) or "values only"
        return f"{self.matching} of {self.total} documents of {self.collection} ({told})"


def next_range(ids: Sequence[object]) -> Range | None:
    """The range of the first of ``ids`` (ascending), or None where there are none.

    It ends where the type of the ids changes: MongoDB compares within one type only.
    """
    if not ids:
        return None
    last = ids[0]
    for one in ids:
        if type(one) is not type(ids[0]):
            break
        last = one
    return Range(first=ids[0], last=last)


def is_known(drift: str, seen: str) -> bool:
    """Whether a person has read of this drift already; its counts may have moved on, as where documents expire."""
    return _COUNT.sub("", drift) == _COUNT.sub("", seen)


_COUNT = re.compile(r"\b\d+\b")
