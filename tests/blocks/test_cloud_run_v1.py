"""Cloud Run's v1 objects as the playbook's nouns, and back; no network."""

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from blocks.cloud_run_v1 import RUN, replacement_of, snapshot_of
from playbook.lease.change import Change, Deployment
from playbook.lease.record import Record
from playbook.release.traffic import LATEST, Scaling, TrafficSplit

Json = dict[str, Any]


def service(traffic: list[Json] | None = None, annotations: Json | None = None, **status: Any) -> Json:
    """A service with fields at every depth that this project does not know."""
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "x-young": {"a": [1, None]},
        "metadata": {
            "name": "s",
            "namespace": "p",
            "resourceVersion": "AAX",
            "generation": 3,
            "finalizers": ["x"],
            "labels": {"team": "platform", "cloud.googleapis.com/location": "l"},
            "annotations": {
                "run.googleapis.com/ingress": "all",
                "run.googleapis.com/launch-stage": "BETA",
                "serving.knative.dev/lastModifier": "ada@example.com",
                **(annotations or {}),
            },
        },
        "spec": {"template": copy.deepcopy(TEMPLATE), "x-spec": 1, **({"traffic": traffic} if traffic else {})},
        "status": {
            "observedGeneration": 3,
            "conditions": [{"type": "Ready", "status": "True"}],
            "latestReadyRevisionName": "s-1",
            "latestCreatedRevisionName": "s-1",
            "url": "https://s.example",
            **status,
        },
    }


TEMPLATE: Json = {
    "metadata": {
        "labels": {"team": "platform", "commit-sha": "5ab1e0", "client.knative.dev/nonce": "abc"},
        "annotations": {
            "autoscaling.knative.dev/maxScale": "7",
            "run.googleapis.com/health-check-disabled": "true",
            "client.knative.dev/user-image": "r:tag",
            "run.googleapis.com/build-id": "b",
            "run.googleapis.com/base-images": '{"app":"base","collector":"other"}',
        },
    },
    "spec": {
        "containerConcurrency": 7,
        "x-template": True,
        "runtimeClassName": "run.googleapis.com/linux-base-image-update",
        "containers": [
            {"name": "collector", "image": "sidecar:latest", "x-container": 1},
            {
                "name": "app",
                "image": "r@sha256:1",
                "ports": [{"containerPort": 8080}],
                "baseImageUri": "base",
                "buildInfo": {"functionTarget": "f"},
                "env": [
                    {"name": "A", "value": "1"},
                    {"name": "B", "value": "2"},
                    {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "1"}}, "x-env": 1},
                ],
            },
        ],
    },
}


def target(revision: str, percent: int = 0, tag: str = "") -> Json:
    """A pinned target."""
    return {"revisionName": revision, **({"percent": percent} if percent else {}), **({"tag": tag} if tag else {})}


TWO = TrafficSplit(percent={"s-1": 90, "s-2": 10}, tags={"canary": "s-2"})


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param(
            [target("s-1", 90), target("s-2", 10), target("s-2", tag="canary")], id="a tag on its own, at 0 %"
        ),
        pytest.param([target("s-1", 90), target("s-2", 10, "canary")], id="a tag on the share itself"),
        pytest.param([target("s-1", 40), target("s-1", 50), target("s-2", 10, "canary")], id="a share in two pieces"),
        pytest.param([target("s-1", 90), target("s-2", 10, "canary"), target("s-0")], id="a leftover of 0 %"),
    ],
)
def test_one_split_is_read_from_every_way_to_write_it(targets: list[Json]) -> None:
    """gcloud, the console and this project write the same traffic differently."""
    assert snapshot_of(service(targets)).split == TWO


def test_no_targets_mean_everything_to_latest() -> None:
    """An empty list is no 0 %."""
    assert snapshot_of(service()).split == TrafficSplit.all_to(LATEST)


def test_what_serves_latest_is_named() -> None:
    """What is observed never says LATEST, or it could not be compared with what was pinned."""
    observed = [{"latestRevision": True, "revisionName": "s-1", "percent": 100}]
    found = service()
    found["status"]["traffic"] = observed
    assert snapshot_of(found).served == TrafficSplit.all_to("s-1")


def test_what_serves_is_the_revision_that_the_target_names() -> None:
    """A newer one may be ready and serve no user yet."""
    observed = [{"latestRevision": True, "revisionName": "s-0", "percent": 100}, {"tag": "gone"}]
    raw = service([{"latestRevision": True, "percent": 100}])
    raw["status"]["traffic"] = observed
    assert snapshot_of(raw).served == TrafficSplit(percent={"s-0": 100}, tags={"gone": "s-1"})


@pytest.mark.parametrize("share", [90, 110])
def test_shares_that_are_on_their_way_are_no_split_that_serves(share: int) -> None:
    """The service can still be read, and so taken back; nothing says that it serves as asked."""
    raw = service([target("s-1", 100)])
    raw["status"]["traffic"] = [target("s-1", share)]
    assert snapshot_of(raw).served is None


def test_a_target_that_names_no_revision_is_latest() -> None:
    """As Knative has it."""
    assert snapshot_of(service([{"percent": 100}])).split == TrafficSplit.all_to(LATEST)


def test_a_service_without_a_resource_version_cannot_be_written() -> None:
    """A write without one would be unconditional."""
    raw = service()
    raw["metadata"]["resourceVersion"] = ""
    with pytest.raises(ValueError, match="no resource version"):
        snapshot_of(raw)


def test_automatic_scaling_stays_as_it_is_written() -> None:
    """gcloud writes it out; only manual scaling that ends takes its word along."""
    raw = service(annotations={f"{RUN}/scalingMode": "automatic", f"{RUN}/minScale": "2"})
    change = Change(record=None, scaling=Scaling(min_instances=4))
    written = replacement_of(snapshot_of(raw), change)["metadata"]["annotations"]
    assert (written[f"{RUN}/scalingMode"], written[f"{RUN}/minScale"]) == ("automatic", "4")


def test_traffic_that_does_not_sum_to_100_is_an_error() -> None:
    """It is never rounded or guessed."""
    with pytest.raises(ValidationError):
        snapshot_of(service([target("s-1", 90)]))


@pytest.mark.parametrize(
    ("status", "is_reconciling"),
    [
        pytest.param({"conditions": [{"type": "Ready", "status": "Unknown"}]}, True, id="reconciling"),
        pytest.param({"conditions": []}, True, id="no condition yet"),
        pytest.param({"observedGeneration": 2}, True, id="not observed yet"),
        pytest.param({}, False, id="observed"),
        pytest.param(
            {"observedGeneration": 2, "conditions": [{"type": "Ready", "status": "False", "message": "why"}]},
            False,
            id="failed, and will never be observed",
        ),
    ],
)
def test_it_is_known_whether_cloud_run_is_still_at_it(status: Json, is_reconciling: bool) -> None:
    """A failed update may keep the generation it last reached; to wait for it would be to wait for ever."""
    found = snapshot_of(service(**status))
    assert found.is_reconciling is is_reconciling
    assert found.failure == ("why" if "message" in str(status) else "")


@pytest.mark.parametrize(
    "broken",
    [{}, {"metadata": None}, {"metadata": {"name": "s"}}, {"metadata": {"name": "s", "resourceVersion": "1"}}],
)
def test_what_is_no_service_raises_an_error_that_is_translated(broken: Json) -> None:
    """The block makes Transient of it: something else has answered."""
    with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
        snapshot_of(broken)


def test_an_unchanged_write_is_what_was_read() -> None:
    """Whatever is not changed goes back as it came: unknown fields, the template, other people's annotations."""
    found = service([target("s-1", 100)], {"team": "platform"})
    sent = replacement_of(snapshot_of(found), Change(record=Record()))
    assert sent == found


def test_a_change_of_traffic_sends_the_template_as_it_was_read() -> None:
    """Also with a name in it; only traffic and our annotations differ."""
    found = service([target("s-1", 100) | {"x-traffic": "kept"}, target("s-0", tag="pr-12") | {"x-tag": 1}])
    found["spec"]["template"]["metadata"]["name"] = "s-1"
    wanted = TrafficSplit(percent={"s-1": 90, "s-2": 10}, tags={"pr-12": "s-0"})
    sent = replacement_of(snapshot_of(found), Change(record=Record(epoch=2), split=wanted))
    assert sent["spec"]["template"] == found["spec"]["template"]
    assert sent["spec"]["traffic"] == [
        target("s-1", 90) | {"x-traffic": "kept"},
        target("s-2", 10),
        target("s-0", tag="pr-12") | {"x-tag": 1},
    ]
    del sent["spec"]["traffic"], sent["metadata"]["annotations"]["playbook.ethixai.com/epoch"]
    assert sent == {**found, "spec": {key: value for key, value in found["spec"].items() if key != "traffic"}}


def test_the_breakglass_annotation_is_deleted_as_gcloud_does() -> None:
    """It lets one deployment past Binary Authorization, not the next."""
    found = service(annotations={"run.googleapis.com/binary-authorization-breakglass": "because"})
    sent = replacement_of(snapshot_of(found), Change(record=Record()))
    assert "run.googleapis.com/binary-authorization-breakglass" not in sent["metadata"]["annotations"]


@pytest.mark.parametrize("split", [TWO, TrafficSplit.all_to(LATEST), TrafficSplit(percent={"a": 1, LATEST: 99})])
def test_a_split_is_read_back_as_it_was_written(split: TrafficSplit) -> None:
    """Writing and reading are inverse, and what was read is not changed by it."""
    found = service([target("s-1", 100)])
    before = copy.deepcopy(found)
    sent = replacement_of(snapshot_of(found), Change(record=Record(), split=split))
    assert snapshot_of(sent).split == split
    assert found == before


@pytest.mark.parametrize(
    "scaling", [Scaling(manual=0), Scaling(manual=2), Scaling(min_instances=1, max_instances=3), Scaling()]
)
@pytest.mark.parametrize(
    "before",
    [
        {},
        {"run.googleapis.com/scalingMode": "manual", "run.googleapis.com/manualInstanceCount": "4"},
        {"run.googleapis.com/minScale": "2", "run.googleapis.com/maxScale": "9"},
    ],
)
def test_scaling_is_read_back_as_it_was_written(scaling: Scaling, before: Json) -> None:
    """Whatever it was before; a fixed count of 0 stays a 0."""
    sent = replacement_of(snapshot_of(service(annotations=before)), Change(record=Record(), scaling=scaling))
    assert snapshot_of(sent).scaling == scaling


DEPLOYMENT = Deployment(revision="s-2", base="s-1", image="r@sha256:2", environment={"B": "3", "C": "4"})


def revision() -> Json:
    """The v1 revision that the template's server made of it."""
    made = copy.deepcopy(TEMPLATE)
    made["metadata"]["name"] = "s-1"
    made["metadata"]["labels"] |= {"serving.knative.dev/service": "s", "cloud.googleapis.com/location": "l"}
    made["metadata"]["annotations"] |= {
        "serving.knative.dev/creator": "ada@example.com",
        "run.googleapis.com/operation-id": "o",
        "run.googleapis.com/client-name": "gcloud",
    }
    digests = [{"name": "collector", "imageDigest": "sidecar@sha256:9"}, {"name": "app", "imageDigest": "r@sha256:1"}]
    return {**made, "kind": "Revision", "status": {"containerStatuses": digests}}


@pytest.mark.parametrize("latest_created", ["s-1", "s-9"], ids=["the template is its own", "the template is ahead"])
def test_a_deployment_is_the_base_with_another_image_and_overrides(latest_created: str) -> None:
    """Sidecars, secrets, limits and unknown fields stay; what describes the old image does not travel."""
    found = service([target("s-1", 100)], latestCreatedRevisionName=latest_created)
    if latest_created == "s-9":
        found["spec"]["template"]["spec"]["containers"][1]["image"] = "r@sha256:of-a-reverted-release"
    sent = replacement_of(snapshot_of(found), Change(record=Record(), deployment=DEPLOYMENT), revision())
    assert sent["spec"]["template"] == {
        "metadata": {
            "name": "s-2",
            "labels": {"team": "platform"},
            "annotations": {
                "autoscaling.knative.dev/maxScale": "7",
                "run.googleapis.com/health-check-disabled": "true",
                "run.googleapis.com/base-images": '{"collector": "other"}',
            },
        },
        "spec": {
            "containerConcurrency": 7,
            "x-template": True,
            "runtimeClassName": "run.googleapis.com/linux-base-image-update",
            "containers": [
                {"name": "collector", "image": "sidecar@sha256:9", "x-container": 1},
                {
                    "name": "app",
                    "image": "r@sha256:2",
                    "ports": [{"containerPort": 8080}],
                    "env": [
                        {"name": "A", "value": "1"},
                        {"name": "S", "valueFrom": {"secretKeyRef": {"name": "s", "key": "1"}}, "x-env": 1},
                        {"name": "B", "value": "3"},
                        {"name": "C", "value": "4"},
                    ],
                },
            ],
        },
    }


def test_the_base_image_of_the_only_container_goes_with_its_runtime_class() -> None:
    """Both belong to automatic base image updates of the old image."""
    found = service()
    template = found["spec"]["template"]
    template["spec"]["containers"] = [{"image": "r@sha256:1"}]
    template["metadata"]["annotations"] = {"run.googleapis.com/base-images": '{"":"base"}'}
    sent = replacement_of(snapshot_of(found), Change(record=Record(), deployment=DEPLOYMENT), revision())
    assert sent["spec"]["template"]["metadata"]["annotations"] == {}
    assert "runtimeClassName" not in sent["spec"]["template"]["spec"]


def test_what_was_read_shows_in_no_repr_and_no_dump() -> None:
    """The object may hold variables with values that people take for private."""
    found = snapshot_of(service())
    assert "x-young" not in repr(found)
    assert "raw" not in found.model_dump()
