"""Cloud Run's messages as the playbook's nouns, and back; no network."""

import datetime

import pytest
from google.cloud import run_v2
from pydantic import ValidationError

from blocks.cloud_run_types import body_of, mask_of, revision_of, snapshot_of, template_of
from playbook.lease.change import Change, Deployment
from playbook.lease.record import Record
from playbook.release.traffic import LATEST, Scaling, ServiceSnapshot, TrafficSplit

KIND = run_v2.TrafficTargetAllocationType
PINNED, MOVING = KIND.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION, KIND.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
NAME = "projects/p/locations/l/services/s"
FAILED = run_v2.Condition.State.CONDITION_FAILED
SUCCEEDED = run_v2.Condition.State.CONDITION_SUCCEEDED


def target(revision: str, percent: int = 0, tag: str = "") -> run_v2.TrafficTarget:
    """A pinned target."""
    return run_v2.TrafficTarget(type_=PINNED, revision=revision, percent=percent, tag=tag)


TWO = TrafficSplit(percent={"s-1": 90, "s-2": 10}, tags={"canary": "s-2"})


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param(
            [target("s-1", 90), target("s-2", 10), target("s-2", tag="canary")], id="a tag on its own, at 0 %"
        ),
        pytest.param([target("s-1", 90), target("s-2", 10, "canary")], id="a tag on the share itself"),
        pytest.param([target("s-1", 40), target("s-1", 50), target("s-2", 10, "canary")], id="a share in two pieces"),
        pytest.param([target(f"{NAME}/revisions/s-1", 90), target("s-2", 10, "canary")], id="a full name"),
        pytest.param([target("s-1", 90), target("s-2", 10, "canary"), target("s-0")], id="a leftover of 0 %"),
    ],
)
def test_one_split_is_read_from_every_way_to_write_it(targets: list[run_v2.TrafficTarget]) -> None:
    """gcloud, the console and this project write the same traffic differently."""
    assert snapshot_of(run_v2.Service(name=NAME, traffic=targets)).split == TWO


def test_no_targets_mean_everything_to_latest() -> None:
    """An empty list is no 0 %."""
    assert snapshot_of(run_v2.Service(name=NAME)).split == TrafficSplit.all_to(LATEST)


def test_what_serves_latest_is_named() -> None:
    """What is observed never says LATEST, or it could not be compared with what was pinned."""
    service = run_v2.Service(
        name=NAME,
        latest_ready_revision=f"{NAME}/revisions/s-7",
        traffic_statuses=[run_v2.TrafficTargetStatus(type_=MOVING, percent=100)],
    )
    assert snapshot_of(service).served == TrafficSplit.all_to("s-7")


def test_traffic_that_does_not_sum_to_100_is_an_error() -> None:
    """It is never rounded or guessed."""
    with pytest.raises(ValidationError):
        snapshot_of(run_v2.Service(name=NAME, traffic=[target("s-1", 90)]))


@pytest.mark.parametrize(
    ("service", "is_under_way"),
    [
        pytest.param({"reconciling": True}, True, id="reconciling"),
        pytest.param({"generation": 2, "observed_generation": 1}, True, id="not observed yet"),
        pytest.param({"generation": 2, "observed_generation": 2}, False, id="observed"),
        pytest.param(
            {"generation": 2, "observed_generation": 1, "terminal_condition": run_v2.Condition(state=FAILED)},
            False,
            id="failed, and will never be observed",
        ),
    ],
)
def test_it_is_known_whether_cloud_run_is_still_at_it(service: dict[str, object], is_under_way: bool) -> None:
    """A failed update keeps the generation it last reached; to wait for it would be to wait for ever."""
    assert snapshot_of(run_v2.Service(name=NAME, **service)).is_reconciling is is_under_way


def snapshot(**fields: object) -> ServiceSnapshot:
    """A read of a service."""
    split = TrafficSplit.all_to("s-1")
    return ServiceSnapshot.model_validate(
        {"service": "s", "etag": "e", "uri": "", "split": split, "served": split, **fields}
    )


@pytest.mark.parametrize("split", [TWO, TrafficSplit.all_to(LATEST), TrafficSplit(percent={"a": 1, LATEST: 99})])
def test_a_split_is_read_back_as_it_was_written(split: TrafficSplit) -> None:
    """Writing and reading are inverse."""
    body = body_of(NAME, snapshot(), Change(record=Record(), split=split), None)
    assert snapshot_of(body).split == split
    assert body.etag == "e"


@pytest.mark.parametrize("scaling", [Scaling(manual=0), Scaling(manual=2), Scaling(min_instances=1, max_instances=3)])
def test_scaling_is_read_back_as_it_was_written(scaling: Scaling) -> None:
    """A count of 0 survives the wire, where an unset one would mean something else."""
    body = body_of(NAME, snapshot(), Change(record=Record(), scaling=scaling), None)
    wire = run_v2.Service.deserialize(run_v2.Service.serialize(body))
    assert snapshot_of(wire).scaling == scaling


DEPLOYMENT = Deployment(revision="s-2", base="s-1", image="r@sha256:2", environment={"B": "3", "C": "4"})


@pytest.mark.parametrize(
    ("change", "mask"),
    [
        ({}, ["annotations"]),
        ({"split": TWO}, ["annotations", "traffic"]),
        ({"split": TWO, "deployment": DEPLOYMENT}, ["annotations", "traffic", "template"]),
        ({"scaling": Scaling(manual=0)}, ["annotations", "scaling"]),
    ],
)
def test_the_mask_names_what_moves_and_nothing_else(change: dict[str, object], mask: list[str]) -> None:
    """A field in the mask is replaced whole; `template` in it would make a revision."""
    assert mask_of(Change(record=Record(), **change)) == mask


BASE = run_v2.Revision(
    name=f"{NAME}/revisions/s-1",
    labels={"team": "platform", "cloud.googleapis.com/location": "l"},
    annotations={"run.googleapis.com/client-name": "gcloud", "owner": "me"},
    timeout=datetime.timedelta(seconds=30),
    service_account="runtime@p",
    max_instance_request_concurrency=7,
    session_affinity=True,
    scaling=run_v2.RevisionScaling(max_instance_count=3),
    containers=[
        run_v2.Container(name="collector", image="sidecar"),
        run_v2.Container(
            name="app",
            image="r@sha256:1",
            ports=[run_v2.ContainerPort(container_port=8080)],
            env=[
                run_v2.EnvVar(name="A", value="1"),
                run_v2.EnvVar(name="B", value="2"),
                run_v2.EnvVar(
                    name="S",
                    value_source=run_v2.EnvVarSource(secret_key_ref=run_v2.SecretKeySelector(secret="s", version="1")),
                ),
            ],
        ),
    ],
)


def test_a_template_is_that_of_the_base_with_another_image_and_overrides() -> None:
    """Everything else is copied: limits, account, sidecars, secrets; only the serving container's image changes."""
    template = template_of(BASE, DEPLOYMENT)
    assert template.revision == "s-2"
    assert [container.image for container in template.containers] == ["sidecar", "r@sha256:2"]
    assert {v.name: v.value for v in template.containers[1].env} == {"A": "1", "S": "", "B": "3", "C": "4"}
    assert template.containers[1].env[1].value_source.secret_key_ref.secret == "s"
    assert template.timeout == datetime.timedelta(seconds=30)
    assert template.service_account == "runtime@p"
    assert template.max_instance_request_concurrency == 7
    assert template.session_affinity
    assert template.scaling.max_instance_count == 3


def test_cloud_runs_own_labels_are_left_to_cloud_run() -> None:
    """It refuses them from others."""
    template = template_of(BASE, DEPLOYMENT)
    assert dict(template.labels) == {"team": "platform"}
    assert dict(template.annotations) == {"owner": "me"}


def test_a_base_is_not_changed_by_copying_it() -> None:
    """The stable revision in memory keeps its image."""
    before = run_v2.Revision.serialize(BASE)
    template_of(BASE, DEPLOYMENT)
    assert run_v2.Revision.serialize(BASE) == before


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
