"""Which run can hold a lease, and what of a lease's names is there."""

import pytest

from playbook.lease.lease import Decision, Kind, Lease, MigrationLease, ReleaseLease, ServiceRollout
from playbook.lease.origin import NamedRun, missing, not_its_run, outdated
from playbook.lease.record import Record
from playbook.lease.recovery import Recovery, Step, unless_stopped
from playbook.release.traffic import TrafficSplit
from playbook.release.version import Service

RUN = "00000000-0000-4000-8000-0000001f2e3d"
OTHER = "00000000-0000-4000-8000-000000999999"
BACKEND = Service(name="backend", repository="ghcr.io/us/backend", pull_from="docker.pkg.dev/us/backend", job="backend")
OURS, FOREIGN = "docker.pkg.dev/us/backend@sha256:1", "docker.io/mallory/backend@sha256:1"


def lease(decision: Decision = Decision.BAKE, kind: Kind = Kind.RELEASE) -> Lease:
    fields = {
        "release_id": "v20251116-abc123-1f2e3d",
        "version": "v20251116-abc123",
        "flow_run_id": RUN,
        "epoch": 1,
        "decision": decision,
        "rollouts": (
            ServiceRollout(
                service="backend",
                from_revision="backend-old",
                found=TrafficSplit.all_to("backend-old"),
                to_revision="backend-new",
                image=OURS,
            ),
        ),
        "canary_percent": 10,
        "deadline_s": 1,
    }
    return MigrationLease(**fields) if kind is Kind.MIGRATION else ReleaseLease(**fields)


@pytest.mark.parametrize(
    ("run_id", "flow", "environment", "kind", "is_its"),
    [
        (RUN, "release", "production", Kind.RELEASE, True),
        (RUN, "release", "", Kind.RELEASE, True),
        (RUN, "release", "elsewhere", Kind.RELEASE, False),
        (OTHER, "release", "production", Kind.RELEASE, False),
        (OTHER, "recovery", "production", Kind.RELEASE, True),
        (OTHER, "recovery", "elsewhere", Kind.RELEASE, False),
        (OTHER, "hotfix", "production", Kind.RELEASE, True),
        (OTHER, "rollback", "production", Kind.RELEASE, True),
        (OTHER, "mitigate", "production", Kind.RELEASE, False),
        (OTHER, "watch", "production", Kind.RELEASE, False),
        (OTHER, "", "production", Kind.RELEASE, False),
        (OTHER, "migration-rollback", "production", Kind.MIGRATION, True),
        (OTHER, "release", "production", Kind.MIGRATION, False),
        (OTHER, "hotfix", "production", Kind.MIGRATION, False),
    ],
)
def test_a_lease_is_held_by_few_runs(run_id: str, flow: str, environment: str, kind: Kind, is_its: bool) -> None:
    """The one that acquired it, a recovery, or a kind that may take its place, of a deployment that acts here."""
    run = NamedRun(run_id=run_id, flow=flow, environment=environment)
    assert (not_its_run(lease(kind=kind), run, ("production",)) == "") is is_its


@pytest.mark.parametrize(
    ("decision", "images", "is_there"),
    [
        (Decision.BAKE, {"backend-old": OURS, "backend-new": OURS}, True),
        (Decision.BAKE, {"backend-old": OURS}, False),
        (Decision.BAKE, {"backend-new": OURS}, False),
        (Decision.DEPLOY, {"backend-old": OURS}, True),
        (Decision.DEPLOY, {}, False),
        (Decision.REVERT, {"backend-old": OURS}, True),
        (Decision.PROMOTE, {"backend-old": OURS}, False),
        (Decision.BAKE, {"backend-old": FOREIGN, "backend-new": OURS}, True),
        (Decision.BAKE, {"backend-old": OURS, "backend-new": FOREIGN}, False),
        (Decision.BAKE, {"backend-old": OURS, "backend-new": "ghcr.io/us/backend:tag"}, True),
        (Decision.BAKE, {"backend-old": OURS, "backend-new": "ghcr.io:443/us/backend"}, False),
    ],
)
def test_what_a_lease_names_is_there(decision: Decision, images: dict[str, str], is_there: bool) -> None:
    """The way back always; the new revision once users may be on it, with an image of the service's repository."""
    assert (missing(lease(decision), BACKEND, images) == []) is is_there


def test_nothing_goes_forward_without_what_it_names() -> None:
    """A resumed or held release is reverted, with what is missing as the reason; what goes back goes on."""
    problem = ["backend has no revision backend-new, which the lease names"]
    for step in Step:
        decided = Recovery(step=step, reason="any")
        found = unless_stopped(decided, lease(), problem)
        assert found.step is (Step.REVERT if step in (Step.RESUME, Step.HOLD) else step)
        assert unless_stopped(decided, lease(), []) == decided


def test_a_lease_that_was_written_back_is_known_by_what_another_service_has_seen() -> None:
    """It is written on its coordinator first, so no service of it has seen a newer epoch."""
    assert outdated(lease(), {"backend": Record(epoch=1), "another": Record(epoch=9)}) == []
    assert outdated(lease(), {"another": Record(epoch=9)}) == []
    assert outdated(lease(), {"backend": Record(epoch=2)}) == [
        "its lease of epoch 1 is older than what backend knows, epoch 2"
    ]


@pytest.mark.parametrize(
    ("kind", "images", "is_there"),
    [
        pytest.param(Kind.MIGRATION, {"backend-new": FOREIGN}, True, id="it deploys nothing: any image of what exists"),
        pytest.param(Kind.MIGRATION, {"backend-old": OURS}, False, id="what users get once it is done"),
    ],
)
def test_a_migration_needs_only_what_it_opens_with(kind: Kind, images: dict[str, str], is_there: bool) -> None:
    """It was deployed before it, be it from this repository or another one."""
    assert (missing(lease(Decision.BAKE, kind), BACKEND, images) == []) is is_there


def test_a_migration_finds_out_for_itself_what_is_missing() -> None:
    """Half of its data may be changed: it is not reverted for it."""
    decided = Recovery(step=Step.RESUME, reason="any")
    assert unless_stopped(decided, lease(kind=Kind.MIGRATION), ["backend has no revision backend-new"]) == decided


def test_the_image_of_what_deploys_is_that_of_the_services_repository() -> None:
    """With a tag, a digest or a port in its name."""
    service = Service(name="backend", repository="localhost:5000/us/backend", job="backend")
    for image in ("localhost:5000/us/backend:tag@sha256:1", "localhost:5000/us/backend", "localhost:5000/us/backend:1"):
        assert missing(lease(), service, {"backend-old": OURS, "backend-new": image}) == []
    (problem,) = missing(lease(), service, {"backend-old": OURS, "backend-new": OURS})
    assert problem.endswith("an image of another repository")


def test_a_release_is_deployed_from_the_revision_that_served() -> None:
    """While it is deployed, its template is needed, and not only the way back."""
    split = TrafficSplit.all_to("backend-older")
    deploying = lease(Decision.DEPLOY)
    moved = deploying.model_copy(update={"rollouts": (deploying.rollouts[0].model_copy(update={"found": split}),)})
    (problem,) = missing(moved, BACKEND, {"backend-older": OURS})
    assert problem == "backend has no revision backend-old, which the lease names"
    assert missing(moved.decided(Decision.REVERT), BACKEND, {"backend-older": OURS}) == []
