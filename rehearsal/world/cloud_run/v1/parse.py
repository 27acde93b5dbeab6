"""From the v1 object of a PUT to the v2 message of the service, and what is kept beside it."""

from typing import Any

from google.protobuf import json_format

from rehearsal.world.cloud_run.state import (
    LATEST,
    MANUAL,
    PINNED,
    Json,
    RevisionTemplate,
    Service,
    ServiceState,
    TrafficTarget,
)
from rehearsal.world.cloud_run.v1 import words
from rehearsal.world.cloud_run.v1.kept import OUTPUT_ONLY, beyond
from rehearsal.world.cloud_run.v1.render import known_part
from rehearsal.world.cloud_run.validation import SYSTEM_KEYS, serving_container, with_defaults
from rehearsal.world.rpc import invalid


def parsed(state: ServiceState, sent: Json) -> tuple[Any, Json]:
    """(the service's message as ``sent`` wants it, what the message has no place for). Raises RefusalError."""
    metadata, spec = _part(sent, "metadata"), _part(sent, "spec")
    wanted = Service()
    wanted.CopyFrom(state.message)
    for field in ("labels", "annotations", "scaling", "ingress", "launch_stage", "template", "traffic"):
        wanted.ClearField(field)
    labels = _strings(metadata, "labels", "metadata.labels")
    labels.pop(words.LOCATION_LABEL, None)
    wanted.labels.update(labels)
    _annotate(wanted, _strings(metadata, "annotations", "metadata.annotations"))
    wanted.template.CopyFrom(with_defaults(_template(state.message.template, _part(spec, "template"))))
    wanted.traffic.extend(_targets(spec.get("traffic")))
    rest = {key: value for key, value in sent.items() if key != "status"}
    kept = beyond(rest, known_part(state, wanted)) or {}
    for key in OUTPUT_ONLY:
        kept.get("metadata", {}).get("annotations", {}).pop(key, None)
    return wanted, kept


def _annotate(wanted: Any, annotations: dict[str, str]) -> None:
    """The service's fields that v1 has as annotations, and the annotations that are a person's own."""
    wanted.annotations.update({key: value for key, value in annotations.items() if not _is_systems(key)})
    for field, key in words.TEXTS.items():
        setattr(wanted, field, annotations.get(key, ""))
    for field, key in words.FLAGS.items():
        setattr(wanted, field, annotations.get(key, "").lower() == "true")
    wanted.ingress = _word(words.INGRESS_WORDS, annotations.get(words.INGRESS, "all"), words.INGRESS)
    if stage := annotations.get(words.LAUNCH_STAGE):
        wanted.launch_stage = _word(words.STAGES, stage, words.LAUNCH_STAGE)
    scaling = wanted.scaling
    scaling.min_instance_count = _number(annotations, words.MIN_SCALE)
    scaling.max_instance_count = _number(annotations, words.MAX_SCALE)
    mode = annotations.get(words.SCALING_MODE, "automatic").lower()
    if mode not in ("automatic", "manual"):
        raise invalid(f"metadata.annotations[{words.SCALING_MODE}]", f"must be automatic or manual, is {mode!r}")
    if mode == "manual":
        scaling.scaling_mode = MANUAL
        if words.MANUAL_COUNT in annotations:
            scaling.manual_instance_count = _number(annotations, words.MANUAL_COUNT)


def _template(current: Any, sent: Json) -> Any:
    """The v2 template of a v1 one. Fields of v2 that v1 has no words for stay as they are in ``current``."""
    metadata, spec = _part(sent, "metadata"), _part(sent, "spec")
    template = RevisionTemplate()
    template.CopyFrom(current)
    for field in ("labels", "annotations", "scaling", "timeout", "containers"):
        template.ClearField(field)
    template.revision = str(metadata.get("name") or "")
    template.labels.update(_strings(metadata, "labels", "spec.template.metadata.labels"))
    annotations = _strings(metadata, "annotations", "spec.template.metadata.annotations")
    template.annotations.update({key: value for key, value in annotations.items() if not _is_systems(key)})
    template.scaling.min_instance_count = _number(annotations, words.TEMPLATE_MIN_SCALE)
    template.scaling.max_instance_count = _number(annotations, words.TEMPLATE_MAX_SCALE)
    for field, key in words.TEMPLATE_FLAGS.items():
        setattr(template, field, annotations.get(key, "").lower() == "true")
    generation = annotations.get(words.EXECUTION_ENVIRONMENT)
    template.execution_environment = (
        _word(words.GENERATIONS, generation, words.EXECUTION_ENVIRONMENT) if generation else 0
    )
    template.service_account = str(spec.get("serviceAccountName") or "")
    template.max_instance_request_concurrency = _whole(spec, "containerConcurrency")
    if timeout_s := _whole(spec, "timeoutSeconds"):
        template.timeout.seconds = timeout_s
    try:
        json_format.ParseDict({"containers": spec.get("containers") or []}, template, ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise invalid("spec.template.spec.containers", str(error)) from error
    if template.containers:
        resources = serving_container(template).resources
        resources.cpu_idle = annotations.get(words.CPU_THROTTLING, "").lower() == "true"
        resources.startup_cpu_boost = annotations.get(words.CPU_BOOST, "").lower() == "true"
    return template


def _targets(sent: Any) -> list[Any]:
    if sent is None:
        return []
    if not isinstance(sent, list) or not all(isinstance(target, dict) for target in sent):
        raise invalid("spec.traffic", "must be a list of objects")
    made = []
    for target in sent:
        is_latest = target.get("latestRevision") is True
        if is_latest and target.get("revisionName"):
            raise invalid("spec.traffic", "latestRevision and revisionName exclude each other")
        made.append(
            TrafficTarget(
                type_=LATEST if is_latest else PINNED,
                revision=str(target.get("revisionName") or ""),
                percent=_whole(target, "percent"),
                tag=str(target.get("tag") or ""),
            )
        )
    return made


def _is_systems(key: str) -> bool:
    domain, slash, _ = key.partition("/")
    return bool(slash) and any(domain == system or domain.endswith(f".{system}") for system in SYSTEM_KEYS)


def _part(sent: Json, key: str) -> Json:
    found = sent.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise invalid(key, "must be an object")
    return found


def _strings(metadata: Json, key: str, where: str) -> dict[str, str]:
    found = _part(metadata, key)
    if wrong := [name for name, value in found.items() if not isinstance(value, str)]:
        raise invalid(f"{where}[{wrong[0]}]", "must be a string")
    return dict(found)


def _number(annotations: dict[str, str], key: str) -> int:
    text = annotations.get(key, "0")
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise invalid(f"metadata.annotations[{key}]", f"must be a whole number of 0 or more, is {text!r}")
    return int(text)


def _whole(sent: Json, key: str) -> int:
    value = sent.get(key) or 0
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > 2**31 - 1:
        raise invalid(key, f"must be a whole number, is {value!r}")
    return value


def _word(known: dict[str, int], word: str, key: str) -> int:
    if word not in known:
        raise invalid(f"metadata.annotations[{key}]", f"must be one of {', '.join(known)}, is {word!r}")
    return known[word]
