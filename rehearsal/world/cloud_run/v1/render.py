"""v1 objects as they are read: services, revisions and operations, made from the world's state."""

import json
from typing import Any

from google.protobuf import json_format

from rehearsal.world.cloud_run.state import LATEST, MANUAL, Json, RevisionState, ServiceState
from rehearsal.world.cloud_run.v1 import words
from rehearsal.world.cloud_run.v1.kept import with_kept
from rehearsal.world.cloud_run.validation import serving_container

API_VERSION = "serving.knative.dev/v1"
STATUS = {"SUCCEEDED": "True", "FAILED": "False"}


def service_object(state: ServiceState) -> Json:
    """The service as a v1 GET answers it."""
    return {**with_kept(known_part(state, state.message), state.kept), "status": _service_status(state)}


def known_part(state: ServiceState, message: Any) -> Json:
    """The v1 object of ``message`` without its status and without anything that only v1 knows."""
    metadata = {
        "name": state.name.service,
        "namespace": state.name.project,
        "selfLink": f"/apis/{API_VERSION}/namespaces/{state.name.project}/services/{state.name.service}",
        "uid": message.uid,
        "resourceVersion": words.version_text(state.version_us),
        "generation": message.generation,
        "creationTimestamp": _time(message.create_time),
        "labels": {**dict(message.labels), words.LOCATION_LABEL: state.name.location},
        "annotations": _service_annotations(state, message),
    }
    spec = {"template": template_object(message.template), "traffic": [_target(t) for t in message.traffic]}
    spec["traffic"] = spec["traffic"] or [{"percent": 100, "latestRevision": True}]
    return {"apiVersion": API_VERSION, "kind": "Service", "metadata": metadata, "spec": spec}


def _service_annotations(state: ServiceState, message: Any) -> Json:
    ingress = words.word_for(words.INGRESS_WORDS, message.ingress) or "all"
    scaling = message.scaling
    found = {
        **dict(message.annotations),
        "serving.knative.dev/creator": message.creator,
        "serving.knative.dev/lastModifier": message.last_modifier,
        "run.googleapis.com/operation-id": state.operation_id,
        words.INGRESS: ingress,
        f"{words.INGRESS}-status": ingress,
        **{key: getattr(message, field) for field, key in words.TEXTS.items() if getattr(message, field)},
        **{key: "true" for field, key in words.FLAGS.items() if getattr(message, field)},
    }
    if message.launch_stage:
        found[words.LAUNCH_STAGE] = words.word_for(words.STAGES, message.launch_stage)
    if message.urls:
        found["run.googleapis.com/urls"] = json.dumps(list(message.urls))
    if scaling.min_instance_count:
        found[words.MIN_SCALE] = str(scaling.min_instance_count)
    if scaling.max_instance_count:
        found[words.MAX_SCALE] = str(scaling.max_instance_count)
    if scaling.scaling_mode == MANUAL:
        found[words.SCALING_MODE] = "manual"
        found[words.MANUAL_COUNT] = str(scaling.manual_instance_count)
    return found


def template_object(template: Any) -> Json:
    """A v2 template in v1's form: without a name unless one was given."""
    annotations = dict(template.annotations)
    if template.scaling.min_instance_count:
        annotations[words.TEMPLATE_MIN_SCALE] = str(template.scaling.min_instance_count)
    if template.scaling.max_instance_count:
        annotations[words.TEMPLATE_MAX_SCALE] = str(template.scaling.max_instance_count)
    for field, key in words.TEMPLATE_FLAGS.items():
        if getattr(template, field):
            annotations[key] = "true"
    if template.execution_environment:
        annotations[words.EXECUTION_ENVIRONMENT] = words.word_for(words.GENERATIONS, template.execution_environment)
    resources = serving_container(template).resources
    if resources.cpu_idle:
        annotations[words.CPU_THROTTLING] = "true"
    if resources.startup_cpu_boost:
        annotations[words.CPU_BOOST] = "true"
    spec = {
        "containerConcurrency": template.max_instance_request_concurrency,
        "timeoutSeconds": template.timeout.seconds,
        **({"serviceAccountName": template.service_account} if template.service_account else {}),
        "containers": [container_object(container) for container in template.containers],
    }
    metadata = {"annotations": annotations, "labels": dict(template.labels)}
    if template.revision:
        metadata["name"] = template.revision
    return {"metadata": {key: value for key, value in metadata.items() if value}, "spec": spec}


def container_object(container: Any) -> Json:
    """A container: v1 and v2 spell it alike, but for what v1 has as annotations."""
    found: Json = json_format.MessageToDict(container)
    for name in ("cpuIdle", "startupCpuBoost"):
        found.get("resources", {}).pop(name, None)
    return found


def _target(target: Any) -> Json:
    found: Json = {"percent": target.percent} if target.percent or not target.tag else {}
    if target.type_ == LATEST:
        found["latestRevision"] = True
    else:
        found["revisionName"] = target.revision
    return {**found, **({"tag": target.tag} if target.tag else {})}


def _service_status(state: ServiceState) -> Json:
    message = state.message
    conditions = [condition_object(message.terminal_condition), *map(condition_object, message.conditions)]
    if message.reconciling:  # the parts are as unknown as the whole
        conditions = [conditions[0], *({**one, "status": "Unknown"} for one in conditions[1:])]
    status: Json = {
        "observedGeneration": message.observed_generation,
        "conditions": conditions,
        "latestCreatedRevisionName": state.latest_created,
        "traffic": [
            {**_target(shown), "revisionName": revision, **({"url": shown.uri} if shown.uri else {})}
            for shown, (revision, _, _) in zip(message.traffic_statuses, state.plan.targets, strict=False)
        ],
    }
    if state.latest_ready:
        status["latestReadyRevisionName"] = state.latest_ready
    if message.uri:
        status |= {"url": message.uri, "address": {"url": message.uri}}
    return status


def condition_object(condition: Any) -> Json:
    """A condition in Knative's form."""
    fields = json_format.MessageToDict(condition)
    state = str(fields.get("state", "")).removeprefix("CONDITION_")
    reason = fields.get("revisionReason") or fields.get("reason") or ""
    severity = str(fields.get("severity", "")).title()
    found = {
        "type": condition.type_,
        "status": STATUS.get(state, "Unknown"),
        "reason": "".join(part.title() for part in reason.split("_")),
        "message": condition.message,
        "severity": severity if severity in ("Info", "Warning") else "",
        "lastTransitionTime": _time(condition.last_transition_time),
    }
    return {key: value for key, value in found.items() if value}


def revision_object(state: ServiceState, revision: RevisionState) -> Json:
    """The revision as a v1 GET answers it."""
    message, template = revision.message, with_kept(template_object(revision.template), revision.kept)
    metadata = template["metadata"]
    annotations = {**metadata.get("annotations", {}), "serving.knative.dev/creator": message.creator}
    labels = {
        **metadata.get("labels", {}),
        words.LOCATION_LABEL: state.name.location,
        "serving.knative.dev/service": state.name.service,
        "serving.knative.dev/configuration": state.name.service,
        "serving.knative.dev/serviceUid": state.message.uid,
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "Revision",
        "metadata": {
            "name": revision.name,
            "namespace": state.name.project,
            "uid": message.uid,
            "resourceVersion": words.version_text(message.update_time.ToMicroseconds()),
            "generation": message.generation,
            "creationTimestamp": _time(message.create_time),
            "labels": labels,
            "annotations": annotations,
        },
        "spec": template["spec"],
        "status": {
            "observedGeneration": message.observed_generation,
            "conditions": sorted(map(condition_object, message.conditions), key=lambda one: one["type"] != "Ready"),
            "imageDigest": serving_container(revision.template).image,
            "serviceName": state.name.service,
        },
    }


def operation_object(operation: Any, response: Json | None) -> Json:
    """An operation; one that ended well answers with the service as v1 has it."""
    found: Json = {"name": operation.name, "done": operation.done}
    if operation.HasField("error"):
        found["error"] = {"code": operation.error.code, "message": operation.error.message}
    elif operation.done:
        found["response"] = {"@type": "type.googleapis.com/google.cloud.run.v1.Service", **(response or {})}
    return found


def _time(timestamp: Any) -> str:
    return f"{timestamp.ToDatetime():%Y-%m-%dT%H:%M:%S.%f}Z"
