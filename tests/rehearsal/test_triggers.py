"""Two of the three ways to start a release, each against a real Prefect server: the UI's route and the schedule.

The third, GitHub Actions, is in `test_workflows`.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from rehearsal.test_environment import PRODUCTION, TestEnvironment

BROKEN_START = {"ethixai-ai-core": "dies"}


async def weekly_runs(test_env: TestEnvironment) -> list[dict[str, Any]]:
    """The runs of release/production that the server has scheduled. Fails where there are none within 60 s."""
    for _ in range(60):
        runs = [run for run in await test_env.prefect.scheduled("release/production") if run["auto_scheduled"]]
        if runs:
            return runs
        await asyncio.sleep(1)
    raise AssertionError("the server has scheduled no run of release/production")


async def start_weekly(test_env: TestEnvironment) -> Any:
    """A run with the parameters of the scheduled runs, once it has ended."""
    parameters = [run["parameters"] for run in await weekly_runs(test_env)]
    assert all(one == parameters[0] for one in parameters)
    run = await test_env.prefect.start("release/production", parameters[0])
    return await test_env.prefect.wait(run.id, 120)


async def test_a_wrong_request_from_the_ui_is_refused_before_any_write(test_env: TestEnvironment) -> None:
    """What the form can know, the server refuses before there is a run; the rest the run refuses by field."""
    await test_env.clean(users_per_s=0)
    request = {"version": "1.2.3", "services": ["ethixai-backend", "nonsense"], "canary_percent": 101}
    with pytest.raises(RuntimeError, match=r"Prefect answered 4\d\d"):
        await test_env.prefect.start("release/production", {"request": request, "environment": "production"})
    impossible = {"version": "v20259999-abc123", "requested_by": "rehearsal"}
    run = await test_env.prefect.start("release/production", {"request": impossible, "environment": "production"})
    run = await test_env.prefect.wait(run.id, 60)
    assert run.state == "Refused"
    assert "version:" in run.message
    assert await test_env.world.writes() == []


async def test_the_flight_check_tries_every_system_and_changes_nothing(test_env: TestEnvironment) -> None:
    """It passes where everything works, names the system that does not, and never writes."""
    await test_env.clean(users_per_s=0)
    run = await test_env.prefect.start("flight-check/production", {"environment": "production"})
    run = await test_env.prefect.wait(run.id, 60)
    assert run.state == "Passed", run.message
    await test_env.world.deny("releaser@*", "run.services.update")
    run = await test_env.prefect.start("flight-check/production", {"environment": "production"})
    run = await test_env.prefect.wait(run.id, 60)
    assert run.state == "Unfit", run.message
    assert "Cloud Run, writing ethixai-backend" in run.message
    assert not [write for write in await test_env.world.writes() if write["applied"] and write["code"] == "OK"]


async def test_the_server_holds_the_weekly_release(test_env: TestEnvironment) -> None:
    """Runs of release/production are scheduled by the server itself, at Thursdays 14:00 UTC and at no other time."""
    instants = [
        datetime.fromisoformat(run["expected_start_time"]).astimezone(UTC) for run in await weekly_runs(test_env)
    ]
    assert {(at.isoweekday(), at.hour, at.minute, at.second) for at in instants} == {(4, 14, 0, 0)}


async def test_the_schedule_finds_nothing_where_nothing_is_new(test_env: TestEnvironment) -> None:
    """Without a version that passed staging the weekly run ends NothingToRelease, and production sees no write."""
    await test_env.clean(users_per_s=0)
    run = await start_weekly(test_env)
    assert run.state == "NothingToRelease", run.message
    assert not [write for write in await test_env.world.writes() if f"/{PRODUCTION}/" in write["resource"]]


async def test_the_schedule_takes_what_has_passed_staging(test_env: TestEnvironment) -> None:
    """The weekly run finds the newest version in staging by itself, and takes that one to production."""
    await test_env.clean(users_per_s=0)
    version = test_env.new_version()
    await test_env.publish(version, BROKEN_START)
    staged = await test_env.prefect.start(
        "release/staging", {"request": {"version": version}, "environment": "staging"}
    )
    staged = await test_env.prefect.wait(staged.id, 120)
    assert staged.state == "Promoted", staged.message
    run = await start_weekly(test_env)
    assert run.state == "Reverted", run.message
    assert version.rsplit("-", 1)[-1] in run.message  # its ai-core dies in production


async def test_two_merges_to_staging_wait_for_each_other(test_env: TestEnvironment) -> None:
    """Both are promoted, one after the other; the one that waits is shown in a line."""
    await test_env.clean(users_per_s=0)
    started = []
    for version in (test_env.new_version(), test_env.new_version()):
        await test_env.publish(version)
        parameters = {"request": {"version": version}, "environment": "staging"}
        started.append(await test_env.prefect.start("release/staging", parameters))
    ended = await asyncio.gather(*(test_env.prefect.wait(run.id, 120) for run in started))
    assert [run.state for run in ended] == ["Promoted", "Promoted"], [run.message for run in ended]
    first, second = sorted(ended, key=lambda run: run.started_at_s or 0)
    assert (first.ended_at_s or 0) <= (second.started_at_s or 0)
    assert "AwaitingConcurrencySlot" in await test_env.prefect.states(second.id)
