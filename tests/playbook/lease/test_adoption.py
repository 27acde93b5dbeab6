"""What a person sees before a record that the engine has not signed is signed in their name."""

from collections.abc import Callable
from typing import Any

import pytest

from playbook.lease import change
from playbook.lease.adoption import Adoption, described, to_adopt, to_remove
from playbook.lease.lease import Kind
from playbook.lease.record import Mitigation, Record, Unreadable
from playbook.lease.signature import Key, Scope, signed
from playbook.release.promotion import Promotion
from playbook.release.request import Measure
from playbook.release.traffic import Scaling, ServiceSnapshot, TrafficSplit
from playbook.release.version import Service

LEAD, OTHER = "ethixai-ai-core", "ethixai-backend"
NEW, OLD = Key.of("n" * 40), Key.of("o" * 40)
SERVICES = [Service(name=one, repository=f"repo/{one}", job=one) for one in (LEAD, OTHER)]
SCOPE = Scope(environment="production", project="p", region="r", service=LEAD, uid="1")
Made = Callable[..., Any]


def adopted(snapshot: ServiceSnapshot) -> Adoption | Unreadable | None:
    return to_adopt(snapshot, [NEW, OLD], SERVICES)


def by(key: Key, snapshot: ServiceSnapshot, **fields: Any) -> ServiceSnapshot:
    """The service with its record signed by ``key``."""
    return snapshot.model_copy(update={"annotations": signed(snapshot.annotations, SCOPE, key), **fields})


def test_only_what_the_first_key_has_not_signed_is_adopted(a_service: Made) -> None:
    """A service without a record, and one that is signed as it should be, need nothing."""
    held = a_service(LEAD, record=Record(epoch=7))
    assert adopted(a_service(LEAD)) is None
    assert adopted(by(NEW, held)) is None
    older, distrusted = adopted(by(OLD, held)), adopted(by(NEW, held, distrust="they were changed"))
    assert isinstance(older, Adoption)
    assert older.why == f"they are signed with key {OLD.id}, which is no longer the first"
    assert isinstance(distrusted, Adoption)
    assert (distrusted.why, distrusted.record, distrusted.lines) == ("they were changed", Record(epoch=7), ("epoch 7",))


def test_what_cannot_be_read_is_not_adopted(a_service: Made) -> None:
    """It is told instead."""
    broken = a_service(LEAD, distrust="they are not signed", annotations={"playbook.ethixai.com/epoch": "x"})
    assert isinstance(adopted(broken), Unreadable)


def test_a_record_says_all_that_it_holds(a_lease: Made) -> None:
    """A line for each part, and a note for what this environment does not have."""
    split = TrafficSplit.all_to(f"{OTHER}-old")
    whole = Record(
        lease=a_lease(requested_by="ada", reason="a release\nof two lines"),
        epoch=100,
        last_good=(Promotion(release="v1", revision="r1", digest="", promoted_at_s=1),),
        mitigation=Mitigation(measure=Measure.SCALE, by="bo", reason="load", at_s=1, split=split, scaling=Scaling()),
        incidents=("incident-1", "incident-2"),
    )
    assert described(whole, SERVICES[:1]) == [
        "epoch 100",
        "release v20251116-abc123-1f2e3d is in flight: decision DEPLOY, flow run 00000000-0000-4000-8000-0000001f2e3d",
        "asked for by ada; reason: a release of two lines",
        f"{LEAD}: from {LEAD}-old to {LEAD}-new, image repo/{LEAD}@sha256:1; the way back is {LEAD}-old 100 %",
        f"{OTHER}: from {OTHER}-old to {OTHER}-new, image repo/{OTHER}@sha256:1; the way back is {OTHER}-old 100 %",
        f"NOTE: the lease names {OTHER}, which is no service of this environment",
        "good release v1: revision r1",
        f"set to scale by bo (load); the way back is {OTHER}-old 100 %",
        "open incidents: incident-1, incident-2",
    ]
    pointing = change.mark(Record(), a_lease(), OTHER)
    assert described(pointing, SERVICES)[1:] == [
        f"takes part in v20251116-abc123-1f2e3d, led by {LEAD}; without it users go to {OTHER}-old 100 %"
    ]
    assert described(Record(epoch=100, lease=a_lease()), SERVICES)[2] == "asked for by an unknown person; reason: none"


@pytest.mark.parametrize(
    ("image", "kind", "says"),
    [
        ("mallory/core@sha256:1", Kind.RELEASE, "images of it come from mirror/core only"),
        ("mallory/core@sha256:1", Kind.HOTFIX, "images of it come from mirror/core only"),
        ("mallory/core@sha256:1", Kind.ROLLBACK, ""),
        ("mirror/core@sha256:1", Kind.RELEASE, ""),
        ("repo/core@sha256:1", Kind.RELEASE, ""),
    ],
)
def test_an_image_of_another_repository_is_noted_where_it_would_be_deployed(
    a_lease: Made, a_rollout: Made, image: str, kind: Kind, says: str
) -> None:
    """A rollback moves users to revisions that exist."""
    lease = a_lease(kind, rollouts=(a_rollout(LEAD, kind, image=image),))
    core = Service(name=LEAD, repository="repo/core", pull_from="mirror/core", job="core")
    notes = [line for line in described(Record(epoch=100, lease=lease), [core]) if line.startswith("NOTE: ")]
    assert len(notes) == bool(says)
    assert all(note.endswith(says) for note in notes)


def test_a_record_that_is_removed_ends_every_other_run(a_lease: Made) -> None:
    """While a release that names the service is in flight, the epoch is that release's: the others go back."""
    flying = Record(epoch=100, lease=a_lease())
    assert to_remove(OTHER, [Record(epoch=3), flying], 50.0) == Record(epoch=100)
    assert to_remove("another", [Record(epoch=3), flying], 50.0) == Record(epoch=50)
