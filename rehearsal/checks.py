"""Checks that several scenarios share: what must be true after an outcome of this kind."""

import json
import re
from typing import Any

from rehearsal.scenario import ScenarioResult
from rehearsal.test_environment import PRODUCTION, SERVICES

OURS = "playbook.ethixai.com/"
CANARY_PERCENT = 10
ENOUGH = 0.9
"""The share of the planned requests that users must have sent: a load that stalled proves nothing."""
FAILED_RATIO = r"Error rate [\d.e-]+ % \("
"""How a reason words an error ratio."""
WORKER_LIVES_S, HOST_DIED_S = 30, 60
"""Seconds from a kill until another process has taken the release over. A running worker reports the death to Prefect
at once; when the worker died too, 30 s without heartbeat come first. Source: design.md 4."""
TOO_SLOW = r"(longer than|above) 5 s\b"
"""How a reason words a p95 above 5 s."""


def common(result: ScenarioResult) -> None:
    """The outcome is the expected one; no lease and no canary tag are left."""
    result.expect(
        result.outcome == result.scenario.ends,
        f"outcome {result.outcome}, expected {result.scenario.ends}: {result.run.message}",
    )
    if result.scenario.recovery_ends:
        found = result.recovery.state if result.recovery else "no recovery run"
        result.expect(
            found == result.scenario.recovery_ends, f"recovery: {found}, expected {result.scenario.recovery_ends}"
        )
    for service in SERVICES:
        left = [key for key in result.annotations[service] if key in (OURS + "claim", OURS + "member")]
        result.expect(not left, f"{service} still has the annotations {', '.join(left)}")
        result.expect(
            not any(tag.startswith(("canary", "c-")) for tag in result.tags[service]),
            f"{service} still has its canary tag",
        )


def one_revision(result: ScenarioResult) -> None:
    """Every service sends all users to one revision."""
    for service in SERVICES:
        result.expect(list(result.after[service].values()) == [100], f"{service} serves {result.after[service]}")


def promoted(result: ScenarioResult, percent: int = CANARY_PERCENT) -> None:
    """All three services serve the new revision, the messages were sent, and PagerDuty was not called.

    ``percent``: the share that each canary has had at least: where the load is slow, the forecast chooses a larger one.
    """
    one_revision(result)
    canary_first(result, percent)
    for service in SERVICES:
        result.expect(result.after[service] != result.before[service], f"{service} still serves the old revision")
        result.expect(OURS + "last-good" in result.annotations[service], f"{service} has no annotation last-good")
    words = result.words("slack")
    result.expect(any("🚀 Production release starting" in text for text in words), "no start message in #releases")
    result.expect(any("✅ Production release complete" in text for text in words), "no completion message in #releases")
    deploys = [
        one["body"] for one in result.vendor_calls if one["vendor"] == "sentry" and one["path"].endswith("/deploys/")
    ]
    where = [deploy.get("environment") for deploy in deploys]
    result.expect(where.count("production") == 1, f"Sentry has deploys to {where}, expected one to production")
    result.expect(not result.words("pagerduty"), "PagerDuty was called although nothing failed")


def canary_first(result: ScenarioResult, percent: int = CANARY_PERCENT) -> None:
    """Every canary has at least ``percent`` before any service is promoted, and promotions follow the order of
    services."""
    shifts = result.shifts()
    firsts = [
        next((at for at, (who, share) in enumerate(shifts) if who == name and percent <= share < 100), None)
        for name in SERVICES
    ]
    full = [at for at, (_, share) in enumerate(shifts) if share == 100]
    is_shown = all(first is not None and first < min(full, default=0) for first in firsts)
    result.expect(is_shown, f"a service was promoted before every canary had {percent} %: {shifts}")
    order = [shifts[at][0] for at in full]
    result.expect(order == list(SERVICES), f"order of promotion: {', '.join(order) or 'none was promoted'}")


def watched(result: ScenarioResult) -> None:
    """The watch after the release was started once."""
    result.expect(result.watches == 1, f"{result.watches} runs of watch/production were started, expected 1")


def no_failed_requests(result: ScenarioResult, least: int) -> None:
    """No user request failed, and users sent at least ``least`` requests and `ENOUGH` of the planned ones."""
    total, failed = result.requests["total"], result.requests["failed"]
    least = max(least, int(ENOUGH * result.due))
    result.expect(total >= least, f"users sent {total} requests, expected at least {least}")
    result.expect(failed == 0, f"{failed} of {total} user requests failed")


TICKET = "Production canary rollback triggered"


def reverted(result: ScenarioResult, because: str, *, met: bool = True, ticket: str = TICKET) -> None:
    """All users are on the stable revisions, and revert, page and messages came in this order.

    ``because`` is a pattern that the reason and the page must match. ``met``: each canary has answered users before.
    ``ticket``: its title.
    """
    result.expect(bool(re.search(because, result.message)), f"the reason does not match {because!r}: {result.message}")
    pages = "; ".join(result.words("pagerduty"))
    result.expect(bool(re.search(because, pages)), f"the page does not match {because!r}: {pages}")
    for service in SERVICES if met else ():
        result.expect(result.reached(service) > 0, f"the canary of {service} never answered a user")
    result.expect(bool(result.steps_named("revert")), "no step reverted a service")
    reverted_in_order(result, ticket)


def reverted_in_order(result: ScenarioResult, ticket: str = TICKET) -> None:
    """All users are on the stable revisions, and revert, page and messages came in this order."""
    for service in SERVICES:
        result.expect(
            result.after[service] == result.before[service],
            f"{service} serves {result.after[service]}, expected {result.before[service]}",
        )
    reverts = [step.ended_at_s for step in result.steps_named("revert")]
    pages = [one["at"] for one in result.vendor_calls if one["vendor"] == "pagerduty"]
    words = [
        one["at"] for one in result.vendor_calls if one["vendor"] == "slack" and "ROLLBACK EXECUTED" in str(one["body"])
    ]
    tickets = [str(one["body"]) for one in result.vendor_calls if one["vendor"] == "github"]
    result.expect(len(pages) == 1, f"{len(pages)} pages were sent, expected 1")
    result.expect(len(words) == 1, f"{len(words)} rollback messages were sent, expected 1")
    result.expect(any(ticket in one for one in tickets), f"no ticket {ticket!r} was opened")
    if reverts and pages and words:
        result.expect(max(reverts) <= pages[0] <= words[0], "the order was not: revert, page, message")


def taken_over_within(result: ScenarioResult, seconds: float) -> None:
    """Another process took the release over at most ``seconds`` after the kill."""
    took_s = result.seconds["killed_to_taken_over"]
    result.expect(
        took_s is not None and took_s <= seconds,
        f"taken over {took_s} s after the kill, expected at most {seconds:g} s",
    )


def unchanged(result: ScenarioResult) -> None:
    """All services serve what they served when the scenario began."""
    for service in SERVICES:
        result.expect(
            result.after[service] == result.before[service],
            f"{service} serves {result.after[service]}, expected {result.before[service]}",
        )


def hotfix_served(result: ScenarioResult) -> None:
    """All three services serve the hotfix, and it is their newest good release."""
    for service in SERVICES:
        goods = last_good(result, service)
        serving = next(iter(result.after[service]))
        result.expect("hotfix1" in goods[0]["release"], f"{service}: the newest good release is {goods[0]['release']}")
        result.expect(serving == goods[0]["revision"], f"{service} serves {serving}, expected the hotfix")


def last_good(result: ScenarioResult, service: str) -> list[dict[str, Any]]:
    """The good releases in a service's annotations, newest first; one without a name where there is none."""
    nothing = [{"release": "", "revision": ""}]
    return list(json.loads(result.annotations[service].get(OURS + "last-good", "null")) or nothing)


def sent_once(result: ScenarioResult, vendor: str, words: str) -> None:
    """Exactly one call to ``vendor`` contains ``words``."""
    count = sum(words in text for text in result.words(vendor))
    result.expect(count == 1, f"{count} calls to {vendor} contain {words!r}, expected 1")


def served_within(result: ScenarioResult, seconds: float) -> None:
    """The first write to each production service was served at most ``seconds`` after the run was created."""
    began_s, first = result.run.created_at_s, dict[str, float]()
    for write in result.production_writes():
        if write.get("served_at") and write["served_at"] >= began_s:
            first.setdefault(write["resource"], write["served_at"] - began_s)
    took_s = max(first.values(), default=float("inf"))
    result.expect(took_s < seconds, f"the traffic had moved after {took_s:.1f} s, expected at most {seconds:g} s")


def never_shifted(result: ScenarioResult) -> None:
    """No write sent production users to a new revision."""
    for write in result.production_writes():
        shares = {t["revision"] for t in write["traffic"] if t["percent"]}
        old = {revision for service in SERVICES for revision in result.before[service]} | {"LATEST"}
        result.expect(shares <= old, f"{write['resource']} sent users to {', '.join(sorted(shares - old))}")


def nothing_written(result: ScenarioResult, because: str) -> None:
    """No environment was written to, staging included; the message matches ``because``, and ``#releases`` knows it."""
    result.expect(not result.writes, f"{len(result.writes)} writes, expected none: {result.writes[:1]}")
    unchanged(result)
    result.expect(bool(re.search(because, result.message)), f"the reason does not match {because!r}: {result.message}")
    words = result.words("slack")
    result.expect(any(re.search(because, text) for text in words), f"#releases does not read {because!r}: {words}")


def untouched(result: ScenarioResult) -> None:
    """Production was not written to."""
    result.expect(
        not result.production_writes(), f"{PRODUCTION}: {len(result.production_writes())} writes, expected none"
    )
