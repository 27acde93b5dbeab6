"""Problems that stop a migration rollback during the write freeze without a kill: a page is always sent."""

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
    MIGRATION_ROLLBACKS,
    RESTORED,
    SCALING,
    SECRET,
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

DOWN, RESTORE = MIGRATION_ROLLBACKS[0], MIGRATION_ROLLBACKS[2]
Disturb = Callable[[TestEnvironment, Call], Fault | None]


async def rolled_back(
    test_env: TestEnvironment, disturb: Disturb = lambda test_env, call: None, scenario: MigrationRollback = DOWN
) -> Run:
    """Run a migration rollback; ``disturb`` may return a fault for each call."""
    await scenario.prepare(test_env)
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
    """The record on a service of production."""
    return Record.read(test_env.fixture.production.read(service))


def lease_of(test_env: TestEnvironment) -> Lease:
    """The lease on the coordinator."""
    lease = record_of(test_env, BACKEND).lease
    assert lease is not None
    return lease


def a_bug(test_env: TestEnvironment, call: Call) -> None:
    """An unexpected error while documents change."""
    if call.method == "update_many" and call.subject == "users":
        raise RuntimeError("an unexpected error")


async def pages_and_continues(test_env: TestEnvironment, disturb: Disturb, words: str) -> None:
    """It halts, a page is sent, nothing continues by itself; started again it finishes."""
    run = await rolled_back(test_env, disturb)
    assert run.end == "Halted"
    assert words in run.message
    assert "are off" in run.message
    assert test_env.fixture.pagerduty.paged
    assert words in lease_of(test_env).halted
    await test_env.recover()
    assert test_env.server.started == {}
    assert (await started_again(test_env)).end == "RolledBack"
    assert database_of(test_env).documents.users.count_documents({"oldField": {"$exists": True}}) == 5


def test_an_unexpected_error_halts_and_pages() -> None:
    """The write freeze stays."""
    play(lambda test_env: pages_and_continues(test_env, a_bug, "RuntimeError: an unexpected error"))


def test_a_migration_module_that_becomes_invalid_pages() -> None:
    """The migrations folder is edited during the write freeze: this is not a wrong request before any write."""
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

    with patch("tasks.migration.schema.load", read):
        play(lambda test_env: pages_and_continues(test_env, edited, "has no down"))


def test_the_backfill_does_not_wait_for_artifacts() -> None:
    """Prefect's server accepts no artifact meanwhile."""

    def away(test_env: TestEnvironment, call: Call) -> Fault | None:
        return Fault.SERVER_ERROR if call.method in ("artifact", "progress") else None

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await rolled_back(test_env, away)).end == "RolledBack"

    play(scenario)


def test_the_backfill_continues_when_a_service_cannot_be_read() -> None:
    """Cloud Run is unavailable while documents change: the next check is enough, and the last one must succeed."""

    def away(test_env: TestEnvironment, call: Call) -> Fault | None:
        is_changing = 0 < sum(database_of(test_env).changed.values()) < USERS
        return Fault.UNAVAILABLE if is_changing and call.method == "snapshot" else None

    async def scenario(test_env: TestEnvironment) -> None:
        run = await rolled_back(test_env, away)
        assert run.end == "RolledBack"
        begun = [call for call in run.process.calls if (call.method, call.subject) == ("find_one", "playbook_walks")]
        assert len(begun) == 1

    with patch("tasks.migration.backfill.SHOWN_EVERY", 1):
        play(scenario)


def test_the_secret_changes_only_after_the_lease_records_it() -> None:
    """The lease says that new instances read another database."""
    noted: list[bool] = []

    def looked_at(test_env: TestEnvironment, call: Call) -> None:
        if (call.system, call.method) == ("secret manager", "put"):
            noted.append(bool(progress_of(lease_of(test_env)).bases))

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await rolled_back(test_env, looked_at, RESTORE)).end == "RolledBack"
        assert noted == [True]

    play(scenario)


@pytest.mark.parametrize("is_said_by_the_file", [True, False], ids=["mongodb.uri", "the connection secret"])
def test_the_cluster_in_use_is_not_a_restore_target(is_said_by_the_file: bool) -> None:
    """Production was switched to it before, and the file still calls it the restore cluster."""

    def switched(test_env: TestEnvironment, call: Call) -> None:
        if is_said_by_the_file:
            database_of(test_env).uri = SecretReference.given(SecretStr(f"{RESTORED}:27017/ethixai"))
        else:
            test_env.fixture.secrets.versions[SECRET] = [(0.0, RESTORED)]

    async def scenario(test_env: TestEnvironment) -> None:
        run = await rolled_back(test_env, switched, RESTORE)
        assert "a restore removes everything there first" in run.message
        assert test_env.fixture.environments["production"].atlas.jobs == {}
        assert test_env.server.forms == []

    play(scenario)


def test_wrong_atlas_credentials_change_nothing() -> None:
    """They are tried before the write freeze."""

    def denied(test_env: TestEnvironment, call: Call) -> Fault | None:
        return Fault.DENIED if call.system == "atlas" else None

    async def scenario(test_env: TestEnvironment) -> None:
        run = await rolled_back(test_env, denied, RESTORE)
        assert (run.end, "atlas" in run.message.lower()) == ("Refused", True)
        assert test_env.fixture.production.writes == []

    play(scenario)


def test_an_impossible_change_changes_nothing() -> None:
    """The dry run finds it before the write freeze."""
    useless = Batch(collection="users", match={"newField": {"$exists": True}}, change={"$set": {"oldField": "?"}})

    async def scenario(test_env: TestEnvironment) -> None:
        run = await rolled_back(test_env)
        assert (run.end, "still match" in run.message) == ("Refused", True)
        assert test_env.fixture.production.writes == []

    def read(folder: str) -> tuple[Migration, ...]:
        return tuple(one.model_copy(update={"down": (useless,)}) for one in load(folder))

    with patch("tasks.migration.schema.load", read):
        play(scenario)


def test_the_report_shows_what_would_change() -> None:
    """Before anything is changed."""

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await rolled_back(test_env)).end == "RolledBack"
        (pages,) = test_env.server.artifacts.values()
        assert "dry run: 5 of 5 documents of users (−newField, +oldField)" in pages[-1]

    play(scenario)


def test_a_rollback_that_is_killed_every_time_pages() -> None:
    """Its host kills it whenever it changes data: after three restarts a page is sent, and not before."""

    async def scenario(test_env: TestEnvironment) -> None:
        def dies(process: Process, call: Call) -> None:
            if call.method == "update_many" and call.subject == "users":
                process.die()
                raise Killed

        test_env.fixture.wire.faults.append(dies)
        await rolled_back(test_env)
        await test_env.recover()
        assert len([run for run in test_env.runs if run.process.name.startswith(DOWN.asked()[0].name)]) == 4
        assert len(test_env.fixture.pagerduty.paged) == 1
        assert "started again 3 times" in lease_of(test_env).halted
        assert (await started_again(test_env)).end == "RolledBack"

    play(scenario)


def test_it_is_an_incident_like_every_rollback() -> None:
    """The channel gets the roles to fill; the ticket has the post-mortem's draft with every value filled in."""

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await rolled_back(test_env)).end == "RolledBack"
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
            assert words in ticket.text
        assert "$" not in ticket.text

    play(scenario)


HOLDER = Participant(release_id="v20251116-abc123-1f2e3d", epoch=1, coordinator=BACKEND, split=TrafficSplit.all_to("x"))


@pytest.mark.parametrize(
    "comes_between",
    [{"participant": HOLDER}, {"epoch": 4_000_000_000}],
    ids=["another release", "a newer epoch that is over already"],
)
def test_services_that_cannot_all_be_held_are_released_unchanged(comes_between: dict[str, object]) -> None:
    """Another run takes a service between read and lease: the coordinator is released unchanged, and no recovery finds
    a lease of a run that ended.
    """

    async def scenario(test_env: TestEnvironment) -> None:
        before: list[Record] = []

        def taken(test_env: TestEnvironment, call: Call) -> None:
            if call.method == "write" and not before:
                before.append(record_of(test_env, BACKEND))
                another = record_of(test_env, AI_CORE).model_copy(update=comes_between)
                test_env.fixture.production.store(AI_CORE, another)

        run = await rolled_back(test_env, taken)
        assert run.end in ("Refused", "Fenced")
        now = record_of(test_env, BACKEND)
        assert now == before[0].model_copy(update={"epoch": now.epoch})

    play(scenario)


def test_an_unreliable_atlas_is_asked_again() -> None:
    """A restore takes an hour, and a dozen reads of it fail: it is waited for until its time limit."""
    failed: list[Call] = []

    def away(test_env: TestEnvironment, call: Call) -> Fault | None:
        if call.system == "atlas" and call.subject.startswith("restoreJobs/") and len(failed) < 9:
            failed.append(call)
            return Fault.SERVER_ERROR
        return None

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await rolled_back(test_env, away, RESTORE)).end == "RolledBack"
        assert len(failed) == 9

    play(scenario)


def test_a_restore_without_status_halts() -> None:
    """After its time limit; the page has its last known status."""

    def away(test_env: TestEnvironment, call: Call) -> Fault | None:
        return Fault.SERVER_ERROR if call.subject.startswith("restoreJobs/") else None

    async def scenario(test_env: TestEnvironment) -> None:
        run = await rolled_back(test_env, away, RESTORE)
        assert run.end == "Halted"
        assert "is not known to be over after 3600 s (" in run.message

    play(scenario)


def test_the_page_names_the_services_in_the_write_freeze() -> None:
    """The first service is frozen and the second cannot be: the page says where users can still write."""

    def refused(test_env: TestEnvironment, call: Call) -> Fault | None:
        closes = call.method == "write" and AI_CORE in call.subject and "exactly 0" in call.subject
        return Fault.DENIED if closes else None

    async def scenario(test_env: TestEnvironment) -> None:
        run = await rolled_back(test_env, refused)
        assert run.end == "Halted"
        assert f"Writes to {BACKEND} are off. Start" in run.message
        assert AI_CORE not in run.message.partition("Writes to")[2]

    play(scenario)


def test_a_service_that_cannot_be_read_still_pages() -> None:
    """The second service cannot be read while documents change: it halts and says what it could not check."""

    def gone(test_env: TestEnvironment, call: Call) -> Fault | None:
        has_begun = sum(database_of(test_env).changed.values()) > 0
        return Fault.DENIED if has_begun and call.method == "snapshot" and AI_CORE in call.subject else None

    async def scenario(test_env: TestEnvironment) -> None:
        run = await rolled_back(test_env, gone)
        assert run.end == "Halted"
        assert f"Writes to {BACKEND} are off. Whether writes to {AI_CORE} are off could not be checked." in run.message
        assert test_env.fixture.pagerduty.paged
        assert lease_of(test_env).halted
        assert (await started_again(test_env)).end == "RolledBack"

    play(scenario)


def test_a_run_that_recovery_started_does_not_continue_a_halted_rollback() -> None:
    """Only a person who has read the reason may continue it."""

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await rolled_back(test_env, a_bug)).end == "Halted"
        test_env.fixture.wire.faults.clear()
        late = test_env.start(DOWN.asked()[0], request=MigrationRequest(migration="rename"), environment="production")
        await test_env.ended(late)
        assert late.end == "Refused"
        assert "RuntimeError" in late.message
        assert lease_of(test_env).halted
        assert (await started_again(test_env)).end == "RolledBack"

    play(scenario)


def test_a_run_killed_during_its_second_drain_leaves_the_drain_to_the_next() -> None:
    """It had drained once; a service was opened since and is frozen again, with requests under way."""

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await rolled_back(test_env, a_bug)).end == "Halted"
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


def test_the_page_does_not_claim_a_write_freeze_that_has_not_begun() -> None:
    """No service was frozen yet, and users are on other code than after the rollback."""

    def refused(test_env: TestEnvironment, call: Call) -> Fault | None:
        return Fault.DENIED if call.method == "write" and "scaling exactly 0" in call.subject else None

    async def scenario(test_env: TestEnvironment) -> None:
        run = await rolled_back(test_env, refused)
        assert (run.end, "are off" in run.message) == ("Halted", False)

    play(scenario)


@pytest.mark.parametrize(("every", "changed"), [(1, 2), (10, USERS)], ids=["in the middle", "after the last range"])
def test_a_service_that_is_opened_meanwhile_stops_the_backfill(every: int, changed: int) -> None:
    """Users write with code of the other schema from then on: it halts before the next range. Started again, it freezes
    the service again and finishes.
    """

    def opened(test_env: TestEnvironment, call: Call) -> None:
        state = test_env.fixture.production.services[AI_CORE]
        if call.method == "update_many" and call.subject == "users" and state.scaling != SCALING:
            state.scaling, state.etag, state.last_modifier = SCALING, state.etag + 1, "eve"

    async def scenario(test_env: TestEnvironment) -> None:
        run = await rolled_back(test_env, opened)
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


def test_traffic_that_another_person_moved_is_given_back_before_it_goes_on() -> None:
    """Started again as it is, it would stop at the same place, with writes off: the page has the command that comes
    first, and after that it goes on."""

    async def scenario(test_env: TestEnvironment) -> None:
        before = ""

        def moved(test_env: TestEnvironment, call: Call) -> None:
            nonlocal before
            if call.method == "write" and BACKEND in call.subject and "exactly 0" in call.subject:
                state = test_env.fixture.production.services[AI_CORE]
                before, eves = state.served.main, f"{AI_CORE}-00009-eve"
                state.revisions[eves] = state.revisions[before]
                state.split = state.served = TrafficSplit.all_to(eves)
                state.etag, state.last_modifier = state.etag + 1, "eve"

        run = await rolled_back(test_env, moved)
        (page,) = test_env.fixture.pagerduty.incidents.values()
        for text in (run.message, page.summary):
            assert f"First give it back the traffic that it had (gcloud run services update-traffic {AI_CORE} " in text
            assert f"--to-revisions={before}=100). Writes to {BACKEND} are off." in text
        assert (await started_again(test_env)).end == "Halted"
        await test_env.out_of_band(AI_CORE, TrafficSplit.all_to(before))
        assert (await started_again(test_env)).end == "RolledBack"

    play(scenario)


DRAINING = QUICK.model_copy(update={"drain_s": 300})


def a_user_comes(test_env: TestEnvironment, after_s: float = 0.0, **user: object) -> None:
    """A request from before the write freeze inserts a user after so many seconds."""
    insert = partial(database_of(test_env).documents.users.insert_one, {"_id": USERS, **user})
    asyncio.get_running_loop().call_later(after_s, insert)


def test_requests_under_way_are_drained() -> None:
    """The document that such a request inserts is counted and changed with the others."""
    sent: list[Call] = []

    def under_way(test_env: TestEnvironment, call: Call) -> None:
        if call.method == "refuses_writes" and not sent:
            sent.append(call)
            a_user_comes(test_env, after_s=299, newField="the last one")

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await rolled_back(test_env, under_way)).end == "RolledBack"
        assert database_of(test_env).documents.users.count_documents({"oldField": {"$exists": True}}) == USERS + 1

    play(scenario, DRAINING)


def test_different_counts_page_and_do_not_offer_a_backup() -> None:
    """A document was inserted meanwhile: a person checks, starts it again, and it continues."""

    def comes(test_env: TestEnvironment, call: Call) -> None:
        is_first = not sum(database_of(test_env).changed.values())
        if is_first and call.method == "update_many" and call.subject == "users":
            a_user_comes(test_env, oldField="the last one")

    async def scenario(test_env: TestEnvironment) -> None:
        run = await rolled_back(test_env, comes)
        assert run.end == "Halted"
        assert "users had 5 documents and has 6. Other writes were made meanwhile" in run.message
        assert test_env.fixture.pagerduty.paged
        assert test_env.server.forms == []
        assert (await started_again(test_env)).end == "RolledBack"

    play(scenario)


@pytest.mark.parametrize("is_opened", [False, True])
def test_each_write_freeze_is_drained_once(is_opened: bool) -> None:
    """A restart after a halt or a kill does not drain for another five minutes."""

    async def scenario(test_env: TestEnvironment) -> None:
        assert (await rolled_back(test_env, a_bug)).end == "Halted"
        if is_opened:
            state = test_env.fixture.production.services[AI_CORE]
            state.scaling, state.etag = SCALING, state.etag + 1
        began_s = test_env.fixture.now()
        assert (await started_again(test_env)).end == "RolledBack"
        assert (test_env.fixture.now() - began_s >= DRAINING.drain_s) is is_opened

    play(scenario, DRAINING)
