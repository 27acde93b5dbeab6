"""A scenario, and its result."""

import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rehearsal.prefect_api import Run, Step
from rehearsal.test_environment import PRODUCTION, SERVICES, SIGKILL, TestEnvironment

Start = tuple[str, dict[str, Any]]
"""A deployment and the parameters of its run."""


async def _nothing(test_env: TestEnvironment) -> None:
    """The default: no preparation."""


async def _no_events(test_env: TestEnvironment, run: Run) -> None:
    """The default: nothing happens while the run is under way."""


def release(test_env: TestEnvironment, version: str) -> Start:
    """A normal release of the version to production."""
    return "release/production", test_env.request(version, "a rehearsed release")


def _no_checks(result: "ScenarioResult") -> None:
    """The default: no checks beyond the common ones."""


@dataclass(frozen=True)
class Scenario:
    """A release and what happens while it runs. ``ends`` is the name of the state that it must end in."""

    name: str
    description: str
    """one sentence, as `python -m rehearsal list` prints it"""
    ends: str
    behaviours: Mapping[str, str] = field(default_factory=dict)
    """service -> how its new image behaves; healthy where a service is not listed"""
    staging_behaviours: Mapping[str, str] = field(default_factory=dict)
    users_per_s: float = 120.0
    """requests/s to each service; 120 give the 598 canary requests that a promotion needs in a compressed bake"""
    given: Callable[[TestEnvironment], Awaitable[None]] = _nothing
    starts: Callable[[TestEnvironment, str], Start] = release
    """what to start, given the version that CI has built"""
    due_s_ago: float = 0.0
    """how long before its start the run was due"""
    meanwhile: Callable[[TestEnvironment, Run], Awaitable[Run | None]] = _no_events
    """what happens while it runs; may return another run, whose result is then the scenario's"""
    then: Callable[["ScenarioResult"], None] = _no_checks
    needs: str = ""
    """a program without which it is not run, and skipped in so many words"""
    is_forgotten: bool = False
    """the server no longer knows the run when it ends: `meanwhile` returns how it did"""
    is_scaled: bool = False
    """Prefect runs as on several machines, with three environments: `rehearsal/scale.py`"""
    recovery_ends: str = ""
    """the state that a recovery run must end in, where the scenario needs one"""
    timeout_s: float = 240.0

    @property
    def lacks(self) -> str:
        """Why it cannot be run on this machine; empty where it can."""
        if self.needs and shutil.which(self.needs) is None:
            return f"{self.needs} is not installed, so this was not rehearsed."
        return ""


@dataclass
class ScenarioResult:
    """What happened: the run, the writes to the world, the calls to vendors, and the requests of users."""

    scenario: Scenario
    run: Run
    recovery: Run | None
    steps: list[Step]
    logs: list[str]
    writes: list[dict[str, Any]]
    vendor_calls: list[dict[str, Any]]
    """the accepted calls to vendor stand-ins that changed something: seq, at, vendor, method, path, body"""
    before: dict[str, dict[str, int]]
    """service -> revision -> percent, when the scenario began"""
    after: dict[str, dict[str, int]]
    annotations: dict[str, dict[str, str]]
    tags: dict[str, dict[str, str]]
    requests: dict[str, Any]
    """the requests of users since the release was started"""
    due: float = 0.0
    """how many requests users should have made in that time: their rate times its length"""
    watches: int = 0
    """runs of watch/production that were started"""
    mongodb_uri: str = ""
    restored_uri: str = ""
    events: list[tuple[float, str]] = field(default_factory=list)
    """unix seconds, and what the scenario did then"""
    wrong: list[str] = field(default_factory=list)
    skipped: str = ""
    """why it was not run, where that is no failure"""

    @classmethod
    def skip(cls, scenario: Scenario, why: str) -> "ScenarioResult":
        """The result of a scenario that needs what this machine does not have."""
        result = cls.not_run(scenario, why)
        result.wrong, result.skipped = [], why
        return result

    @classmethod
    def not_run(cls, scenario: Scenario, sentence: str) -> "ScenarioResult":
        """The result of a scenario that was not run, with the reason."""
        nothing = {"total": 0, "failed": 0, "by_revision": {}}
        run = Run("", scenario.name, "", "", sentence, 0.0, None, None)
        return cls(scenario, run, None, [], [], [], [], {}, {}, {}, {}, nothing, wrong=[sentence])

    def expect(self, is_so: bool, sentence: str) -> None:
        """Note ``sentence`` as a failed check unless ``is_so``."""
        if not is_so:
            self.wrong.append(sentence)

    @property
    def outcome(self) -> str:
        """The state that the scenario ended in: the recovery's, where the recovery finished the release."""
        if self.recovery and self.scenario.recovery_ends == self.scenario.ends:
            return self.recovery.state
        return self.run.state

    @property
    def message(self) -> str:
        """The message of the last run's final state."""
        return (self.recovery or self.run).message

    @property
    def ended_at_s(self) -> float:
        """When the last run ended, in unix seconds."""
        return (self.recovery or self.run).ended_at_s or self.run.created_at_s

    @property
    def passed(self) -> bool:
        return not self.wrong

    def steps_named(self, beginning: str) -> list[Step]:
        """The steps whose name starts with ``beginning``."""
        return [step for step in self.steps if step.name.startswith(beginning)]

    def words(self, vendor: str) -> list[str]:
        """The bodies of the calls to a vendor, as text."""
        return [str(one["body"]) for one in self.vendor_calls if one["vendor"] == vendor]

    def production_writes(self) -> list[dict[str, Any]]:
        """The writes to production, in order."""
        return [write for write in self.writes if f"/{PRODUCTION}/" in write["resource"]]

    def shifts(self) -> list[tuple[str, int]]:
        """(service, percent of its new revision) after each write that changed this percentage."""
        found: list[tuple[str, int]] = []
        share = dict.fromkeys(SERVICES, 0)
        for write in self.production_writes():
            service = write["resource"].rpartition("/")[2]
            if not write["applied"] or not write["traffic"] or service not in share:
                continue
            old = {*self.before[service], "LATEST"}
            percent = sum(int(target["percent"]) for target in write["traffic"] if target["revision"] not in old)
            if percent != share[service]:
                share[service] = percent
                found.append((service, percent))
        return found

    def reached(self, service: str) -> int:
        """How many requests the new revision of a service answered."""
        answered = self.requests["by_revision"].items()
        return sum(n for name, n in answered if name.startswith(f"{service}-") and name not in self.before[service])

    @property
    def seconds(self) -> dict[str, float | None]:
        """Durations: canary's first user to verdict, verdict to end of revert, kill to take-over, and total."""
        served = [w["served_at"] for w in self.production_writes() if _canary_percent(w) and w.get("served_at")]
        verdict = [step.ended_at_s for step in self.steps_named("monitor")]
        reverts = [step.ended_at_s for step in self.steps_named("revert")]
        return {
            "onset_to_verdict": round(verdict[0] - served[0], 2) if verdict and served else None,
            "verdict_to_reverted": round(max(reverts) - verdict[0], 2) if verdict and reverts else None,
            "killed_to_taken_over": self._killed_to_taken_over(),
            "total": round(self.ended_at_s - self.run.created_at_s, 2),
        }

    def _killed_to_taken_over(self) -> float | None:
        """Seconds from the first SIGKILL to the end of recovery's first "take over" step."""
        killed = [at_s for at_s, event in self.events if event.startswith(SIGKILL)]
        taken = sorted(step.ended_at_s for step in self.steps_named("take over"))
        return round(taken[0] - killed[0], 2) if killed and taken else None

    def timeline(self) -> list[dict[str, Any]]:
        """Steps, calls to vendors and the scenario's own events, in order, in seconds since the run was created."""
        began_s = self.run.created_at_s
        seen = [
            (step.ended_at_s, f"{step.name}: {step.state}") for step in self.steps if not step.name.startswith("report")
        ]
        seen += [(one["at"], f"{one['vendor']} was called") for one in self.vendor_calls]
        seen += self.events
        seen += [(run.ended_at_s or began_s, f"{run.name}: {run.state}") for run in (self.run, self.recovery) if run]
        return [{"at_s": round(at_s - began_s, 2), "event": event} for at_s, event in sorted(seen)]

    def json(self) -> dict[str, Any]:
        """The result in the form that scripts read (design.md 7)."""
        return {
            "story": self.scenario.name,
            "passed": self.passed,
            "expected": self.scenario.ends,
            "outcome": self.outcome,
            "flow_run_id": self.run.id,
            "traffic": self.after,
            "timeline": self.timeline(),
            "requests": self.requests,
            "seconds": self.seconds,
            "messages": [{"to": one["vendor"], "text": _text(one["body"])} for one in self.vendor_calls],
            "wrong": self.wrong,
            "skipped": self.skipped,
        }


def _canary_percent(write: dict[str, Any]) -> bool:
    shares = [int(target["percent"]) for target in write["traffic"] if target["percent"]]
    return len(shares) > 1 and write["method"].endswith(("UpdateService", "ReplaceService"))


def _text(body: Any) -> str:
    """The text of a call to a vendor."""
    if isinstance(body, dict):
        for key in ("text", "title", "summary", "version"):
            if key in body:
                return str(body[key])
        if isinstance(body.get("payload"), dict):
            return _text(body["payload"])
    return str(body)
