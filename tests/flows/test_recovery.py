"""What a recovery finds, and what people read of a release that lost its process."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from unittest.mock import patch

import pytest
from cloud import Behaviour
from driver import Run, TestEnvironment, play
from emergencies import Hotfix, Rollback
from faults import Fault
from fixture import NEW, SERVICES
from migration_rollbacks import MIGRATION_ROLLBACKS
from scenarios import HEALTHY, ChaosScenario
from wire import PROCESS, Call, Process

from blocks.environment import Environment
from flows.recovery import recovery
from playbook.lease.lease import Decision, Lease
from playbook.lease.record import Participant, Record
from playbook.messages.facts import Page
from playbook.release.traffic import ServiceSnapshot
from tasks.heartbeat import HEARTBEAT

LEAD, BACKEND, FRONTEND = SERVICES


async def cancelled_once(test_env: TestEnvironment, is_so: Callable[[Lease], bool], backend: Behaviour) -> Page:
    """A release that is cancelled and dies once its lease says so; the page of the run that took it back."""
    test_env.fixture.publish(NEW, {BACKEND: backend})
    run = test_env.start_release()

    def stands() -> bool:
        lease = Record.read(test_env.fixture.production.read(LEAD)).lease
        return lease is not None and is_so(lease)

    await test_env.until(stands)
    run.process.die()
    test_env.cancel(run)
    await test_env.recover()
    await test_env.catch_up()
    (page,) = test_env.fixture.pagerduty.incidents.values()
    return page


IMPACT = "{} % of users on the new revisions; {} {} requests failed"
"""How the page says it, as a regular expression."""
COUNT = r"\d,\d{3}"
"""Of requests: a call more or less before the canary shifts it by some."""


def impact(is_so: Callable[[Lease], bool], backend: Behaviour) -> str:
    """What that page says of the users."""
    return play(lambda test_env: cancelled_once(test_env, is_so, backend)).details["impact"]


def test_what_was_measured_outlives_the_process_that_measured_it() -> None:
    """It died once its revert was decided: the page is as grave as it would have been, with the errors counted."""
    bad = Behaviour(errors=0.05)
    page = play(lambda test_env: cancelled_once(test_env, lambda lease: lease.decision is Decision.REVERT, bad))
    assert page.severity == "P1"
    assert re.search(r"\(17 of \d+ requests", page.summary)
    assert re.fullmatch(IMPACT.format("10", "17 of their", COUNT), page.details["impact"])


def test_what_was_not_measured_is_said_to_be_so() -> None:
    """It died before the judge had spoken: no number is made up."""
    said = impact(lambda lease: lease.bake_start_s is not None, Behaviour())
    assert said == "10 % of users on the new revisions; failed requests were not measured"


def test_an_impact_begins_with_the_first_user() -> None:
    """It died between the lead's first user and the bake's start: "no user" would be wrong."""
    said = impact(lambda lease: lease.decision is Decision.BAKE, Behaviour())
    assert said == "10 % of users on the new revisions; failed requests were not measured"


def test_a_release_that_no_user_had_hurt_no_user() -> None:
    """It died while its revisions were being started."""
    assert impact(lambda lease: lease.decision is Decision.DEPLOY, Behaviour()).startswith("none")


def test_who_was_promoted_is_no_canary() -> None:
    """Smoke tests failed once all users had it, and the process died: all of them had it."""
    said = impact(lambda lease: lease.decision is Decision.REVERT, Behaviour(smoke_serving=False))
    assert re.fullmatch(IMPACT.format("100", "0 of the canary's", COUNT), said)


def test_a_release_that_went_on_while_it_was_judged_is_reverted_from_where_it_is() -> None:
    """Cancelled while it deployed, it shows its canary by the time that the recovery has asked Prefect: users had it,
    and the page says so."""
    hung = [Fault.HUNG]

    def once(process: Process, call: Call) -> Fault | None:
        is_it = call.method == "read flow run" and process.name.startswith(recovery.name)
        return hung.pop() if is_it and hung else None

    async def scenario(test_env: TestEnvironment) -> tuple[Run, Run, Page]:
        test_env.fixture.publish(NEW)
        test_env.fixture.wire.faults.append(once)
        running = test_env.start_release()
        await test_env.until(lambda: Record.read(test_env.fixture.production.read(LEAD)).lease is not None)
        test_env.cancel(running)
        looking = test_env.start(recovery, environment="production")
        await test_env.ended(looking, running)
        await test_env.catch_up()
        (page,) = test_env.fixture.pagerduty.incidents.values()
        return looking, running, page

    looking, running, page = play(scenario)
    assert (looking.end, running.end) == ("Reverted", "Fenced")
    assert page.details["impact"].startswith("10 % of users")


def test_a_member_that_was_read_late_is_no_orphan() -> None:
    """A recovery reads the lead before a release claims it, and a member after: the release goes on untouched."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run, Run]:
        cloud = test_env.fixture.production
        read, held = cloud.snapshot, asyncio.Event()

        async def late(service: str) -> ServiceSnapshot:
            if service == FRONTEND and PROCESS.get().name.startswith(recovery.name):
                await held.wait()
            return await read(service)

        test_env.fixture.publish(NEW)
        with patch.object(cloud, "snapshot", late):
            looking = test_env.start(recovery, environment="production")
            await asyncio.sleep(1)
            running = test_env.start_release()
            await test_env.until(lambda: bool(Record.read(cloud.read(FRONTEND)).participant))
            held.set()
            await test_env.ended(looking, running)
        return test_env, looking, running

    test_env, looking, running = play(scenario)
    assert (looking.end, running.end) == ("Passed", "Promoted")
    assert not [write for write in test_env.fixture.production.writes if write.by == looking.process.name]


def test_an_orphan_is_freed() -> None:
    """Its lead holds nothing: it is back on its own stable split."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        stable = test_env.fixture.production.read(FRONTEND).pinned
        gone = Participant(release_id=f"{NEW}-1f2e3d", epoch=1, coordinator=LEAD, split=stable)
        await test_env.out_of_band(FRONTEND, record=Record(participant=gone, epoch=1))
        run = test_env.start(recovery, environment="production")
        await test_env.ended(run)
        return test_env, run

    test_env, run = play(scenario)
    assert run.end == "Passed"
    assert not test_env.is_held("production")


def test_users_are_moved_back_where_the_service_with_the_lease_was_deleted() -> None:
    """Its lease went with it. The others do not stay on a canary that nothing watches, and nothing false is said."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, list[Run]]:
        test_env.fixture.publish(NEW)
        run = test_env.start_release()
        await test_env.until(test_env.baking(FRONTEND))
        run.process.die()
        del test_env.fixture.production.services[LEAD]
        found = await test_env.recover()
        await test_env.catch_up()
        return test_env, found

    test_env, (found,) = play(scenario)
    assert found.end == "Unfit"
    served = {name: str(state.served) for name, state in test_env.fixture.production.services.items()}
    assert served == {name: f"{name}-00001-old 100 %" for name in (BACKEND, FRONTEND)}
    assert not test_env.is_held("production")
    assert {page.key for page in test_env.fixture.pagerduty.incidents.values()} == {f"production/set-aside/{LEAD}"}


def gaps(test_env: TestEnvironment) -> list[float]:
    """The seconds from each beat of the release to production to the next, from its claim to its end."""
    cloud = test_env.fixture.production
    claimed_s = next(write.at_s for write in cloud.writes if write.change.record.participant)
    at_s = [at_s for at_s, _, name in test_env.server.events if name.startswith("release.production.")]
    return [after - before for before, after in pairwise([claimed_s, *at_s])]


def test_a_vendor_that_hangs_is_no_silence() -> None:
    """#releases does not answer, and the release sends heartbeats from its lease on: no recovery takes it over."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        test_env.fixture.wire.faults.append(lambda process, call: Fault.HUNG if call.system == "slack" else None)
        return test_env, await test_env.release()

    test_env, run = play(scenario)
    assert run.end == "Promoted"
    assert max(gaps(test_env)) <= test_env.fixture.environments["production"].policy.beat_s + 1


@contextlib.asynccontextmanager
async def no_heart(env: Environment, lease: Lease) -> AsyncIterator[None]:
    """In place of `with_heartbeat`: only what a task says itself is heard."""
    yield


TAKERS = [
    ("release", HEALTHY),
    ("hotfix", Hotfix("hotfix")),
    ("rollback", Rollback("rollback")),
    ("migration_rollback", MIGRATION_ROLLBACKS[0]),
]


@pytest.mark.parametrize(("module", "taking"), TAKERS, ids=[module for module, _ in TAKERS])
def test_a_flow_that_acquires_a_lease_has_sent_a_heartbeat(module: str, taking: ChaosScenario) -> None:
    """Before it does anything else: one that is killed right then is missed."""

    async def begin(test_env: TestEnvironment) -> list[str]:
        await taking.begin(test_env, {})
        return [name for _, event, name in test_env.server.events if event == HEARTBEAT]

    with patch(f"flows.{module}.with_heartbeat", no_heart):
        assert [name for name in play(begin) if name.startswith("release.production.")]


def test_a_recovery_that_takes_a_lease_over_has_sent_a_heartbeat() -> None:
    """So that a recovery which is killed is missed in its turn: before it writes, and once it has."""

    async def scenario(test_env: TestEnvironment) -> list[float]:
        test_env.fixture.publish(NEW)
        run = test_env.start_release()
        await test_env.until(test_env.baking(LEAD))
        run.process.die()
        died_s = test_env.fixture.now()
        await test_env.recover()
        return [at_s for at_s, event, _ in test_env.server.events if event == HEARTBEAT and at_s > died_s]

    with patch("flows.recovery.with_heartbeat", no_heart):
        assert len(play(scenario)) == 2


def beats_of(test_env: TestEnvironment, lease: Lease) -> list[float]:
    """When a release to production gave a sign of life, in unix seconds."""
    name = f"release.production.{lease.release_id}"
    return [at_s for at_s, event, whose in test_env.server.events if event == HEARTBEAT and whose == name]


@pytest.mark.parametrize(("module", "taking"), TAKERS, ids=[module for module, _ in TAKERS])
def test_a_claim_that_is_written_is_missed_at_once(module: str, taking: ChaosScenario) -> None:
    """It stands on the lead before that is served; a process that is killed in between is noticed by its silence."""

    async def begin(test_env: TestEnvironment) -> tuple[float, list[float]]:
        await taking.begin(test_env, {})
        lease, at_s = next(
            (held, one.at_s)
            for one in test_env.fixture.production.writes
            if (held := one.change.record.lease) is not None
        )
        return at_s, beats_of(test_env, lease)

    written_s, beats_s = play(begin)
    assert written_s - 1 < beats_s[0] <= written_s


@pytest.mark.parametrize("is_preempting", [False, True], ids=["its own", "of a release that gives way"])
def test_a_claim_that_is_served_late_is_no_silence(is_preempting: bool) -> None:
    """Cloud Run takes a minute for each write: a recovery that looks meanwhile leaves the rollback alone."""
    preempting = Rollback("rollback", is_preempting)

    async def scenario(test_env: TestEnvironment) -> tuple[Run, Run]:
        await preempting.prepare(test_env)
        flow, request = preempting.asked()
        with patch("cloud.RECONCILE_S", 60):
            run = test_env.start(flow, request=request, environment="production")
            return run, await looked_at(test_env, run, "production")

    run, looking = play(scenario)
    assert (run.end, looking.end, looking.message) == ("RolledBack", "Passed", "Nothing is lost in production.")


def test_a_release_whose_claim_is_served_late_is_left_alone_too() -> None:
    """Its claim of three services takes three minutes."""

    async def scenario(test_env: TestEnvironment) -> tuple[Run, Run]:
        test_env.fixture.publish(NEW, where="staging")
        with patch("cloud.RECONCILE_S", 60):
            run = test_env.start_release(environment="staging")
            return run, await looked_at(test_env, run, "staging")

    run, looking = play(scenario)
    assert (run.end, looking.end) == ("Promoted", "Passed")


def test_a_release_whose_first_heartbeats_are_not_stored_yet_is_left_alone() -> None:
    """Prefect's server stores an event up to five seconds after it was sent; the scheduled recovery may look first."""

    async def scenario(test_env: TestEnvironment) -> tuple[Run, Run]:
        test_env.fixture.publish(NEW)
        test_env.server.events_late_s = 5.0
        run = test_env.start_release()
        await test_env.until(lambda: Record.read(test_env.fixture.production.read(LEAD)).lease is not None)
        looking = test_env.start(recovery, environment="production")
        await test_env.ended(looking, run)
        return run, looking

    run, looking = play(scenario)
    assert (run.end, looking.end) == ("Promoted", "Passed")


async def looked_at(test_env: TestEnvironment, run: Run, where: str) -> Run:
    """A recovery that looks when the claim of ``run`` has stood there for longer than a silence; both have ended."""

    def stands() -> bool:
        lease = Record.read(test_env.fixture.clouds[where].read(LEAD)).lease
        return lease is not None and lease.flow_run_id == run.process.flow_run_id

    await test_env.until(stands)
    await asyncio.sleep(45)
    looking = test_env.start(recovery, environment=where)
    await test_env.ended(looking, run)
    return looking


@pytest.mark.parametrize(("enforces", "holders"), [(True, 1), (False, 2)], ids=["enforced", "not enforced"])
def test_of_two_recoveries_one_holds_the_release_by_the_resource_version(enforces: bool, holders: int) -> None:
    """Both read before either writes. On a Cloud Run that takes stale writes both would hold it: the proof rests on
    v1's resource version, and on nothing else."""

    async def scenario(test_env: TestEnvironment) -> set[str]:
        test_env.fixture.publish(NEW)
        run = test_env.start_release()
        await test_env.until(test_env.baking(LEAD))
        run.process.die()
        cloud = test_env.fixture.production
        await asyncio.sleep(31)
        cloud.enforces_versions = enforces
        before = len(cloud.writes)
        looking = [test_env.start(recovery, environment="production") for _ in range(2)]
        await test_env.ended(*looking)
        claims = [write for write in cloud.writes[before:] if write.service == LEAD and write.change.record.lease]
        return {write.by for write in claims}

    assert len(play(scenario)) == holders
