"""What a release writes on the services it holds, and how it is read back. The world is the record.

The first service of a release is its *lead* and carries the whole claim; every other one carries a Member that points
to it.
``epoch`` and ``last_good`` stay when the release is over; nothing else does.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from pydantic import Field, TypeAdapter, model_validator

from playbook.analysis.policy import Policy
from playbook.base import Frozen
from playbook.errors import Refused
from playbook.incident.decision_matrix import Severity
from playbook.migration.plan import MigrationRollback
from playbook.release.request import HotfixRequest, Measure, RollbackRequest
from playbook.release.traffic import Scaling, ServiceSnapshot, TrafficSplit

PREFIX = "playbook.ethixai.com/"
KEEP_LAST_GOOD = 3
KEEP_INCIDENTS = 10
MITIGATION = PREFIX + "mitigation"


class Decision(StrEnum):
    """Which way a release is going. Written on the lead before any member moves that way."""

    DEPLOY = "DEPLOY"
    BAKE = "BAKE"
    PROMOTE = "PROMOTE"
    REVERT = "REVERT"


class Kind(StrEnum):
    """Why services are held. One that stands further down may take over from one that stands further up."""

    RELEASE = "release"
    HOTFIX = "hotfix"
    ROLLBACK = "rollback"
    MIGRATION = "migration"

    def may_take_over(self, other: "Kind") -> bool:
        """Whether this may end what ``other`` has begun."""
        order = tuple(Kind)
        return order.index(self) > order.index(other)


class Promotion(Frozen):
    """One release that reached all users of a service."""

    release: str = Field(description="its version; empty where nobody wrote it down")
    revision: str
    digest: str = Field(description="sha256:…; empty where nobody wrote it down")
    promoted_at_s: float
    is_return: bool = Field(False, description="users came back to it by a rollback")

    @property
    def name(self) -> str:
        """What people call it: the version, or the revision of a release that is older than our records."""
        return self.release or self.revision


class ServiceRollout(Frozen):
    """One service of a release: what it was before, and what it is to become.

    In a rollback ``canary`` is the revision that is taken back, ``found`` is the split it was found with, and
    ``stable`` and ``image`` are those of ``back_to``.
    """

    service: str
    stable: TrafficSplit = Field(description="the split found at the claim, pinned; what a revert goes back to")
    found: TrafficSplit | None = Field(None, description="the split found at the claim where it is not ``stable``")
    before: TrafficSplit | None = Field(
        None, description="where a measure was in force: the split before the first one"
    )
    back_to: Promotion | None = Field(None, description="the good release that a rollback goes back to")
    canary: str = Field(description="name of the new revision")
    image: str = Field(description="repository@sha256:…")
    scaling: Scaling = Scaling()
    latest_created: str = Field("", description="newest revision at the claim; a newer one is somebody else's")


class Measured(Frozen):
    """What the judge saw at its last look, of all services together: enough to page by, should the process die."""

    severity: Severity | None = Field(description="of the worst verdict; None: the matrix has no row for it")
    failed: int
    requests: int = Field(description="to the canary since the bake's start; 0: none was seen")


def _first_edition(values: object, names: Mapping[str, str]) -> object:
    """``values`` as stored by the first edition, under today's names."""
    return {names.get(k, k): v for k, v in values.items()} if isinstance(values, dict) else values


class Lease(Frozen):
    """A release in flight. ``rollouts`` are in order of promotion, the lead first."""

    release_id: str
    version: str
    flow_run_id: str
    epoch: int
    decision: Decision = Decision.DEPLOY
    rollouts: tuple[ServiceRollout, ...]
    canary_percent: int
    requested_by: str = ""
    place: str = Field("", description="gcloud's flags for the project and region, for whoever must act by hand")
    reason: str = Field("", description="why it was decided so")
    came_to: Decision | None = Field(None, description="where it stood when REVERT was decided: how far users had come")
    measured: Measured | None = Field(None, description="what was seen until then; None: nobody has looked")
    bake_start_s: float | None = Field(None, description="unix seconds on Prometheus's clock")
    earlier_percents: tuple[int, ...] = Field((), description="shares the canary had before it was given more")
    extensions_s: tuple[float, ...] = Field((), description="by how much a person has lengthened the bake, each time")
    scaled_at_s: dict[str, float] = Field(
        default_factory=dict, description="service -> unix seconds; when it was given more instances"
    )
    gate_deadline_s: float | None = Field(None, description="unix seconds; a person is asked until then")
    deadline_s: float = Field(description="unix seconds; a claim older than this is anybody's to recover")
    requested_at_s: float | None = Field(None, description="unix seconds; when a person or CI asked for it")
    asked_back_at_s: float | None = Field(None, description="unix seconds; when a person asked to have it taken back")
    given_way_to: str = Field("", description="the hotfix or rollback that has taken this release's place")

    @model_validator(mode="before")
    @classmethod
    def _reads_first_edition(cls, values: object) -> object:
        return _first_edition(values, {"parts": "rollouts"})

    hotfix: HotfixRequest | None = None
    rollback: RollbackRequest | None = None
    migration: MigrationRollback | None = None

    @property
    def kind(self) -> Kind:
        if self.migration is not None:
            return Kind.MIGRATION
        if self.rollback is not None:
            return Kind.ROLLBACK
        return Kind.RELEASE if self.hotfix is None else Kind.HOTFIX

    @property
    def migration_rollback(self) -> MigrationRollback:
        """The migration rollback that this claim is about; asked only of a claim of that kind."""
        assert self.migration is not None
        return self.migration

    @property
    def coordinator(self) -> str:
        return self.rollouts[0].service

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(rollout.service for rollout in self.rollouts)

    def rollout(self, service: str) -> ServiceRollout:
        """The part of ``service``. Raises KeyError where it is none of this release."""
        return {rollout.service: rollout for rollout in self.rollouts}[service]

    def policy(self, policy: Policy) -> Policy:
        """``policy`` with the extensions that people have given this release."""
        for seconds in self.extensions_s:
            policy = policy.extended(seconds)
        return policy

    def baking_from(self, now_s: float) -> Self:
        """The same release, whose bake began now."""
        return self.model_copy(update={"bake_start_s": now_s})

    def scaled(self, service: str, now_s: float) -> Self:
        """The same release, one of whose services is given more instances now."""
        return self.model_copy(update={"scaled_at_s": {**self.scaled_at_s, service: now_s}})

    def gated(self, now_s: float, deadline_s: float) -> Self:
        """The same release, undecided: a person may answer for ``deadline_s`` seconds from the first time it was so."""
        return self if self.gate_deadline_s else self.model_copy(update={"gate_deadline_s": now_s + deadline_s})

    def extended_until(self, end_s: float, policy: Policy) -> Self:
        """The same release with a bake that ends at ``end_s``. ``policy`` is the environment's."""
        ends_s = (self.bake_start_s or end_s) + self.policy(policy).bake_s
        return self.model_copy(update={"extensions_s": (*self.extensions_s, max(0.0, end_s - ends_s))})

    def reopened(self) -> Self:
        """The same release, answered by a person: if it stays undecided, they are asked anew."""
        return self.model_copy(update={"gate_deadline_s": None})

    def raised(self, percent: int) -> Self:
        """The same release with a larger share for the canary."""
        earlier = (*self.earlier_percents, self.canary_percent)
        return self.model_copy(update={"canary_percent": percent, "earlier_percents": earlier})

    def giving_way(self, to: str) -> Self:
        """The same release, taken back because ``to`` cannot wait."""
        return self.decided(Decision.REVERT, f"it gives way to {to}").model_copy(update={"given_way_to": to})

    def asked_back(self, reason: str, at_s: float) -> Self:
        """The same release, taken back because a person asked for it at ``at_s``."""
        return self.decided(Decision.REVERT, reason).model_copy(update={"asked_back_at_s": at_s})

    def decided(self, decision: Decision, reason: str = "") -> Self:
        """The same release, going ``decision``'s way."""
        is_new = decision is Decision.REVERT and self.decision is not Decision.REVERT
        came_to = self.decision if is_new else self.came_to
        return self.model_copy(update={"decision": decision, "reason": reason, "came_to": came_to})


class Participant(Frozen):
    """What a service that is not the coordinator carries."""

    @model_validator(mode="before")
    @classmethod
    def _reads_first_edition(cls, values: object) -> object:
        return _first_edition(values, {"lead": "coordinator"})

    release_id: str
    epoch: int
    coordinator: str
    stable: TrafficSplit


class Mitigation(Frozen):
    """A measure that somebody took on a service, and what it was before the first one: the way back."""

    measure: Measure
    by: str
    reason: str
    at_s: float
    split: TrafficSplit
    scaling: Scaling


_PROMOTIONS = TypeAdapter(tuple[Promotion, ...])


class Record(Frozen):
    """Everything our own annotations say about a service."""

    lease: Lease | None = None
    participant: Participant | None = None
    epoch: int = 0
    last_good: tuple[Promotion, ...] = Field((), description="newest first, at most three")
    mitigation: Mitigation | None = None
    incidents: tuple[str, ...] = Field((), description="keys of the pages that the next good release resolves")

    @classmethod
    def read(cls, snapshot: ServiceSnapshot) -> Self:
        """What ``snapshot`` carries. Raises Refused where somebody has edited it into something unreadable."""
        found = snapshot.annotations
        try:
            return cls(
                lease=Lease.model_validate_json(found[PREFIX + "claim"]) if PREFIX + "claim" in found else None,
                participant=Participant.model_validate_json(found[PREFIX + "member"])
                if PREFIX + "member" in found
                else None,
                epoch=int(found.get(PREFIX + "epoch", 0)),
                last_good=_PROMOTIONS.validate_json(found.get(PREFIX + "last-good", "[]")),
                mitigation=Mitigation.model_validate_json(found[MITIGATION]) if MITIGATION in found else None,
                incidents=tuple(filter(None, found.get(PREFIX + "incidents", "").split(","))),
            )
        except ValueError as unreadable:  # pydantic's ValidationError is one
            raise Refused(
                f"{snapshot.service}: its annotations {PREFIX}* were edited and cannot be read. "
                "Restore them from the service's history, or remove them to start from nothing."
            ) from unreadable

    def annotations(self) -> dict[str, str]:
        """What to write so that ``read`` gives this back.

        A claim's fields at their default are left out: the version of ours before this one refuses a field that it does
        not know, and can so read every claim that makes no use of what is new.
        """
        written = {PREFIX + "epoch": str(self.epoch)} if self.epoch else {}
        if self.lease:
            written[PREFIX + "claim"] = self.lease.model_dump_json(exclude_defaults=True)
        if self.participant:
            written[PREFIX + "member"] = self.participant.model_dump_json()
        if self.last_good:
            written[PREFIX + "last-good"] = _PROMOTIONS.dump_json(self.last_good).decode()
        if self.mitigation:
            written[MITIGATION] = self.mitigation.model_dump_json()
        if self.incidents:
            written[PREFIX + "incidents"] = ",".join(self.incidents)
        return written

    def beside(self, annotations: Mapping[str, str]) -> dict[str, str]:
        """``annotations`` with our own keys replaced by this record, everybody else's kept."""
        return {k: v for k, v in annotations.items() if not k.startswith(PREFIX)} | self.annotations()

    @property
    def holder(self) -> str:
        """The release that holds this service, or an empty string."""
        held = self.lease or self.participant
        return held.release_id if held else ""

    def released(self) -> Self:
        """The record of a service that no release holds."""
        return self.model_copy(update={"lease": None, "participant": None})

    def promoted(self, promotion: Promotion, before: str = "") -> Self:
        """The record with ``promotion`` as its newest good release. Writing it twice adds it once.

        ``before`` is the revision that served everybody until then: the first release that is written down has it to
        go back to.
        """
        older = tuple(p for p in self.last_good if p.revision != promotion.revision)
        if not older and before:
            older = (Promotion(release="", revision=before, digest="", promoted_at_s=0),)
        return self.model_copy(update={"last_good": (promotion, *older)[:KEEP_LAST_GOOD]})

    def returned(self, promotion: Promotion, taken_back: str) -> Self:
        """The record after a rollback from revision ``taken_back`` to ``promotion``: what came after it is good no
        more."""
        names = [p.revision for p in self.last_good]
        is_known = promotion.revision in names
        after = self.last_good[names.index(promotion.revision) + 1 :] if is_known else self.last_good
        older = tuple(p for p in after if p.revision != taken_back)
        return self.model_copy(update={"last_good": (promotion, *older)[:KEEP_LAST_GOOD]})

    def without(self, revision: str) -> Self:
        """The record in which ``revision`` is no good release."""
        return self.model_copy(update={"last_good": tuple(p for p in self.last_good if p.revision != revision)})

    def copied(self, revision: str, copy: str) -> Self:
        """The record whose good releases run in ``copy`` where they ran in ``revision``, which must not serve again."""
        goods = (p.model_copy(update={"revision": copy}) if p.revision == revision else p for p in self.last_good)
        return self.model_copy(update={"last_good": tuple(goods)})

    def alarmed(self, incident: str) -> Self:
        """The record with an incident that is not over. Writing it twice adds it once."""
        others = tuple(key for key in self.incidents if key != incident)
        return self.model_copy(update={"incidents": (*others, incident)[-KEEP_INCIDENTS:]})


def next_epoch(found: int, now_s: float) -> int:
    """An epoch newer than ``found`` and never older than the clock."""
    return max(found + 1, int(now_s))
