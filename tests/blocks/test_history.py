"""Reading the history of releases from a real Prefect server."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from rehearsal.server import Server, prefect_server
from tasks import history

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A Prefect server; this process is a client of it."""
    async with prefect_server(tmp_path_factory.mktemp("prefect")) as running:
        with temporary_settings({PREFECT_API_URL: running.api_url}):
            yield running


async def ended(server: Server, flow: str, outcome: str, hours_ago: float, **more: Any) -> str:
    """A run of ``flow`` that took half an hour, half of it Paused, and ended so long ago. Returns its id."""
    end = NOW - timedelta(hours=hours_ago)
    kind = "COMPLETED" if outcome in ("Promoted", "RolledBack", "Passed") else "FAILED"
    async with server.client as client:
        flow_id = (await client.post("/flows/", json={"name": flow})).json()["id"]
        body = {"flow_id": flow_id, "name": f"{flow} to production", "tags": ["production", flow], **more}
        run_id = (await client.post("/flow_runs/", json=body)).json()["id"]
        states = [
            ("RUNNING", "Running", end - timedelta(minutes=30)),
            ("PAUSED", "Paused", end - timedelta(minutes=20)),
            ("RUNNING", "Running", end - timedelta(minutes=5)),
            (kind, outcome, end),
        ]
        for type_, name, at in states:
            state = {"type": type_, "name": name, "message": "why", "timestamp": at.isoformat()}
            answer = await client.post(f"/flow_runs/{run_id}/set_state", json={"state": state, "force": True})
            assert answer.is_success, answer.text
    return str(run_id)


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
