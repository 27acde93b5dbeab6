"""The plots of what cannot wait: a hotfix, a manual rollback, either in place of a release that runs, and a measure on
one service."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from cloud import Behaviour
from driver import Run, Stage
from invariants import promotion_told_wrong, revert_told_wrong
from plots import Asked, released
from prefect import Flow
from scene import NEW, OLD, SERVICES

from flows.hotfix import hotfix
from flows.mitigate import mitigate
from flows.rollback import rollback
from playbook.claim import Kind, Record
from playbook.matrix import Symptom
from playbook.requests import ExploitCheck, HotfixRequest, Measure, MitigateRequest, RollbackRequest

BACKEND = SERVICES[1]
MAINTENANCE = f"{BACKEND}-maintenance"
FIX = "v20251117-hotfix1-fed987"
PATCHED = Behaviour(is_patched=True)


async def bake(stage: Stage) -> None:
    """A release of NEW shows its canary to users."""
    stage.scene.publish(NEW)
    stage.start_release(NEW)
    await stage.until(stage.baking(BACKEND))


@dataclass(frozen=True)
class Hotfix(Asked):
    """A hotfix whose backend behaves so, maybe while a release bakes."""

    backend: Behaviour = PATCHED
    is_good: bool = True
    is_preempting: bool = False

    async def set_the_scene(self, stage: Stage) -> None:
        """It has been built, and is good in staging."""
        stage.scene.publish(FIX, {BACKEND: PATCHED}, where="staging")
        stage.scene.publish(FIX, {BACKEND: self.backend})
        if self.is_preempting:
            await bake(stage)

    def asked(self) -> tuple[Flow[..., object], object]:
        """With a request that shows the hole."""
        check = ExploitCheck(path="/api/debug/users", service=BACKEND)
        asked = HotfixRequest(version=FIX, reason="a hole", incident="CVE-1", approver="ada", exploit=(check,))
        return hotfix, asked

    def is_known(self, stage: Stage) -> bool:
        """Once it holds a service of production; what it holds in staging, or took from a release, is not it."""
        claims = (write.change.record.claim for write in stage.scene.production.writes)
        return any(claim is not None and claim.kind is Kind.HOTFIX for claim in claims)

    def wrong(self, stage: Stage, run: Run) -> Iterator[str]:
        """Everybody has it, or nobody because it is bad; told so, once. What ran before is told its end, once."""
        served, wanted = stage.scene.versions_served(), FIX if self.is_good else OLD
        keys, tickets = stage.scene.slack.keys, stage.scene.github.tickets
        if set(served.values()) != {wanted}:
            yield f"production serves {served}, not {wanted}"
        if set(stage.scene.versions_served("staging").values()) != {FIX}:
            yield f"staging serves {stage.scene.versions_served('staging')}"
        if not self.is_good:
            yield from revert_told_wrong(stage)
            return
        if keys.count("hotfix") != 1 or [ticket.key.rsplit("/", 1)[1] for ticket in tickets] != ["debt"]:
            yield f"the hotfix was told so: {keys}, {[ticket.key for ticket in tickets]}"
        if self.is_preempting:
            if keys.count("gave-way") + keys.count("complete") != 1:
                yield f"the release before it was told so: {keys}"
        else:
            yield from promotion_told_wrong(stage, FIX)
        if stage.scene.pagerduty.incidents:
            yield f"somebody was woken: {list(stage.scene.pagerduty.incidents)}"


@dataclass(frozen=True)
class Rollback(Asked):
    """A manual rollback: of what was promoted before, or of a release that bakes."""

    is_preempting: bool = False

    async def set_the_scene(self, stage: Stage) -> None:
        """Users have NEW, or a share of them."""
        if self.is_preempting:
            await bake(stage)
            return
        stage.scene.publish(NEW)
        for service in SERVICES:
            released(stage, service, OLD, NEW)

    def asked(self) -> tuple[Flow[..., object], object]:
        """By a person."""
        asked = RollbackRequest(symptom=Symptom.ERRORS_ABOVE_MAX, reason="reports are empty", requested_by="ada")
        return rollback, asked

    def is_known(self, stage: Stage) -> bool:
        """From its first write: in place of a release or of its own, it says that users go back."""
        return any(write.by.startswith(rollback.name) for write in stage.scene.production.writes)

    def wrong(self, stage: Stage, run: Run) -> Iterator[str]:
        """Everybody is back; told so, once."""
        if set(stage.scene.versions_served().values()) != {OLD}:
            yield f"production serves {stage.scene.versions_served()}, not {OLD}"
        yield from revert_told_wrong(stage)


@dataclass(frozen=True)
class Mitigation(Asked):
    """A measure on the backend. It holds nothing and no recovery finishes it: whoever asked starts it again.

    Every run answers its person in `#incident-response`, once. After it, another person ends the measure, and nothing
    of it is left.
    """

    measure: Measure = Measure.SCALE

    async def set_the_scene(self, stage: Stage) -> None:
        """The environment names a maintenance revision; to be restored there must be a measure."""
        production = stage.scene.environments["production"]
        named = production.service(BACKEND).model_copy(update={"maintenance_revision": MAINTENANCE})
        services = [named if one.name == BACKEND else one for one in production.services]
        stage.scene.environments["production"] = production.model_copy(update={"services": services})
        state = stage.scene.production.services[BACKEND]
        refuses = Behaviour(takes_writes=False)
        state.revisions[MAINTENANCE] = replace(state.revisions[f"{BACKEND}-00001-old"], behaviour=refuses, shares=[])
        if self.measure is Measure.RESTORE:
            await self._ask(stage, Measure.SCALE)

    def asked(self) -> tuple[Flow[..., object], object]:
        """By a person."""
        return mitigate, self._request(self.measure)

    def is_known(self, stage: Stage) -> bool:
        """To nobody but the person."""
        return False

    async def follow(self, stage: Stage, run: Run) -> list[Run]:
        """The person's, then the way back."""
        followers = await super().follow(stage, run)
        if self.measure is not Measure.RESTORE:
            await self._ask(stage, Measure.RESTORE)
        return followers

    def wrong(self, stage: Stage, run: Run) -> Iterator[str]:
        """It was taken once and ended once, and both were told."""
        writes = [write for write in stage.scene.production.writes if write.service == BACKEND]
        measures = [write.change.record.mitigation for write in writes]
        wanted = Measure.SCALE if self.measure is Measure.RESTORE else self.measure
        if [kept and kept.measure for kept in measures] != [wanted, None]:
            yield f"measures: {measures}"
        state = stage.scene.production.services[BACKEND]
        if state.served.main != f"{BACKEND}-00001-old" or state.scaling.manual is not None:
            yield f"after restore: {state.served}, {state.scaling}"
        if Record.read(stage.scene.production.read(BACKEND)).mitigation:
            yield "a mark of it is left"
        for words in ("PRODUCTION MITIGATED", "PRODUCTION RESTORED"):
            if words not in stage.scene.slack.text:
                yield f"nobody was told: {words}"

    def _request(self, measure: Measure) -> MitigateRequest:
        instances = 13 if measure is Measure.SCALE else None
        return MitigateRequest(
            service=BACKEND, measure=measure, instances=instances, reason="a flood", requested_by="ada"
        )

    async def _ask(self, stage: Stage, measure: Measure) -> None:
        await stage.ended(stage.start(mitigate, request=self._request(measure), environment="production"))


EMERGENCIES = (
    Hotfix("hotfix"),
    Hotfix("hotfix, slow", Behaviour(is_patched=True, very_slow=1.0), is_good=False),
    Hotfix("hotfix, preempting", is_preempting=True),
    Rollback("rollback"),
    Rollback("rollback, preempting", is_preempting=True),
    *(Mitigation(f"mitigate, {measure}", measure) for measure in Measure),
)
