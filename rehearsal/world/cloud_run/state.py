"""What the stand-in of Cloud Run holds: services, their revisions, and what may be turned in how it behaves."""

import asyncio
import base64
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from google.cloud import run_v2

from rehearsal.world.instances import Instance

# The plain protobuf classes under the client's wrappers: servers need field descriptors and presence.
Service: Any = run_v2.Service.pb()
Revision: Any = run_v2.Revision.pb()
RevisionTemplate: Any = run_v2.RevisionTemplate.pb()
TrafficTarget: Any = run_v2.TrafficTarget.pb()
TrafficTargetStatus: Any = run_v2.TrafficTargetStatus.pb()
Condition: Any = run_v2.Condition.pb()

Json = dict[str, Any]
"""A JSON object, or a part of one."""

OPEN_TO_ALL = (run_v2.IngressTraffic.INGRESS_TRAFFIC_UNSPECIFIED, run_v2.IngressTraffic.INGRESS_TRAFFIC_ALL)
LATEST = int(run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST)
PINNED = int(run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION)
MANUAL = int(run_v2.ServiceScaling.ScalingMode.MANUAL)

_NAME = re.compile(r"projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/services/(?P<service>[^/]+)")


class Images(Protocol):
    """The registry: what an image reference (``repository:tag`` or ``repository@sha256:…``) has in its config."""

    def config(self, reference: str) -> Mapping[str, str] | None:
        """The image's ``Env``; None when there is no such image."""


@dataclass
class Knobs:
    """How the stand-in behaves where the real service may differ from day to day. Seconds."""

    reconcile_delay_s: float = 0.05
    """From a write to the beginning of what it asks for."""
    propagation_delay_s: float = 0.0
    """From the end of an operation to the proxy's following it."""
    startup_timeout_s: float = 10.0
    drain_timeout_s: float = 10.0
    """How long a retired instance may finish its requests, and how long it may take to end."""
    ready_stays_false: bool = False
    """After a failed deploy, a later traffic update is served, but its operation fails and Ready stays False."""

    tag_delay_s: float = 0.0
    """From the end of an operation until a tag that had another revision routes to its new one."""
    enforce_etag: bool = False
    """v2: a write whose etag is not the current one is refused. The real service did not do so when it was tried."""
    enforce_resource_version: bool = True
    """v1: the same for ``metadata.resourceVersion``. Off only to show that a proof rests on it."""

    def become(self, other: "Knobs") -> None:
        """Stand as ``other`` does."""
        vars(self).update(vars(other))


@dataclass(frozen=True)
class ServiceName:
    """``projects/{project}/locations/{location}/services/{service}`` in parts."""

    project: str
    location: str
    service: str

    @classmethod
    def parse(cls, text: str) -> "ServiceName | None":
        """The name in parts; None when it is not of that form."""
        found = _NAME.fullmatch(text)
        return cls(**found.groupdict()) if found else None

    @property
    def parent(self) -> str:
        """The location it is in."""
        return f"projects/{self.project}/locations/{self.location}"

    def __str__(self) -> str:
        return f"{self.parent}/services/{self.service}"


@dataclass(eq=False)
class FailureError(Exception):
    """An operation ends in error: a gRPC code number, the sentence, and the condition's reason."""

    code: int
    message: str
    reason: str = "REVISION_FAILED"


@dataclass
class RevisionState:
    """One revision. ``instances`` are those that may get requests; ``env`` is its image's."""

    message: Any
    template: Any
    kept: Json = field(default_factory=dict)
    """What the v1 template said that the message has no place for."""
    env: Mapping[str, str] = field(default_factory=dict)
    instances: list[Instance] = field(default_factory=list)
    is_ready: bool = False
    started: int = 0

    @property
    def name(self) -> str:
        """The short name, as traffic targets have it."""
        return str(self.message.name).rpartition("/")[2]


@dataclass(frozen=True)
class Plan:
    """What is to be served: targets (revision, percent, tag), and how many instances of each revision."""

    targets: tuple[tuple[str, int, str], ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass
class ServiceState:
    """One service: the message clients see, its revisions, and what is being served."""

    name: ServiceName
    message: Any
    kept: Json = field(default_factory=dict)
    """What the v1 object said that the message has no place for; see `rehearsal.world.cloud_run.v1.kept`."""
    version_us: int = 0
    """Microseconds since the epoch of the newest write: v1's resourceVersion and v2's etag are both made of it."""
    operation_id: str = ""
    """Of the newest write."""
    revisions: dict[str, RevisionState] = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    routes: set[str] = field(default_factory=set)
    """The proxy's routes that have servers: the service's and its tags'."""
    failure: FailureError | None = None
    """Of the newest revision, while it is the template's."""
    pending: int = 0
    is_private: bool = False
    """Callers need an ID token: nobody has granted ``allUsers`` the role of an invoker."""
    tag_routes: dict[str, str] = field(default_factory=dict)
    """For each tag's route, the revision the proxy sends it to."""
    reconcile_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    follow_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_closed(self) -> bool:
        """Whether the default URLs answer 404 to everybody outside: internal ingress, or no default URL at all."""
        return self.message.default_uri_disabled or self.message.ingress not in OPEN_TO_ALL

    @property
    def audience(self) -> str:
        """What an ID token must be meant for, where the service is private; a tag's URL wants the service's."""
        return str(self.message.uri) if self.is_private and not self.message.invoker_iam_disabled else ""

    @property
    def latest_ready(self) -> str:
        """Short name of the revision that LATEST means; empty when there is none yet."""
        return str(self.message.latest_ready_revision).rpartition("/")[2]

    @property
    def latest_created(self) -> str:
        """Short name of the revision of the current template."""
        return str(self.message.latest_created_revision).rpartition("/")[2]


def new_uid() -> str:
    """A uid in the dashed form."""
    return str(uuid.uuid4())


def etag_of(name: object, version_us: int) -> str:
    """The etag of v2: the time of the write and the name, each in base64."""
    parts = (base64.b64encode(str(part).encode()).decode() for part in (version_us, name))
    return '"{}"'.format("/".join(parts))


def next_version_us(before: int) -> int:
    """Microseconds since the epoch, and later than ``before``."""
    return max(before + 1, time.time_ns() // 1000)


def stamp(timestamp: Any) -> None:
    """Set a protobuf timestamp to now."""
    timestamp.FromNanoseconds(time.time_ns())


def condition(kind: str, state: str, *, reason: str = "", revision_reason: str = "", message: str = "") -> Any:
    """A condition in ``state`` (SUCCEEDED, RECONCILING, FAILED), with one of the two reasons or none."""
    made = Condition(type_=kind, state=f"CONDITION_{state}", message=message)
    if reason:
        made.reason = run_v2.Condition.CommonReason[reason]
    if revision_reason:
        made.revision_reason = run_v2.Condition.RevisionReason[revision_reason]
    if state == "FAILED":
        made.severity = run_v2.Condition.Severity.INFO if revision_reason else run_v2.Condition.Severity.ERROR
    stamp(made.last_transition_time)
    return made


def set_condition(conditions: Any, new: Any) -> None:
    """Put ``new`` in the place of the condition of its type; the time stays when the state does."""
    for old in conditions:
        if old.type_ == new.type_:
            if old.state == new.state:
                new.last_transition_time.CopyFrom(old.last_transition_time)
            old.CopyFrom(new)
            return
    conditions.append(new)


def plain_traffic(targets: Any) -> list[dict[str, Any]]:
    """Traffic targets as ``[{revision, percent, tag}]``; the allocation LATEST is a revision of that name."""
    return [
        {"revision": "LATEST" if t.type_ == LATEST else t.revision, "percent": t.percent, "tag": t.tag} for t in targets
    ]
