"""What is refused is refused before anything gives way for it; where that was too late, the run says what it did."""

from itertools import pairwise
from typing import Any

import pytest
from driver import Run, TestEnvironment, play
from faults import Fault
from fixture import NEW, ROOT, SERVICES
from prefect import Flow
from wire import Call, Process

from flows.hotfix import hotfix
from flows.rollback import rollback
from playbook.errors import Refused
from playbook.incident.decision_matrix import Symptom
from playbook.lease.lease import Decision, Lease
from playbook.lease.record import Participant, Record
from playbook.migration.plan import Migrations
from playbook.release.request import HotfixRequest, RollbackRequest
from playbook.release.traffic import TrafficSplit

LEAD, BACKEND, FRONTEND = SERVICES
FIX = "v20251117-hotfix1-fed987"
ROLLBACK = RollbackRequest(symptom=Symptom.ERRORS_ABOVE_MAX, reason="bad", requested_by="ada", to="v20251101-0000bb")
HOTFIX = HotfixRequest(version=FIX, reason="a hole", incident="CVE-2025-12345", approver="ada")


class Locked:
    """A MongoDB that does not let us in."""

    async def applied(self) -> tuple[str, ...]:
        """As the block's."""
        raise Refused("MongoDB refused the password.")


def lock(test_env: TestEnvironment) -> None:
    """Production's database lets nobody in."""
    migrations = Migrations(folder=str(ROOT / "rehearsal" / "migrations"), services=(BACKEND,))
    production = test_env.fixture.environments["production"]
    locked = production.model_copy(update={"migrations": migrations, "mongodb": Locked()})
    test_env.fixture.environments["production"] = locked


REFUSALS: dict[str, tuple[Flow[..., Any], Any, bool, str]] = {
    "a rollback to what does not exist": (rollback, ROLLBACK, False, "is no release and no revision"),
    "a hotfix whose schema cannot be looked up": (hotfix, HOTFIX, True, "MongoDB refused the password"),
}


@pytest.mark.parametrize(("flow", "request_", "is_locked", "words"), REFUSALS.values(), ids=REFUSALS)
def test_a_request_that_is_refused_disturbs_no_release(
    flow: Flow[..., Any], request_: Any, is_locked: bool, words: str
) -> None:
    """The one that runs goes on to its end, and that nothing was touched is true."""

    async def scenario(test_env: TestEnvironment) -> tuple[Run, Run]:
        for where in ("staging", "production"):
            test_env.fixture.publish(FIX, where=where)
        test_env.fixture.publish(NEW)
        running = test_env.start_release()
        await test_env.until(test_env.baking(BACKEND))
        if is_locked:
            lock(test_env)
        refused = test_env.start(flow, request=request_, environment="production")
        await test_env.ended(refused, running)
        return running, refused

    running, refused = play(scenario)
    assert (running.end, refused.end) == ("Promoted", "Refused")
    assert refused.message.startswith("Nothing was touched.")
    assert words in refused.message


def test_what_is_refused_after_a_release_was_taken_back_says_so() -> None:
    """A person at the console is quicker than the rollback: its plan does not hold any more."""

    async def scenario(test_env: TestEnvironment) -> Run:
        test_env.fixture.publish(NEW)
        running = test_env.start_release()
        await test_env.until(test_env.baking(BACKEND))
        asked = ROLLBACK.model_copy(update={"to": f"{LEAD}-00001-old"})
        back = test_env.start(rollback, request=asked, environment="production")
        await test_env.until(lambda: "rolled-back" in test_env.fixture.slack.keys)
        del test_env.fixture.production.services[LEAD].revisions[f"{LEAD}-00001-old"]
        await test_env.ended(back, running)
        return back

    back = play(scenario)
    assert back.end == "Refused"
    assert "gave way in production: its users are back on stable" in back.message
    assert "Nothing was touched" not in back.message


def test_staging_is_not_begun_for_what_production_cannot_take() -> None:
    """A second release while one bakes is refused before staging gets what production will not have."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        other = "v20251117-def456"
        test_env.fixture.publish(NEW)
        test_env.fixture.publish(other)
        first = test_env.start_release()
        await test_env.until(test_env.baking(FRONTEND))
        second = await test_env.release(other)
        await test_env.ended(first)
        return test_env, second

    test_env, second = play(scenario)
    assert second.end == "Refused"
    assert second.message.startswith("Nothing was touched.")
    assert set(test_env.fixture.versions_served("staging").values()) == {NEW}


def test_one_that_is_too_late_says_what_staging_has() -> None:
    """Another release has come to production meanwhile: what was done until then is not nothing."""

    async def scenario(test_env: TestEnvironment) -> Run:
        test_env.fixture.publish(NEW)
        run = test_env.start_release()
        await test_env.until(lambda: set(test_env.fixture.versions_served("staging").values()) == {NEW})
        theirs = Participant(
            release_id="v20251117-def456-1f2e3d", epoch=1, coordinator=LEAD, split=TrafficSplit.all_to("r")
        )
        await test_env.out_of_band(FRONTEND, record=Record(participant=theirs, epoch=1))
        await test_env.ended(run)
        return run

    run = play(scenario)
    assert run.end == "Refused"
    assert run.message.startswith(f"staging has {NEW}; production was not touched. {FRONTEND} is held by")


def test_a_release_that_went_on_while_another_gave_way_is_taken_back_from_where_it_is() -> None:
    """The rollback has read both at once, and takes the second back when the first is done: it bakes by then, and what
    it has noted since is neither lost nor overwritten."""

    hung = [Fault.HUNG]

    def once(process: Process, call: Call) -> Fault | None:
        is_it = call.system == "slack" and process.name.startswith(rollback.name)
        return hung.pop() if is_it and hung else None

    async def scenario(test_env: TestEnvironment) -> tuple[Run, list[Lease]]:
        test_env.fixture.publish(NEW)
        test_env.fixture.publish("v20251117-def456")
        test_env.fixture.wire.faults.append(once)
        first = test_env.start_release(services=[LEAD])
        await test_env.until(test_env.baking(LEAD))
        second = test_env.start_release("v20251117-def456", services=[BACKEND, FRONTEND])
        await test_env.until(lambda: Record.read(test_env.fixture.production.read(BACKEND)).lease is not None)
        asked = ROLLBACK.model_copy(update={"to": ""})
        back = test_env.start(rollback, request=asked, environment="production")
        await test_env.ended(back, first, second)
        leases = [one.change.record.lease for one in test_env.fixture.production.writes if one.service == BACKEND]
        return back, [lease for lease in leases if lease is not None]

    back, leases = play(scenario)
    assert back.end == "RolledBack"
    before, taken = next((a, b) for a, b in pairwise(leases) if b.epoch > a.epoch)
    assert (before.decision, before.bake_start_s is not None) == (Decision.BAKE, True)
    assert (taken.came_to, taken.bake_start_s) == (before.decision, before.bake_start_s)
