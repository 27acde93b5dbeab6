"""A rollback while no signing key can be read: users are moved to revisions that exist, and nothing is written."""

import pytest

from playbook.errors import BadRequest
from playbook.lease.record import Record
from playbook.release.plan import revision_name
from playbook.release.traffic import PREVIOUS_TAG, Revision, ServiceSnapshot, TrafficSplit
from playbook.release.version import Version
from playbook.rollback.unrecorded import named, to_move

CORE, BACKEND = "ethixai-ai-core", "ethixai-backend"


def revisions(*names: str, dead: tuple[str, ...] = ()) -> tuple[Revision, ...]:
    """Newest first."""
    return tuple(Revision(name=name, image="r@sha256:1", is_ready=name not in dead, is_active=True) for name in names)


THERE = {
    CORE: revisions(f"{CORE}-abc123-333333", f"{CORE}-abc123-222222", f"{CORE}-abc123-111111", f"{CORE}-0000aa-111111"),
    BACKEND: revisions(f"{BACKEND}-abc123-222222", f"{BACKEND}-00041-xyz"),
}
NAMED = {
    "a version: the newest try of it on each service": (
        "v20251116-abc123",
        {CORE: f"{CORE}-abc123-333333", BACKEND: f"{BACKEND}-abc123-222222"},
    ),
    "a version that one service has": ("v20251109-0000aa", {CORE: f"{CORE}-0000aa-111111"}),
    "a revision": (f"{BACKEND}-00041-xyz", {BACKEND: f"{BACKEND}-00041-xyz"}),
    "revisions, in the order of the services": (
        f"{BACKEND}-00041-xyz, {CORE}-abc123-111111",
        {CORE: f"{CORE}-abc123-111111", BACKEND: f"{BACKEND}-00041-xyz"},
    ),
}


@pytest.mark.parametrize(("to", "targets"), NAMED.values(), ids=NAMED)
def test_what_is_named_is_found_by_what_exists(to: str, targets: dict[str, str]) -> None:
    """No record is read."""
    assert list(named(THERE, to).items()) == list(targets.items())


def test_a_try_that_is_not_ready_is_passed_over() -> None:
    """It cannot serve."""
    dead = {CORE: revisions(f"{CORE}-abc123-333333", f"{CORE}-abc123-222222", dead=(f"{CORE}-abc123-333333",))}
    assert named(dead, "v20251116-abc123") == {CORE: f"{CORE}-abc123-222222"}
    with pytest.raises(BadRequest, match="no service has a ready revision"):
        named(dead, f"{CORE}-abc123-333333")


def test_a_commit_that_a_long_name_has_cut_short_is_found() -> None:
    """As a release names its revisions: the name of the service leaves less room for the commit."""
    service, version = "s" * 45, Version.parse("v20251116-abcdef012345")
    name = revision_name(service, version, "v20251116-abcdef012345-111111")
    assert name == f"{service}-abcdef0123-111111"
    assert named({service: revisions(name)}, str(version)) == {service: name}


@pytest.mark.parametrize(
    ("to", "says"),
    [
        ("v20251109-ffffff", "to: no service has a ready revision 'v20251109-ffffff'"),
        (f"{BACKEND}-00041", f"to: no service has a ready revision '{BACKEND}-00041'"),
        (f"v20251116-abc123 {BACKEND}-00041-xyz", f"to: {BACKEND} is named twice"),
    ],
)
def test_a_name_that_is_not_there_or_names_a_service_twice_is_refused(to: str, says: str) -> None:
    """Nothing moves."""
    with pytest.raises(BadRequest, match=says):
        named(THERE, to)


def test_users_move_and_nothing_is_written() -> None:
    """Tags of others and the one before stay; where they are already, nothing is asked for."""
    tags = {PREVIOUS_TAG: f"{CORE}-0", "theirs": f"{CORE}-9", "c-333333": f"{CORE}-abc123-333333"}
    split = TrafficSplit.all_to(f"{CORE}-abc123-333333", tags)
    found = ServiceSnapshot(
        service=CORE, etag="1", uri="", split=split, served=split, annotations=Record(epoch=1).annotations()
    )
    write = to_move(found, f"{CORE}-abc123-111111")
    assert write is not None
    assert (write.record, write.deployment, write.scaling) == (None, None, None)
    assert write.split == TrafficSplit.all_to(
        f"{CORE}-abc123-111111", {PREVIOUS_TAG: f"{CORE}-0", "theirs": f"{CORE}-9"}
    )
    assert to_move(found, f"{CORE}-abc123-333333") is None
    plain = TrafficSplit.all_to(f"{CORE}-new")
    moved = to_move(found.model_copy(update={"split": plain, "served": plain}), f"{CORE}-old")
    assert moved is not None
    assert moved.split == TrafficSplit.all_to(f"{CORE}-old")
