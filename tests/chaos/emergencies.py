"""Scenarios of emergencies: a hotfix and a manual rollback, also in place of a running release, and a mitigation."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from cloud import Behaviour, RevisionState
from driver import Run, TestEnvironment
from fixture import NEW, OLD, SERVICES
from invariants import promotion_message_problems, revert_message_problems
from prefect import Flow
from scenarios import Asked, released

from flows.hotfix import hotfix
from flows.mitigate import mitigate
from flows.rollback import rollback
from playbook.incident.decision_matrix import Symptom
from playbook.lease.lease import Kind
from playbook.lease.record import Record
from playbook.release.request import ExploitCheck, HotfixRequest, Measure, MitigateRequest, RollbackRequest
from playbook.release.traffic import TrafficSplit

BACKEND = SERVICES[1]
MAINTENANCE = f"{BACKEND}-maintenance"
FIX = "v20251117-hotfix1-fed987"
PATCHED = Behaviour(is_patched=True)


async def bake(test_env: TestEnvironment) -> None:
    """A release of NEW is baking."""
    test_env.fixture.publish(NEW)
    test_env.start_release(NEW)
    await test_env.until(test_env.baking(BACKEND))


@dataclass(frozen=True)
class Hotfix(Asked):
    """A hotfix with this backend, optionally while a release bakes."""

    backend: Behaviour = PATCHED
    is_good: bool = True
    is_preempting: bool = False

    async def prepare(self, test_env: TestEnvironment) -> None:
        """CI has built it, and it is healthy in staging."""
        test_env.fixture.publish(FIX, {BACKEND: PATCHED}, where="staging")
        test_env.fixture.publish(FIX, {BACKEND: self.backend})
        if self.is_preempting:
            await bake(test_env)

    def asked(self) -> tuple[Flow[..., object], object]:
        """With an exploit check."""
        check = ExploitCheck(request="env:EXPLOIT_USERS", service=BACKEND)
        asked = HotfixRequest(version=FIX, reason="a hole", incident="CVE-1", approver="ada", exploit=(check,))
        return hotfix, asked

    def is_known(self, test_env: TestEnvironment) -> bool:
        """Once it holds a service of production; a lease in staging, or one of a preempted release, does not count."""
        leases = (write.change.record.lease for write in test_env.fixture.production.writes)
        return any(lease is not None and lease.kind is Kind.HOTFIX for lease in leases)

    def wrong(self, test_env: TestEnvironment, run: Run) -> Iterator[str]:
        """All users have it, or none because it is bad; each message is sent once, the preempted release's too."""
        served, wanted = test_env.fixture.versions_served(), FIX if self.is_good else OLD
        keys, tickets = test_env.fixture.slack.keys, test_env.fixture.github.tickets
        if set(served.values()) != {wanted}:
            yield f"production serves {served}, not {wanted}"
        if set(test_env.fixture.versions_served("staging").values()) != {FIX}:
            yield f"staging serves {test_env.fixture.versions_served('staging')}"
        if not self.is_good:
            yield from revert_message_problems(test_env)
            return
        if keys.count("hotfix") != 1 or [ticket.key.rsplit("/", 1)[1] for ticket in tickets] != ["debt"]:
            yield f"messages of the hotfix: {keys}, {[ticket.key for ticket in tickets]}"
        if self.is_preempting:
            if keys.count("gave-way") + keys.count("complete") != 1:
                yield f"messages of the preempted release: {keys}"
        else:
            yield from promotion_message_problems(test_env, FIX)
        if test_env.fixture.pagerduty.incidents:
            yield f"a page was sent: {list(test_env.fixture.pagerduty.incidents)}"


@dataclass(frozen=True)
class Rollback(Asked):
    """A manual rollback of the promoted release, or of a release that bakes."""

    is_preempting: bool = False

    async def prepare(self, test_env: TestEnvironment) -> None:
        """All users have NEW, or the canary's share of them."""
        if self.is_preempting:
            await bake(test_env)
            return
        test_env.fixture.publish(NEW)
        for service in SERVICES:
            released(test_env, service, OLD, NEW)

    def asked(self) -> tuple[Flow[..., object], object]:
        """The flow and its request."""
        asked = RollbackRequest(symptom=Symptom.ERRORS_ABOVE_MAX, reason="reports are empty", requested_by="ada")
        return rollback, asked

    def is_known(self, test_env: TestEnvironment) -> bool:
        """From its first write on, which records the rollback."""
        return any(write.by.startswith(rollback.name) for write in test_env.fixture.production.writes)

    def wrong(self, test_env: TestEnvironment, run: Run) -> Iterator[str]:
        """All users are on the earlier version, and each message is sent once."""
        if set(test_env.fixture.versions_served().values()) != {OLD}:
            yield f"production serves {test_env.fixture.versions_served()}, not {OLD}"
        yield from revert_message_problems(test_env)


@dataclass(frozen=True)
class Mitigation(Asked):
    """A mitigation of the backend. It has no lease, so no recovery finishes it: the person starts it again.

    Every run posts once in `#incident-response`. Afterwards another person ends the mitigation, and nothing of it is
    left.
    """

    measure: Measure = Measure.SCALE

    async def prepare(self, test_env: TestEnvironment) -> None:
        """The environment names a maintenance revision; a restore needs a mitigation first."""
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
        """The flow and its request."""
        return mitigate, self._request(self.measure)

    def is_known(self, test_env: TestEnvironment) -> bool:
        """Never: it has no lease."""
        return False

    async def follow(self, test_env: TestEnvironment, run: Run) -> list[Run]:
        """The person starts it again, then ends the mitigation."""
        followers = await super().follow(test_env, run)
        if self.measure is not Measure.RESTORE:
            await self._ask(test_env, Measure.RESTORE)
        return followers

    def wrong(self, test_env: TestEnvironment, run: Run) -> Iterator[str]:
        """It was started once and ended once, and both messages were sent."""
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
        # A restore that was killed before it could say so is asked for again, and finds nothing in force.
        ends = ("PRODUCTION RESTORED", "PRODUCTION HAS NOTHING TO RESTORE")
        for either in (("PRODUCTION MITIGATED",), ends):
            if not any(words in test_env.fixture.slack.text for words in either):
                yield f"no message contains: {' or '.join(either)}"

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


def configure(test_env: TestEnvironment, service: str = BACKEND, tag: str = "", **env: str) -> str:
    """`gcloud run services update --set-env-vars`, as a person does it: a new revision at 0 %, with ``tag``."""
    state = test_env.fixture.production.services[service]
    base, name = state.revisions[state.latest_created], f"{service}-{len(state.revisions) + 1:05d}-ada"
    made = RevisionState(base.image, test_env.fixture.now(), base.behaviour, is_ready=True, env={**base.env, **env})
    state.revisions[name] = made
    state.split = TrafficSplit(percent=state.served.percent, tags={**state.split.tags, **({tag: name} if tag else {})})
    state.served = state.split
    state.latest_created = state.latest_ready = name
    state.etag += 1
    return name
