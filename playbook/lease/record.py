"""What our annotations on a service say, read and written. The service is the record.

The *coordinator* of a release carries its whole lease; every other service carries a Participant that points to it.
``epoch`` and ``last_good`` stay when the release is over, and ``incidents`` until the next good one; nothing else does.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from playbook.base import Frozen
from playbook.errors import Refused
from playbook.lease import first_edition
from playbook.lease.lease import EPOCH_MAX, NAME, WORDS, AnyLease, Epoch, Lease, Seconds, Stored
from playbook.release.promotion import Promotion
from playbook.release.request import Measure
from playbook.release.traffic import Scaling, ServiceSnapshot, TrafficSplit

PREFIX = "playbook.ethixai.com/"
LEASE, PARTICIPANT = PREFIX + "claim", PREFIX + "member"
EPOCH, LAST_GOOD, INCIDENTS = PREFIX + "epoch", PREFIX + "last-good", PREFIX + "incidents"
MITIGATION = PREFIX + "mitigation"
SIGNATURE = PREFIX + "signature"
KEEP_LAST_GOOD = 3
KEEP_INCIDENTS = 10
LENGTH_MAX = 64_000
"""Characters of one annotation. Google allows 256 kB for all of a service's together."""
_FIELD = re.compile("[a-z_0-9]{1,40}")
_EPOCH = re.compile(r"[0-9]{1,11}")


def ours(annotations: Mapping[str, str]) -> dict[str, str]:
    """The annotations that are the engine's."""
    return {key: value for key, value in annotations.items() if key.startswith(PREFIX)}


def beside(annotations: Mapping[str, str], written: Mapping[str, str]) -> dict[str, str]:
    """``annotations`` with ``written`` in place of all that are the engine's."""
    return {key: value for key, value in annotations.items() if not key.startswith(PREFIX)} | dict(written)


class Participant(Stored):
    """What a service that is not the coordinator carries."""

    release_id: str
    epoch: Epoch
    coordinator: str
    split: TrafficSplit = Field(description="where its users go should the coordinator have no lease any more")
    is_taken_back: bool = Field(False, description="REVERT was decided, also where the coordinator could not be told")

    @model_validator(mode="before")
    @classmethod
    def _reads_first_edition(cls, stored: object) -> object:
        return first_edition.participant(stored)


class Mitigation(Stored):
    """A measure that a person took on a service, and what it was before the first one: the way back."""

    measure: Measure
    by: str
    reason: str
    at_s: Seconds
    split: TrafficSplit
    scaling: Scaling

    def in_the_way(self, service: str) -> str:
        """Why no release or rollback moves ``service``. By whom and why stands in the channel; here it would be read
        from an annotation."""
        stands = f"{service} was set to {self.measure}, and its way back is {self.split}"
        return f"{stands}. Start mitigate/… with restore first."


_LEASE: TypeAdapter[Lease] = TypeAdapter(AnyLease)
_PROMOTIONS = TypeAdapter(tuple[Promotion, ...])


class Aside(StrEnum):
    """Why a service is set aside."""

    MALFORMED = "malformed"  # its annotations cannot be read, or cannot be true
    UNSIGNED = "unsigned"  # they can be read, and were not written by the engine as they are
    UNCHECKED = "unchecked"  # no signing key could be read, so nothing is known of them
    NOT_READ = "not read"  # the service itself could not be read
    STUCK = "stuck"  # no lease of its release was found, and its users could not be moved back


class Unreadable(Frozen):
    """A service that is set aside: the others go on without it, and a person is paged."""

    service: str
    problem: str
    why: Aside = Aside.MALFORMED

    def __str__(self) -> str:
        match self.why:
            case Aside.STUCK:
                lost = "no lease of its release was found, and its users could not be moved back"
                return f"{self.service}: {lost}: {self.problem}"
            case Aside.NOT_READ:
                return f"{self.service} could not be read: {self.problem}"
            case Aside.UNCHECKED:
                return f"{self.service}: whether the engine wrote its annotations cannot be checked: {self.problem}"
            case Aside.UNSIGNED:
                return (
                    f"{self.service}: its annotations {PREFIX}* are not believed: {self.problem}. Find out who changed "
                    "the service. To see what they say, and to sign or remove them: python -m blocks adopt ENVIRONMENT"
                )
            case Aside.MALFORMED:
                return (
                    f"{self.service}: its annotations {PREFIX}* cannot be used ({self.problem}). "
                    "Restore them from the service's history, or remove them to start from nothing."
                )


class Record(Stored):
    """Everything our own annotations say about a service."""

    lease: AnyLease | None = None
    participant: Participant | None = None
    epoch: Epoch = 0
    last_good: tuple[Promotion, ...] = Field((), description="newest first, at most three")
    mitigation: Mitigation | None = None
    incidents: tuple[str, ...] = Field((), description="keys of the pages that the next good release resolves")

    @classmethod
    def read(cls, snapshot: ServiceSnapshot) -> Self:
        """What ``snapshot`` carries. Raises Refused where that cannot be read."""
        found = cls.of(snapshot)
        if isinstance(found, Unreadable):
            raise Refused(str(found))
        return found

    @classmethod
    def of(cls, snapshot: ServiceSnapshot) -> "Self | Unreadable":
        """What ``snapshot`` carries, or why it is set aside: not signed by the engine, or unreadable."""
        if snapshot.distrust:
            why = Aside.UNSIGNED if snapshot.has_key else Aside.UNCHECKED
            return Unreadable(service=snapshot.service, problem=snapshot.distrust, why=why)
        return cls.parse(snapshot.service, snapshot.annotations)

    @classmethod
    def parse(cls, service: str, annotations: Mapping[str, str]) -> "Self | Unreadable":
        """What the annotations of ``service`` say, or why they cannot be read. Raises nothing, whatever they hold.

        Whether the engine wrote them is another question, which `of` asks first.
        """
        found = ours(annotations)
        if too_long := [key for key, value in found.items() if len(value) > LENGTH_MAX]:
            return Unreadable(service=service, problem=f"{too_long[0]} is longer than {LENGTH_MAX} characters")
        if not _EPOCH.fullmatch(found.get(EPOCH, "0")):
            return Unreadable(service=service, problem=f"{EPOCH} is no number of at most 11 digits")
        try:
            record = cls(
                lease=_LEASE.validate_json(found[LEASE], extra="ignore") if LEASE in found else None,
                participant=Participant.model_validate_json(found[PARTICIPANT], extra="ignore")
                if PARTICIPANT in found
                else None,
                epoch=int(found.get(EPOCH, "0")),
                last_good=_PROMOTIONS.validate_json(found.get(LAST_GOOD, "[]"), extra="ignore")[:KEEP_LAST_GOOD],
                mitigation=Mitigation.model_validate_json(found[MITIGATION], extra="ignore")
                if MITIGATION in found
                else None,
                incidents=tuple(filter(None, found.get(INCIDENTS, "").split(",")))[-KEEP_INCIDENTS:],
            )
        except ValidationError as wrong:
            first = wrong.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(one) if _FIELD.fullmatch(str(one)) else "…" for one in first["loc"])
            # pydantic's own sentence may repeat what stands there, which may be anything.
            problem = f"{where or 'an annotation'} is not as the engine writes it ({first['type']})"
            return Unreadable(service=service, problem=problem[:200])
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as wrong:
            return Unreadable(service=service, problem=f"{type(wrong).__name__} while reading"[:200])
        problems = record.problems(service)
        return Unreadable(service=service, problem="; ".join(problems)) if problems else record

    def problems(self, service: str) -> list[str]:
        """What cannot be true of a record that stands on ``service``, although each field can be read."""
        held = self.lease or self.participant
        found = ["it carries a lease and points to one"] if self.lease and self.participant else []
        if held is not None and held.epoch != self.epoch:
            found.append(f"the lease has epoch {held.epoch} and the service {self.epoch}")
        if self.epoch > EPOCH_MAX:
            found.append("its epoch leaves no room for another")
        if self.participant is not None:
            split = self.participant.split
            names = (self.participant.coordinator, *split.percent, *split.tags.values())
            if not all(map(NAME.fullmatch, names)) or not WORDS.fullmatch(self.participant.release_id):
                found.append("a name in what it points to is none of ours")
            if self.participant.coordinator == service and self.lease is None:
                found.append("it points to itself")
        if not all(map(WORDS.fullmatch, self.incidents)):
            found.append("an incident has no name of ours")
        if held is not None and held.release_id in self.incidents:
            found.append(f"{held.release_id} has ended")
        if self.lease is not None:
            found += self.lease.problems()
            if self.lease.coordinator != service:
                found.append("the lease is that of another service")
        return found

    def annotations(self) -> dict[str, str]:
        """What to write so that ``read`` gives this back. Fields of a lease at their default are left out."""
        written = {EPOCH: str(self.epoch)} if self.epoch else {}
        if self.lease:
            written[LEASE] = self.lease.stored()
        if self.participant:
            written[PARTICIPANT] = self.participant.model_dump_json()
        if self.last_good:
            written[LAST_GOOD] = _PROMOTIONS.dump_json(self.last_good).decode()
        if self.mitigation:
            written[MITIGATION] = self.mitigation.model_dump_json()
        if self.incidents:
            written[INCIDENTS] = ",".join(self.incidents)
        return written

    def check_readable(self, service: str) -> None:
        """What is about to be written on ``service`` can be read again. Raises Refused where it cannot: users would
        be left with a record that no run understands."""
        if isinstance(found := self.parse(service, self.annotations()), Unreadable):
            raise Refused(
                f"{service}: nothing was written, because the engine could not read it again ({found.problem}). "
                "This is a fault of the engine: report it, with this sentence."
            )

    def beside(self, annotations: Mapping[str, str]) -> dict[str, str]:
        """``annotations`` with our own keys replaced by this record, and every other one as it is."""
        return beside(annotations, self.annotations())

    def stands_in(self, annotations: Mapping[str, str]) -> bool:
        """Whether our annotations among these are this record, with any signature."""
        found = ours(annotations)
        found.pop(SIGNATURE, None)
        return found == self.annotations()

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

        ``before`` is the revision that served every user until then: the first release that is written down has it to
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
