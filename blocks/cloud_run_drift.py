"""How the template of a v1 service differs from a revision of it, field by field. Pure."""

import json
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from blocks.cloud_run_v1 import (
    BASE_IMAGE_RUNTIME,
    BASE_IMAGES,
    Json,
    digests_of,
    is_of_one_image,
    serving_container,
    template_of,
)
from playbook.release.drift import NOT_SET, Difference, Drift
from playbook.release.traffic import ServiceSnapshot, is_our_tag
from playbook.text import clean, mask

SHOWN_MAX = 120
"""Characters of a value in a message."""
FILLED_IN: dict[str, frozenset[str]] = {
    "containerConcurrency": frozenset({"80"}),
    "timeoutSeconds": frozenset({"300"}),
    "resources.limits.cpu": frozenset({"1", "1000m"}),
    "resources.limits.memory": frozenset({"512Mi"}),
    "annotation autoscaling.knative.dev/maxScale": frozenset({"100"}),
    "enableServiceLinks": frozenset({"false", "False"}),
    "annotation run.googleapis.com/health-check-disabled": frozenset({"true", "false"}),  # a revision does not show it
    "runtimeClassName": frozenset({BASE_IMAGE_RUNTIME}),  # of one image, as the base image is
    "ports": frozenset({'[{"containerPort": 8080}]', '[{"containerPort": 8080, "name": "http1"}]'}),
    "startupProbe.timeoutSeconds": frozenset({"1", "240"}),
    "startupProbe.periodSeconds": frozenset({"10", "240"}),
    "startupProbe.failureThreshold": frozenset({"1", "3"}),
    "startupProbe.successThreshold": frozenset({"1"}),
    "startupProbe.initialDelaySeconds": frozenset({"0"}),
}
"""What Cloud Run fills in where nothing is said: one side may say it and the other not."""
FILLED_IN_FORM = {
    "serviceAccountName": re.compile(r"[0-9]{1,20}-compute@developer\.gserviceaccount\.com"),
    "startupProbe.tcpSocket.port": re.compile("[0-9]{1,5}"),
    "startupProbe.httpGet.port": re.compile("[0-9]{1,5}"),
    "startupProbe.grpc.port": re.compile("[0-9]{1,5}"),
}
"""The same, where what it fills in is the project's or the container's own."""
AMOUNTS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}
HANDLED = frozenset({"name", "image", "env", "volumeMounts", "baseImageUri", "buildInfo"})


def drift_of(snapshot: ServiceSnapshot, base: Json, overrides: Iterable[str]) -> Drift:
    """How the template of the service differs from ``base``, the revision that serves. ``overrides`` are variables that
    a release sets anyway."""
    tags = snapshot.split.tags.items()
    previews = tuple(tag for tag, on in tags if on == snapshot.latest_created and not is_our_tag(tag, on))
    if snapshot.latest_created == base["metadata"]["name"]:
        return Drift(service=snapshot.service, revision=snapshot.latest_created)
    ours = {f"env {name}" for name in overrides}
    template = _flat(snapshot.raw["spec"]["template"], {})
    serves = _flat(template_of(base), digests_of(base))
    known = set(digests_of(base).values())
    fields = sorted(name for name in template.keys() | serves.keys() if name not in ours)
    return Drift(
        service=snapshot.service,
        revision=snapshot.latest_created,
        previews=previews,
        differences=tuple(
            Difference(field=name, template=_shown(name, template.get(name)), serves=_shown(name, serves.get(name)))
            for name in fields
            if not _is_same(name, template.get(name), serves.get(name), known)
        ),
    )


def _is_same(name: str, template: str | None, serves: str | None, digests: set[str]) -> bool:
    if template == serves:
        return True
    if name.endswith(" image") and template in digests:  # a sidecar that an earlier release of ours has pinned
        return True
    field = re.sub(r"^container [^ ]+ ", "", name)
    if template is not None and serves is not None:
        return field.startswith("resources.") and _amount(template) == _amount(serves)
    said = template or serves or ""
    form = FILLED_IN_FORM.get(field)
    return said in FILLED_IN.get(field, frozenset()) or (form is not None and form.fullmatch(said) is not None)


def _amount(text: str) -> Fraction | str:
    """An amount of CPU or memory as a number, so that 1000m is 1 and 1Gi is 1024Mi; the text where it is none."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(m|k|M|G|Ki|Mi|Gi|)", text)
    if not found:
        return text
    return Fraction(found[1]) / 1000 if found[2] == "m" else Fraction(found[1]) * AMOUNTS[found[2]]


def _flat(template: Json, digests: dict[str, str]) -> dict[str, str]:
    """Field -> value, for every field that a person may set."""
    metadata, spec = template.get("metadata") or {}, template["spec"]
    found: dict[str, str] = {}
    for part, word in (("labels", "label"), ("annotations", "annotation")):
        for key, value in (metadata.get(part) or {}).items():
            if not is_of_one_image(key) and key != BASE_IMAGES and not _is_servers(key):
                found[f"{word} {key}"] = str(value)
    serving = serving_container(spec["containers"])
    for container in spec["containers"]:
        if container is serving:
            found |= _container(container)
            continue
        name = container.get("name") or _repository(container.get("image", ""))
        found[f"container {name} image"] = digests.get(name, container.get("image", ""))
        found |= {f"container {name} {field}": value for field, value in _container(container).items()}
    for volume in spec.get("volumes") or []:
        found[f"volume {volume.get('name', '')}"] = _text({k: v for k, v in volume.items() if k != "name"})
    rest = {key: value for key, value in spec.items() if key not in ("containers", "volumes")}
    return found | dict(_leaves("", rest))


def _repository(image: str) -> str:
    """The image without its tag and digest; a port before the path is no tag."""
    name = image.partition("@")[0]
    head, _, tag = name.rpartition(":")
    return head if head and "/" not in tag else name


def _is_servers(key: str) -> bool:
    """Whether the server or a client writes it, rather than a person."""
    return key.startswith(("run.googleapis.com/client-", "run.googleapis.com/operation-id", "serving.knative.dev/"))


def _container(container: Json) -> dict[str, str]:
    found = {f"env {one.get('name', '')}": _value(one) for one in container.get("env") or []}
    for mount in container.get("volumeMounts") or []:
        found[f"mount {mount.get('mountPath', '')}"] = str(mount.get("name", ""))
    return found | dict(_leaves("", {key: value for key, value in container.items() if key not in HANDLED}))


def _value(variable: Json) -> str:
    secret = (variable.get("valueFrom") or {}).get("secretKeyRef")
    if secret:
        return f"secret {secret.get('name', '')}, version {secret.get('key', '')}"
    return str(variable.get("value", "")) if "valueFrom" not in variable else _text(variable["valueFrom"])


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}" if path else key, inner)
    elif value not in ({}, [], None):
        yield path, _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _shown(name: str, value: str | None) -> str:
    """The value as a message may show it: one that has the name or the form of a secret is masked."""
    if value is None:
        return NOT_SET
    if value.startswith("secret "):
        return value
    word = name.rpartition(" ")[2]
    masked = mask(clean(" ".join(f"{word}={value}"[: 4 * SHOWN_MAX].split()), SHOWN_MAX + len(word)))
    return masked[len(word) + 1 :] if masked.startswith(f"{word}=") else masked
