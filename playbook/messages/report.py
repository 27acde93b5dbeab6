"""A release as far as it has come, and what was seen on the way: what its page, its messages and its ticket are made
of."""

from collections.abc import Sequence
from typing import Self

from pydantic import Field

from playbook.analysis.forecast import Forecast
from playbook.analysis.verdict import Verdict
from playbook.base import Frozen
from playbook.checklist.items import Item
from playbook.incident.decision_matrix import SEVERITY_OF, Event
from playbook.lease.lease import Decision, Lease, Measured
from playbook.release.outcome import FlowResult


class Note(Frozen):
    """Something that happened, for the timeline."""

    at_s: float
    text: str


class Report(Frozen):
    """A release as far as it has come: its lease, and everything that was seen on the way."""

    environment: str
    lease: Lease
    checklist: tuple[Item, ...] = ()
    forecasts: tuple[Forecast, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    notes: tuple[Note, ...] = ()
    outcome: FlowResult | None = None
    changes: str = Field("", description="what is in the release, in the words of who asked for it")
    left: str = Field("", description="what is said of the services that a rollback leaves as they are")
    has_staging: bool = Field(False, description="whether another environment had it first")
    bake_s: float = Field(0.0, description="seconds of the canary phase, without extensions; 0: there is none")
    links: dict[str, str] = Field(default_factory=dict, description="name -> URL, in the order they are shown")

    @property
    def key(self) -> str:
        """The artifact's key: one page for each release in each environment, written again and again."""
        return f"{self.environment}-{self.lease.release_id}"

    def deciding(self, decision: Decision, reason: str = "") -> Self:
        """The same release, going ``decision``'s way from here."""
        return self.model_copy(update={"lease": self.lease.decided(decision, reason)})

    def refused(self, reason: str) -> Self:
        """The same release, taken back because a step was refused: P1 where users had begun to be promoted."""
        lease = self.lease
        if lease.decision is Decision.PROMOTE:
            seen = lease.measured or Measured(severity=None, failed=0, requests=0)
            lease = lease.model_copy(
                update={"measured": seen.model_copy(update={"severity": SEVERITY_OF[Event.HALF_PROMOTED]})}
            )
        return self.at(lease.decided(Decision.REVERT, reason))

    def at(self, lease: Lease) -> Self:
        """The same release with its lease as it is now."""
        return self.model_copy(update={"lease": lease})

    def judged(self, verdicts: tuple[Verdict, ...]) -> Self:
        """With the newest verdicts, the severest first; what must outlive this process of them is in the lease."""
        lease = self.lease.model_copy(update={"measured": measured(verdicts)})
        return self.model_copy(update={"verdicts": verdicts, "lease": lease})

    def noted(self, at_s: float, text: str) -> Self:
        """With one more line in the timeline."""
        return self.model_copy(update={"notes": (*self.notes, Note(at_s=at_s, text=text))})

    def linked(self, name: str, url: str) -> Self:
        """With one more link; an empty URL adds none."""
        return self.model_copy(update={"links": {**self.links, name: url}}) if url else self


def measured(verdicts: Sequence[Verdict]) -> Measured:
    """The severity of the first of ``verdicts``, and every canary's requests and errors."""
    errors = [signal for verdict in verdicts for signal in verdict.signals if signal.name == "errors"]
    return Measured(
        severity=verdicts[0].severity if verdicts else None,
        failed=sum(signal.bad or 0 for signal in errors),
        requests=sum(signal.requests or 0 for signal in errors),
    )
