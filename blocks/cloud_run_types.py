"""Cloud Run's messages and the playbook's nouns, each turned into the other. Pure; Google's types stop here.

Source: google.cloud.run_v2 (Service, Revision, TrafficTarget); cloud.google.com/run/docs/reference/rpc.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from playbook.lease.change import Change, Deployment
from playbook.release.traffic import LATEST, Revision, Scaling, ServiceSnapshot, TrafficSplit

if TYPE_CHECKING:
    from google.cloud import run_v2

SYSTEM_NAMESPACES = ("run.googleapis.com", "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev")
"""Labels and annotations that Cloud Run writes itself, and refuses from others."""


def short(name: str) -> str:
    """``projects/…/revisions/r1`` -> ``r1``."""
    return name.rsplit("/", 1)[-1]


def snapshot_of(service: "run_v2.Service") -> ServiceSnapshot:
    """One read of a service. Raises ValueError where its traffic does not sum to 100."""
    latest_ready = short(service.latest_ready_revision)
    served = _split(service.traffic_statuses, latest_ready) if service.traffic_statuses else None
    return ServiceSnapshot(
        service=short(service.name),
        etag=service.etag,
        uri=service.uri,
        # A service without targets sends everything to its latest ready revision.
        split=_split(service.traffic, LATEST) if service.traffic else TrafficSplit.all_to(LATEST),
        served=served,
        tag_urls={status.tag: status.uri for status in service.traffic_statuses if status.tag and status.uri},
        annotations=dict(service.annotations),
        scaling=_scaling(service.scaling),
        latest_ready=latest_ready,
        latest_created=short(service.latest_created_revision),
        is_reconciling=_is_under_way(service),
        last_modifier=service.last_modifier,
    )


def _is_under_way(service: "run_v2.Service") -> bool:
    """Whether Cloud Run is still at it. One that failed has given up, and keeps the generation it last reached."""
    terminal = service.terminal_condition
    has_failed = terminal.state == type(terminal).State.CONDITION_FAILED
    return service.reconciling or (service.observed_generation < service.generation and not has_failed)


def _split(targets: Iterable["run_v2.TrafficTarget | run_v2.TrafficTargetStatus"], latest: str) -> TrafficSplit:
    """Targets may name a revision twice, once with its share and once for a tag; shares add up."""
    from google.cloud.run_v2 import TrafficTargetAllocationType as Kind

    percent: dict[str, int] = {}
    tags: dict[str, str] = {}
    for target in targets:
        is_latest = target.type_ == Kind.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
        revision = latest if is_latest else short(target.revision)
        if target.percent:
            percent[revision] = percent.get(revision, 0) + target.percent
        if target.tag:
            tags[target.tag] = revision
    return TrafficSplit(percent=percent, tags=tags)


def _scaling(scaling: "run_v2.ServiceScaling") -> Scaling:
    is_manual = scaling.scaling_mode == type(scaling).ScalingMode.MANUAL
    return Scaling(
        min_instances=scaling.min_instance_count,
        max_instances=scaling.max_instance_count,
        manual=scaling.manual_instance_count if is_manual else None,
    )


def revision_of(revision: "run_v2.Revision") -> Revision:
    """One revision. ``reason`` is the first condition that failed, in Cloud Run's own words."""
    state = {condition.type_: condition for condition in revision.conditions}
    failed = [c for c in revision.conditions if c.state == type(c).State.CONDITION_FAILED and c.type_ != "Active"]
    return Revision(
        name=short(revision.name),
        image=serving_container(revision.containers).image if revision.containers else "",
        is_ready=_succeeded(state.get("Ready")),
        is_active=_succeeded(state.get("Active")),
        reason=failed[0].message if failed else "",
        created_at_s=revision.create_time.timestamp() if revision.create_time else 0.0,
    )


def _succeeded(condition: "run_v2.Condition | None") -> bool:
    return condition is not None and condition.state == type(condition).State.CONDITION_SUCCEEDED


def serving_container(containers: Iterable["run_v2.Container"]) -> "run_v2.Container":
    """The container that users reach: the one with a port, beside which sidecars have none."""
    every = list(containers)
    return next((container for container in every if container.ports), every[0])


def body_of(name: str, snapshot: ServiceSnapshot, change: Change, base: "run_v2.Revision | None") -> "run_v2.Service":
    """The service as one update sends it: name, etag, and only what ``mask_of(change)`` names.

    ``base`` is the revision whose template a deployment copies.
    """
    from google.cloud import run_v2

    body = run_v2.Service(name=name, etag=snapshot.etag, annotations=change.record.beside(snapshot.annotations))
    if change.split:
        body.traffic = _targets(change.split)
    if change.deployment and base is not None:
        body.template = template_of(base, change.deployment)
    if change.scaling:
        body.scaling = _scaling_body(change.scaling)
    return body


def mask_of(change: Change) -> list[str]:
    """The fields that one update replaces."""
    moved = {"traffic": change.split, "template": change.deployment, "scaling": change.scaling}
    return ["annotations", *(path for path, value in moved.items() if value is not None)]


def _targets(split: TrafficSplit) -> list["run_v2.TrafficTarget"]:
    """Shares first, then one target of 0 % for each tag: the form gcloud writes."""
    shares = [_target(revision, percent=share) for revision, share in split.percent.items()]
    return shares + [_target(revision, tag=tag) for tag, revision in split.tags.items()]


def _target(revision: str, percent: int = 0, tag: str = "") -> "run_v2.TrafficTarget":
    from google.cloud import run_v2

    kind = run_v2.TrafficTargetAllocationType
    if revision == LATEST:
        return run_v2.TrafficTarget(type_=kind.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST, percent=percent, tag=tag)
    return run_v2.TrafficTarget(
        type_=kind.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION, revision=revision, percent=percent, tag=tag
    )


def _scaling_body(scaling: Scaling) -> "run_v2.ServiceScaling":
    from google.cloud import run_v2

    mode = run_v2.ServiceScaling.ScalingMode
    if scaling.manual is not None:
        # The count has presence: 0 is sent as 0, and stops the service.
        return run_v2.ServiceScaling(scaling_mode=mode.MANUAL, manual_instance_count=scaling.manual)
    return run_v2.ServiceScaling(
        scaling_mode=mode.AUTOMATIC,
        min_instance_count=scaling.min_instances,
        max_instance_count=scaling.max_instances,
    )


def template_of(base: "run_v2.Revision", deployment: Deployment) -> "run_v2.RevisionTemplate":
    """A template like that of ``base``, under a new name, with another image and the variables of ``deployment``."""
    from google.cloud import run_v2

    template_fields, revision_fields = run_v2.RevisionTemplate.meta.fields, run_v2.Revision.meta.fields
    shared = [field for field in template_fields if field in revision_fields and field in base]
    template = run_v2.RevisionTemplate({field: getattr(base, field) for field in shared})
    template.labels = _without_system_keys(base.labels)
    template.annotations = _without_system_keys(base.annotations)
    template.revision = deployment.revision
    container = serving_container(template.containers)
    container.image = deployment.image
    kept = [variable for variable in container.env if variable.name not in deployment.environment]
    container.env = kept + [run_v2.EnvVar(name=name, value=value) for name, value in deployment.environment.items()]
    return template


def _without_system_keys(found: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in found.items() if key.split("/", 1)[0] not in SYSTEM_NAMESPACES}
