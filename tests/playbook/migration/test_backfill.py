"""Walking in ranges: whatever is killed wherever, every document is changed, and changed once."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from playbook.migration.backfill import Backfill, Range, Trial, next_range
from playbook.migration.plan import Batch

IDS = st.lists(st.one_of(st.integers(0, 999), st.text("abc", max_size=3)), unique=True, max_size=40)
BATCH = Batch(collection="users", match={"changes": 0}, change={"$inc": {"changes": 1}})


class KilledError(Exception):
    """The process ended here."""


@dataclass
class Collection:
    """What a database does: ordered by type, then by value, and compared within one type only."""

    changes: dict[object, int]
    kept: Backfill | None = None
    kills: list[int] = field(default_factory=list)
    steps: int = 0

    def step(self) -> None:
        """One more thing was done; killed if it was that one's turn."""
        self.steps += 1
        if self.steps in self.kills:
            raise KilledError

    def ids(self, after: object, limit: int) -> list[object]:
        """The first that still match beyond ``after``."""
        found = [one for one, count in self.changes.items() if count == 0 and (after is None or beyond(one, after))]
        return sorted(found, key=lambda one: (isinstance(one, str), one))[:limit]

    def change(self, within: Range) -> int:
        """Change those of the range that match."""
        hit = [
            one
            for one, count in self.changes.items()
            if count == 0 and type(one) is type(within.first) and within.first <= one <= within.last  # type: ignore[operator]
        ]
        for one in hit:
            self.changes[one] += 1
        return len(hit)


def beyond(one: object, after: object) -> bool:
    """As ``$gt``: never across types."""
    return type(one) is type(after) and one > after  # type: ignore[operator]


def process(collection: Collection, size: int) -> Iterator[Backfill]:
    """One process of the engine, from wherever the walk was kept, until it is done or killed."""
    backfill = collection.kept or Backfill.begin("m", 1, [len(collection.changes)], [len(collection.changes)])
    backfill = backfill.counted(len(collection.ids(None, 1000)))
    while within := next_range(collection.ids(backfill.after, size) or collection.ids(None, size)):
        collection.kept = backfill
        collection.step()
        backfill = backfill.past(within, collection.change(within))
        collection.step()
        yield backfill
    collection.kept = backfill


@given(ids=IDS, size=st.integers(1, 7), kills=st.lists(st.integers(1, 60), max_size=10))
def test_killed_anywhere_every_document_is_changed_exactly_once(ids, size: int, kills: list[int]) -> None:
    """Before a write, after it, and between the write and its note; ids of mixed types, too."""
    collection = Collection(dict.fromkeys(ids, 0), kills=kills)
    for _ in range(len(kills) + 1):
        try:
            list(process(collection, size))
        except KilledError:
            continue
        break
    assert set(collection.changes.values()) <= {1}
    assert collection.kept is not None
    assert collection.kept.changed == (len(ids),)
    assert collection.kept.share == 1.0


@given(ids=IDS, size=st.integers(1, 7))
def test_no_write_is_larger_than_asked_for(ids, size: int) -> None:
    """However many documents there are, one write stays short enough to be stopped."""
    collection = Collection(dict.fromkeys(ids, 0))
    seen = 0
    for backfill in process(collection, size):
        assert 0 < sum(backfill.changed) - seen <= size
        seen = sum(backfill.changed)


def test_a_range_ends_where_the_type_of_the_ids_changes() -> None:
    """MongoDB's comparison would leave out the others."""
    assert next_range([1, 2, "a", "b"]) == Range(first=1, last=2)
    assert next_range(["a"]) == Range(first="a", last="a")
    assert next_range([]) is None


def test_the_next_batch_begins_at_the_start() -> None:
    """Its own collection, its own ids."""
    backfill = Backfill.begin("m", 1, [2, 5], [2, 5]).past(Range(first=1, last=2), 2).next_batch()
    assert (backfill.batch, backfill.after, backfill.changed) == (1, None, (2, 0))
    assert str(backfill) == "2 of 7 documents"


def test_nothing_to_change_is_done() -> None:
    """An empty collection is no division by nothing."""
    assert Backfill.begin("m", 1, [0], [0]).share == 1.0


def test_a_change_that_still_matches_must_not_run() -> None:
    """Documents could be changed twice after a kill."""
    trial = Trial(collection="users", total=9, matching=4, tried=4, changed=4, still_matching=4)
    assert "4 of 4 copies still match ['changes']" in trial.problem(BATCH)


def test_a_change_that_changes_nothing_must_not_run() -> None:
    """It would be looked for forever."""
    trial = Trial(collection="users", total=9, matching=4, tried=4, changed=1, still_matching=0)
    assert "left 3 of 4 copies as they were" in trial.problem(BATCH)


def test_a_trial_tells_field_names_and_no_values() -> None:
    """What is shown in the UI is nobody's data."""
    trial = Trial(
        collection="users",
        total=9,
        matching=4,
        tried=4,
        changed=4,
        still_matching=0,
        fields_before=("_id", "newField"),
        fields_after=("_id", "oldField"),
    )
    assert trial.problem(BATCH) == ""
    assert str(trial) == "4 of 9 documents of users (−newField, +oldField)"


def test_counts_that_differ_are_said_once() -> None:
    """Two batches of one collection: its documents once, and each batch that changed more or fewer than it met."""
    backfill = Backfill.begin("m", 1, [10, 10], [10, 4]).model_copy(update={"changed": (10, 5)})
    assert backfill.drift(["users", "users"], [10, 10]) == ["users: 5 of 4 were changed"]
    assert backfill.drift(["users", "users"], [11, 11]) == [
        "users had 10 documents and has 11",
        "users: 5 of 4 were changed",
    ]
