"""The plots of what cannot wait: a hotfix, a manual rollback, either in place of a release that runs, and a measure on
one service."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from cloud import Behaviour
from driver import Run, TestEnvironment
from fixture import NEW, OLD, SERVICES
from invariants import promotion_told_wrong, revert_told_wrong
from prefect import Flow
from scenarios import Asked, released

from flows.hotfix import hotfix
from flows.mitigate import mitigate
from flows.rollback import rollback
from playbook.incident.decision_matrix import Symptom
from playbook.lease.lease import Kind
from playbook.lease.record import Record
from playbook.release.request import ExploitCheck, HotfixRequest, Measure, MitigateRequest, RollbackRequest

BACKEND = SERVICES[1]
MAINTENANCE = f"{BACKEND}-maintenance"
FIX = "v20251117-hotfix1-fed987"
PATCHED = Behaviour(is_patched=True)


async def bake(test_env: TestEnvironment) -> None:
    """A release of NEW shows its canary to users."""
    test_env.fixture.publish(NEW)
    test_env.start_release(NEW)
    await test_env.until(test_env.baking(BACKEND))


@dataclass(frozen=True)
class Hotfix(Asked):
    """A hotfix whose backend behaves so, maybe while a release bakes."""

    backend: Behaviour = PATCHED
    is_good: bool = True
    is_preempting: bool = False

    async def set_the_scene(self, test_env: TestEnvironment) -> None:
        """It has been built, and is good in staging."""
        test_env.fixture.publish(FIX, {BACKEND: PATCHED}, where="staging")
        test_env.fixture.publish(FIX, {BACKEND: self.backend})
        if self.is_preempting:
            await bake(test_env)

    def asked(self) -> tuple[Flow[..., object], object]:
        """With a request that shows the hole."""
        check = ExploitCheck(path="/api/debug/users", service=BACKEND)
        asked = HotfixRequest(version=FIX, reason="a hole", incident="CVE-1", approver="ada", exploit=(check,))
        return hotfix, asked

    def is_known(self, test_env: TestEnvironment) -> bool:
        """Once it holds a service of production; what it holds in staging, or took from a release, is not it."""
        leases = (write.change.record.lease for write in test_env.fixture.production.writes)
        return any(lease is not None and lease.kind is Kind.HOTFIX for lease in leases)

    def wrong(self, test_env: TestEnvironment, run: Run) -> Iterator[str]:
        """Everybody has it, or nobody because it is bad; told so, once. What ran before is told its end, once."""
        served, wanted = test_env.fixture.versions_served(), FIX if self.is_good else OLD
        keys, tickets = test_env.fixture.slack.keys, test_env.fixture.github.tickets
        if set(served.values()) != {wanted}:
            yield f"production serves {served}, not {wanted}"
        if set(test_env.fixture.versions_served("staging").values()) != {FIX}:
            yield f"staging serves {test_env.fixture.versions_served('staging')}"
        if not self.is_good:
            yield from revert_told_wrong(test_env)
            return
        if keys.count("hotfix") != 1 or [ticket.key.rsplit("/", 1)[1] for ticket in tickets] != ["debt"]:
            yield f"the hotfix was told so: {keys}, {[ticket.key for ticket in tickets]}"
        if self.is_preempting:
            if keys.count("gave-way") + keys.count("complete") != 1:
                yield f"the release before it was told so: {keys}"
        else:
            yield from promotion_told_wrong(test_env, FIX)
        if test_env.fixture.pagerduty.incidents:
            yield f"somebody was woken: {list(test_env.fixture.pagerduty.incidents)}"


@dataclass(frozen=True)
class Rollback(Asked):
    """A manual rollback: of what was promoted before, or of a release that bakes."""

    is_preempting: bool = False

    async def set_the_scene(self, test_env: TestEnvironment) -> None:
        """Users have NEW, or a share of them."""
        if self.is_preempting:
            await bake(test_env)
            return
        test_env.fixture.publish(NEW)
        for service in SERVICES:
            released(test_env, service, OLD, NEW)

    def asked(self) -> tuple[Flow[..., object], object]:
        """By a person."""
        asked = RollbackRequest(symptom=Symptom.ERRORS_ABOVE_MAX, reason="reports are empty", requested_by="ada")
        return rollback, asked

    def is_known(self, test_env: TestEnvironment) -> bool:
        """From its first write: in place of a release or of its own, it says that users go back."""
        return any(write.by.startswith(rollback.name) for write in test_env.fixture.production.writes)

    def wrong(self, test_env: TestEnvironment, run: Run) -> Iterator[str]:
        """Everybody is back; told so, once."""
        if set(test_env.fixture.versions_served().values()) != {OLD}:
            yield f"production serves {test_env.fixture.versions_served()}, not {OLD}"
        yield from revert_told_wrong(test_env)


@dataclass(frozen=True)
class Mitigation(Asked):
    """A measure on the backend. It holds nothing and no recovery finishes it: whoever asked starts it again.

    Every run answers its person in `#incident-response`, once. After it, another person ends the measure, and nothing
    of it is left.
    """

    measure: Measure = Measure.SCALE

    async def set_the_scene(self, test_env: TestEnvironment) -> None:
        """The environment names a maintenance revision; to be restored there must be a measure."""
        production = test_env.fixture.environments["production"]
        named = production.service(BACKEND).model_copy(update={"maintenance_revision": MAINTENANCE})
        services = [named if one.name == BACKEND else one for one in production.services]
        test_env.fixture.environments["production"] = production.model_copy(update={"services": services})
        state = test_env.fixture.production.services[BACKEND]
        refuses = Behaviour(takes_writes=False)
        state.revisions[MAINTENANCE] = replace(state.revisions[f"{BACKEND}-00001-old"], behaviour=refuses, shares=[])
        if self.measure is Measure.RESTORE:
            await self._ask(test_env, Measure.SCALE)

    def asked(self) -> tuple[Flow[..., object], object]:
        """By a person."""
        return mitigate, self._request(self.measure)

    def is_known(self, test_env: TestEnvironment) -> bool:
        """To nobody but the person."""
        return False

    async def follow(self, test_env: TestEnvironment, run: Run) -> list[Run]:
        """The person's, then the way back."""
        followers = await super().follow(test_env, run)
        if self.measure is not Measure.RESTORE:
            await self._ask(test_env, Measure.RESTORE)
        return followers

    def wrong(self, test_env: TestEnvironment, run: Run) -> Iterator[str]:
        """It was taken once and ended once, and both were told."""
        writes = [write for write in test_env.fixture.production.writes if write.service == BACKEND]
        measures = [write.change.record.mitigation for write in writes]
        wanted = Measure.SCALE if self.measure is Measure.RESTORE else self.measure
        if [kept and kept.measure for kept in measures] != [wanted, None]:
            yield f"measures: {measures}"
        state = test_env.fixture.production.services[BACKEND]
        if state.served.main != f"{BACKEND}-00001-old" or state.scaling.manual is not None:
            yield f"after restore: {state.served}, {state.scaling}"
        if Record.read(test_env.fixture.production.read(BACKEND)).mitigation:
            yield "a mark of it is left"
        for words in ("PRODUCTION MITIGATED", "PRODUCTION RESTORED"):
            if words not in test_env.fixture.slack.text:
                yield f"nobody was told: {words}"

    def _request(self, measure: Measure) -> MitigateRequest:
        instances = 13 if measure is Measure.SCALE else None
        return MitigateRequest(
            service=BACKEND, measure=measure, instances=instances, reason="a flood", requested_by="ada"
        )

    async def _ask(self, test_env: TestEnvironment, measure: Measure) -> None:
        await test_env.ended(test_env.start(mitigate, request=self._request(measure), environment="production"))


EMERGENCIES = (
    Hotfix("hotfix"),
    Hotfix("hotfix, slow", Behaviour(is_patched=True, very_slow=1.0), is_good=False),
    Hotfix("hotfix, preempting", is_preempting=True),
    Rollback("rollback"),
    Rollback("rollback, preempting", is_preempting=True),
    *(Mitigation(f"mitigate, {measure}", measure) for measure in Measure),
)
