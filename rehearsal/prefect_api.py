"""A rehearsal's view of Prefect: start a deployment by name, follow the run, read what it did.

Plain REST, as CI uses it.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
POLL_S = 0.5
FORM_S = 15


@dataclass(frozen=True)
class Run:
    """A flow run as the API shows it."""

    id: str
    name: str
    state: str
    state_type: str
    message: str
    created_at_s: float
    started_at_s: float | None
    ended_at_s: float | None

    @property
    def is_over(self) -> bool:
        return self.state_type in TERMINAL


@dataclass(frozen=True)
class Step:
    """A task run: its name, and when it ran (unix seconds)."""

    name: str
    state: str
    started_at_s: float
    ended_at_s: float


class PrefectApi:
    """What stories ask of a Prefect server."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def start(self, deployment: str, parameters: dict[str, Any], key: str = "") -> Run:
        """Create a run of ``flow/deployment``. Raises RuntimeError with the API's words where it refuses."""
        found = await self._ask("GET", f"/deployments/name/{deployment}")
        body = {"parameters": parameters, **({"idempotency_key": key} if key else {})}
        return _run(await self._ask("POST", f"/deployments/{found['id']}/create_flow_run", body))

    async def run(self, run_id: str) -> Run:
        """The run as it is now."""
        return _run(await self._ask("GET", f"/flow_runs/{run_id}"))

    async def wait(self, run_id: str, timeout_s: float) -> Run:
        """The run once it is over. Raises TimeoutError, naming the state it hangs in."""
        state = ""
        for _ in range(int(timeout_s / POLL_S)):
            run = await self.run(run_id)
            if run.is_over:
                return run
            state = run.state
            await asyncio.sleep(POLL_S)
        raise TimeoutError(f"flow run {run_id} is still {state} after {timeout_s:.0f} s")

    async def runs_of(self, deployment: str) -> list[Run]:
        """Every run of a deployment, the oldest first."""
        found = await self._ask("GET", f"/deployments/name/{deployment}")
        body = {"flow_runs": {"deployment_id": {"any_": [found["id"]]}}, "sort": "START_TIME_ASC"}
        return [_run(one) for one in await self._ask("POST", "/flow_runs/filter", body)]

    async def scheduled(self, deployment: str) -> list[dict[str, Any]]:
        """Its runs that are still to come, as the API shows them."""
        found = await self._ask("GET", f"/deployments/name/{deployment}")
        wanted = {"deployment_id": {"any_": [found["id"]]}, "state": {"type": {"any_": ["SCHEDULED"]}}}
        return list(await self._ask("POST", "/flow_runs/filter", {"flow_runs": wanted}))

    async def steps(self, run_id: str) -> list[Step]:
        """Its task runs in the order they began."""
        body = {"task_runs": {"flow_run_id": {"any_": [run_id]}}, "sort": "EXPECTED_START_TIME_ASC"}
        found = await self._ask("POST", "/task_runs/filter", body)
        steps = [
            Step(one["name"], one["state_name"] or "", _unix(one["start_time"]) or 0.0, _unix(one["end_time"]) or 0.0)
            for one in found
            if one["start_time"] and one["end_time"]
        ]
        return sorted(steps, key=lambda step: step.started_at_s)

    async def begun(self, run_id: str) -> list[str]:
        """The names of its task runs that have begun."""
        body = {"task_runs": {"flow_run_id": {"any_": [run_id]}}}
        return [one["name"] for one in await self._ask("POST", "/task_runs/filter", body) if one["start_time"]]

    async def states(self, run_id: str) -> list[str]:
        """The names of the states that it was in, oldest first."""
        found = await self._ask("GET", f"/flow_run_states/?flow_run_id={run_id}")
        return [one["name"] for one in sorted(found, key=lambda state: state["timestamp"])]

    async def answer(self, run_id: str, given: dict[str, Any]) -> str:
        """Answer a paused run's form as the UI does, once there is one: a run is paused a moment before its form is
        there. Returns the API's status, ``ACCEPT`` if it took it.
        """
        for _ in range(FORM_S):
            answer = await self._ask("POST", f"/flow_runs/{run_id}/resume", {"run_input": given})
            if answer["status"] == "ACCEPT":
                break
            await asyncio.sleep(1)
        return str(answer["status"])

    async def cancel(self, run_id: str) -> None:
        """Cancel a run as the UI's button does."""
        state = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
        await self._ask("POST", f"/flow_runs/{run_id}/set_state", state)

    async def logs(self, run_id: str, limit: int = 200) -> list[str]:
        """What the run said, oldest first."""
        body = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC", "limit": limit}
        return [one["message"] for one in await self._ask("POST", "/logs/filter", body)]

    async def cancel_all(self) -> None:
        """No run is under way or due, so that the next story starts clean; the schedules keep theirs."""
        body = {"flow_runs": {"state": {"type": {"not_any_": sorted(TERMINAL)}}}}
        for one in await self._ask("POST", "/flow_runs/filter", body):
            if one["state_type"] in ("RUNNING", "PAUSED", "PENDING"):
                await self.cancel(one["id"])
            elif not one["auto_scheduled"]:
                await self._ask("DELETE", f"/flow_runs/{one['id']}")

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = await self._client.request(method, path, json=body)
        if answer.is_error:
            raise RuntimeError(f"Prefect answered {answer.status_code} to {method} {path}: {answer.text[:500]}")
        return answer.json() if answer.content else None


def _run(found: dict[str, Any]) -> Run:
    state = found.get("state") or {}
    return Run(
        id=found["id"],
        name=found["name"],
        state=state.get("name", ""),
        state_type=state.get("type", ""),
        message=state.get("message") or "",
        created_at_s=_unix(found["created"]) or 0.0,
        started_at_s=_unix(found.get("start_time")),
        ended_at_s=_unix(found.get("end_time")),
    )


def _unix(text: str | None) -> float | None:
    return datetime.fromisoformat(text).timestamp() if text else None
