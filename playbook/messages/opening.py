"""The page of a release from the request until it holds its services: what is being checked, and why it was refused."""

from typing import Self

from playbook.base import Frozen
from playbook.lease.lease import Kind
from playbook.messages.escape import BREAK, markdown
from playbook.messages.phases import before_the_lease, forward_names, strip
from playbook.messages.release_page import timeline
from playbook.messages.report import Note
from playbook.release.outcome import FlowResult


class Opening(Frozen):
    """A release that has written nothing to its environment so far. Times are unix seconds."""

    environment: str
    release_id: str
    kind: Kind
    version: str
    canary_percent: int
    requested_by: str = ""
    why: str = ""
    has_staging: bool = False
    bake_s: float = 0.0
    run_url: str = ""
    notes: tuple[Note, ...] = ()
    phase: str = "checks"
    outcome: FlowResult | None = None

    @property
    def key(self) -> str:
        """The artifact's key, which is that of the release's `Report`."""
        return f"{self.environment}-{self.release_id}"

    def at(self, phase: str, at_s: float, text: str) -> Self:
        """The same release at this phase, with one more line in the timeline."""
        return self.model_copy(update={"phase": phase, "notes": (*self.notes, Note(at_s=at_s, text=text))})

    def ended(self, outcome: FlowResult, at_s: float) -> Self:
        """The same release, which goes no further."""
        over = self.model_copy(update={"outcome": outcome})
        return over.at(self.phase, at_s, f"ended: {outcome.end}")


def page(opening: Opening) -> str:
    """The page in Markdown."""
    share = f"{opening.canary_percent} %"
    names = forward_names(opening.kind, share, has_staging=opening.has_staging, bake_s=opening.bake_s)
    at = names.index(opening.phase) if opening.phase in names else 0
    outcome = opening.outcome
    standing = outcome.end.value if outcome else opening.phase
    what = f"{'Hotfix ' if opening.kind is Kind.HOTFIX else ''}{opening.version} to {opening.environment}"
    why = markdown(outcome.message) if outcome else ""
    users = f"**Users: nothing changed for them in {markdown(opening.environment)}.** {why}"
    facts = [("Asked by", markdown(opening.requested_by) or "not said")]
    facts += [("Why", markdown(opening.why))] if opening.why else []
    facts += [("Links", f"[run](<{opening.run_url}>)")] if opening.run_url else []
    blocks = [
        f"## {what}: {standing}",
        strip(before_the_lease(names, at, failed=outcome is not None and not outcome.end.is_success)),
        users.strip(),
        BREAK.join(f"**{name}:** {value}" for name, value in facts),
    ]
    return "\n\n".join([*blocks, timeline(opening.notes)] if opening.notes else blocks)
