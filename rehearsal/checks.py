"""What must be true of every story that ends so, whatever happened in it."""

import json
import re
from typing import Any

from rehearsal.story import PRODUCTION, SERVICES, Tale

OURS = "playbook.ethixai.com/"
CANARY_PERCENT = 10
ENOUGH = 0.9
"""The share of the requests due that must have been made: a stream that stood still shows nothing."""
FAILED_RATIO = r"\([\d.e-]+ %\) failed"
"""How a reason speaks of an error ratio."""
WORKER_LIVES_S, HOST_DIED_S = 30, 60
"""From a kill to the release being some process's own again. Where the worker lives it tells Prefect of the death at
once; where it died too, 30 s of silence come first. Source: design, from death to recovered."""
TOO_SLOW = r"(longer than|above) 5 s\b"
"""How a reason speaks of a p95 above 5 s."""


def common(tale: Tale) -> None:
    """The end state is the one expected; no claim and no canary tag are left."""
    tale.expect(tale.outcome == tale.story.ends, f"it ended {tale.outcome}, not {tale.story.ends}: {tale.run.message}")
    if tale.story.recovery_ends:
        found = tale.recovery.state if tale.recovery else "nothing"
        tale.expect(found == tale.story.recovery_ends, f"recovery ended {found}, not {tale.story.recovery_ends}")
    for service in SERVICES:
        left = [key for key in tale.annotations[service] if key in (OURS + "claim", OURS + "member")]
        tale.expect(not left, f"{service} still carries {', '.join(left)}")
        tale.expect("canary" not in tale.tags[service], f"{service} still has its canary tag")


def one_revision(tale: Tale) -> None:
    """Every service gives all its users one revision."""
    for service in SERVICES:
        tale.expect(list(tale.after[service].values()) == [100], f"{service} serves {tale.after[service]}")


def promoted(tale: Tale) -> None:
    """All three services serve the new revision, everybody was told, and users noticed nothing."""
    one_revision(tale)
    canary_first(tale)
    for service in SERVICES:
        tale.expect(tale.after[service] != tale.before[service], f"{service} still serves the old revision")
        tale.expect(OURS + "last-good" in tale.annotations[service], f"{service} has no last good release written down")
    words = tale.words("slack")
    tale.expect(any("🚀 Production release starting" in text for text in words), "#releases was not told of the start")
    tale.expect(any("✅ Production release complete" in text for text in words), "#releases was not told of the end")
    deploys = [one["body"] for one in tale.told if one["desk"] == "sentry" and one["path"].endswith("/deploys/")]
    where = [deploy.get("environment") for deploy in deploys]
    tale.expect(where.count("production") == 1, f"Sentry was told of deploys to {where}, not of one to production")
    tale.expect(not tale.words("pagerduty"), "somebody was paged for nothing")


def canary_first(tale: Tale) -> None:
    """The canary's share for each service before anybody's all, and all in the order ai-core, backend, frontend."""
    shifts = tale.shifts()
    firsts = [
        next((at for at, shift in enumerate(shifts) if shift == (name, CANARY_PERCENT)), None) for name in SERVICES
    ]
    full = [at for at, (_, percent) in enumerate(shifts) if percent == 100]
    is_shown = all(first is not None and first < min(full, default=0) for first in firsts)
    tale.expect(
        is_shown, f"not every service showed {CANARY_PERCENT} % its canary before anybody was promoted: {shifts}"
    )
    order = [shifts[at][0] for at in full]
    tale.expect(order == list(SERVICES), f"they were promoted in the order {', '.join(order) or 'of none'}")


def watched(tale: Tale) -> None:
    """The hour of watching began, once."""
    tale.expect(tale.watches == 1, f"{tale.watches} runs of watch/{PRODUCTION} were started, not one")


def untroubled(tale: Tale, least: int) -> None:
    """Not one user request failed since the release was asked for, of at least ``least`` and `ENOUGH` of those due."""
    total, failed = tale.requests["total"], tale.requests["failed"]
    least = max(least, int(ENOUGH * tale.due))
    tale.expect(total >= least, f"only {total} user requests were made, {least} are wanted")
    tale.expect(failed == 0, f"{failed} of {total} user requests failed")


def reverted(tale: Tale, because: str, *, met: bool = True) -> None:
    """Everybody is on what was stable; first the revert, then the page, then the words.

    ``because`` is a pattern that the reason and the page must match. ``met``: users reached each canary before.
    """
    tale.expect(bool(re.search(because, tale.message)), f"the reason is not {because!r}: {tale.message}")
    pages = "; ".join(tale.words("pagerduty"))
    tale.expect(bool(re.search(because, pages)), f"the page does not say {because!r}: {pages}")
    for service in SERVICES if met else ():
        tale.expect(tale.reached(service) > 0, f"no user ever reached the canary of {service}: nothing was shown")
    tale.expect(bool(tale.steps_named("revert")), "nothing was reverted")
    taken_back(tale)


def taken_back(tale: Tale) -> None:
    """Everybody is on what was stable; first the revert, then the page, then the words."""
    for service in SERVICES:
        tale.expect(
            tale.after[service] == tale.before[service],
            f"{service} serves {tale.after[service]}, not what was stable ({tale.before[service]})",
        )
    reverts = [step.ended_at_s for step in tale.steps_named("revert")]
    pages = [one["at"] for one in tale.told if one["desk"] == "pagerduty"]
    words = [one["at"] for one in tale.told if one["desk"] == "slack" and "ROLLBACK EXECUTED" in str(one["body"])]
    tickets = [str(one["body"]) for one in tale.told if one["desk"] == "github"]
    tale.expect(len(pages) == 1, f"{len(pages)} pages were sent, not one")
    tale.expect(len(words) == 1, f"{len(words)} rollback messages were sent, not one")
    tale.expect(any("Production canary rollback triggered" in ticket for ticket in tickets), "no ticket was opened")
    if reverts and pages and words:
        tale.expect(max(reverts) <= pages[0] <= words[0], "the order was not revert, then page, then tell")


def taken_over_within(tale: Tale, seconds: float) -> None:
    """A release whose process was killed was another process's own again so soon after the kill."""
    took_s = tale.seconds["killed_to_taken_over"]
    tale.expect(
        took_s is not None and took_s <= seconds, f"taken over {took_s} s after the kill, not within {seconds:g}"
    )


def back(tale: Tale) -> None:
    """Everybody is on what was served when the story began."""
    for service in SERVICES:
        tale.expect(
            tale.after[service] == tale.before[service],
            f"{service} serves {tale.after[service]}, not what it did ({tale.before[service]})",
        )


def fixed(tale: Tale) -> None:
    """All three services serve the hotfix, and it is what a rollback would start from."""
    for service in SERVICES:
        goods = last_good(tale, service)
        serving = next(iter(tale.after[service]))
        tale.expect("hotfix1" in goods[0]["release"], f"{service}: the newest good release is {goods[0]['release']}")
        tale.expect(serving == goods[0]["revision"], f"{service} serves {serving}, not the hotfix")


def last_good(tale: Tale, service: str) -> list[dict[str, Any]]:
    """The good releases written on a service, the newest first; one of no name where there is none."""
    nothing = [{"release": "", "revision": ""}]
    return list(json.loads(tale.annotations[service].get(OURS + "last-good", "null")) or nothing)


def told_once(tale: Tale, desk: str, words: str) -> None:
    """A desk was told this, and not twice."""
    count = sum(words in text for text in tale.words(desk))
    tale.expect(count == 1, f"{desk} was told {words!r} {count} times, not once")


def served_within(tale: Tale, seconds: float) -> None:
    """The first write to each service of production since the run was asked for was served so soon after."""
    began_s, first = tale.run.created_at_s, dict[str, float]()
    for write in tale.production_writes():
        if write.get("served_at") and write["served_at"] >= began_s:
            first.setdefault(write["resource"], write["served_at"] - began_s)
    took_s = max(first.values(), default=float("inf"))
    tale.expect(took_s < seconds, f"users were back after {took_s:.1f} s, not within {seconds:g} s")


def never_shifted(tale: Tale) -> None:
    """No write ever gave a production user to a new revision."""
    for write in tale.production_writes():
        shares = {t["revision"] for t in write["traffic"] if t["percent"]}
        old = {revision for service in SERVICES for revision in tale.before[service]} | {"LATEST"}
        tale.expect(shares <= old, f"{write['resource']} sent users to {', '.join(sorted(shares - old))}")


def untouched(tale: Tale) -> None:
    """Production saw no write at all."""
    tale.expect(not tale.production_writes(), f"{PRODUCTION} was written to {len(tale.production_writes())} times")
