"""A lease: which release holds which services, how far it is, and where users are once it is done.

There are four kinds. `Lease` is what they share; `AnyLease` is how one is read.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, JsonValue
from pydantic_core import to_json

from playbook.analysis.policy import Policy
from playbook.base import Frozen
from playbook.checklist.items import Override
from playbook.errors import Fenced
from playbook.incident.decision_matrix import Severity
from playbook.lease import first_edition
from playbook.messages.escape import shell
from playbook.release.promotion import Promotion
from playbook.release.request import ExploitCheck, HotfixRequest, RollbackRequest
from playbook.release.traffic import Scaling, TrafficSplit, canary_tag

Seconds = Annotated[float, Field(ge=0, le=1e11, allow_inf_nan=False)]
Epoch = Annotated[int, Field(ge=0, lt=10**11)]
Percent = Annotated[int, Field(ge=1, le=100)]
BakeLength = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""Names of services and revisions: DNS labels. Anything else is none, and is never part of a command."""
PLACE = re.compile(r"--project=[a-z0-9:.-]{1,100} --region=[a-z0-9-]{1,40}")
IMAGE = re.compile(r"[A-Za-z0-9._/:@-]{1,500}")
WORDS = re.compile(r"""[^\x00-\x1f\x7f-\x9f\u2028\u2029<>`|;&$\\"']{1,300}""")
"""What a release or an incident may be called: one line, and nothing that a chat or a shell would obey."""
EPOCH_MAX = 10**11 - 10**6
"""An epoch that is read must leave room for those to come."""
ROLLOUTS_MAX = 100


class Stored(Frozen):
    """What is read from annotations: other people may have written anything there."""

    model_config = ConfigDict(allow_inf_nan=False)


class Decision(StrEnum):
    """Which way a release is going. Written on the coordinator before any other service moves that way."""

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


class ServiceRollout(Stored):
    """One service of a lease: from which revision to which. Every field means the same in every kind of lease."""

    service: str
    from_revision: str = Field(description="served most users at acquisition, a mitigation aside")
    to_revision: str = Field(description="serves all users once the lease has reached its aim")
    found: TrafficSplit = Field(description="the split at acquisition, by revision, with other people's tags")
    asked: TrafficSplit | None = Field(
        None, description="what was asked for at acquisition where that names LATEST; given back if nothing was done"
    )
    before_mitigation: TrafficSplit | None = Field(
        None, description="the split before the first mitigation, where one was in force at acquisition"
    )
    image: str = Field(description="of to_revision; repository@sha256:…")
    back_to: Promotion | None = Field(
        None, description="the good release that to_revision is, where it is an older one"
    )
    scaling: Scaling = Field(Scaling(), description="at acquisition, a mitigation aside")
    latest_created: str = Field("", description="the newest revision at acquisition")
    canary_percent: Percent | None = Field(
        None, description="the canary's own share, where the forecast chose another than the lease's"
    )
    drift: tuple[str, ...] | None = Field(
        None,
        max_length=100,
        description="how its template differs from what serves, as planned on; None: it may change",
    )
    has_tags: bool = Field(True, description="its revisions are tagged; a long name leaves no room for a tag")
    takes_template: bool = Field(False, description="to_revision is made of the template, drift and all")

    @property
    def unmitigated(self) -> TrafficSplit:
        """The split at acquisition, a mitigation aside."""
        return self.before_mitigation or self.found


class Measured(Stored):
    """What the judge saw at its last look, of all services together: enough to page by, should the process die."""

    severity: Severity | None = Field(description="of the worst verdict; None: the matrix has no row for it")
    failed: int = Field(ge=0)
    requests: int = Field(ge=0, description="to the canary since the bake's start; 0: none was seen")


class Pause(Stored):
    """A person has paused the release in Prefect's UI: it waits until they resume it, or is taken back."""

    flow_run_id: str = Field(description="the run that was paused, and that goes on when it is resumed")
    until_s: Seconds = Field(description="unix seconds; then it is taken back")


class Lease(Stored):
    """What every kind of lease has. ``rollouts`` are in order of promotion, the coordinator first."""

    kind: Kind
    release_id: str
    version: str
    flow_run_id: str
    epoch: Epoch
    decision: Decision = Decision.DEPLOY
    rollouts: tuple[ServiceRollout, ...] = Field(min_length=1, max_length=ROLLOUTS_MAX)
    canary_percent: Percent
    requested_by: str = ""
    overrides: tuple[Override, ...] = Field((), description="those without which it would have been refused")
    place: str = Field("", description="gcloud's flags for the project and region, for a person who must act by hand")
    reason: str = Field("", description="why it was decided so")
    came_to: Decision | None = Field(None, description="where it stood when REVERT was decided: how far users had come")
    measured: Measured | None = Field(None, description="what was seen until then; None: the judge has not looked yet")
    bake_s: BakeLength | None = Field(None, description="the bake that the forecast chose; None: the policy's")
    bake_start_s: Seconds | None = Field(None, description="unix seconds on Prometheus's clock")
    earlier_percents: tuple[Percent, ...] = Field((), description="shares the canary had before it was given more")
    extensions_s: tuple[Seconds, ...] = Field((), description="by how much a person has lengthened the bake, each time")
    scaled_at_s: dict[str, Seconds] = Field(
        default_factory=dict, description="service -> unix seconds; when it was given more instances"
    )
    gate_deadline_s: Seconds | None = Field(None, description="unix seconds; a person is asked until then")
    pause: Pause | None = Field(
        None, description="a person paused it in Prefect's UI; it does not go forward meanwhile"
    )
    deadline_s: Seconds = Field(description="unix seconds; recovery takes an older lease over, dead or alive")
    requested_at_s: Seconds | None = Field(None, description="unix seconds; when a person or CI asked for it")
    asked_back_at_s: Seconds | None = Field(None, description="unix seconds; when a person asked to have it taken back")
    given_way_to: str = Field("", description="the hotfix or rollback that has taken this release's place")

    def stored(self) -> str:
        """The lease as its annotation holds it, without fields at their default."""
        written: dict[str, Any] = self.model_dump(mode="json", exclude_defaults=True)
        return to_json({"kind": self.kind.value, **written}).decode()

    @property
    def coordinator(self) -> str:
        """The service that carries the lease."""
        return self.rollouts[0].service

    @property
    def tag(self) -> str:
        """The tag of the revision that is not shown to users yet."""
        return canary_tag(self.release_id)

    @property
    def services(self) -> tuple[str, ...]:
        """Every service that is held, in order of promotion."""
        return tuple(rollout.service for rollout in self.rollouts)

    @property
    def runs(self) -> tuple[str, ...]:
        """The flow runs that it belongs to: the one that holds it, and the one that a person paused."""
        return (self.flow_run_id, *([self.pause.flow_run_id] if self.pause else []))

    @property
    def exploit_checks(self) -> tuple[ExploitCheck, ...]:
        """Requests that the new revision must refuse."""
        return ()

    @property
    def has_canary(self) -> bool:
        """Whether a share of the users sees it before the others."""
        return self.kind is Kind.RELEASE

    def problems(self) -> list[str]:
        """What cannot be true of a lease of ours, although each field can be read. Without a word of it: people read
        this on a page, and the text may be a stranger's."""
        names = [name for one in self.rollouts for name in (one.service, one.from_revision, one.to_revision)]
        splits = [split for one in self.rollouts for split in (one.found, one.before_mitigation) if split is not None]
        names += [name for split in splits for name in (*split.percent, *split.tags.values())]
        found = [] if all(map(NAME.fullmatch, names)) else ["a name in it is no name of a service or revision"]
        if len(set(self.services)) != len(self.rollouts):
            found.append("a service is named twice")
        if self.place and not PLACE.fullmatch(self.place):
            found.append("place is not gcloud's flags")
        if any(not IMAGE.fullmatch(one.image) for one in self.rollouts):
            found.append("an image is no name of an image")
        if not all(map(WORDS.fullmatch, (self.release_id, self.version))):
            found.append("its release has no name of ours")
        if not all(map(is_uuid, self.runs)):
            found.append("flow_run_id is no UUID")
        return found

    def rollout(self, service: str) -> ServiceRollout:
        """The rollout of ``service``. Raises KeyError where the lease does not hold it."""
        return {rollout.service: rollout for rollout in self.rollouts}[service]

    def fallback(self, rollout: ServiceRollout) -> TrafficSplit:
        """Where the service's users are once REVERT is done. Tags of other people are no part of it."""
        return TrafficSplit(percent=rollout.found.percent)

    def target(self, rollout: ServiceRollout) -> TrafficSplit:
        """Where the service's users are once what is decided is done."""
        is_forward = self.decision is Decision.PROMOTE
        return TrafficSplit.all_to(rollout.to_revision) if is_forward else self.fallback(rollout)

    def expected(self, rollout: ServiceRollout) -> tuple[TrafficSplit, ...]:
        """Every split that the service may be found in, by what has been decided so far."""
        shares = dict.fromkeys((*self.earlier_percents, self.share(rollout)))
        baking = tuple(rollout.found.with_canary(rollout.to_revision, share) for share in shares)
        all_users = TrafficSplit.all_to(rollout.to_revision)
        match self.decision:
            case Decision.DEPLOY:
                return (rollout.found,)
            case Decision.BAKE:
                return baking if self.bake_start_s else (rollout.found, *baking)
            case Decision.PROMOTE:
                return (*baking, all_users) if self.bake_start_s else (rollout.found, all_users)
            case Decision.REVERT:
                return (rollout.found, *baking, all_users)

    def before_going_on(self, rollout: ServiceRollout) -> str:
        """What a person who moved the users of the service must do before a new run can go on; empty where none
        does."""
        return ""

    def suspect(self, rollout: ServiceRollout) -> str:
        """The revision whose errors matter: the one that users are moved away from if something is wrong."""
        return rollout.to_revision

    def trusted(self, rollout: ServiceRollout) -> str:
        """The revision that is known to be good."""
        return rollout.from_revision

    @property
    def is_back(self) -> bool:
        """Whether users go back to what they had before."""
        return self.decision is Decision.REVERT

    def watched(self) -> Self:
        """The same lease as its watch reads it: ``to_revision`` is what users are on now, ``found`` what they left."""
        if not self.is_back:
            return self
        left = {
            one.service: TrafficSplit.all_to(self.suspect(one)) if one.to_revision == self.suspect(one) else one.found
            for one in self.rollouts
        }
        rollouts = tuple(
            one.model_copy(
                update={
                    "to_revision": self.trusted(one),
                    "from_revision": self.suspect(one),
                    "found": left[one.service],
                }
            )
            for one in self.rollouts
        )
        return self.model_copy(update={"rollouts": rollouts})

    def share(self, rollout: ServiceRollout) -> int:
        """Percent of its users that the service's canary has while it bakes."""
        return rollout.canary_percent or self.canary_percent

    @property
    def shares(self) -> tuple[int, ...]:
        """The share of every canary, the smallest first, each once."""
        return tuple(sorted({self.share(rollout) for rollout in self.rollouts}))

    def planned(self, percents: Mapping[str, int], bake_s: float) -> Self:
        """The same release with the shares (by service) and the bake that the forecast chose."""
        chosen = {one.service: percents.get(one.service, self.canary_percent) for one in self.rollouts}
        least = min(chosen.values())
        rollouts = tuple(
            one.model_copy(update={"canary_percent": chosen[one.service] if chosen[one.service] != least else None})
            for one in self.rollouts
        )
        return self.model_copy(update={"canary_percent": least, "rollouts": rollouts, "bake_s": bake_s})

    def with_canary_at(self, percent: int) -> Self:
        """The same release with a larger share for every canary."""
        rollouts = tuple(one.model_copy(update={"canary_percent": None}) for one in self.rollouts)
        earlier = tuple(dict.fromkeys((*self.earlier_percents, self.canary_percent, *self.shares)))
        change = {"canary_percent": percent, "earlier_percents": earlier, "rollouts": rollouts}
        return self.model_copy(update=change)

    def policy(self, policy: Policy) -> Policy:
        """``policy`` with the bake that was chosen for this release, and the extensions that people have given it."""
        if self.bake_s is not None:
            policy = policy.planned(self.bake_s)
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

    def paused(self, pause: Pause) -> Self:
        """The same release, which waits until a person resumes it."""
        return self.model_copy(update={"pause": pause})

    def resumed(self) -> Self:
        """The same release, which goes on."""
        return self.model_copy(update={"pause": None})

    def reopened(self) -> Self:
        """The same release, answered by a person: if it stays undecided, they are asked anew."""
        return self.model_copy(update={"gate_deadline_s": None})

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


class ReleaseLease(Lease):
    """A normal release: a canary, then every user or none."""

    kind: Literal[Kind.RELEASE] = Kind.RELEASE


class HotfixLease(Lease):
    """A fix that every user gets at once."""

    kind: Literal[Kind.HOTFIX] = Kind.HOTFIX
    request: HotfixRequest

    @property
    def exploit_checks(self) -> tuple[ExploitCheck, ...]:
        """Those of the request."""
        return self.request.exploit


class RollbackLease(Lease):
    """Users go back to an older revision. It is decided when it is acquired."""

    kind: Literal[Kind.ROLLBACK] = Kind.ROLLBACK
    request: RollbackRequest

    def fallback(self, rollout: ServiceRollout) -> TrafficSplit:
        """All users on the older revision."""
        return TrafficSplit.all_to(rollout.to_revision)

    def expected(self, rollout: ServiceRollout) -> tuple[TrafficSplit, ...]:
        """As it was found, or done."""
        return (rollout.found, self.target(rollout))

    def suspect(self, rollout: ServiceRollout) -> str:
        """What users are taken back from."""
        return rollout.from_revision

    def trusted(self, rollout: ServiceRollout) -> str:
        """What users are taken back to."""
        return rollout.to_revision


class MigrationLease(Lease):
    """Writes are off while a database migration is taken back; then users get code that can read the data."""

    kind: Literal[Kind.MIGRATION] = Kind.MIGRATION
    migration: str = Field("", description="name of the oldest migration that is taken back")
    maintenance: dict[str, str] = Field(
        default_factory=dict, description="service -> the revision that answers it while writes are off"
    )
    restarts: int = Field(0, description="how often recovery has started it again since a person did")
    halted: str = Field("", description="why it stopped, mostly with writes off; a person starts it again")
    is_declined: bool = Field(False, description="a person said no: services are opened again as they were found")
    details: dict[str, JsonValue] = Field(default_factory=dict, description="for playbook.migration alone")

    def restarted(self) -> Self:
        """The same lease, which recovery starts again once more."""
        return self.model_copy(update={"restarts": self.restarts + 1})

    def fallback(self, rollout: ServiceRollout) -> TrafficSplit:
        """All users on the code that can read the data; declined: as before, a mitigation aside."""
        found = rollout.unmitigated
        return found if self.is_declined else TrafficSplit.all_to(rollout.to_revision, found.tags)

    def expected(self, rollout: ServiceRollout) -> tuple[TrafficSplit, ...]:
        """As it was found, closed by its maintenance revision, or done."""
        closed = self.maintenance.get(rollout.service)
        return (rollout.found, self.target(rollout), *((TrafficSplit.all_to(closed),) if closed else ()))

    def before_going_on(self, rollout: ServiceRollout) -> str:
        """The command that gives it back a split that is expected: the one that refuses writes, where there is one."""
        closed = self.maintenance.get(rollout.service)
        split = TrafficSplit.all_to(closed) if closed else rollout.found
        to = ",".join(f"{revision}={share}" for revision, share in split.percent.items())
        command = f"gcloud run services update-traffic {shell(rollout.service)} {self.place} --to-revisions={shell(to)}"
        return f" First give it back the traffic that it had ({command})."

    def suspect(self, rollout: ServiceRollout) -> str:
        """The code from before."""
        return rollout.from_revision

    def trusted(self, rollout: ServiceRollout) -> str:
        """The code that can read the data."""
        return rollout.to_revision


AnyLease = Annotated[
    ReleaseLease | HotfixLease | RollbackLease | MigrationLease,
    Discriminator("kind"),
    BeforeValidator(first_edition.lease),
]
"""A lease of any kind as it is stored, by this version or by the first edition."""


def fenced_by(epoch: int, lease: Lease, service: str) -> Fenced:
    """The error of the run of ``lease`` where a newer run, of ``epoch``, holds the service."""
    return Fenced(
        f"{service}: a newer run (epoch {epoch}) holds it. This run (epoch {lease.epoch}) writes nothing more."
    )


def is_uuid(text: str) -> bool:
    """Whether it is a flow run's id."""
    try:
        return bool(UUID(text))
    except ValueError:
        return False


def next_epoch(found: int, now_s: float) -> int:
    """An epoch newer than ``found`` and never older than the clock."""
    return max(found + 1, int(now_s))
