"""Cloud Run's v1 API: compare-and-swap, what is kept, revision names, and that v1 and v2 agree."""

import copy

import httpx
import pytest
from google.api import launch_stage_pb2
from google.cloud import run_v2

from tests.world.v1_client import V1

V2 = "ethixai-backend-v2"


async def test_a_put_of_what_was_read_makes_no_revision(v1: V1) -> None:
    """The template is sent as it was read: the version moves, the revisions stay."""
    read = await v1.service()
    after = await v1.put(read)
    assert after["metadata"]["generation"] == read["metadata"]["generation"] + 1
    assert after["metadata"]["resourceVersion"] != read["metadata"]["resourceVersion"]
    assert [one["metadata"]["name"] for one in await v1.revisions()] == [v1.cloud.STABLE]


async def test_a_stale_version_is_a_conflict_in_googles_words(v1: V1) -> None:
    """409 ABORTED, nothing is changed, and the attempt is in the log of writes."""
    read = await v1.service()
    await v1.put(read)
    read["metadata"]["annotations"]["x.example/late"] = "yes"
    answer = await v1.send("PUT", v1.path, read)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (409, 409, "ABORTED")
    assert error["message"].startswith("Conflict for resource 'ethixai-backend': version '")
    assert "' was specified but current version is '" in error["message"]
    assert "x.example/late" not in (await v1.service())["metadata"]["annotations"]
    assert [write["code"] for write in await v1.world.writes()] == ["OK", "ABORTED"]


@pytest.mark.parametrize("how", ["no version is sent", "the switch is off"])
async def test_the_last_write_wins(v1: V1, how: str) -> None:
    """As in Knative without a version; with the switch off, whatever version is sent."""
    read = await v1.service()
    await v1.put(copy.deepcopy(read))
    if how == "the switch is off":
        await v1.world.turn(enforce_resource_version=False)
    else:
        del read["metadata"]["resourceVersion"]
    read["metadata"]["annotations"]["x.example/late"] = "yes"
    assert (await v1.put(read))["metadata"]["annotations"]["x.example/late"] == "yes"


async def test_the_version_moves_with_v2s_annotations_too(v1: V1) -> None:
    """A v1 write under the version before a v2 write of one annotation is refused."""
    read = await v1.service()
    await v1.cloud.update(run_v2.Service(name=v1.cloud.name, annotations={"x.example/a": "1"}), "annotations")
    assert (await v1.send("PUT", v1.path, read)).status_code == 409
    assert (await v1.service())["metadata"]["annotations"]["x.example/a"] == "1"


def unknown(read: dict) -> dict:
    """``read`` with fields that no version of the stand-in knows, at every depth."""
    read["x-top"] = {"a": [1, {"b": None}]}
    read["metadata"]["finalizers"] = ["x"]
    read["metadata"]["annotations"]["run.googleapis.com/cloudsql-instances"] = "p:r:i"
    read["spec"]["x-young"] = True
    template = read["spec"]["template"]
    template["metadata"].setdefault("annotations", {})["run.googleapis.com/vpc-access-egress"] = "all-traffic"
    template["spec"]["volumes"] = [{"name": "v", "emptyDir": {"medium": "Memory"}}]
    template["spec"]["containers"][0]["x-container"] = {"deep": "yes"}
    template["spec"]["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": "/v"}]
    template["spec"]["containers"][0]["env"][0]["x-env"] = 1
    read["spec"]["traffic"][0]["x-traffic"] = "kept"
    return read


def without_output(service: dict) -> dict:
    """What a client may say in a service, without what the server says."""
    rest = {key: value for key, value in copy.deepcopy(service).items() if key != "status"}
    for key in ("resourceVersion", "generation"):
        rest["metadata"].pop(key)
    for key in ("run.googleapis.com/operation-id", "serving.knative.dev/lastModifier"):
        rest["metadata"]["annotations"].pop(key, None)
    return rest


async def test_unknown_fields_are_kept_everywhere(v1: V1) -> None:
    """They come back in the next GET, after a v2 write of other fields too, and a revision has its template's."""
    read = await v1.service()
    del read["spec"]["template"]["metadata"]["name"]
    sent = unknown(read)
    await v1.done(await v1.put(sent))
    assert without_output(await v1.service()) == without_output(sent)
    made = (await v1.revisions())[0]
    assert made["spec"]["containers"][0]["x-container"] == {"deep": "yes"}
    await v1.cloud.update(run_v2.Service(name=v1.cloud.name, annotations={"x.example/a": "1"}), "annotations")
    after = await v1.service()
    del after["metadata"]["annotations"]["x.example/a"]
    assert without_output(after) == without_output(sent)
    again = await v1.done(await v1.put(await v1.service()))
    assert again["status"]["latestCreatedRevisionName"] == made["metadata"]["name"]


async def test_what_only_v1_knows_of_a_template_makes_a_revision_when_it_changes(v1: V1) -> None:
    """A change in a field without a place in v2's message is a change of the template."""
    read = await v1.service()
    del read["spec"]["template"]["metadata"]["name"]
    await v1.done(await v1.put(unknown(read)))
    read = await v1.service()
    read["spec"]["template"]["spec"]["containers"][0]["x-container"] = {"deep": "no"}
    await v1.done(await v1.put(read))
    assert len(await v1.revisions()) == 3


async def test_a_v2_write_of_the_template_replaces_it_whole(v1: V1) -> None:
    """What only v1 knew of the template is gone; what it knew of the rest stays."""
    read = await v1.service()
    del read["spec"]["template"]["metadata"]["name"]
    await v1.done(await v1.put(unknown(read)))
    image = (await v1.cloud.get()).template.containers[0].image
    template = run_v2.RevisionTemplate(revision=V2, containers=[run_v2.Container(image=image)])
    assert not (await v1.cloud.update(run_v2.Service(name=v1.cloud.name, template=template), "template")).error.code
    after = await v1.service()
    assert "volumes" not in after["spec"]["template"]["spec"]
    assert after["spec"]["x-young"] is True


async def test_a_named_template_is_a_revision_of_that_name_once(v1: V1) -> None:
    """409 ALREADY_EXISTS when the name is taken by another configuration."""
    read = await v1.service()
    read["spec"]["template"]["metadata"]["name"] = V2
    read["spec"]["template"]["spec"]["containers"][0]["env"].append({"name": "A", "value": "1"})
    after = await v1.done(await v1.put(read))
    assert after["status"]["latestReadyRevisionName"] == V2
    after["spec"]["template"]["spec"]["containers"][0]["env"][-1]["value"] = "2"
    answer = await v1.send("PUT", v1.path, after)
    assert (answer.status_code, answer.json()["error"]["status"]) == (409, "ALREADY_EXISTS")


async def test_a_nonce_forces_a_revision_with_a_made_name(v1: V1) -> None:
    """As gcloud does it: no name, label ``client.knative.dev/nonce``."""
    read = await v1.service()
    metadata = read["spec"]["template"]["metadata"]
    del metadata["name"]
    metadata["labels"] = {"client.knative.dev/nonce": "abcdefghij"}
    after = await v1.done(await v1.put(read))
    assert after["status"]["latestCreatedRevisionName"].startswith("ethixai-backend-00042-")
    assert "name" not in after["spec"]["template"]["metadata"]


async def test_traffic_and_tags_are_served_and_shown(v1: V1) -> None:
    """``latestRevision``, percent and tag; the status has the revisions' names and the tags' URLs."""
    await v1.cloud.deploy(V2)
    read = await v1.service()
    read["spec"]["traffic"] = [
        {"revisionName": v1.cloud.STABLE, "percent": 90},
        {"latestRevision": True, "percent": 10},
        {"revisionName": V2, "tag": "pr-12"},
    ]
    after = await v1.done(await v1.put(read))
    assert await v1.cloud.served() == {v1.cloud.STABLE: 90, V2: 10}
    shown = after["status"]["traffic"]
    assert [target["revisionName"] for target in shown] == [v1.cloud.STABLE, V2, V2]
    assert shown[1]["latestRevision"] is True
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(shown[2]["url"] + "/health/readiness")
    assert answer.headers["x-rehearsal-revision"] == V2
    assert {one["type"]: one["status"] for one in after["status"]["conditions"]} == {
        "Ready": "True",
        "ConfigurationsReady": "True",
        "RoutesReady": "True",
    }
    assert after["status"]["observedGeneration"] == after["metadata"]["generation"]


@pytest.mark.parametrize(("revision", "code"), [("ethixai-backend-nowhere", 13), (V2, 9)])
async def test_a_dead_target_fails_the_update_as_a_whole(v1: V1, revision: str, code: int) -> None:
    """A tag on a revision that is missing or never became ready: nothing of the new traffic is served."""
    await v1.cloud.deploy(V2, "dies")
    await v1.cloud.deploy("ethixai-backend-v3")
    before = (await v1.service())["status"]["traffic"]
    read = await v1.service()
    read["spec"]["traffic"] = [
        {"revisionName": "ethixai-backend-v3", "percent": 100},
        {"revisionName": revision, "tag": "dead"},
    ]
    operation = await v1.wait(await v1.put(read))
    assert operation["error"]["code"] == code
    after = await v1.service()
    assert after["status"]["traffic"] == before
    assert after["status"]["observedGeneration"] < after["metadata"]["generation"]
    assert after["status"]["conditions"][0]["status"] == "False"


async def test_scaling_ingress_stage_and_client_are_annotations(v1: V1) -> None:
    """Said over v1, seen over v2, and the other way round."""
    read = await v1.service()
    annotations = read["metadata"]["annotations"]
    annotations |= {
        "run.googleapis.com/minScale": "1",
        "run.googleapis.com/maxScale": "3",
        "run.googleapis.com/launch-stage": "BETA",
        "run.googleapis.com/client-name": "gcloud",
    }
    template = read["spec"]["template"]["metadata"]
    template["name"] = V2
    template["annotations"] |= {"autoscaling.knative.dev/minScale": "1", "autoscaling.knative.dev/maxScale": "7"}
    await v1.done(await v1.put(read))
    seen = await v1.cloud.get()
    assert (seen.scaling.min_instance_count, seen.scaling.max_instance_count) == (1, 3)
    assert (seen.template.scaling.min_instance_count, seen.template.scaling.max_instance_count) == (1, 7)
    assert (seen.launch_stage, seen.client) == (launch_stage_pb2.BETA, "gcloud")
    manual = run_v2.ServiceScaling(scaling_mode=run_v2.ServiceScaling.ScalingMode.MANUAL, manual_instance_count=0)
    await v1.cloud.update(run_v2.Service(name=v1.cloud.name, scaling=manual), "scaling")
    annotations = (await v1.service())["metadata"]["annotations"]
    assert annotations["run.googleapis.com/scalingMode"] == "manual"
    assert annotations["run.googleapis.com/manualInstanceCount"] == "0"
    assert "run.googleapis.com/minScale" not in annotations


async def test_a_sidecar_may_stand_first(v1: V1) -> None:
    """The container with the port is the one that is run."""
    digest = await v1.world.publish(v1.cloud.REPOSITORY, "sidecar", {"BEHAVIOUR": "dies"})
    read = await v1.service()
    template = read["spec"]["template"]
    template["metadata"]["name"] = V2
    template["spec"]["containers"].insert(0, {"name": "side", "image": f"{v1.cloud.REPOSITORY}@{digest}"})
    after = await v1.done(await v1.put(read))
    assert after["status"]["latestReadyRevisionName"] == V2
    assert after["spec"]["template"]["spec"]["containers"][0]["name"] == "side"


async def test_revisions_are_listed_by_service_read_and_deleted(v1: V1) -> None:
    """The label selector of gcloud, and a retired revision that goes."""
    await v1.cloud.deploy(V2)
    assert [one["metadata"]["name"] for one in await v1.revisions()] == [V2, v1.cloud.STABLE]
    path = v1.path.replace("services/ethixai-backend", f"revisions/{V2}")
    assert (await v1.send("DELETE", path)).json()["error"]["status"] == "FAILED_PRECONDITION"
    await v1.cloud.shift(v1.cloud.target(v1.cloud.STABLE, 100))
    retired = {c["type"]: c for c in (await v1.send("GET", path)).json()["status"]["conditions"]}
    assert (retired["Active"]["status"], retired["Active"]["reason"]) == ("False", "Retired")
    assert (await v1.send("DELETE", path)).status_code == 200
    gone = await v1.send("GET", path)
    assert gone.status_code == 404
    assert gone.json()["error"]["message"] == (
        f"Resource '{V2}' of kind 'REVISION' in region 'us-east1' in project 'ethixai-production' does not exist."
    )


async def test_services_are_listed(v1: V1) -> None:
    """Those of the project, in Knative's form."""
    found = (await v1.send("GET", v1.path.rpartition("/")[0])).json()
    assert found["kind"] == "ServiceList"
    assert [one["metadata"]["name"] for one in found["items"]] == ["ethixai-backend", "ethixai-frontend"]


async def test_what_is_wrong_is_said_in_googles_form(v1: V1) -> None:
    """INVALID_ARGUMENT with the field; PERMISSION_DENIED with the permission, for both APIs; 401 without a token."""
    read = await v1.service()
    read["spec"]["traffic"] = [{"revisionName": v1.cloud.STABLE, "percent": 99}]
    error = (await v1.send("PUT", v1.path, read)).json()["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert error["details"][0]["fieldViolations"][0]["field"] == "service.traffic"
    await v1.world.deny("*", "run.services.update", "*/ethixai-backend")
    denied = await v1.send("PUT", v1.path, await v1.service())
    assert denied.status_code == 403
    assert denied.json()["error"]["message"].startswith("Permission 'run.services.update' denied on resource '")
    assert (await v1.send("GET", v1.path, token="nonsense")).json()["error"]["status"] == "UNAUTHENTICATED"


@pytest.mark.parametrize(
    ("method", "suffix"),
    [("DELETE", ""), ("POST", ""), ("GET", "?dryRun=all"), ("GET", ":getIamPolicy"), ("PATCH", "")],
)
async def test_what_v1_was_not_taught_is_unimplemented(v1: V1, method: str, suffix: str) -> None:
    """501 with a sentence, and nothing happens."""
    answer = await v1.send(method, v1.path + suffix)
    assert (answer.status_code, answer.json()["error"]["status"]) == (501, "UNIMPLEMENTED")
    assert "not taught" in answer.json()["error"]["message"]


async def test_log_entries_are_listed_over_rest(v1: V1) -> None:
    """The same entries as over gRPC, in JSON."""
    body = {
        "resourceNames": ["projects/ethixai-production"],
        "filter": 'resource.labels.service_name="ethixai-backend"',
        "orderBy": "timestamp desc",
        "pageSize": 3,
    }

    async def found() -> list:
        return (await v1.send("POST", "/v2/entries:list", body)).json().get("entries", [])

    entries = await v1.cloud.until(found)
    assert entries[0]["resource"]["labels"]["service_name"] == "ethixai-backend"
