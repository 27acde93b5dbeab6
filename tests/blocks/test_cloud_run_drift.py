"""Drift between a service's template and what serves, field by field; no network."""

import copy
from typing import Any

import pytest

from blocks.cloud_run_drift import drift_of
from blocks.cloud_run_v1 import replacement_of, snapshot_of
from playbook.lease.change import Change, Deployment
from playbook.lease.record import Record
from playbook.release.traffic import TrafficSplit

Json = dict[str, Any]
OURS = "s-abc1234-1f2e3d"


def template() -> Json:
    """A template as a person writes it: an application and a sidecar."""
    return {
        "metadata": {
            "labels": {"team": "platform", "client.knative.dev/nonce": "a"},
            "annotations": {"autoscaling.knative.dev/maxScale": "7", "client.knative.dev/user-image": "r:1"},
        },
        "spec": {
            "containerConcurrency": 80,
            "serviceAccountName": "run@p.iam.gserviceaccount.com",
            "containers": [
                {
                    "name": "app",
                    "image": "r@sha256:" + "a" * 64,
                    "ports": [{"containerPort": 8080}],
                    "env": [{"name": "LOG", "value": "info"}, {"name": "FOO", "value": "1"}],
                    "resources": {"limits": {"cpu": "1000m", "memory": "512Mi"}},
                },
                {"name": "collector", "image": "c:latest"},
            ],
        },
    }


def revision() -> Json:
    """The revision ``s-1`` that the server made of it: defaults are filled in, the sidecar is resolved."""
    made = template()
    made["metadata"] |= {"name": "s-1"}
    made["metadata"]["labels"] |= {"serving.knative.dev/service": "s", "cloud.googleapis.com/location": "l"}
    made["metadata"]["annotations"] |= {"run.googleapis.com/operation-id": "1", "serving.knative.dev/creator": "ada"}
    made["spec"] |= {"timeoutSeconds": 300}
    made["spec"]["containers"][0]["startupProbe"] = {"tcpSocket": {"port": 8080}, "timeoutSeconds": 240}
    digests = [
        {"name": "app", "imageDigest": "r@sha256:" + "a" * 64},
        {"name": "collector", "imageDigest": "c@sha256:1"},
    ]
    return {**made, "status": {"containerStatuses": digests}}


def service(found: Json, newest: str = "s-2", tags: dict[str, str] | None = None) -> Json:
    """The service with that template, whose traffic is pinned to ``s-1``."""
    traffic = [{"revisionName": "s-1", "percent": 100}]
    traffic += [{"revisionName": on, "tag": tag} for tag, on in (tags or {}).items()]
    return {
        "metadata": {"name": "s", "resourceVersion": "1", "generation": 1, "annotations": {}},
        "spec": {"template": found, "traffic": traffic},
        "status": {
            "observedGeneration": 1,
            "conditions": [{"type": "Ready", "status": "True"}],
            "latestReadyRevisionName": newest,
            "latestCreatedRevisionName": newest,
            "traffic": traffic,
        },
    }


def changed(path: str, value: Any) -> Json:
    """The template with one field set, or removed where the value is None. ``path`` has names and numbers."""
    found: Any = template()
    whole, *steps = found, *path.split("/")
    for step in steps[:-1]:
        found = found[int(step)] if step.isdigit() else found.setdefault(step, {})
    last: Any = int(steps[-1]) if steps[-1].isdigit() else steps[-1]
    if value is None:
        del found[last]
    else:
        found[last] = value
    return whole


APP = "spec/containers/0"
CHANGES = [
    (f"{APP}/env/1/value", "50", "env FOO: 50 (serves: 1)"),
    (f"{APP}/env/1", {"name": "DB_POOL", "value": "50"}, "env DB_POOL: 50 (serves: not set)"),
    (f"{APP}/env/1", None, "env FOO: not set (serves: 1)"),
    (f"{APP}/env/1/value", None, "env FOO:  (serves: 1)"),
    (f"{APP}/resources/limits/memory", "1Gi", "resources.limits.memory: 1Gi (serves: 512Mi)"),
    (f"{APP}/command", ["serve"], 'command: ["serve"] (serves: not set)'),
    (f"{APP}/volumeMounts", [{"mountPath": "/v", "name": "v"}], "mount /v: v (serves: not set)"),
    ("spec/volumes", [{"name": "v", "emptyDir": {"medium": "Memory"}}], "volume v: "),
    ("spec/containers/1/image", "c:other", "container collector image: c:other (serves: c@sha256:1)"),
    ("spec/containers/1", None, "container collector image: not set (serves: c@sha256:1)"),
    ("spec/containerConcurrency", 10, "containerConcurrency: 10 (serves: 80)"),
    ("spec/timeoutSeconds", 900, "timeoutSeconds: 900 (serves: 300)"),
    ("spec/serviceAccountName", None, "serviceAccountName: not set (serves: run@p.iam.gserviceaccount.com)"),
    (f"{APP}/startupProbe", {"httpGet": {"path": "/up"}}, "startupProbe.httpGet.path: /up (serves: not set)"),
    (f"{APP}/env/1/value", "a\n- all is well", "env FOO: a - all is well (serves: 1)"),
    ("spec/serviceAccountName", "other@p", "serviceAccountName: other@p (serves: run@p.iam.gserviceaccount.com)"),
    ("metadata/labels/team", "data", "label team: data (serves: platform)"),
    ("metadata/annotations/run.googleapis.com~vpc", "x", "annotation run.googleapis.com~vpc: x (serves: not set)"),
    (
        "metadata/annotations/autoscaling.knative.dev~x",
        "9",
        "annotation autoscaling.knative.dev~x: 9 (serves: not set)",
    ),
]


@pytest.mark.parametrize(("path", "value", "line"), CHANGES, ids=[line.split(":")[0] for *_, line in CHANGES])
def test_a_field_that_a_person_changed_is_shown_with_both_values(path: str, value: Any, line: str) -> None:
    """Set, changed and removed fields of the application, its sidecars and the template itself."""
    drift = drift_of(snapshot_of(service(pinned(changed(path, value)))), revision(), ())
    assert any(one.startswith(line) for one in drift.lines), drift.lines
    assert len(drift.lines) == (2 if f"{APP}/env/1" == path and value else 1), drift.lines


def pinned(found: Json) -> Json:
    """The sidecar as an earlier release has pinned it, where the test does not change it."""
    for container in found["spec"]["containers"]:
        if container["image"] == "c:latest":
            container["image"] = "c@sha256:1"
    return found


def test_a_secret_is_named_and_its_value_is_not_shown() -> None:
    """A reference to a secret is shown as such; a plain value with a secret's name is masked."""
    reference = {"valueFrom": {"secretKeyRef": {"name": "db-uri", "key": "latest"}}}
    found = pinned(template())
    found["spec"]["containers"][0]["env"] += [
        {"name": "DB", **reference},
        {"name": "API_PASSWORD", "value": "hunter22"},
    ]
    lines = drift_of(snapshot_of(service(found)), revision(), ()).lines
    assert "env DB: secret db-uri, version latest (serves: not set)" in lines
    assert "hunter22" not in str(lines)


def test_the_image_defaults_and_what_a_release_sets_are_no_drift() -> None:
    """A new image, the server's defaults, gcloud's labels, and the variables of the environment file."""
    found = pinned(changed(f"{APP}/image", "r@sha256:" + "b" * 64))
    found["metadata"]["labels"]["client.knative.dev/nonce"] = "b"
    del found["spec"]["containerConcurrency"]
    found["spec"]["containers"][0]["env"][1]["value"] = "2"
    assert drift_of(snapshot_of(service(found)), revision(), ("FOO",)).lines == ()


@pytest.mark.parametrize(
    ("cpu", "memory", "is_same"),
    [("1", "0.5Gi", True), ("1.0", "524288Ki", True), ("2", "512Mi", False), ("1", "512M", False)],
)
def test_an_amount_that_is_written_in_another_way_is_no_drift(cpu: str, memory: str, is_same: bool) -> None:
    """The template has 1000m and 512Mi."""
    found = pinned(changed(f"{APP}/resources/limits", {"cpu": cpu, "memory": memory}))
    assert (drift_of(snapshot_of(service(found)), revision(), ()).lines == ()) is is_same


def test_sidecars_without_names_are_no_drift_in_another_order() -> None:
    """They are told apart by what they run."""
    serves = revision()
    serves["spec"]["containers"] += [{"image": "eu.example:5000/a@sha256:1"}, {"image": "b:2", "args": ["x"]}]
    found = pinned(template())
    found["spec"]["containers"] += [{"image": "b:2", "args": ["x"]}, {"image": "eu.example:5000/a@sha256:1"}]
    assert drift_of(snapshot_of(service(found)), serves, ()).lines == ()
    found["spec"]["containers"][2]["args"] = ["y"]
    (line,) = drift_of(snapshot_of(service(found)), serves, ()).lines
    assert line == 'container b args: ["y"] (serves: ["x"])'


def test_a_port_that_a_person_took_out_of_the_template_is_drift() -> None:
    """The default is filled in; another one is not."""
    found, serves = pinned(changed(f"{APP}/ports", None)), revision()
    assert drift_of(snapshot_of(service(found)), serves, ()).lines == ()
    serves["spec"]["containers"][0]["ports"] = [{"containerPort": 9090}]
    assert drift_of(snapshot_of(service(found)), serves, ()).lines == (
        'ports: not set (serves: [{"containerPort": 9090}])',
    )


def test_what_our_own_reverted_revision_left_behind_is_no_drift() -> None:
    """The template that a release of ours writes differs from what serves in its image alone."""
    before = snapshot_of(service(template(), newest="s-1"))
    deployment = Deployment(revision=OURS, base="s-1", image="r@sha256:" + "b" * 64)
    change = Change(record=Record(), split=TrafficSplit.all_to("s-1"), deployment=deployment)
    left = replacement_of(before, change, revision())["spec"]["template"]
    assert drift_of(snapshot_of(service(left, newest=OURS)), revision(), ()).lines == ()


def test_a_preview_is_none_of_our_business() -> None:
    """The newest revision has another person's tag: its settings are the preview's, and are left to it."""
    found = pinned(changed(f"{APP}/env/1/value", "50"))
    drift = drift_of(snapshot_of(service(found, tags={"pr-9": "s-2"})), revision(), ())
    assert (drift.lines, drift.previews, len(drift.differences)) == ((), ("pr-9",), 1)


def test_a_service_whose_newest_revision_serves_has_no_drift() -> None:
    """As one with LATEST traffic: the template is that revision's own, and says more than it."""
    assert drift_of(snapshot_of(service(changed("spec/x", 1), newest="s-1")), revision(), ()).differences == ()


@pytest.mark.parametrize(("takes", "value"), [(True, "50"), (False, "1")])
def test_a_new_revision_is_made_of_the_template_or_of_what_serves(takes: bool, value: str) -> None:
    """With the release's own image and variables in both cases."""
    found = snapshot_of(service(pinned(changed(f"{APP}/env/1/value", "50"))))
    deployment = Deployment(
        revision=OURS, base="s-1", image="r@sha256:" + "b" * 64, environment={"LOG": "debug"}, takes_template=takes
    )
    change = Change(record=Record(), split=TrafficSplit.all_to("s-1"), deployment=deployment)
    made = replacement_of(found, change, copy.deepcopy(revision()))["spec"]["template"]
    env = {one["name"]: one["value"] for one in made["spec"]["containers"][0]["env"]}
    assert env == {"FOO": value, "LOG": "debug"}
    assert made["spec"]["containers"][0]["image"] == "r@sha256:" + "b" * 64
