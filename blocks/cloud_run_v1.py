"""Cloud Run's v1 (Knative) objects and the playbook's nouns, each turned into the other. Pure.

A write is the object that was read, with a change in it: what this project does not know stays as it is.
Source: cloud.google.com/run/docs/reference/rest/v1/namespaces.services; the annotations are those of gcloud 528.
"""

import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any

from playbook.lease.change import Change, Deployment
from playbook.lease.record import beside
from playbook.release.traffic import LATEST, Scaling, ServiceSnapshot, TrafficSplit

Json = dict[str, Any]

RUN = "run.googleapis.com"
MIN_SCALE, MAX_SCALE = f"{RUN}/minScale", f"{RUN}/maxScale"
SCALING_MODE, MANUAL_COUNT = f"{RUN}/scalingMode", f"{RUN}/manualInstanceCount"
INGRESS, URL_DISABLED = f"{RUN}/ingress", f"{RUN}/default-url-disabled"
OPERATION_ID = f"{RUN}/operation-id"
LAST_MODIFIER = "serving.knative.dev/lastModifier"
BREAKGLASS = f"{RUN}/binary-authorization-breakglass"
BASE_IMAGES = f"{RUN}/base-images"
BASE_IMAGE_RUNTIME = f"{RUN}/linux-base-image-update"

SYSTEM_NAMESPACES = (RUN, "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev")
"""Annotations of a service that hold Cloud Run's own settings and reports."""

OF_ONE_IMAGE = ("client.knative.dev/user-image", "client.knative.dev/nonce", "commit-sha", "gcb-build-id")
"""Labels and annotations of a template that describe its image, and nothing else."""
BUILD = f"{RUN}/build-"
OF_ONE_CONTAINER_IMAGE = ("baseImageUri", "buildInfo")

OF_A_REVISION = (OPERATION_ID, f"{RUN}/client-name", f"{RUN}/client-version", f"{RUN}/startupProbeType")
"""Labels and annotations that the server or a client puts on a revision; so do these namespaces:"""
REVISION_NAMESPACES = ("serving.knative.dev", "cloud.googleapis.com")


def snapshot_of(found: Json) -> ServiceSnapshot:
    """One read of a service.

    Raises ValidationError if its traffic does not sum to 100; ValueError, LookupError, TypeError or AttributeError if
    ``found`` is no service at all.
    """
    metadata, status = found["metadata"], found.get("status") or {}
    annotations: dict[str, str] = metadata.get("annotations") or {}
    latest_ready = str(status.get("latestReadyRevisionName") or "")
    asked, observed = found["spec"].get("traffic") or [], status.get("traffic") or []
    ready: Json = next((c for c in status.get("conditions") or [] if c.get("type") == "Ready"), {})
    return ServiceSnapshot(
        service=metadata["name"],
        etag=_version(metadata),
        uri=str(status.get("url") or ""),
        # A service without targets sends everything to its latest ready revision.
        split=_split(asked, LATEST) if asked else TrafficSplit.all_to(LATEST),
        served=_served(observed, latest_ready),
        tag_urls={target["tag"]: target["url"] for target in observed if target.get("tag") and target.get("url")},
        annotations=own_annotations(annotations),
        uid=str(metadata.get("uid") or ""),
        scaling=_scaling(annotations),
        latest_ready=latest_ready,
        latest_created=str(status.get("latestCreatedRevisionName") or ""),
        is_reconciling=_is_reconciling(metadata, status, str(ready.get("status"))),
        last_modifier=annotations.get(LAST_MODIFIER, ""),
        ingress=annotations.get(INGRESS, "all"),
        is_url_disabled=annotations.get(URL_DISABLED, "").lower() == "true",
        failure=str(ready.get("message") or "") if ready.get("status") == "False" else "",
        raw=found,
    )


def _version(metadata: Json) -> str:
    """The resource version. A write without one would be unconditional, so there must be one. Raises ValueError."""
    if not (version := metadata["resourceVersion"]):
        raise ValueError("it has no resource version")
    return str(version)


def own_annotations(found: dict[str, str]) -> dict[str, str]:
    """The annotations that Cloud Run has no part in."""
    return {key: value for key, value in found.items() if _namespace(key) not in SYSTEM_NAMESPACES}


def _is_reconciling(metadata: Json, status: Json, ready: str) -> bool:
    """Whether Cloud Run is still working on it. It has given up on one that failed, whatever generation it reached."""
    is_behind = int(status.get("observedGeneration") or 0) < int(metadata.get("generation") or 0)
    return ready not in ("True", "False") or (is_behind and ready != "False")


def _served(observed: list[Json], latest_ready: str) -> TrafficSplit | None:
    """The split that is observed; None where it is none: nothing serves yet, or shares are on their way. A target of
    LATEST names the revision that it is now."""
    named = [{**target, "latestRevision": not target.get("revisionName")} for target in observed]
    if sum(target.get("percent") or 0 for target in named) != 100:
        return None
    return _split(named, latest_ready)


def _split(targets: Iterable[Json], latest: str) -> TrafficSplit:
    """Targets may name a revision twice, once with its share and once for a tag; shares add up. One that names none is
    LATEST, as in Knative."""
    percent: dict[str, int] = {}
    tags: dict[str, str] = {}
    for target in targets:
        is_latest = bool(target.get("latestRevision")) or not target.get("revisionName")
        revision = latest if is_latest else str(target["revisionName"])
        if share := target.get("percent"):
            percent[revision] = percent.get(revision, 0) + share
        if tag := target.get("tag"):
            tags[tag] = revision
    return TrafficSplit(percent=percent, tags=tags)


def _scaling(annotations: dict[str, str]) -> Scaling:
    is_manual = annotations.get(SCALING_MODE, "").lower() == "manual"
    return Scaling(
        min_instances=int(annotations.get(MIN_SCALE) or 0),
        max_instances=int(annotations.get(MAX_SCALE) or 0),
        manual=int(annotations.get(MANUAL_COUNT) or 0) if is_manual else None,
    )


def replacement_of(
    snapshot: ServiceSnapshot, change: Change, base: Json | None = None, written: Mapping[str, str] | None = None
) -> Json:
    """The object that was read, with ``change`` in it. ``base`` is the v1 revision that a deployment starts from.

    ``written`` is the record with its signature, where the environment signs.

    Without a deployment the template is sent as it was read. The annotation that bypasses Binary Authorization once
    is deleted, as gcloud does.
    """
    body = copy.deepcopy(dict(snapshot.raw))
    annotations = body["metadata"].get("annotations") or {}
    annotations.pop(BREAKGLASS, None)
    if change.scaling is not None:
        annotations = _scaled(annotations, change.scaling)
    if change.record is not None:
        annotations = beside(annotations, change.record.annotations() if written is None else written)
    body["metadata"]["annotations"] = annotations
    if change.split is not None:
        body["spec"]["traffic"] = _targets(change.split, body["spec"].get("traffic") or [])
    if change.deployment is not None and base is not None:
        # The service's own template says more than the revision that was made of it, so it is used while they agree.
        is_its_template = snapshot.latest_created == change.deployment.base or change.deployment.takes_template
        template = body["spec"]["template"] if is_its_template else template_of(base)
        body["spec"]["template"] = _deployed(template, change.deployment, digests_of(base))
    return body


def _scaled(annotations: dict[str, str], scaling: Scaling) -> dict[str, str]:
    is_manual = SCALING_MODE in annotations and _scaling(annotations).manual is not None
    ours = (MIN_SCALE, MAX_SCALE, MANUAL_COUNT, *((SCALING_MODE,) if is_manual else ()))
    rest = {key: value for key, value in annotations.items() if key not in ours}
    if scaling.manual is not None:
        return {**rest, SCALING_MODE: "manual", MANUAL_COUNT: str(scaling.manual)}
    bounds = {MIN_SCALE: scaling.min_instances, MAX_SCALE: scaling.max_instances}
    return rest | {key: str(bound) for key, bound in bounds.items() if bound}


def _targets(split: TrafficSplit, before: list[Json]) -> list[Json]:
    """Shares first, then one target of 0 % for each tag: the form that gcloud writes.

    A target for the same tag, or for the same revision without a tag, keeps what else it said.
    """
    said = {(target.get("tag") or "", _revision(target)): target for target in before}

    def target(revision: str, percent: int = 0, tag: str = "") -> Json:
        known = {"revisionName", "latestRevision", "percent", "tag", "url"}
        rest = {key: value for key, value in said.get((tag, revision), {}).items() if key not in known}
        who = {"latestRevision": True} if revision == LATEST else {"revisionName": revision}
        return {**rest, **who, **({"percent": percent} if percent else {}), **({"tag": tag} if tag else {})}

    shares = [target(revision, percent=share) for revision, share in split.percent.items()]
    return shares + [target(revision, tag=tag) for tag, revision in split.tags.items()]


def _revision(target: Json) -> str:
    name = str(target.get("revisionName") or "")
    return LATEST if target.get("latestRevision") or not name else name


def serving_container(containers: list[Json]) -> Json:
    """The container that users reach: the one with a port, beside which sidecars have none; or the only one."""
    return next((container for container in containers if container.get("ports")), containers[0])


def template_of(revision: Json) -> Json:
    """The template that ``revision`` was made of, without what the server has added to it."""
    metadata = revision["metadata"]
    kept = {key: _templates_own(metadata.get(key) or {}) for key in ("labels", "annotations")}
    return {"metadata": {key: value for key, value in kept.items() if value}, "spec": copy.deepcopy(revision["spec"])}


def _templates_own(found: dict[str, str]) -> dict[str, str]:
    return {
        key: value
        for key, value in found.items()
        if key not in OF_A_REVISION and _namespace(key) not in REVISION_NAMESPACES
    }


def digests_of(revision: Json) -> dict[str, str]:
    """Name of a container -> its image by digest, as the revision runs it, for every container of which it is known."""
    statuses = (revision.get("status") or {}).get("containerStatuses") or []
    return {one["name"]: one["imageDigest"] for one in statuses if one.get("name") and one.get("imageDigest")}


def _deployed(template: Json, deployment: Deployment, digests: dict[str, str]) -> Json:
    """``template`` under the name, with the image and the variables of ``deployment``; sidecars as they run now."""
    metadata, spec = dict(template.get("metadata") or {}), dict(template["spec"])
    for part in ("labels", "annotations"):
        if found := {k: v for k, v in (metadata.get(part) or {}).items() if not is_of_one_image(k)}:
            metadata[part] = found
        else:
            metadata.pop(part, None)
    metadata["name"] = deployment.revision
    serving = serving_container(spec["containers"])
    spec["containers"] = [
        _serving(container, deployment)
        if container is serving
        else {**container, "image": digests.get(container.get("name", ""), container["image"])}
        for container in spec["containers"]
    ]
    _drop_base_image(metadata, spec, serving.get("name", ""))
    return {**template, "metadata": metadata, "spec": spec}


def _serving(container: Json, deployment: Deployment) -> Json:
    rest = {key: value for key, value in container.items() if key not in OF_ONE_CONTAINER_IMAGE}
    kept = [one for one in container.get("env") or [] if one.get("name") not in deployment.environment]
    env = kept + [{"name": name, "value": value} for name, value in deployment.environment.items()]
    return {**rest, "image": deployment.image, **({"env": env} if env else {})}


def _drop_base_image(metadata: Json, spec: Json, name: str) -> None:
    """The serving container's base image, for automatic updates, was the old image's. A sidecar keeps its own."""
    annotations = dict(metadata.get("annotations") or {})
    if BASE_IMAGES not in annotations:
        return
    try:
        others = {key: uri for key, uri in json.loads(annotations[BASE_IMAGES]).items() if key not in (name, "")}
    except (ValueError, AttributeError):
        others = {}
    if others:
        metadata["annotations"] = {**annotations, BASE_IMAGES: json.dumps(others)}
        return
    del annotations[BASE_IMAGES]
    metadata["annotations"] = annotations
    if spec.get("runtimeClassName") == BASE_IMAGE_RUNTIME:
        del spec["runtimeClassName"]


def is_of_one_image(key: str) -> bool:
    return key in OF_ONE_IMAGE or key.startswith(BUILD)


def _namespace(key: str) -> str:
    return key.split("/", 1)[0]
