"""What is refused is refused before anything gives way for it; where that was too late, the run says what it did."""

from itertools import pairwise
from typing import Any

import pytest
from driver import Run, Stage, play
from faults import Fault
from prefect import Flow
from scene import NEW, ROOT, SERVICES
from wire import Call, Process

from flows.hotfix import hotfix
from flows.rollback import rollback
from playbook.claim import Claim, Decision, Member, Record
from playbook.errors import Refused
from playbook.matrix import Symptom
from playbook.migration import Migrations
from playbook.requests import HotfixRequest, RollbackRequest
from playbook.traffic import TrafficSplit

LEAD, BACKEND, FRONTEND = SERVICES
FIX = "v20251117-hotfix1-fed987"
ROLLBACK = RollbackRequest(symptom=Symptom.ERRORS_ABOVE_MAX, reason="bad", requested_by="ada", to="v20251101-0000bb")
HOTFIX = HotfixRequest(version=FIX, reason="a hole", incident="CVE-2025-12345", approver="ada")


class Locked:
    """A MongoDB that does not let us in."""

    async def applied(self) -> tuple[str, ...]:
        """As the block's."""
        raise Refused("MongoDB refused the password.")


def lock(stage: Stage) -> None:
    """Production's database lets nobody in."""
    migrations = Migrations(folder=str(ROOT / "rehearsal" / "migrations"), services=(BACKEND,))
    production = stage.scene.environments["production"]
    locked = production.model_copy(update={"migrations": migrations, "mongodb": Locked()})
    stage.scene.environments["production"] = locked


REFUSALS: dict[str, tuple[Flow[..., Any], Any, bool, str]] = {
    "a rollback to what does not exist": (rollback, ROLLBACK, False, "is no release and no revision"),
    "a hotfix whose schema cannot be looked up": (hotfix, HOTFIX, True, "MongoDB refused the password"),
}


@pytest.mark.parametrize(("flow", "request_", "is_locked", "words"), REFUSALS.values(), ids=REFUSALS)
def test_a_request_that_is_refused_disturbs_no_release(
    flow: Flow[..., Any], request_: Any, is_locked: bool, words: str
) -> None:
    """The one that runs goes on to its end, and that nothing was touched is true."""

    async def story(stage: Stage) -> tuple[Run, Run]:
        for where in ("staging", "production"):
            stage.scene.publish(FIX, where=where)
        stage.scene.publish(NEW)
        running = stage.start_release()
        await stage.until(stage.baking(BACKEND))
        if is_locked:
            lock(stage)
        refused = stage.start(flow, request=request_, environment="production")
        await stage.ended(refused, running)
        return running, refused

    running, refused = play(story)
    assert (running.end, refused.end) == ("Promoted", "Refused")
    assert refused.message.startswith("Nothing was touched.")
    assert words in refused.message


def test_what_is_refused_after_a_release_was_taken_back_says_so() -> None:
    """A person at the console is quicker than the rollback: its plan does not hold any more."""

    async def story(stage: Stage) -> Run:
        stage.scene.publish(NEW)
        running = stage.start_release()
        await stage.until(stage.baking(BACKEND))
        asked = ROLLBACK.model_copy(update={"to": f"{LEAD}-00001-old"})
        back = stage.start(rollback, request=asked, environment="production")
        await stage.until(lambda: "rolled-back" in stage.scene.slack.keys)
        del stage.scene.production.services[LEAD].revisions[f"{LEAD}-00001-old"]
        await stage.ended(back, running)
        return back

    back = play(story)
    assert back.end == "Refused"
    assert "gave way in production: its users are back on stable" in back.message
    assert "Nothing was touched" not in back.message


def test_staging_is_not_begun_for_what_production_cannot_take() -> None:
    """A second release while one bakes is refused before staging gets what production will not have."""

    async def story(stage: Stage) -> tuple[Stage, Run]:
        other = "v20251117-def456"
        stage.scene.publish(NEW)
        stage.scene.publish(other)
        first = stage.start_release()
        await stage.until(stage.baking(FRONTEND))
        second = await stage.release(other)
        await stage.ended(first)
        return stage, second

    stage, second = play(story)
    assert second.end == "Refused"
    assert second.message.startswith("Nothing was touched.")
    assert set(stage.scene.versions_served("staging").values()) == {NEW}


def test_one_that_is_too_late_says_what_staging_has() -> None:
    """Another release has come to production meanwhile: what was done until then is not nothing."""

    async def story(stage: Stage) -> Run:
        stage.scene.publish(NEW)
        run = stage.start_release()
        await stage.until(lambda: set(stage.scene.versions_served("staging").values()) == {NEW})
        theirs = Member(release_id="v20251117-def456-1f2e3d", epoch=1, lead=LEAD, stable=TrafficSplit.all_to("r"))
        await stage.hand(FRONTEND, record=Record(member=theirs, epoch=1))
        await stage.ended(run)
        return run

    run = play(story)
    assert run.end == "Refused"
    assert run.message.startswith(f"staging has {NEW}; production was not touched. {FRONTEND} is held by")


def test_a_release_that_went_on_while_another_gave_way_is_taken_back_from_where_it_is() -> None:
    """The rollback has read both at once, and takes the second back when the first is done: it bakes by then, and what
    it has noted since is neither lost nor overwritten."""

    hung = [Fault.HUNG]

    def once(process: Process, call: Call) -> Fault | None:
        is_it = call.system == "slack" and process.name.startswith(rollback.name)
        return hung.pop() if is_it and hung else None

    async def story(stage: Stage) -> tuple[Run, list[Claim]]:
        stage.scene.publish(NEW)
        stage.scene.publish("v20251117-def456")
        stage.scene.wire.faults.append(once)
        first = stage.start_release(services=[LEAD])
        await stage.until(stage.baking(LEAD))
        second = stage.start_release("v20251117-def456", services=[BACKEND, FRONTEND])
        await stage.until(lambda: Record.read(stage.scene.production.read(BACKEND)).claim is not None)
        asked = ROLLBACK.model_copy(update={"to": ""})
        back = stage.start(rollback, request=asked, environment="production")
        await stage.ended(back, first, second)
        claims = [one.change.record.claim for one in stage.scene.production.writes if one.service == BACKEND]
        return back, [claim for claim in claims if claim is not None]

    back, claims = play(story)
    assert back.end == "RolledBack"
    before, taken = next((a, b) for a, b in pairwise(claims) if b.epoch > a.epoch)
    assert (before.decision, before.bake_start_s is not None) == (Decision.BAKE, True)
    assert (taken.came_to, taken.bake_start_s) == (before.decision, before.bake_start_s)
