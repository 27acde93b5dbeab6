"""What must be true of every story that ends so, whatever happened in it."""

import json
import re
from typing import Any

from rehearsal.scenario import PRODUCTION, SERVICES, ScenarioResult

OURS = "playbook.ethixai.com/"
CANARY_PERCENT = 10
ENOUGH = 0.9
"""The share of the requests due that must have been made: a stream that stood still shows nothing."""
FAILED_RATIO = r"Error rate [\d.e-]+ % \("
"""How a reason speaks of an error ratio."""
WORKER_LIVES_S, HOST_DIED_S = 30, 60
"""From a kill to the release being some process's own again. Where the worker lives it tells Prefect of the death at
once; where it died too, 30 s of silence come first. Source: design, from death to recovered."""
TOO_SLOW = r"(longer than|above) 5 s\b"
"""How a reason speaks of a p95 above 5 s."""


def common(result: ScenarioResult) -> None:
    """The end state is the one expected; no claim and no canary tag are left."""
    result.expect(
        result.outcome == result.scenario.ends,
        f"it ended {result.outcome}, not {result.scenario.ends}: {result.run.message}",
    )
    if result.scenario.recovery_ends:
        found = result.recovery.state if result.recovery else "nothing"
        result.expect(
            found == result.scenario.recovery_ends, f"recovery ended {found}, not {result.scenario.recovery_ends}"
        )
    for service in SERVICES:
        left = [key for key in result.annotations[service] if key in (OURS + "claim", OURS + "member")]
        result.expect(not left, f"{service} still carries {', '.join(left)}")
        result.expect("canary" not in result.tags[service], f"{service} still has its canary tag")


def one_revision(result: ScenarioResult) -> None:
    """Every service gives all its users one revision."""
    for service in SERVICES:
        result.expect(list(result.after[service].values()) == [100], f"{service} serves {result.after[service]}")


def promoted(result: ScenarioResult) -> None:
    """All three services serve the new revision, everybody was told, and users noticed nothing."""
    one_revision(result)
    canary_first(result)
    for service in SERVICES:
        result.expect(result.after[service] != result.before[service], f"{service} still serves the old revision")
        result.expect(
            OURS + "last-good" in result.annotations[service], f"{service} has no last good release written down"
        )
    words = result.words("slack")
    result.expect(
        any("🚀 Production release starting" in text for text in words), "#releases was not told of the start"
    )
    result.expect(any("✅ Production release complete" in text for text in words), "#releases was not told of the end")
    deploys = [one["body"] for one in result.told if one["desk"] == "sentry" and one["path"].endswith("/deploys/")]
    where = [deploy.get("environment") for deploy in deploys]
    result.expect(where.count("production") == 1, f"Sentry was told of deploys to {where}, not of one to production")
    result.expect(not result.words("pagerduty"), "somebody was paged for nothing")


def canary_first(result: ScenarioResult) -> None:
    """The canary's share for each service before anybody's all, and all in the order ai-core, backend, frontend."""
    shifts = result.shifts()
    firsts = [
        next((at for at, shift in enumerate(shifts) if shift == (name, CANARY_PERCENT)), None) for name in SERVICES
    ]
    full = [at for at, (_, percent) in enumerate(shifts) if percent == 100]
    is_shown = all(first is not None and first < min(full, default=0) for first in firsts)
    result.expect(
        is_shown, f"not every service showed {CANARY_PERCENT} % its canary before anybody was promoted: {shifts}"
    )
    order = [shifts[at][0] for at in full]
    result.expect(order == list(SERVICES), f"they were promoted in the order {', '.join(order) or 'of none'}")


def watched(result: ScenarioResult) -> None:
    """The hour of watching began, once."""
    result.expect(result.watches == 1, f"{result.watches} runs of watch/{PRODUCTION} were started, not one")


def untroubled(result: ScenarioResult, least: int) -> None:
    """Not one user request failed since the release was asked for, of at least ``least`` and `ENOUGH` of those due."""
    total, failed = result.requests["total"], result.requests["failed"]
    least = max(least, int(ENOUGH * result.due))
    result.expect(total >= least, f"only {total} user requests were made, {least} are wanted")
    result.expect(failed == 0, f"{failed} of {total} user requests failed")


def reverted(result: ScenarioResult, because: str, *, met: bool = True) -> None:
    """Everybody is on what was stable; first the revert, then the page, then the words.

    ``because`` is a pattern that the reason and the page must match. ``met``: users reached each canary before.
    """
    result.expect(bool(re.search(because, result.message)), f"the reason is not {because!r}: {result.message}")
    pages = "; ".join(result.words("pagerduty"))
    result.expect(bool(re.search(because, pages)), f"the page does not say {because!r}: {pages}")
    for service in SERVICES if met else ():
        result.expect(result.reached(service) > 0, f"no user ever reached the canary of {service}: nothing was shown")
    result.expect(bool(result.steps_named("revert")), "nothing was reverted")
    taken_back(result)


def taken_back(result: ScenarioResult) -> None:
    """Everybody is on what was stable; first the revert, then the page, then the words."""
    for service in SERVICES:
        result.expect(
            result.after[service] == result.before[service],
            f"{service} serves {result.after[service]}, not what was stable ({result.before[service]})",
        )
    reverts = [step.ended_at_s for step in result.steps_named("revert")]
    pages = [one["at"] for one in result.told if one["desk"] == "pagerduty"]
    words = [one["at"] for one in result.told if one["desk"] == "slack" and "ROLLBACK EXECUTED" in str(one["body"])]
    tickets = [str(one["body"]) for one in result.told if one["desk"] == "github"]
    result.expect(len(pages) == 1, f"{len(pages)} pages were sent, not one")
    result.expect(len(words) == 1, f"{len(words)} rollback messages were sent, not one")
    result.expect(any("Production canary rollback triggered" in ticket for ticket in tickets), "no ticket was opened")
    if reverts and pages and words:
        result.expect(max(reverts) <= pages[0] <= words[0], "the order was not revert, then page, then tell")


def taken_over_within(result: ScenarioResult, seconds: float) -> None:
    """A release whose process was killed was another process's own again so soon after the kill."""
    took_s = result.seconds["killed_to_taken_over"]
    result.expect(
        took_s is not None and took_s <= seconds, f"taken over {took_s} s after the kill, not within {seconds:g}"
    )


def back(result: ScenarioResult) -> None:
    """Everybody is on what was served when the story began."""
    for service in SERVICES:
        result.expect(
            result.after[service] == result.before[service],
            f"{service} serves {result.after[service]}, not what it did ({result.before[service]})",
        )


def fixed(result: ScenarioResult) -> None:
    """All three services serve the hotfix, and it is what a rollback would start from."""
    for service in SERVICES:
        goods = last_good(result, service)
        serving = next(iter(result.after[service]))
        result.expect("hotfix1" in goods[0]["release"], f"{service}: the newest good release is {goods[0]['release']}")
        result.expect(serving == goods[0]["revision"], f"{service} serves {serving}, not the hotfix")


def last_good(result: ScenarioResult, service: str) -> list[dict[str, Any]]:
    """The good releases written on a service, the newest first; one of no name where there is none."""
    nothing = [{"release": "", "revision": ""}]
    return list(json.loads(result.annotations[service].get(OURS + "last-good", "null")) or nothing)


def told_once(result: ScenarioResult, vendor: str, words: str) -> None:
    """A desk was told this, and not twice."""
    count = sum(words in text for text in result.words(vendor))
    result.expect(count == 1, f"{vendor} was told {words!r} {count} times, not once")


def served_within(result: ScenarioResult, seconds: float) -> None:
    """The first write to each service of production since the run was asked for was served so soon after."""
    began_s, first = result.run.created_at_s, dict[str, float]()
    for write in result.production_writes():
        if write.get("served_at") and write["served_at"] >= began_s:
            first.setdefault(write["resource"], write["served_at"] - began_s)
    took_s = max(first.values(), default=float("inf"))
    result.expect(took_s < seconds, f"users were back after {took_s:.1f} s, not within {seconds:g} s")


def never_shifted(result: ScenarioResult) -> None:
    """No write ever gave a production user to a new revision."""
    for write in result.production_writes():
        shares = {t["revision"] for t in write["traffic"] if t["percent"]}
        old = {revision for service in SERVICES for revision in result.before[service]} | {"LATEST"}
        result.expect(shares <= old, f"{write['resource']} sent users to {', '.join(sorted(shares - old))}")


def untouched(result: ScenarioResult) -> None:
    """Production saw no write at all."""
    result.expect(
        not result.production_writes(), f"{PRODUCTION} was written to {len(result.production_writes())} times"
    )
