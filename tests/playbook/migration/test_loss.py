"""What a ``down`` would lose is named, whatever its operators are."""

import pytest

from playbook.incident.decision_matrix import Severity
from playbook.lease.lease import MigrationLease, ServiceRollout
from playbook.migration.loss import Loss, kept_fields, losing
from playbook.migration.messages import ask_down, ask_several, page, ticket
from playbook.migration.plan import Batch, Migration, MigrationRequest, MigrationRollback, RollbackPlan, Way
from playbook.migration.progress import details_of
from playbook.release.traffic import TrafficSplit

MATCH = {"a": {"$exists": True}}


def migration(name: str, *changes: dict[str, object], collection: str = "users") -> Migration:
    """One whose ``down`` makes these changes."""
    down = tuple(Batch(collection=collection, match=MATCH, change=change) for change in changes)
    return Migration(name=name, from_schema=1, to_schema=2, is_reversible=True, up=down, down=down)


CHANGES = {
    "a field is removed": ({"$unset": {"a": ""}}, [("a", "removed")]),
    "two fields are removed": ({"$unset": {"a": "", "b.c": ""}}, [("a", "removed"), ("b.c", "removed")]),
    "a value is overwritten": ({"$set": {"a": 1}}, [("a", "overwritten")]),
    "a number is changed": ({"$inc": {"a": 1}}, [("a", "overwritten")]),
    "a rename may overwrite": ({"$rename": {"a": "b"}}, [("b", "overwritten by a")]),
    "elements are removed": ({"$pull": {"a": 1}}, [("a", "elements removed")]),
    "a part of every element": ({"$unset": {"a.$[].b": ""}}, [("a", "removed")]),
    "elements are added": ({"$push": {"a": 1}}, []),
    "elements are added and cut": ({"$push": {"a": {"$each": [], "$slice": 2}}}, [("a", "changed by $push")]),
    "an operator of the future": ({"$shuffle": {"a": 1}}, [("a", "changed by $shuffle")]),
}


@pytest.mark.parametrize(("change", "lost"), CHANGES.values(), ids=CHANGES)
def test_what_a_change_loses_is_named(change: dict[str, object], lost: list[tuple[str, str]]) -> None:
    """And counted where the change is made: documents that match and have the field."""
    found = losing([migration("m", change)])
    assert [(one.field, one.how) for one in found] == lost
    assert all(one.match["$and"] == [MATCH, {one.field: {"$exists": True}}] for one in found)


def test_a_field_that_an_earlier_down_renames_is_counted_under_its_name_of_now() -> None:
    """The newest down renames x to y and y to z; the older one removes z: documents with any of the three lose it."""
    found = losing(
        [migration("new", {"$rename": {"x": "y"}}, {"$rename": {"y": "z"}}), migration("old", {"$unset": {"z": ""}})]
    )
    (removed,) = [one for one in found if one.how == "removed"]
    assert {next(iter(one)) for one in removed.match["$or"]} == {"x", "y", "z"}


EVIL = "![](https://evil.example) <!channel> @team </details> | `x"


def test_people_are_asked_with_names_and_numbers_and_foreign_text_is_shown_as_text() -> None:
    """Reasons, names of fields and of people come from outside."""
    plan = RollbackPlan(undo=("m2", "m1"), way=Way.DOWN, schema_now=3, schema_after=1, applied_at_s=1)
    request = MigrationRequest(reason=EVIL, requested_by=EVIL)
    (one,) = losing([migration("m2", {"$unset": {"a": ""}})])
    asked = ask_down(plan, request, [Loss(losing=one, documents=41)], is_kept=True)
    assert "m2: a removed in 41 documents of users" in asked
    assert "all 2 migrations" in ask_several(plan)
    rollout = ServiceRollout(
        service="s", from_revision="s-1", to_revision="s-2", found=TrafficSplit.all_to("s-1"), image="r@sha256:1"
    )
    lease = MigrationLease(
        release_id="migration-m1-1f2e3d",
        version="migration m1",
        flow_run_id="123e4567-e89b-12d3-a456-426614174000",
        epoch=100,
        rollouts=(rollout,),
        canary_percent=100,
        deadline_s=1e9,
        requested_by=EVIL,
        reason=EVIL,
        migration="m1",
        details=details_of(MigrationRollback(request=request, plan=plan, environment="production")),
    )
    written = ticket(
        lease, "production", "$title $reason $detection\n\n$timeline", [f"09:00:00 UTC {EVIL}"], "https://run"
    )
    assert written.severity is Severity.P1
    for text in (asked, page(lease, "production", [EVIL]), written.body):
        assert "![](" not in text
        assert "<!channel>" not in text
        assert "@team" not in text
        assert text.count("</details>") == text.count("<details>")


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"$unset": {"a": ""}}, ("a",)),
        ({"$unset": {"a.b": "", "a": "", "c.d": ""}}, ("a", "c.d")),
        ({"$rename": {"new": "old"}}, ("old",)),
        ({"$set": {"list.$[].x": 1}}, ("list",)),
        ({"$setOnInsert": {"a": 1}}, ()),
    ],
)
def test_the_fields_that_a_down_takes_are_kept_once(change: dict[str, object], fields: tuple[str, ...]) -> None:
    """No field within one that is kept: MongoDB refuses to ask for both."""
    assert kept_fields(Batch(collection="users", match={"x": 1}, change=change)) == fields
