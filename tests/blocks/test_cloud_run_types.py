"""Cloud Run's v2 revisions as the playbook's nouns; no network."""

from google.cloud import run_v2

from blocks.cloud_run_types import revision_of

NAME = "projects/p/locations/l/services/s"
FAILED = run_v2.Condition.State.CONDITION_FAILED
SUCCEEDED = run_v2.Condition.State.CONDITION_SUCCEEDED


def test_a_revision_says_why_it_is_not_ready() -> None:
    """The container's own condition is the reason; that it is not active is none."""
    revision = run_v2.Revision(
        name=f"{NAME}/revisions/s-2",
        conditions=[
            run_v2.Condition(type_="Active", state=FAILED, message="retired"),
            run_v2.Condition(type_="ContainerHealthy", state=FAILED, message="it exited with 1"),
        ],
    )
    found = revision_of(revision)
    assert (found.is_ready, found.is_active, found.reason) == (False, False, "it exited with 1")


def test_a_retired_revision_is_ready_and_not_active() -> None:
    """It can be rolled back to."""
    conditions = [
        run_v2.Condition(type_="Ready", state=SUCCEEDED),
        run_v2.Condition(type_="Active", state=FAILED, message="retired"),
    ]
    found = revision_of(run_v2.Revision(name=f"{NAME}/revisions/s-2", conditions=conditions))
    assert (found.is_ready, found.is_active, found.reason) == (True, False, "")


def test_the_image_is_that_of_the_container_with_the_port() -> None:
    """A sidecar may stand first."""
    containers = [
        run_v2.Container(image="sidecar"),
        run_v2.Container(image="app", ports=[run_v2.ContainerPort(container_port=8080)]),
    ]
    assert revision_of(run_v2.Revision(name=f"{NAME}/revisions/s-2", containers=containers)).image == "app"
