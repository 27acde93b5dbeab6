"""What a story is, and what is told of it afterwards."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rehearsal.prefect_api import Run, Step

if TYPE_CHECKING:
    from rehearsal.test_environment import TestEnvironment

PRODUCTION = "ethixai-production"
STAGING = "ethixai-staging"
SIGKILL = "SIGKILL of "
"""How the event of a kill begins."""
SERVICES = ("ethixai-ai-core", "ethixai-backend", "ethixai-frontend")


Start = tuple[str, dict[str, Any]]
"""A deployment, and the parameters it is started with."""


async def _nothing(test_env: "TestEnvironment") -> None:
    """A story that begins like every other."""


async def _nobody(test_env: "TestEnvironment", run: Run) -> None:
    """A story in which nobody interferes."""


def release(test_env: "TestEnvironment", version: str) -> Start:
    """A normal release of the version to production."""
    return "release/production", test_env.request(version, "a rehearsed release")


def _no_more(result: "ScenarioResult") -> None:
    """A story of which the end state says everything."""


@dataclass(frozen=True)
class Scenario:
    """A release and what happens to it. ``ends`` is the name of the state it must end in."""

    name: str
    told: str
    ends: str
    behaviours: Mapping[str, str] = field(default_factory=dict)
    """service -> how its new image behaves; healthy where it is not named"""
    staging_behaviours: Mapping[str, str] = field(default_factory=dict)
    users_per_s: float = 120.0
    """requests/s to each service: 120 give the 598 canary requests that a promotion needs in a compressed bake"""
    given: Callable[["TestEnvironment"], Awaitable[None]] = _nothing
    starts: Callable[["TestEnvironment", str], Start] = release
    """what is started, given the version that CI has built"""
    meanwhile: Callable[["TestEnvironment", Run], Awaitable[Run | None]] = _nobody
    """what happens while it runs; may name another run as the one the story is about"""
    then: Callable[["ScenarioResult"], None] = _no_more
    recovery_ends: str = ""
    """the state that a recovery run must end in, where the story needs one"""
    timeout_s: float = 240.0


@dataclass
class ScenarioResult:
    """What happened: the run, the writes the world saw, the words that were sent, what users met."""

    scenario: Scenario
    run: Run
    recovery: Run | None
    steps: list[Step]
    logs: list[str]
    writes: list[dict[str, Any]]
    told: list[dict[str, Any]]
    before: dict[str, dict[str, int]]
    """service -> revision -> percent, when the story began"""
    after: dict[str, dict[str, int]]
    annotations: dict[str, dict[str, str]]
    tags: dict[str, dict[str, str]]
    requests: dict[str, Any]
    """what users met since the release was asked for"""
    due: float = 0.0
    """requests that users were to make in that time: their rate times its length"""
    watches: int = 0
    """runs of watch/production that were started"""
    mongodb_uri: str = ""
    restored_uri: str = ""
    events: list[tuple[float, str]] = field(default_factory=list)
    """unix seconds and what the story did then"""
    wrong: list[str] = field(default_factory=list)

    @classmethod
    def untold(cls, scenario: Scenario, sentence: str) -> "ScenarioResult":
        """A story of which nothing is known but why it could not be told."""
        nothing = {"total": 0, "failed": 0, "by_revision": {}}
        run = Run("", scenario.name, "", "", sentence, 0.0, None, None)
        return cls(scenario, run, None, [], [], [], [], {}, {}, {}, {}, nothing, wrong=[sentence])

    def expect(self, is_so: bool, sentence: str) -> None:
        """Note ``sentence`` as broken unless it is so."""
        if not is_so:
            self.wrong.append(sentence)

    @property
    def outcome(self) -> str:
        """The state the story ended in: the recovery's, where the release went on in it."""
        if self.recovery and self.scenario.recovery_ends == self.scenario.ends:
            return self.recovery.state
        return self.run.state

    @property
    def message(self) -> str:
        """Why it ended so, in the words of the last run of the story."""
        return (self.recovery or self.run).message

    @property
    def ended_at_s(self) -> float:
        """When the last run of the story was over, in unix seconds."""
        return (self.recovery or self.run).ended_at_s or self.run.created_at_s

    @property
    def passed(self) -> bool:
        return not self.wrong

    def steps_named(self, beginning: str) -> list[Step]:
        """The steps whose name begins so."""
        return [step for step in self.steps if step.name.startswith(beginning)]

    def words(self, vendor: str) -> list[str]:
        """What a desk was told, as text."""
        return [str(one["body"]) for one in self.told if one["desk"] == vendor]

    def production_writes(self) -> list[dict[str, Any]]:
        """The writes that concern production, in order."""
        return [write for write in self.writes if f"/{PRODUCTION}/" in write["resource"]]

    def shifts(self) -> list[tuple[str, int]]:
        """Who got how many percent on its new revision, write by write; a write that moves nobody is not in it."""
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
        """How long it took: from the canary's first user to the verdict, from there to safety, from a kill to when
        another process held the release, and in all."""
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
        """Seconds from the first SIGKILL to the end of recovery's first step that made the release its own."""
        killed = [at_s for at_s, event in self.events if event.startswith(SIGKILL)]
        taken = sorted(step.ended_at_s for step in self.steps_named("take over"))
        return round(taken[0] - killed[0], 2) if killed and taken else None

    def timeline(self) -> list[dict[str, Any]]:
        """Steps, words and interferences in the order they happened, in seconds since the run was asked for."""
        began_s = self.run.created_at_s
        seen = [
            (step.ended_at_s, f"{step.name}: {step.state}") for step in self.steps if not step.name.startswith("report")
        ]
        seen += [(one["at"], f"{one['vendor']} was told") for one in self.told]
        seen += self.events
        seen += [(run.ended_at_s or began_s, f"{run.name}: {run.state}") for run in (self.run, self.recovery) if run]
        return [{"at_s": round(at_s - began_s, 2), "event": event} for at_s, event in sorted(seen)]

    def json(self) -> dict[str, Any]:
        """The story as scripts read it (design: the rehearsal's command line)."""
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
            "messages": [{"to": one["desk"], "text": _text(one["body"])} for one in self.told],
            "wrong": self.wrong,
        }


def _canary_percent(write: dict[str, Any]) -> bool:
    shares = [int(target["percent"]) for target in write["traffic"] if target["percent"]]
    return len(shares) > 1 and write["method"].endswith("UpdateService")


def _text(body: Any) -> str:
    """The words in what a desk was told."""
    if isinstance(body, dict):
        for key in ("text", "title", "summary", "version"):
            if key in body:
                return str(body[key])
        if isinstance(body.get("payload"), dict):
            return _text(body["payload"])
    return str(body)
