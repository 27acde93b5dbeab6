"""A client of Prefect's REST API: start a deployment by name, follow the run, read its steps and logs."""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
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
    """The requests that scenarios make to a Prefect server."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def start(
        self,
        deployment: str,
        parameters: dict[str, Any],
        key: str = "",
        *,
        due_s_ago: float = 0.0,
        is_checked: bool = True,
    ) -> Run:
        """Create a run of ``flow/deployment``, which was due so long ago. ``is_checked``: against its form, as the UI
        asks for. Raises RuntimeError with the API's answer where it refuses."""
        found = await self._ask("GET", f"/deployments/name/{deployment}")
        body = {"parameters": parameters, **({"idempotency_key": key} if key else {})}
        if not is_checked:
            body["enforce_parameter_schema"] = False
        if due_s_ago:
            due = datetime.fromtimestamp(time.time() - due_s_ago, UTC).isoformat()
            body["state"] = {"type": "SCHEDULED", "state_details": {"scheduled_time": due}}
        return _run(await self._ask("POST", f"/deployments/{found['id']}/create_flow_run", body))

    async def run(self, run_id: str) -> Run:
        """The run as it is now."""
        return _run(await self._ask("GET", f"/flow_runs/{run_id}"))

    async def wait(self, run_id: str, timeout_s: float) -> Run:
        """The run once it has ended. Raises TimeoutError with the state that it is in."""
        state = ""
        for _ in range(int(timeout_s / POLL_S)):
            run = await self.run(run_id)
            if run.is_over:
                return run
            state = run.state
            await asyncio.sleep(POLL_S)
        raise TimeoutError(f"flow run {run_id} is still {state} after {timeout_s:.0f} s")

    async def take_overs(self, environment: str) -> list[float]:
        """When recoveries of an environment took a release over, in unix seconds, oldest first."""
        found: list[float] = []
        for run in await self.runs_of(f"recovery/{environment}"):
            steps = await self.steps(run.id)
            found += [one.ended_at_s for one in steps if one.name.startswith("take over") and one.state == "Completed"]
        return sorted(found)

    async def runs_of(self, deployment: str) -> list[Run]:
        """Every run of a deployment, oldest first."""
        found = await self._ask("GET", f"/deployments/name/{deployment}")
        body = {"flow_runs": {"deployment_id": {"any_": [found["id"]]}}, "sort": "START_TIME_ASC"}
        return [_run(one) for one in await self._ask("POST", "/flow_runs/filter", body)]

    async def scheduled(self, deployment: str) -> list[dict[str, Any]]:
        """The scheduled runs of a deployment, as the API shows them."""
        found = await self._ask("GET", f"/deployments/name/{deployment}")
        wanted = {"deployment_id": {"any_": [found["id"]]}, "state": {"type": {"any_": ["SCHEDULED"]}}}
        return list(await self._ask("POST", "/flow_runs/filter", {"flow_runs": wanted}))

    async def schedule(self, deployment: str, cron: str) -> str:
        """Let the one schedule of a deployment run at ``cron`` (UTC). Returns what it was."""
        found = await self._ask("GET", f"/deployments/name/{deployment}")
        (one,) = found["schedules"]
        wanted = {**one["schedule"], "cron": cron}
        await self._ask("PATCH", f"/deployments/{found['id']}/schedules/{one['id']}", {"schedule": wanted})
        return str(one["schedule"]["cron"])

    async def artifact(self, key: str) -> str:
        """The newest artifact of this key. Raises RuntimeError where there is none."""
        return str((await self._ask("GET", f"/artifacts/{key}/latest"))["data"])

    async def steps(self, run_id: str) -> list[Step]:
        """The run's ended task runs, in the order in which they started."""
        body = {"task_runs": {"flow_run_id": {"any_": [run_id]}}, "sort": "EXPECTED_START_TIME_ASC"}
        found = await self._ask("POST", "/task_runs/filter", body)
        steps = [
            Step(one["name"], one["state_name"] or "", _unix(one["start_time"]) or 0.0, _unix(one["end_time"]) or 0.0)
            for one in found
            if one["start_time"] and one["end_time"]
        ]
        return sorted(steps, key=lambda step: step.started_at_s)

    async def begun(self, run_id: str) -> list[str]:
        """The names of the run's task runs that have started."""
        body = {"task_runs": {"flow_run_id": {"any_": [run_id]}}}
        return [one["name"] for one in await self._ask("POST", "/task_runs/filter", body) if one["start_time"]]

    async def pages(self, run_id: str) -> dict[str, str]:
        """The run's pages: the artifact's key -> its Markdown, the newest of each key."""
        found = await self._artifacts(run_id, "markdown")
        return {one["key"]: str(one["data"]) for one in found if one["key"]}

    async def bake(self, run_id: str) -> tuple[float, str] | None:
        """How far the run's newest bake is (0 to 100), and what is seen, in a line; None where none was shown."""
        found = await self._artifacts(run_id, "progress")
        if not found:
            return None
        line, *_ = (found[-1]["description"] or "").splitlines() or [""]
        return float(found[-1]["data"]), line.replace("**", "").replace("\\", "")

    async def _artifacts(self, run_id: str, kind: str) -> list[dict[str, Any]]:
        """The run's artifacts of this type, oldest first."""
        wanted = {"flow_run_id": {"any_": [run_id]}, "type": {"any_": [kind]}}
        found = await self._ask("POST", "/artifacts/filter", {"artifacts": wanted})
        return sorted(found, key=lambda one: str(one["created"]))

    async def states(self, run_id: str) -> list[str]:
        """The names of the run's states, oldest first."""
        return [name for _, name in await self.state_times(run_id)]

    async def state_times(self, run_id: str) -> list[tuple[float, str]]:
        """When each state of the run began (unix seconds), and its name, oldest first."""
        found = await self._ask("GET", f"/flow_run_states/?flow_run_id={run_id}")
        return sorted((_unix(one["timestamp"]) or 0.0, one["name"]) for one in found)

    async def answer(self, run_id: str, given: dict[str, Any]) -> str:
        """Answer the form of a paused run as the UI does. Waits for the form: it appears a moment after the pause.

        Returns the API's status, ``ACCEPT`` if it accepted the answer.
        """
        for _ in range(FORM_S):
            answer = await self._ask("POST", f"/flow_runs/{run_id}/resume", {"run_input": given})
            if answer["status"] == "ACCEPT":
                break
            await asyncio.sleep(1)
        return str(answer["status"])

    async def cancel(self, run_id: str) -> None:
        """Cancel a run as the button in the UI does."""
        state = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
        await self._ask("POST", f"/flow_runs/{run_id}/set_state", state)

    async def pause(self, run_id: str, seconds: float) -> None:
        """Pause a run as the menu in the UI does: it may be resumed for so many seconds."""
        until = datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()
        details = {"pause_timeout": until, "pause_reschedule": True}
        state = {"type": "PAUSED", "name": "Suspended", "state_details": details}
        await self._ask("POST", f"/flow_runs/{run_id}/set_state", {"state": state, "force": True})

    async def resume(self, run_id: str) -> None:
        """Resume a paused run as the button in the UI does."""
        await self._ask("POST", f"/flow_runs/{run_id}/resume", {})

    async def retry(self, run_id: str) -> None:
        """Run an ended run again as the button in the UI does."""
        state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}
        await self._ask("POST", f"/flow_runs/{run_id}/set_state", {"state": state, "force": True})

    async def logs(self, run_id: str, limit: int = 200) -> list[str]:
        """The run's log lines, oldest first."""
        body = {"logs": {"flow_run_id": {"any_": [run_id]}}, "sort": "TIMESTAMP_ASC", "limit": limit}
        return [one["message"] for one in await self._ask("POST", "/logs/filter", body)]

    async def pause_queue(self, pool: str, queue: str, is_paused: bool) -> None:
        """Pause or resume a work queue, as `make drain` does."""
        await self._ask("PATCH", f"/work_pools/{pool}/queues/{queue}", {"is_paused": is_paused})

    async def cancel_all(self) -> None:
        """Cancel the runs that are under way and delete those that are due. Runs of schedules stay."""
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
