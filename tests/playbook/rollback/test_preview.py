"""What the page says that a rollback would do now, and what a plan calls what it takes back."""

import pytest

from playbook.errors import BadRequest, Refused
from playbook.lease.lease import ReleaseLease, ServiceRollout
from playbook.lease.record import Record
from playbook.release.promotion import Promotion
from playbook.release.traffic import Revision, ServiceSnapshot, TrafficSplit
from playbook.rollback.plan import ServiceState, plan_rollback, preview

A, B, C = "v20251101-aaaaaa", "v20251108-bbbbbb", "v20251115-cccccc"


def good(service: str, version: str) -> Promotion:
    at_s = {A: 1.0, B: 2.0, C: 3.0}[version]
    return Promotion(release=version, revision=f"{service}-{version[-6:]}", digest="", promoted_at_s=at_s)


def snapshot(service: str, *versions: str, serves: str = "", **record: object) -> ServiceSnapshot:
    """A service that serves its newest good release, or ``serves``."""
    goods = tuple(good(service, version) for version in versions)
    split = TrafficSplit.all_to(serves or goods[0].revision)
    fields = {"epoch": 7, "last_good": goods} | record
    return ServiceSnapshot(
        service=service, etag="1", uri="", split=split, served=split, annotations=Record(**fields).annotations()
    )


def unreadable(service: str) -> ServiceSnapshot:
    return snapshot(service, A).model_copy(update={"annotations": {"playbook.ethixai.com/epoch": "x"}})


LEASE = ReleaseLease(
    release_id=f"{C}-1f2e3d",
    version=C,
    flow_run_id="123e4567-e89b-12d3-a456-426614174000",
    epoch=7,
    rollouts=(
        ServiceRollout(
            service="core",
            from_revision="core-bbbbbb",
            to_revision="core-cccccc",
            found=TrafficSplit.all_to("core-bbbbbb"),
            image="r@sha256:1",
        ),
    ),
    canary_percent=10,
    deadline_s=1e9,
)
PREVIEWS = {
    "both go back to the same release": (
        [snapshot("core", B, A), snapshot("backend", B, A)],
        f"takes all users of core, backend back to {A}.",
    ),
    "each goes back to its own": (
        [snapshot("core", C, B), snapshot("backend", C, A)],
        f"takes users back: core to {B}; backend to {A}.",
    ),
    "one cannot be read": ([snapshot("core", B, A), unreadable("backend")], f"takes all users of core back to {A}."),
    "none can be read": ([unreadable("core")], "is not possible: no service can be read."),
    "there is no service": ([], "is not possible: no service can be read."),
    "a release is in flight": (
        [snapshot("core", B, A, lease=LEASE), snapshot("backend", B, A)],
        "takes back what is under way; without a target nothing else moves.",
    ),
    "there is nothing before it": (
        [snapshot("core", A)],
        "is refused. There is nothing to roll back to: core serves core-aaaaaa 100 %. No good release before that is "
        "written down. Name a revision in 'to', or fix forward.",
    ),
}


@pytest.mark.parametrize(("snapshots", "says"), PREVIEWS.values(), ids=PREVIEWS)
def test_a_person_reads_what_a_rollback_would_do_before_they_start_it(
    snapshots: list[ServiceSnapshot], says: str
) -> None:
    """Without a target, by what is written down."""
    assert preview(snapshots) == says


def state(service: str, *versions: str, serves: str = "", there: tuple[str, ...] = ()) -> ServiceState:
    names = there or tuple(good(service, version).revision for version in (A, B, C))
    revisions = tuple(Revision(name=one, image="r@sha256:1", is_ready=True, is_active=True) for one in names)
    return ServiceState(snapshot=snapshot(service, *versions, serves=serves), revisions=revisions)


@pytest.mark.parametrize(
    ("found", "to", "version"),
    [
        pytest.param([state("core", B, A), state("backend", C, B)], "core-aaaaaa", B, id="what serves where it moves"),
        pytest.param([state("core", B, A, serves="x"), state("backend", C, B)], "core-aaaaaa", "x", id="by a person"),
        pytest.param([state("core", B, A, serves="x"), state("backend", B, A)], "", B, id="the release of the others"),
    ],
)
def test_what_is_taken_back_is_named_after_what_serves(found: list[ServiceState], to: str, version: str) -> None:
    """A service that stays says nothing of it; a revision without a record goes by its own name."""
    assert plan_rollback({one.service: one for one in found}, to).version == version


@pytest.mark.parametrize(
    ("there", "to", "known"),
    [
        pytest.param((C, B), A, f"known are {B}.", id="the one that was named"),
        pytest.param((C, A), B, f"known are {A}.", id="another one"),
        pytest.param((C,), A, "known are none.", id="all"),
        pytest.param((C, B), "v20250101-dddddd", f"known are {C}, {B}", id="a name that nothing has"),
        pytest.param((C, B), "", f"known are {B}.", id="nothing is named"),
    ],
)
def test_a_refusal_names_only_revisions_that_exist(there: tuple[str, ...], to: str, known: str) -> None:
    """What a person may name instead: one that was deleted would be refused, too."""
    versions = (C, B, A) if to else (C, A, B)
    services = {
        name: state(name, *versions, there=tuple(good(name, one).revision for one in there))
        for name in ("core", "backend")
    }
    with pytest.raises((Refused, BadRequest), match=r"does not exist any more|is no release") as refused:
        plan_rollback(services, to)
    assert str(refused.value).count(known) == (1 if "is no release" in str(refused.value) else 2)
