"""What a release writes on the services it holds, and how it is read back. The world is the record.

The first service of a release is its *lead* and carries the whole claim; every other one carries a Member that points
to it.
``epoch`` and ``last_good`` stay when the release is over; nothing else does.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from pydantic import Field, TypeAdapter

from playbook.base import Frozen
from playbook.errors import Refused
from playbook.policy import Policy
from playbook.traffic import Scaling, ServiceSnapshot, TrafficSplit

PREFIX = "playbook.ethixai.com/"
KEEP_LAST_GOOD = 3


class Decision(StrEnum):
    """Which way a release is going. Written on the lead before any member moves that way."""

    DEPLOY = "DEPLOY"
    BAKE = "BAKE"
    PROMOTE = "PROMOTE"
    REVERT = "REVERT"


class Part(Frozen):
    """One service of a release: what it was before, and what it is to become."""

    service: str
    stable: TrafficSplit = Field(description="the split found at the claim, pinned; what a revert goes back to")
    canary: str = Field(description="name of the new revision")
    image: str = Field(description="repository@sha256:…")
    scaling: Scaling = Scaling()
    latest_created: str = Field("", description="newest revision at the claim; a newer one is somebody else's")


class Claim(Frozen):
    """A release in flight. ``parts`` are in order of promotion, the lead first."""

    release_id: str
    version: str
    flow_run_id: str
    epoch: int
    decision: Decision = Decision.DEPLOY
    parts: tuple[Part, ...]
    canary_percent: int
    requested_by: str = ""
    reason: str = Field("", description="why it was decided so")
    bake_start_s: float | None = Field(None, description="unix seconds on Prometheus's clock")
    earlier_percents: tuple[int, ...] = Field((), description="shares the canary had before it was given more")
    extensions_s: tuple[float, ...] = Field((), description="by how much a person has lengthened the bake, each time")
    scaled_at_s: float | None = Field(None, description="unix seconds; when more instances were given")
    gate_deadline_s: float | None = Field(None, description="unix seconds; a person is asked until then")
    deadline_s: float = Field(description="unix seconds; a claim older than this is anybody's to recover")

    @property
    def lead(self) -> str:
        return self.parts[0].service

    @property
    def services(self) -> tuple[str, ...]:
        return tuple(part.service for part in self.parts)

    def part(self, service: str) -> Part:
        """The part of ``service``. Raises KeyError where it is none of this release."""
        return {part.service: part for part in self.parts}[service]

    def policy(self, policy: Policy) -> Policy:
        """``policy`` with the extensions that people have given this release."""
        for seconds in self.extensions_s:
            policy = policy.extended(seconds)
        return policy

    def baking_from(self, now_s: float) -> Self:
        """The same release, whose bake began now."""
        return self.model_copy(update={"bake_start_s": now_s})

    def scaled(self, now_s: float) -> Self:
        """The same release, given more instances now."""
        return self.model_copy(update={"scaled_at_s": now_s})

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

    def decided(self, decision: Decision, reason: str = "") -> Self:
        """The same release, going ``decision``'s way."""
        return self.model_copy(update={"decision": decision, "reason": reason})


class Member(Frozen):
    """What a service that is not the lead carries."""

    release_id: str
    epoch: int
    lead: str
    stable: TrafficSplit


class Promotion(Frozen):
    """One release that reached all users of a service."""

    release: str = Field(description="its version")
    revision: str
    digest: str
    promoted_at_s: float


_PROMOTIONS = TypeAdapter(tuple[Promotion, ...])


class Record(Frozen):
    """Everything our own annotations say about a service."""

    claim: Claim | None = None
    member: Member | None = None
    epoch: int = 0
    last_good: tuple[Promotion, ...] = Field((), description="newest first, at most three")

    @classmethod
    def read(cls, snapshot: ServiceSnapshot) -> Self:
        """What ``snapshot`` carries. Raises Refused where somebody has edited it into something unreadable."""
        found = snapshot.annotations
        try:
            return cls(
                claim=Claim.model_validate_json(found[PREFIX + "claim"]) if PREFIX + "claim" in found else None,
                member=Member.model_validate_json(found[PREFIX + "member"]) if PREFIX + "member" in found else None,
                epoch=int(found.get(PREFIX + "epoch", 0)),
                last_good=_PROMOTIONS.validate_json(found.get(PREFIX + "last-good", "[]")),
            )
        except ValueError as unreadable:  # pydantic's ValidationError is one
            raise Refused(
                f"{snapshot.service}: its annotations {PREFIX}* were edited and cannot be read. "
                "Restore them from the service's history, or remove them to start from nothing."
            ) from unreadable

    def annotations(self) -> dict[str, str]:
        """What to write so that ``read`` gives this back."""
        written = {PREFIX + "epoch": str(self.epoch)} if self.epoch else {}
        if self.claim:
            written[PREFIX + "claim"] = self.claim.model_dump_json()
        if self.member:
            written[PREFIX + "member"] = self.member.model_dump_json()
        if self.last_good:
            written[PREFIX + "last-good"] = _PROMOTIONS.dump_json(self.last_good).decode()
        return written

    def beside(self, annotations: Mapping[str, str]) -> dict[str, str]:
        """``annotations`` with our own keys replaced by this record, everybody else's kept."""
        return {k: v for k, v in annotations.items() if not k.startswith(PREFIX)} | self.annotations()

    @property
    def holder(self) -> str:
        """The release that holds this service, or an empty string."""
        held = self.claim or self.member
        return held.release_id if held else ""

    def released(self) -> Self:
        """The record of a service that no release holds."""
        return self.model_copy(update={"claim": None, "member": None})

    def promoted(self, promotion: Promotion) -> Self:
        """The record with ``promotion`` as its newest good release. Writing it twice adds it once."""
        older = tuple(p for p in self.last_good if p.revision != promotion.revision)
        return self.model_copy(update={"last_good": (promotion, *older)[:KEEP_LAST_GOOD]})


def next_epoch(found: int, now_s: float) -> int:
    """An epoch newer than ``found`` and never older than the clock."""
    return max(found + 1, int(now_s))
