"""Cloud Run's v2 revisions as the playbook's nouns. Pure; Google's types stop here.

Source: google.cloud.run_v2 (Revision); cloud.google.com/run/docs/reference/rpc.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from blocks.http import quoted
from playbook.release.traffic import Revision

if TYPE_CHECKING:
    from google.cloud import run_v2


def short(name: str) -> str:
    """``projects/…/revisions/r1`` -> ``r1``."""
    return name.rsplit("/", 1)[-1]


def revision_of(revision: "run_v2.Revision") -> Revision:
    """One revision. ``reason`` is the first condition that failed, in Cloud Run's own words."""
    state = {condition.type_: condition for condition in revision.conditions}
    failed = [c for c in revision.conditions if c.state == type(c).State.CONDITION_FAILED and c.type_ != "Active"]
    return Revision(
        name=short(revision.name),
        image=serving_container(revision.containers).image if revision.containers else "",
        is_ready=_succeeded(state.get("Ready")),
        is_active=_succeeded(state.get("Active")),
        reason=quoted(failed[0].message) if failed else "",
        created_at_s=revision.create_time.timestamp() if revision.create_time else 0.0,
        secrets=tuple(sorted(_secrets(revision))),
    )


def _secrets(revision: "run_v2.Revision") -> set[str]:
    """The secrets that its containers read, in variables and in files, each with its version."""
    found = set()
    for container in revision.containers:
        for variable in container.env:
            if variable.value_source and (reference := variable.value_source.secret_key_ref).secret:
                found.add(f"{reference.secret}/versions/{reference.version or 'latest'}")
    for volume in revision.volumes:
        if volume.secret and volume.secret.secret:
            versions = [item.version or "latest" for item in volume.secret.items] or ["latest"]
            found |= {f"{volume.secret.secret}/versions/{version}" for version in versions}
    return found


def _succeeded(condition: "run_v2.Condition | None") -> bool:
    return condition is not None and condition.state == type(condition).State.CONDITION_SUCCEEDED


def serving_container(containers: Iterable["run_v2.Container"]) -> "run_v2.Container":
    """The container that users reach: the one with a port, beside which sidecars have none."""
    every = list(containers)
    return next((container for container in every if container.ports), every[0])
