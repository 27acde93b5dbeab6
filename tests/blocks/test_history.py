"""Reading the history of releases, and the emergency stop, from a real Prefect server."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import asyncpg
import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from blocks.environment import Environment
from flows.quarterly_review import span
from playbook.checklist.items import Answer
from playbook.errors import BadRequest
from playbook.history.review import review
from rehearsal.server import Server, prefect_server
from tasks import history, windows
from tasks.schedule_names import name_scheduled_runs

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A Prefect server; this process is a client of it."""
    async with prefect_server(tmp_path_factory.mktemp("prefect")) as running:
        with temporary_settings({PREFECT_API_URL: running.api_url}):
            yield running


async def ended(server: Server, flow: str, outcome: str, hours_ago: float, **more: Any) -> str:
    """A run of ``flow`` that took half an hour, half of it Running, and ended so long ago. Returns its id."""
    end = NOW - timedelta(hours=hours_ago)
    kind = "COMPLETED" if outcome in ("Promoted", "RolledBack", "Passed") else "FAILED"
    async with server.client as client:
        flow_id = (await client.post("/flows/", json={"name": flow})).json()["id"]
        body = {"flow_id": flow_id, "name": f"{flow} to production", "tags": ["production", flow], **more}
        run_id = (await client.post("/flow_runs/", json=body)).json()["id"]
        for type_, name in (("RUNNING", "Running"), (kind, outcome)):
            state = {"type": type_, "name": name, "message": "why"}
            answer = await client.post(f"/flow_runs/{run_id}/set_state", json={"state": state, "force": True})
            assert answer.is_success, answer.text
    await happened(server, run_id, end - timedelta(minutes=30), end)
    return str(run_id)


async def happened(server: Server, run_id: str, start: datetime, end: datetime) -> None:
    """Set when a run was in the server's database: its API takes no time but now."""
    times = "expected_start_time = $2, start_time = $2, end_time = $3, total_run_time = $4"
    update = f"UPDATE flow_run SET {times} WHERE id = $1"
    done = await in_database(server, update, run_id, start, end, (end - start) / 2)
    assert done == "UPDATE 1"


async def test_every_release_is_read_once_whatever_the_pages(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five releases in pages of two; other environments, recoveries that found nothing and older runs are not read."""
    monkeypatch.setattr(history, "PAGE", 2)
    request = {"version": "v20251116-abc123", "requested_by": "Ada", "overrides": [{"item": "ci", "by": "Ada"}]}
    given = {"parameters": {"request": request}}
    wanted = [await ended(server, "release", "Promoted", hours, **given) for hours in range(1, 5)]
    wanted.append(await ended(server, "rollback", "RolledBack", 0.5))
    await ended(server, "recovery", "Passed", 1)
    await ended(server, "release", "Promoted", 1, tags=["staging"])
    await ended(server, "release", "Promoted", 60)
    found = await history.runs_between.fn("production", NOW.timestamp() - 86_400, NOW.timestamp())
    assert {run.run_id for run in found} == set(wanted)
    assert [run.ended_s for run in found] == sorted(run.ended_s for run in found)
    newest = found[-2]
    assert (newest.version, newest.requested_by, newest.overrides) == ("v20251116-abc123", "Ada", ("ci",))
    assert newest.waited_s == pytest.approx(900, abs=1)
    assert newest.outcome == "Promoted"


@pytest.mark.parametrize("name", ["stop_the_line_eu_production", "stop-the-line-eu-production", "stop_the_line"])
async def test_the_emergency_stop_is_read_whatever_its_name(server: Server, name: str) -> None:
    """Its text is the reason, also where others have stopped and ours says no; deleted, it stops nothing."""
    env = cast(Environment, SimpleNamespace(name="eu-production", ui=lambda path: path))
    others = {"stop_the_line_staging": "not here", "my_stop_the_line": "not this", "stop-the-line": "off"}
    async with server.client as client:
        for one, text in {**others, name: "the database is being moved"}.items():
            await client.post("/variables/", json={"name": one, "value": text})
        stopped = await windows.line(env)
        await client.delete(f"/variables/name/{name}")
        free = await windows.line(env)
    assert (stopped.answer, free.answer) == (Answer.FAIL, Answer.PASS)
    assert stopped.fact == f"the line is stopped ({name}): the database is being moved"


async def scheduled(server: Server, flow: str, cron: str, *tags: str) -> str:
    """A deployment of ``flow`` with a schedule, and the runs that Prefect's scheduler makes of it. Returns its id."""
    async with server.client as client:
        flow_id = (await client.post("/flows/", json={"name": flow})).json()["id"]
        one = {"schedule": {"cron": cron, "timezone": "UTC"}, "active": True, "slug": "s"}
        body = {"flow_id": flow_id, "name": "scheduled", "tags": list(tags), "schedules": [one]}
        deployment = (await client.post("/deployments/", json=body)).json()["id"]
        done = await client.post(f"/deployments/{deployment}/schedule", json={"min_runs": 3})
        assert done.is_success, done.text
    return str(deployment)


async def names_of(server: Server, deployment: str) -> dict[str, str]:
    """When each run of a deployment begins, and its name."""
    async with server.client as client:
        wanted = {"flow_runs": {"deployment_id": {"any_": [deployment]}}, "sort": "NEXT_SCHEDULED_START_TIME_ASC"}
        found = (await client.post("/flow_runs/filter", json=wanted)).json()
    return {run["next_scheduled_start_time"][:16]: run["name"] for run in found}


async def test_a_scheduled_run_says_what_it_is_before_it_begins(server: Server) -> None:
    """What it will do, where and when; another environment's keep the names that Prefect gave."""
    release = await scheduled(server, "release", "0 14 * * 4", "release", "production")
    other = await scheduled(server, "flight-check", "0 14 * * 3", "flight-check", "staging")
    recovery = await scheduled(server, "recovery", "*/10 * * * *", "recovery", "production")
    before = await names_of(server, other)
    of = FlowRun.model_construct(parameters={"environment": "production"})
    for _ in range(2):
        await name_scheduled_runs(None, of, None)  # type: ignore[arg-type]
        found = await names_of(server, release)
        assert len(found) >= 3
        for at, name in found.items():
            due = datetime.fromisoformat(at)
            assert name == f"release to production, Thu {due:%d %b} 14:00 UTC"
        later = list((await names_of(server, recovery)).values())[1:]  # the first may begin within two minutes
        assert {name[:22] for name in later} == {"recovery of production"}
    assert await names_of(server, other) == before


async def test_a_server_that_is_away_leaves_the_names_and_the_recovery_as_they_are() -> None:
    """The next recovery does it."""
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api", PREFECT_CLIENT_MAX_RETRIES: 0}):
        await name_scheduled_runs(None, FlowRun.model_construct(parameters={}), None)  # type: ignore[arg-type]


ROWS = 3000


async def many(server: Server, run_id: str, count: int) -> None:
    """Copies of a run in the server's database, an hour apart, each with its tags and its state."""
    columns = (
        "created, updated, name, flow_id, parameters, tags, context, empirical_policy, run_count, auto_scheduled, "
        "state_type, state_name, total_run_time, infrastructure_pid, job_variables, flow_version, parent_task_run_id, "
        "expected_start_time, start_time, end_time, state_id"
    )
    moved = columns.replace(
        "expected_start_time, start_time, end_time",
        "expected_start_time - n * interval '1 hour', start_time - n * interval '1 hour', "
        "end_time - n * interval '1 hour'",
    ).replace("state_id", "NULL")
    insert = (
        f"INSERT INTO flow_run (id, {columns}) SELECT gen_random_uuid(), {moved} "  # no text from outside
        "FROM flow_run, generate_series(1, $2::int) AS n WHERE id = $1"
    )
    await in_database(server, insert, run_id, count)


async def in_database(server: Server, statement: str, *values: Any) -> str:
    """What a statement answers in the server's own database."""
    url = server.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"].replace("+asyncpg", "")
    database = await asyncpg.connect(url)
    try:
        return str(await database.execute(statement, *values))
    finally:
        await database.close()


async def test_a_quarter_is_whole_with_thousands_of_runs_and_after_prefect_has_deleted_them(server: Server) -> None:
    """3,000 promoted releases of one environment: counted all, kept as our own records, and counted all once more when
    Prefect has none of them. The newest run that Prefect has wins over the record of it."""
    promoted = await ended(server, "release", "Promoted", 2, tags=["busy"])
    await ended(server, "rollback", "RolledBack", 1, tags=["busy"])
    await many(server, promoted, ROWS - 1)
    from_s, to_s = NOW.timestamp() - ROWS * 3600 - 86_400, NOW.timestamp()
    found = await history.runs_between.fn("busy", from_s, to_s)
    figures = review(found, "busy", from_s, to_s)
    assert (figures.promoted, figures.rolled_back) == (ROWS, 1)
    assert sum(figures.per_month.values()) == ROWS
    await history.keep_records.fn("busy", found)
    await history.keep_records.fn("busy", found[:10])
    await in_database(server, "DELETE FROM flow_run WHERE $1 = ANY(SELECT jsonb_array_elements_text(tags))", "busy")
    kept = await history.runs_between.fn("busy", from_s, to_s)
    assert [run.run_id for run in kept] == [run.run_id for run in found]
    assert review(kept, "busy", from_s, to_s) == figures
    assert await history.runs_between.fn("production", from_s, from_s + 3600) == ()


STEPS = 450


async def steps_of(server: Server, run_id: str, count: int) -> None:
    """So many task runs of a run in the server's database."""
    async with server.client as client:
        body = {"flow_run_id": run_id, "task_key": "look", "dynamic_key": "0", "name": "look-0"}
        made = (await client.post("/task_runs/", json=body)).json()["id"]
    start, end = NOW - timedelta(hours=1), NOW - timedelta(minutes=59)
    await in_database(server, "UPDATE task_run SET start_time = $2, end_time = $3 WHERE id = $1", made, start, end)
    same = (
        "created, updated, task_key, flow_run_id, empirical_policy, task_inputs, tags, labels, run_count, "
        "flow_run_run_count, total_run_time, start_time, end_time"
    )
    insert = (
        f"INSERT INTO task_run (id, name, dynamic_key, {same}) "
        f"SELECT gen_random_uuid(), 'look-' || n, n::text, {same} "  # no text from outside
        "FROM task_run, generate_series(1, $2::int) AS n WHERE id = $1"
    )
    await in_database(server, insert, made, count - 1)


async def test_every_step_of_a_run_with_hundreds_of_them_is_read_once(server: Server) -> None:
    """More than two of Prefect's pages, at its own page size: a retrospective names the slowest of all."""
    run_id = await ended(server, "release", "Promoted", 1, tags=["stepwise"])
    await steps_of(server, run_id, STEPS)
    (run,) = await history.runs_between.fn("stepwise", NOW.timestamp() - 7200, NOW.timestamp())
    (found,) = await history.with_steps.fn([run])
    assert history.PAGE < STEPS / 2
    assert sorted(step.name for step in found.steps) == sorted(f"look-{n}" for n in range(STEPS))
    assert {step.ended_s - step.started_s for step in found.steps} == {60.0}


@pytest.mark.parametrize(
    ("name", "request_", "tags", "version"),
    [
        ("as v20250101-aaaaaa, but better", {}, ["production", "v20251116-abc123"], "v20251116-abc123"),
        ("a name of a person's own", {"version": "v20251116-abc123"}, [], "v20251116-abc123"),
        ("hotfix", {"version": "v20251116-hotfix2-abc123"}, [], "v20251116-hotfix2-abc123"),
        ("release v20251116-abc123 to production", {}, [], "v20251116-abc123"),
        ("no version at all", {"version": None}, ["production"], ""),
        ("a request that is a text", "v20251116-abc123", [], ""),
    ],
)
def test_a_run_keeps_its_version_whatever_people_call_it(
    name: str, request_: Any, tags: list[str], version: str
) -> None:
    """What was asked for, then its tag, then its message, then its name."""
    run = FlowRun(id=uuid4(), flow_id=uuid4(), name=name, tags=tags, parameters={"request": request_}, start_time=NOW)
    found = history.record(run, "hotfix" if "hotfix" in version else "release", "production")
    assert found.version == version


@pytest.mark.parametrize(
    ("first", "last", "says"),
    [
        (date(1, 1, 1), date(2026, 1, 1), "first_day: 0001-01-01 is before 2020-01-01"),
        (date(2026, 1, 1), date(9999, 12, 31), "last_day: 9999-12-31 is after 2099-12-31"),
        (date(2026, 2, 1), date(2026, 1, 1), "last_day: 2026-01-01 is before the first day"),
        (date(2026, 1, 1), None, "last_day: give both days, or neither"),
    ],
)
def test_a_span_that_cannot_be_counted_is_refused(first: date, last: date | None, says: str) -> None:
    """Before a record of any month is read."""
    with pytest.raises(BadRequest, match=re.escape(says)):
        span(first, last)
