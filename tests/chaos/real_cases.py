"""The sample that is killed for real: which release, at which call, at which moment, and where its users must end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wire import Moment

from rehearsal.test_environment import PRODUCTION, SERVICES, STAGING
from rehearsal.world.remote import RemoteWorld

AI_CORE, BACKEND, FRONTEND = SERVICES
PROMOTED, STABLE = "promoted", "on stable"
UPDATE, GET, POST = "Services.ReplaceService", "Services.GetService", "POST"


@dataclass(frozen=True)
class ChaosScenario:
    """A release: how its images behave, and the users it meets. Their head start gives the judge its history."""

    name: str
    behaviours: Mapping[str, str] = field(default_factory=dict)
    users_per_s: float = 120.0
    head_start_s: float = 15.0


HEALTHY = ChaosScenario("healthy")
BREACH = ChaosScenario("breach", {BACKEND: "errors=0.05"}, head_start_s=10.0)
BROKEN_START = ChaosScenario("broken start", {AI_CORE: "dies"}, users_per_s=20.0, head_start_s=0.0)


@dataclass(frozen=True)
class Call:
    """The ``nth`` call of ``method`` for ``subject``, and what it is in this scenario.

    ``system`` is a vendor or Cloud Run; the subject is a path, or for Cloud Run a project and a service.
    """

    said: str
    system: str
    method: str
    subject: str
    nth: int = 1

    async def await_it(self, world: RemoteWorld, moment: Moment) -> None:
        """The world holds exactly this call at that moment, or says when it was answered."""
        is_held, is_applied = moment is not Moment.AFTER, moment is Moment.APPLIED
        hold: dict[str, Any] = {"every": self.nth, "hang": is_held, "applied": is_applied}
        if self.system == "cloud run":
            await world.fault(self.method, resource=f"*/{self.subject}", **hold)
        else:
            late_s = 0.01 if moment is Moment.AFTER else 0.0  # a vendor's order must contain something, if only a delay
            await world.vendor_fault(self.system, method=self.method, path=self.subject, delay_s=late_s, **hold)

    def __str__(self) -> str:
        return f"{self.system}: {self.said}"


@dataclass(frozen=True)
class Baking:
    """No call, but so many seconds into the bake."""

    seconds: float

    def __str__(self) -> str:
        return f"{self.seconds:g} s into the bake"


@dataclass(frozen=True)
class Case:
    """One kill, perhaps with one more of the recovery that follows it, and what production must serve at the end."""

    scenario: ChaosScenario
    call: Call | Baking
    moment: Moment
    ends: str = STABLE
    then: tuple[Call, Moment] | None = None
    """of the recovery"""


def production(said: str, service: str, nth: int, method: str = UPDATE) -> Call:
    """A call to Cloud Run about a service of production, by default its nth write."""
    return _cloud_run(said, PRODUCTION, service, nth, method)


def staging(said: str, service: str, nth: int) -> Call:
    """The nth write to a service of staging."""
    return _cloud_run(said, STAGING, service, nth, UPDATE)


def _cloud_run(said: str, project: str, service: str, nth: int, method: str) -> Call:
    where = f"{project.removeprefix('ethixai-')}/{service.removeprefix('ethixai-')}"
    subject = f"{project}/locations/*/services/{service}"
    return Call(f"{said} {where}", "cloud run", method, subject, nth)


def message(words: str, nth: int) -> Call:
    """The nth message to Slack: the first three are two of staging and the start of production's release."""
    return Call(words, "slack", POST, "/api/chat.postMessage", nth)


PAGE = Call("page", "pagerduty", POST, "/v2/enqueue")
TICKET = Call("open ticket", "github", POST, "/repos/*/issues")
SEARCH = Call("look for the ticket", "github", "GET", "/repos/*/issues")
DEPLOYED = Call("deployed to staging", "sentry", POST, "*/deploys/")
BEFORE, APPLIED, AFTER = Moment.BEFORE, Moment.APPLIED, Moment.AFTER

CASES = (
    Case(BREACH, production("revert of", AI_CORE, 5), APPLIED),
    Case(BROKEN_START, production("lease of", AI_CORE, 1), BEFORE),
    Case(BROKEN_START, production("deploy to", AI_CORE, 2), APPLIED),
    Case(BREACH, production("shift of", AI_CORE, 3), APPLIED),
    Case(BROKEN_START, PAGE, APPLIED),
    Case(BROKEN_START, staging("lease of", BACKEND, 1), APPLIED),
    Case(HEALTHY, production("promote", AI_CORE, 5), APPLIED, PROMOTED),
    Case(
        BROKEN_START,
        production("revert of", BACKEND, 3),
        AFTER,
        then=(production("second write to", FRONTEND, 2), APPLIED),
    ),
    Case(BROKEN_START, production("release of the lease of", AI_CORE, 4), APPLIED),
    Case(BREACH, Baking(2), AFTER),
    Case(BROKEN_START, production("lease of", BACKEND, 1), AFTER),
    Case(BROKEN_START, message("message to #releases or #incident-response", 4), BEFORE),
    Case(BREACH, production("shift of", BACKEND, 3), AFTER, then=(PAGE, BEFORE)),
    Case(BROKEN_START, staging("promote", BACKEND, 3), BEFORE),
    Case(BROKEN_START, TICKET, APPLIED),
    Case(HEALTHY, Baking(20), AFTER, PROMOTED),
    Case(BROKEN_START, production("release of the lease of", FRONTEND, 4), AFTER),
    Case(BROKEN_START, production("look at", FRONTEND, 2, GET), AFTER),
    Case(BREACH, production("shift of", FRONTEND, 3), BEFORE),
    Case(BROKEN_START, DEPLOYED, AFTER),
    Case(BREACH, production("note of the bake's start on", AI_CORE, 4), AFTER),
    Case(BROKEN_START, SEARCH, BEFORE),
    Case(BROKEN_START, production("deploy to", BACKEND, 2), BEFORE),
    Case(HEALTHY, production("promote", BACKEND, 4), BEFORE, PROMOTED),
    Case(HEALTHY, message("message that the release is complete", 4), APPLIED, PROMOTED),
)
"""The first ones are a sample by themselves: `--cases N` takes so many from the beginning."""
