"""What a request may say: update masks, traffic, scaling, names, annotations."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from rehearsal.world.cloud_run.state import LATEST, MANUAL, PINNED, RevisionTemplate, Service
from rehearsal.world.cloud_run.untaught import check_taught
from rehearsal.world.rpc import Code, RefusalError, invalid

OUTPUT_ONLY = frozenset(
    [
        *("name", "uid", "generation", "create_time", "update_time", "delete_time", "expire_time", "creator"),
        *("last_modifier", "observed_generation", "terminal_condition", "conditions", "latest_ready_revision"),
        *("latest_created_revision", "traffic_statuses", "uri", "urls", "satisfies_pzs", "reconciling", "etag"),
        "threat_detection_enabled",
    ]
)
SYSTEM_KEYS = ("run.googleapis.com", "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev")
LABEL = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
MAX_REVISION_NAME, MAX_SERVICE_NAME, MAX_TAG_AND_NAME = 63, 49, 46
DEFAULT_MAX_INSTANCES, DEFAULT_CONCURRENCY, DEFAULT_TIMEOUT_S = 100, 80, 300
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|Ki|Mi|Gi|k|M|G)?")
_UNITS = {"": 1, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9}


def mask_paths(paths: Iterable[str]) -> list[str]:
    """The mask's paths, each checked against the Service's descriptor. Raises RefusalError.

    A path goes through message fields only: not into a map, not into a list. Names are those of the proto.
    """
    checked = list(paths)
    for path in checked:
        if path == "*":
            raise RefusalError(
                Code.UNIMPLEMENTED, "UpdateServiceRequest.update_mask: '*' is not taught; leave the mask out"
            )
        at = Service.DESCRIPTOR
        for step in path.split("."):
            found = at.fields_by_name.get(step) if at is not None else None
            if found is None:
                raise invalid("UpdateServiceRequest.update_mask", f"{path!r} is no field of a Service")
            # Neither lists nor maps can be gone into, and a scalar has no fields.
            at = None if found.is_repeated else found.message_type
    return checked


def merged(current: Any, sent: Any, paths: list[str]) -> Any:
    """``current`` with the masked fields replaced whole by those of ``sent``; without a mask, with every field."""
    result = Service()
    result.CopyFrom(current)
    for path in paths or Service.DESCRIPTOR.fields_by_name:
        if path.partition(".")[0] not in OUTPUT_ONLY:
            _replace(result, sent, path.split("."))
    return result


def _replace(target: Any, source: Any, steps: list[str]) -> None:
    """Make one field of ``target`` what it is in ``source``: a list, map or message is not merged."""
    name, rest = steps[0], steps[1:]
    descriptor = target.DESCRIPTOR.fields_by_name[name]
    if rest:
        return _replace(getattr(target, name), getattr(source, name), rest)
    target.ClearField(name)
    if descriptor.is_repeated:
        getattr(target, name).MergeFrom(getattr(source, name))
    elif descriptor.message_type is not None:
        if source.HasField(name):
            getattr(target, name).CopyFrom(getattr(source, name))
    elif not descriptor.has_presence or source.HasField(name):
        setattr(target, name, getattr(source, name))
    return None


def check_service(where: str, service: str, wanted: Any, current: Any) -> None:
    """Raise RefusalError for what is wrong, or not taught, in a service as it is to become from ``current``.

    ``where`` names the request's field.
    """
    check_settings(where, service, wanted)
    check_taught(where, wanted, current)


def check_settings(where: str, service: str, wanted: Any) -> None:
    """Raise RefusalError for what the real service would refuse, too."""
    for field in ("annotations", "labels"):
        _check_keys(f"{where}.{field}", getattr(wanted, field))
        _check_keys(f"{where}.template.{field}", getattr(wanted.template, field))
    check_traffic(f"{where}.traffic", service, wanted.traffic)
    _check_template(f"{where}.template", service, wanted.template)
    _check_scaling(f"{where}.scaling", wanted.scaling)


def _check_keys(where: str, keys: Iterable[str]) -> None:
    for key in keys:
        domain = key.partition("/")[0]
        if "/" in key and any(domain == system or domain.endswith(f".{system}") for system in SYSTEM_KEYS):
            raise invalid(where, f"{key!r} is a key of the system; they are not accepted in the v2 API")


def check_traffic(where: str, service: str, targets: Any) -> None:
    """Raise RefusalError unless percents are 0–100 and sum to 100, tags distinct, and types fit. Empty is allowed."""
    if not targets:
        return
    for target in targets:
        if not 0 <= target.percent <= 100:
            raise invalid(f"{where}.percent", f"must be between 0 and 100, is {target.percent}")
        if target.type_ not in (LATEST, PINNED):
            raise invalid(f"{where}.type", "must be LATEST or REVISION")
        if (target.type_ == PINNED) is not bool(target.revision):
            raise invalid(f"{where}.revision", "must be given with type REVISION and with no other")
        if target.tag and (not LABEL.fullmatch(target.tag) or len(target.tag) + len(service) > MAX_TAG_AND_NAME):
            raise invalid(f"{where}.tag", f"{target.tag!r} is no label, or is too long beside the service's name")
    total = sum(target.percent for target in targets)
    if total != 100:
        raise invalid(where, f"the percents must sum to 100, they sum to {total}")
    twice = [tag for tag, count in Counter(t.tag for t in targets if t.tag).items() if count > 1]
    if twice:
        raise invalid(f"{where}.tag", f"{twice[0]!r} is given to more than one target")


def _check_template(where: str, service: str, template: Any) -> None:
    name = template.revision
    if name and not (name.startswith(f"{service}-") and len(name) <= MAX_REVISION_NAME and LABEL.fullmatch(name)):
        raise invalid(
            f"{where}.revision",
            f"{name!r} must begin with '{service}-', be a DNS label and have at most {MAX_REVISION_NAME} characters",
        )
    if not template.containers or not all(container.image for container in template.containers):
        raise invalid(f"{where}.containers", "one container or more, each with an image, is needed")
    if template.scaling.min_instance_count < 0 or template.scaling.max_instance_count < 0:
        raise invalid(f"{where}.scaling.max_instance_count", "must not be negative")
    if template.scaling.min_instance_count > (template.scaling.max_instance_count or DEFAULT_MAX_INSTANCES):
        raise invalid(f"{where}.scaling.min_instance_count", "must not be above max_instance_count")
    for key, unit in (("memory", "512Mi"), ("cpu", "1000m")):
        if limit(template, key) is None:
            raise invalid(f"{where}.containers.resources.limits", f"{key} is no quantity such as {unit}")


def _check_scaling(where: str, scaling: Any) -> None:
    if min(scaling.min_instance_count, scaling.max_instance_count, scaling.manual_instance_count) < 0:
        raise invalid(where, "instance counts must not be negative")
    if scaling.max_instance_count and scaling.min_instance_count > scaling.max_instance_count:
        raise invalid(f"{where}.min_instance_count", "must not be above max_instance_count")
    if scaling.scaling_mode == MANUAL and not scaling.HasField("manual_instance_count"):
        raise invalid(f"{where}.manual_instance_count", "must be given in the scaling mode MANUAL")


def settle_scaling(before: Any, wanted: Any) -> None:
    """Apply what a change of scaling mode does: MANUAL unsets min and max; back again needs both or neither."""
    scaling = wanted.scaling
    if scaling.scaling_mode == MANUAL:
        scaling.ClearField("min_instance_count")
        scaling.ClearField("max_instance_count")
    elif before.scaling.scaling_mode == MANUAL:
        if bool(scaling.min_instance_count) is not bool(scaling.max_instance_count):
            raise invalid(
                "UpdateServiceRequest.service.scaling",
                "min_instance_count and max_instance_count must be given together when manual scaling ends",
            )
        scaling.ClearField("manual_instance_count")


def with_defaults(template: Any) -> Any:
    """The template with the server's default values; an unset (or 0) ``max_instance_count`` becomes 100."""
    full = RevisionTemplate()
    full.CopyFrom(template)
    full.scaling.max_instance_count = full.scaling.max_instance_count or DEFAULT_MAX_INSTANCES
    full.max_instance_request_concurrency = full.max_instance_request_concurrency or DEFAULT_CONCURRENCY
    if not full.HasField("timeout"):
        full.timeout.seconds = DEFAULT_TIMEOUT_S
    if not full.containers:
        return full
    for container in full.containers:
        container.resources.limits.setdefault("cpu", "1000m")
        container.resources.limits.setdefault("memory", "512Mi")
    serving = serving_container(full)
    if not serving.ports:
        serving.ports.add(name="http1", container_port=8080)
    return full


def serving_container(template: Any) -> Any:
    """The container that gets the requests: the one with a port, whatever its place; the first if none has."""
    return next((container for container in template.containers if container.ports), template.containers[0])


def limit(template: Any, key: str) -> float | None:
    """The serving container's ``memory`` (bytes) or ``cpu`` (cores), by default 512Mi and 1; None if unreadable."""
    default = {"memory": "512Mi", "cpu": "1000m"}[key]
    found = _QUANTITY.fullmatch(dict(serving_container(template).resources.limits).get(key, default))
    return float(found[1]) * _UNITS[found[2] or ""] if found else None
