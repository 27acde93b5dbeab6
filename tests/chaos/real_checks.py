"""What must be true after a real kill: what the world serves, what was written to it, and the calls to its vendors.

The same rules as in `invariants`, read from a world of real processes.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rehearsal.checks import OURS
from rehearsal.test_environment import PRODUCTION, STAGING

STAYS = {"epoch", "last-good", "incidents", "signature"}
"""Of our own annotations, what outlives a release."""
HELD = {f"{OURS}claim", f"{OURS}member"}
PROJECTS = (PRODUCTION, STAGING)
ROLLED_BACK, STARTING, COMPLETE = "rolled-back", "starting", "complete"


@dataclass(frozen=True)
class Seen:
    """A world when nothing is left to do: its services, the writes and words since the release was asked for."""

    version: str
    before: dict[str, dict[str, dict[str, int]]]
    """project -> service -> revision -> percent, when it was asked for"""
    services: list[dict[str, Any]]
    writes: list[dict[str, Any]]
    vendor_calls: list[dict[str, Any]]
    watches: int
    """runs of watch/production that were started"""

    @property
    def outcome(self) -> str:
        """What production serves: promoted, on stable, or split."""
        return self.served(PRODUCTION)

    def served(self, project: str) -> str:
        """What all services of a project serve."""
        commit = self.version.rsplit("-", 1)[-1]
        ends = set()
        for state in self.services:
            if state["project"] == project:
                shares = _shares(state["served"], {})
                is_old = shares == self.before[project][state["service"]]
                is_new = len(shares) == 1 and commit in next(iter(shares))
                ends.add("on stable" if is_old else "promoted" if is_new else "split")
        return ends.pop() if len(ends) == 1 else "split"


def wrong(seen: Seen) -> list[str]:
    """A sentence for everything that is not as it must be."""
    return [*(s for state in seen.services for s in _service(seen, state)), *_acts(seen), *_words(seen)]


def is_held(services: list[dict[str, Any]]) -> bool:
    """Whether any service has a lease or takes part in one."""
    return any(HELD & state["annotations"].keys() for state in services)


def _service(seen: Seen, state: dict[str, Any]) -> Iterator[str]:
    """All users are on one ready revision, as requested, and no lease is left."""
    name = f"{state['project']}/{state['service']}"
    served = _shares(state["served"], {})
    if list(served.values()) != [100] or not all(state["revisions"][revision]["is_ready"] for revision in served):
        yield f"{name} serves {served}"
    asked = _shares(state["traffic"], {"LATEST": next(iter(seen.before[state["project"]][state["service"]]))})
    if state["reconciling"] or asked != served:
        yield f"{name} is asked for {asked} and serves {served}"
    ours = {key.removeprefix(OURS) for key in state["annotations"] if key.startswith(OURS)}
    if ours - STAYS:
        yield f"{name} still carries {', '.join(sorted(ours - STAYS))}"
    if any(tag.startswith(("canary", "c-")) for tag in state["tags"]):
        yield f"{name} still has the tag canary"
    if seen.served(state["project"]) == "split":
        yield f"{name} serves {served}, and the others another release"


def _acts(seen: Seen) -> Iterator[str]:
    """No service is moved twice to the same place, deployed twice, or written twice in the same way."""
    moves = Counter[tuple[str, str]]()
    last: dict[str, tuple[dict[str, int], object]] = {}
    for write in seen.writes:
        if not write["applied"]:
            continue
        _, project, _, _, _, service = write["resource"].split("/")
        stable = seen.before[project][service]
        split = _shares(write["traffic"], {"LATEST": next(iter(stable))})
        said = (split, sorted(map(str, write["traffic"])), write["annotations"], write["mask"])
        moved_from, before = last.get(write["resource"], (stable, None))
        if "template" in write["mask"]:
            moves[f"{project}/{service}", "a new revision"] += 1
        elif said == before:
            yield f"{project}/{service} was written twice alike: {write['mask']}, {split}"
        if split != moved_from:
            moves[f"{project}/{service}", str(split)] += 1
        last[write["resource"]] = (split, said)
    yield from (f"{name} was given {times} times {what}" for (name, what), times in moves.items() if times > 1)


def _words(seen: Seen) -> Iterator[str]:
    """Each message was sent, and sent once where the vendor can detect a repetition."""
    facts = Counter(_key(one["body"]) for one in seen.vendor_calls if one["vendor"] == "slack")
    tickets = Counter(one["body"]["title"] for one in seen.vendor_calls if one["path"].endswith("/issues"))
    pages = {one["body"]["dedup_key"] for one in seen.vendor_calls if one["vendor"] == "pagerduty"}
    for fact, times in (facts + tickets).items():
        if times > 1:
            yield f"{fact} was sent {times} times"
    if not _was_claimed(seen):
        if pages or tickets or any(fact.startswith("production/") for fact in facts):
            yield f"production was not touched, but messages were sent: {sorted(facts)}, {sorted(pages)}"
        return
    said = {fact.rsplit("/", 1)[-1] for fact in facts if fact.startswith("production/")}
    if STARTING not in said:
        yield "no start message was sent"
    if seen.outcome == "promoted":
        yield from _messages_of_success(seen, said, len(pages))
    elif ROLLED_BACK not in said or len(pages) != 1 or len(tickets) != 1:
        yield f"messages of the revert: {sorted(said)}, {len(pages)} pages, {len(tickets)} tickets"


def _messages_of_success(seen: Seen, said: set[str], pages: int) -> Iterator[str]:
    if COMPLETE not in said:
        yield "no completion message was sent"
    if pages:
        yield "a page was sent although nothing failed"
    if not any(one["vendor"] == "sentry" and seen.version in str(one) for one in seen.vendor_calls):
        yield "Sentry does not know the release"
    if seen.watches != 1:
        yield f"{seen.watches} hours of watching were started, not one"


def _was_claimed(seen: Seen) -> bool:
    """Whether a release ever held a service of production."""
    return any(
        f"/{PRODUCTION}/" in write["resource"] and write["applied"] and HELD & write["annotations"].keys()
        for write in seen.writes
    )


def _key(message: dict[str, Any]) -> str:
    """The key of a message to Slack."""
    return str(message["metadata"]["event_payload"]["key"])


def _shares(targets: list[dict[str, Any]], known: dict[str, str]) -> dict[str, int]:
    """Revision -> percent, without those that get nothing; ``known`` says what LATEST means."""
    shares = Counter[str]()
    for target in targets:
        if target["percent"]:
            shares[known.get(target["revision"], target["revision"])] += target["percent"]
    return dict(shares)
