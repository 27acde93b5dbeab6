"""Two of the three ways to start a release, each against a real Prefect server: the UI's route and the schedule.

The third, GitHub Actions, is in `test_workflows`.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

from rehearsal.stage import Stage
from rehearsal.story import PRODUCTION, Story

STILLBORN = Story(name="stillborn", told="", ends="Reverted", behaviours={"ethixai-ai-core": "dies"})


async def weekly_runs(stage: Stage) -> list[dict[str, Any]]:
    """The runs of release/production that the server has scheduled by itself. Fails where there are none in time."""
    for _ in range(60):
        runs = [run for run in await stage.prefect.scheduled("release/production") if run["auto_scheduled"]]
        if runs:
            return runs
        await asyncio.sleep(1)
    raise AssertionError("the server has scheduled no run of release/production")


async def start_weekly(stage: Stage) -> Any:
    """A run with exactly the parameters of those that the server has scheduled, once it is over."""
    parameters = [run["parameters"] for run in await weekly_runs(stage)]
    assert all(one == parameters[0] for one in parameters)
    run = await stage.prefect.start("release/production", parameters[0])
    return await stage.prefect.wait(run.id, 120)


async def test_a_wrong_request_from_the_ui_is_refused_with_every_mistake_named(stage: Stage) -> None:
    """A run created as the UI does it ends Refused before any write, and says what to correct."""
    await stage.clean(users_per_s=0)
    request = {"version": "1.2.3", "services": ["ethixai-backend", "nonsense"], "canary_percent": 101}
    run = await stage.prefect.start("release/production", {"request": request, "environment": "production"})
    run = await stage.prefect.wait(run.id, 60)
    assert run.state == "Refused"
    for field in ("version:", "services:", "canary_percent:"):
        assert field in run.message
    assert await stage.world.writes() == []


async def test_the_flight_check_tries_every_door_and_changes_nothing(stage: Stage) -> None:
    """It passes where all is well, names the door that is closed where one is, and never writes."""
    await stage.clean(users_per_s=0)
    run = await stage.prefect.start("flight-check/production", {"environment": "production"})
    run = await stage.prefect.wait(run.id, 60)
    assert run.state == "Passed", run.message
    await stage.world.deny("releaser@*", "Services.UpdateService")
    run = await stage.prefect.start("flight-check/production", {"environment": "production"})
    run = await stage.prefect.wait(run.id, 60)
    assert run.state == "Unfit", run.message
    assert "Cloud Run, writing ethixai-backend" in run.message
    assert not [write for write in await stage.world.writes() if write["applied"] and write["code"] == "OK"]


async def test_the_server_holds_the_weekly_release(stage: Stage) -> None:
    """Runs of release/production are scheduled by the server itself, at Thursdays 14:00 UTC and at no other time."""
    instants = [datetime.fromisoformat(run["expected_start_time"]).astimezone(UTC) for run in await weekly_runs(stage)]
    assert {(at.isoweekday(), at.hour, at.minute, at.second) for at in instants} == {(4, 14, 0, 0)}


async def test_the_schedule_finds_nothing_where_nothing_is_new(stage: Stage) -> None:
    """Without a version that passed staging the weekly run ends NothingToRelease, and production sees no write."""
    await stage.clean(users_per_s=0)
    run = await start_weekly(stage)
    assert run.state == "NothingToRelease", run.message
    assert not [write for write in await stage.world.writes() if f"/{PRODUCTION}/" in write["resource"]]


async def test_the_schedule_takes_what_has_passed_staging(stage: Stage) -> None:
    """The weekly run finds the newest version in staging by itself, and takes that one to production."""
    await stage.clean(users_per_s=0)
    version = stage.new_version()
    await stage.publish(version, STILLBORN)
    staged = await stage.prefect.start("release/staging", {"request": {"version": version}, "environment": "staging"})
    staged = await stage.prefect.wait(staged.id, 120)
    assert staged.state == "Promoted", staged.message
    run = await start_weekly(stage)
    assert run.state == "Reverted", run.message
    assert version.rsplit("-", 1)[-1] in run.message  # its ai-core dies in production
