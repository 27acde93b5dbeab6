"""What stops a migration rollback while writes are off, without killing its process: somebody is woken, every time."""

import asyncio
from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import pytest
from driver import Run, TestEnvironment, play
from faults import Fault
from fixture import QUICK
from migration_rollbacks import (
    AI_CORE,
    BACKEND,
    RESTORED,
    SCALING,
    SECRET,
    UNDOINGS,
    USERS,
    MigrationRollback,
    database_of,
)
from pydantic import SecretStr
from wire import Call, Killed, Process

from blocks.migrations import load
from blocks.secret_reference import SecretReference
from playbook.errors import BadRequest
from playbook.lease.lease import Lease
from playbook.lease.record import Participant, Record
from playbook.migration.plan import Batch, Migration, MigrationRequest
from playbook.migration.progress import progress_of
from playbook.release.traffic import TrafficSplit

DOWN, RESTORE = UNDOINGS[0], UNDOINGS[2]
Disturb = Callable[[TestEnvironment, Call], Fault | None]


async def taken_back(
    test_env: TestEnvironment, disturb: Disturb = lambda test_env, call: None, scenario: MigrationRollback = DOWN
) -> Run:
    """A migration is asked to be taken back; ``disturb`` is asked at each call."""
    await scenario.set_the_scene(test_env)
    test_env.fixture.wire.faults.append(lambda process, call: disturb(test_env, call))
    flow, request = scenario.asked()
    run = test_env.start(flow, request=request, environment="production")
    await test_env.ended(run)
    return run


async def started_again(test_env: TestEnvironment) -> Run:
    """A person who was paged starts it again."""
    test_env.fixture.wire.faults.clear()
    request = MigrationRequest(reason="it was looked at", requested_by="Ada")
    run = test_env.start(DOWN.asked()[0], request=request, environment="production")
    await test_env.ended(run)
    return run


def record_of(test_env: TestEnvironment, service: str) -> Record:
    """What a service of production carries."""
    return Record.read(test_env.fixture.production.read(service))


def lease_of(test_env: TestEnvironment) -> Lease:
    """What the lead carries."""
    lease = record_of(test_env, BACKEND).lease
    assert lease is not None
    return lease


def a_bug(test_env: TestEnvironment, call: Call) -> None:
    """Something that nobody foresaw breaks in the middle of the data."""
    if call.method == "update_many" and call.subject == "users":
        raise ZeroDivisionError("nobody foresaw this")


async def pages_and_goes_on(test_env: TestEnvironment, disturb: Disturb, words: str) -> None:
    """Nothing goes on by itself once somebody is paged; started again it is finished."""
    run = await taken_back(test_env, disturb)
    assert run.end == "Halted"
    assert words in run.message
    assert "are off" in run.message
    assert test_env.fixture.pagerduty.paged
    assert words in lease_of(test_env).halted
    await test_env.recover()
    assert test_env.server.started == {}
    assert (await started_again(test_env)).end == "RolledBack"
    assert database_of(test_env).documents.users.count_documents({"oldField": {"$exists": True}}) == 5


def test_a_bug_pages() -> None:
    """Whatever it is, writes are off."""
    play(lambda test_env: pages_and_goes_on(test_env, a_bug, "ZeroDivisionError: nobody foresaw this"))


def test_a_module_that_is_wrong_meanwhile_pages() -> None:
    """Somebody edits the migrations folder while writes are off: it is no wrong request that touches nothing."""
    wrong: list[str] = []

    def read(folder: str) -> tuple[Migration, ...]:
        if wrong:
            raise BadRequest(wrong)
        return load(folder)

    def edited(test_env: TestEnvironment, call: Call) -> None:
        if call.method == "refuses_writes":
            wrong[:] = ["20251030093000-rename.py: has no down"]
        if call.method == "page":
            wrong.clear()

    with patch("tasks.migration.steps.load", read):
        play(lambda test_env: pages_and_goes_on(test_env, edited, "has no down"))


def test_no_walk_waits_for_what_is_shown() -> None:
    """Prefect's server writes no artifact all the while."""

    def away(test_env: TestEnvironment, call: Call) -> Fault | None:
        return Fault.SERVER_ERROR if call.method in ("artifact", "progress") else None

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await taken_back(test_env, away)).end == "RolledBack"

    play(scenario)


def test_no_walk_waits_for_a_look_at_the_services() -> None:
    """Cloud Run is away while documents change: the next look will do, and the last one must succeed."""

    def away(test_env: TestEnvironment, call: Call) -> Fault | None:
        is_changing = 0 < sum(database_of(test_env).changed.values()) < USERS
        return Fault.UNAVAILABLE if is_changing and call.method == "snapshot" else None

    async def scenario(test_env: TestEnvironment) -> None:
        run = await taken_back(test_env, away)
        assert run.end == "RolledBack"
        begun = [call for call in run.process.calls if (call.method, call.subject) == ("find_one", "playbook_walks")]
        assert len(begun) == 1

    with patch("tasks.migration.backfill.SHOWN_EVERY", 1):
        play(scenario)


def test_the_secret_is_changed_once_that_is_written_down() -> None:
    """Whoever finds the claim knows that instances which start now read another database."""
    noted: list[bool] = []

    def looked_at(test_env: TestEnvironment, call: Call) -> None:
        if (call.system, call.method) == ("secret manager", "put"):
            noted.append(bool(progress_of(lease_of(test_env)).bases))

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await taken_back(test_env, looked_at, RESTORE)).end == "RolledBack"
        assert noted == [True]

    play(scenario)


@pytest.mark.parametrize("is_said_by_the_file", [True, False], ids=["mongodb.uri", "the connection secret"])
def test_a_cluster_that_users_are_on_is_not_restored_to(is_said_by_the_file: bool) -> None:
    """Production was switched to it before, and the file still calls it the restore cluster."""

    def switched(test_env: TestEnvironment, call: Call) -> None:
        if is_said_by_the_file:
            database_of(test_env).uri = SecretReference.given(SecretStr(f"{RESTORED}:27017/ethixai"))
        else:
            test_env.fixture.secrets.versions[SECRET] = [(0.0, RESTORED)]

    async def scenario(test_env: TestEnvironment) -> None:
        run = await taken_back(test_env, switched, RESTORE)
        assert "a restore removes everything there first" in run.message
        assert test_env.fixture.environments["production"].atlas.jobs == {}
        assert test_env.server.forms == []

    play(scenario)


def test_wrong_atlas_credentials_touch_nothing() -> None:
    """They are tried before writes are off."""

    def denied(test_env: TestEnvironment, call: Call) -> Fault | None:
        return Fault.DENIED if call.system == "atlas" else None

    async def scenario(test_env: TestEnvironment) -> None:
        run = await taken_back(test_env, denied, RESTORE)
        assert (run.end, "atlas" in run.message.lower()) == ("Refused", True)
        assert test_env.fixture.production.writes == []

    play(scenario)


def test_a_change_that_cannot_be_made_touches_nothing() -> None:
    """The dry run says so while users can still write."""
    useless = Batch(collection="users", match={"newField": {"$exists": True}}, change={"$set": {"oldField": "?"}})

    async def scenario(test_env: TestEnvironment) -> None:
        run = await taken_back(test_env)
        assert (run.end, "still match" in run.message) == ("Refused", True)
        assert test_env.fixture.production.writes == []

    def read(folder: str) -> tuple[Migration, ...]:
        return tuple(one.model_copy(update={"down": (useless,)}) for one in load(folder))

    with patch("tasks.migration.steps.load", read):
        play(scenario)


def test_what_would_be_changed_stands_on_the_page() -> None:
    """From before anything was."""

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await taken_back(test_env)).end == "RolledBack"
        (pages,) = test_env.server.artifacts.values()
        assert "dry run: 5 of 5 documents of users (−newField, +oldField)" in pages[-1]

    play(scenario)


def test_one_that_dies_every_time_pages() -> None:
    """Its host kills it whenever it changes the data: after three restarts a person is woken, and not before."""

    async def scenario(test_env: TestEnvironment) -> None:
        def dies(process: Process, call: Call) -> None:
            if call.method == "update_many" and call.subject == "users":
                process.die()
                raise Killed

        test_env.fixture.wire.faults.append(dies)
        await taken_back(test_env)
        await test_env.recover()
        assert len([run for run in test_env.runs if run.process.name.startswith(DOWN.asked()[0].name)]) == 4
        assert len(test_env.fixture.pagerduty.paged) == 1
        assert "started again 3 times" in lease_of(test_env).halted
        assert (await started_again(test_env)).end == "RolledBack"

    play(scenario)


def test_it_is_an_incident_as_every_rollback() -> None:
    """The room reads which roles to fill; the ticket has the post-mortem's draft with nothing left to be filled in."""

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await taken_back(test_env)).end == "RolledBack"
        (channel,) = [one.text for one in test_env.fixture.slack.said if one.key.endswith("/closing")]
        assert "Incident Commander: ?" in channel
        (ticket,) = test_env.fixture.github.tickets
        assert ticket.title == "Production migration rollback: 20251030093000-rename-full-name"
        for words in (
            "Post-mortem: Production",
            "reported by ada",
            "UTC until they were on again",
            "writes are off: a write at",
        ):
            assert words in ticket.body
        assert "$" not in ticket.body

    play(scenario)


HOLDER = Participant(release_id="v20251116-abc123-1f2e3d", epoch=1, coordinator=BACKEND, split=TrafficSplit.all_to("x"))


@pytest.mark.parametrize(
    "comes_between",
    [{"participant": HOLDER}, {"epoch": 4_000_000_000}],
    ids=["another release", "a newer epoch that is over already"],
)
def test_what_cannot_be_held_whole_is_let_go_as_it_was(comes_between: dict[str, object]) -> None:
    """Between its look and its claim a service was taken: the lead is nobody's again, nothing became good or open on
    it, and no recovery finds a claim of a run that ended.
    """

    async def scenario(test_env: TestEnvironment) -> None:
        before: list[Record] = []

        def taken(test_env: TestEnvironment, call: Call) -> None:
            if call.method == "write" and not before:
                before.append(record_of(test_env, BACKEND))
                state = test_env.fixture.production.services[AI_CORE]
                state.annotations = record_of(test_env, AI_CORE).model_copy(update=comes_between).annotations()

        run = await taken_back(test_env, taken)
        assert run.end in ("Refused", "Fenced")
        now = record_of(test_env, BACKEND)
        assert now == before[0].model_copy(update={"epoch": now.epoch})

    play(scenario)


def test_an_atlas_that_is_away_now_and_then_is_asked_again() -> None:
    """A restore takes an hour, and a dozen looks at it may fail: it is waited for as long as it may take."""
    failed: list[Call] = []

    def away(test_env: TestEnvironment, call: Call) -> Fault | None:
        if call.system == "atlas" and call.subject.startswith("restoreJobs/") and len(failed) < 9:
            failed.append(call)
            return Fault.SERVER_ERROR
        return None

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await taken_back(test_env, away, RESTORE)).end == "RolledBack"
        assert len(failed) == 9

    play(scenario)


def test_a_restore_that_nobody_hears_of_halts() -> None:
    """After the time that it may take; the last thing heard of it stands on the page."""

    def away(test_env: TestEnvironment, call: Call) -> Fault | None:
        return Fault.SERVER_ERROR if call.subject.startswith("restoreJobs/") else None

    async def scenario(test_env: TestEnvironment) -> None:
        run = await taken_back(test_env, away, RESTORE)
        assert run.end == "Halted"
        assert "is not known to be over after 3600 s (" in run.message

    play(scenario)


def test_the_page_names_the_services_whose_writes_are_off() -> None:
    """The first is closed and the second is not to be: who reads the page knows where users can still write."""

    def refused(test_env: TestEnvironment, call: Call) -> Fault | None:
        closes = call.method == "write" and AI_CORE in call.subject and "exactly 0" in call.subject
        return Fault.DENIED if closes else None

    async def scenario(test_env: TestEnvironment) -> None:
        run = await taken_back(test_env, refused)
        assert run.end == "Halted"
        assert f"Writes to {BACKEND} are off. Start" in run.message
        assert AI_CORE not in run.message.partition("Writes to")[2]

    play(scenario)


def test_a_service_that_cannot_be_read_keeps_nobody_asleep() -> None:
    """The second is gone from Cloud Run's answers while documents change: it stops, and says what it could not see."""

    def gone(test_env: TestEnvironment, call: Call) -> Fault | None:
        has_begun = sum(database_of(test_env).changed.values()) > 0
        return Fault.DENIED if has_begun and call.method == "snapshot" and AI_CORE in call.subject else None

    async def scenario(test_env: TestEnvironment) -> None:
        run = await taken_back(test_env, gone)
        assert run.end == "Halted"
        assert f"Writes to {BACKEND} are off. Whether they are to {AI_CORE} could not be seen." in run.message
        assert test_env.fixture.pagerduty.paged
        assert lease_of(test_env).halted
        assert (await started_again(test_env)).end == "RolledBack"

    play(scenario)


def test_no_run_that_recovery_started_goes_on_with_what_has_stopped() -> None:
    """It asks without a reason, and may begin late: only a person has read why."""

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await taken_back(test_env, a_bug)).end == "Halted"
        test_env.fixture.wire.faults.clear()
        late = test_env.start(DOWN.asked()[0], request=MigrationRequest(migration="rename"), environment="production")
        await test_env.ended(late)
        assert late.end == "Refused"
        assert "ZeroDivisionError" in late.message
        assert lease_of(test_env).halted
        assert (await started_again(test_env)).end == "RolledBack"

    play(scenario)


def test_one_that_dies_while_it_waits_again_leaves_the_wait_to_the_next() -> None:
    """It was drained once; somebody opened a service since, and it is closed again: requests are under way."""

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await taken_back(test_env, a_bug)).end == "Halted"
        assert progress_of(lease_of(test_env)).is_drained
        state = test_env.fixture.production.services[AI_CORE]
        state.scaling, state.etag = SCALING, state.etag + 1
        closed: list[Call] = []

        def dies(test_env: TestEnvironment, call: Call) -> Fault | None:
            if call.method == "refuses_writes":
                closed.append(call)
                return Fault.DENIED
            return None

        test_env.fixture.wire.faults[:] = [lambda process, call: dies(test_env, call)]
        request = MigrationRequest(reason="it was looked at", requested_by="Ada")
        await test_env.ended(test_env.start(DOWN.asked()[0], request=request, environment="production"))
        assert closed
        assert not progress_of(lease_of(test_env)).is_drained
        began_s = test_env.fixture.now()
        assert (await started_again(test_env)).end == "RolledBack"
        assert test_env.fixture.now() - began_s >= DRAINING.drain_s

    play(scenario, DRAINING)


def test_the_page_does_not_say_that_writes_are_off_when_they_are_on() -> None:
    """Nothing was closed yet, and users are on code that is not what will be opened with."""

    def refused(test_env: TestEnvironment, call: Call) -> Fault | None:
        return Fault.DENIED if call.method == "write" and "scaling exactly 0" in call.subject else None

    async def scenario(test_env: TestEnvironment) -> None:
        run = await taken_back(test_env, refused)
        assert (run.end, "are off" in run.message) == ("Halted", False)

    play(scenario)


@pytest.mark.parametrize(("every", "changed"), [(1, 2), (10, USERS)], ids=["in the middle", "after the last range"])
def test_a_service_that_somebody_opens_meanwhile_stops_the_walk(every: int, changed: int) -> None:
    """Users write with code of the other schema from then on: a person must know before the next range, and not when
    the counts are looked at. Started again it closes the service again, and finishes.
    """

    def opened(test_env: TestEnvironment, call: Call) -> None:
        state = test_env.fixture.production.services[AI_CORE]
        if call.method == "update_many" and call.subject == "users" and state.scaling != SCALING:
            state.scaling, state.etag, state.last_modifier = SCALING, state.etag + 1, "eve"

    async def scenario(test_env: TestEnvironment) -> None:
        run = await taken_back(test_env, opened)
        assert run.end == "Halted"
        assert (
            "100 % with 1 to 4 instances, set by eve while the data was being changed: users can write" in run.message
        )
        assert f"Writes to {BACKEND} are off. Start" in run.message
        assert sum(database_of(test_env).changed.values()) == changed
        assert test_env.server.forms == []
        assert (await started_again(test_env)).end == "RolledBack"

    with patch("tasks.migration.backfill.SHOWN_EVERY", every):
        play(scenario)


DRAINING = QUICK.model_copy(update={"drain_s": 300})


def a_user_comes(test_env: TestEnvironment, after_s: float = 0.0, **user: object) -> None:
    """A request that was let in before writes were off makes one, so many seconds from now."""
    insert = partial(database_of(test_env).documents.users.insert_one, {"_id": USERS, **user})
    asyncio.get_running_loop().call_later(after_s, insert)


def test_a_request_under_way_is_waited_for() -> None:
    """It writes until its time is up: what it makes is counted, and changed with the others."""
    sent: list[Call] = []

    def under_way(test_env: TestEnvironment, call: Call) -> None:
        if call.method == "refuses_writes" and not sent:
            sent.append(call)
            a_user_comes(test_env, after_s=299, newField="the last one")

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await taken_back(test_env, under_way)).end == "RolledBack"
        assert database_of(test_env).documents.users.count_documents({"oldField": {"$exists": True}}) == USERS + 1

    play(scenario, DRAINING)


def test_counts_that_differ_page_and_ask_for_no_backup() -> None:
    """Somebody has written meanwhile: a person looks, starts it again, and it goes on with what is there."""

    def comes(test_env: TestEnvironment, call: Call) -> None:
        is_first = not sum(database_of(test_env).changed.values())
        if is_first and call.method == "update_many" and call.subject == "users":
            a_user_comes(test_env, oldField="the last one")

    async def scenario(test_env: TestEnvironment) -> None:
        run = await taken_back(test_env, comes)
        assert run.end == "Halted"
        assert "users had 5 documents and has 6. Somebody has written meanwhile" in run.message
        assert test_env.fixture.pagerduty.paged
        assert test_env.server.forms == []
        assert (await started_again(test_env)).end == "RolledBack"

    play(scenario)


@pytest.mark.parametrize("is_opened", [False, True])
def test_requests_under_way_are_waited_for_once_for_each_time_writes_go_off(is_opened: bool) -> None:
    """Users wait for who starts it again, and for a process that died: not five minutes more without need."""

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await taken_back(test_env, a_bug)).end == "Halted"
        if is_opened:
            state = test_env.fixture.production.services[AI_CORE]
            state.scaling, state.etag = SCALING, state.etag + 1
        began_s = test_env.fixture.now()
        assert (await started_again(test_env)).end == "RolledBack"
        assert (test_env.fixture.now() - began_s >= DRAINING.drain_s) is is_opened

    play(scenario, DRAINING)
