"""Slack, PagerDuty, Sentry and GitHub are unavailable during the whole release, which a person answers for."""

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario, Start
from rehearsal.test_environment import TestEnvironment

VENDORS = ("slack", "pagerduty", "sentry", "github")
UNKNOWN = ("ci", "scan", "secrets", "load_test", "on_call")
"""The items of the checklist that these vendors answer."""


async def given(test_env: TestEnvironment) -> None:
    """Every call to these vendors is answered 503."""
    for vendor in VENDORS:
        await test_env.world.vendor_fault(vendor, status=503, count=None)


def starts(test_env: TestEnvironment, version: str) -> Start:
    """A release in which a person overrides each item that these vendors would answer."""
    asked = test_env.request(version, "a rehearsed release")
    overrides = [{"item": item, "by": "Ada", "reason": "looked at before GitHub went away"} for item in UNKNOWN]
    return "release/production", {**asked, "request": {**asked["request"], "overrides": overrides}}


async def meanwhile(test_env: TestEnvironment, run: Run) -> None:
    """Once the release has ended, the vendors are available again and receive the messages."""
    await test_env.prefect.wait(run.id, SCENARIO.timeout_s)
    test_env.event(
        f"The vendors are available again; they accepted {len(await test_env.world.vendor_calls())} calls before."
    )
    await test_env.world.clear_vendor_faults()
    for announcement in await test_env.prefect.runs_of("announce/production"):
        await test_env.prefect.wait(announcement.id, 120)


SCENARIO = Scenario(
    name="deaf_vendors",
    description="Slack, PagerDuty, Sentry and GitHub are unavailable during a release; a person overrides the checks.",
    ends="Promoted",
    given=given,
    starts=starts,
    meanwhile=meanwhile,
    then=checks.promoted,
)
