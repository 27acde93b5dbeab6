"""What stops a migration rollback while writes are off, without killing its process: somebody is woken, every time."""

import asyncio
from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import pytest
from driver import Run, Stage, play
from faults import Fault
from pydantic import SecretStr
from scene import QUICK
from undoings import AI_CORE, BACKEND, RESTORED, SCALING, SECRET, UNDOINGS, USERS, Undoing, database_of
from wire import Call, Killed, Process

from blocks.migrations import load
from playbook.claim import Claim, Member, Record
from playbook.errors import BadRequest
from playbook.migration import Batch, Migration, MigrationRequest
from playbook.traffic import TrafficSplit

DOWN, RESTORE = UNDOINGS[0], UNDOINGS[2]
Disturb = Callable[[Stage, Call], Fault | None]


async def taken_back(stage: Stage, disturb: Disturb = lambda stage, call: None, plot: Undoing = DOWN) -> Run:
    """A migration is asked to be taken back; ``disturb`` is asked at each call."""
    await plot.set_the_scene(stage)
    stage.scene.wire.faults.append(lambda process, call: disturb(stage, call))
    flow, request = plot.asked()
    run = stage.start(flow, request=request, environment="production")
    await stage.ended(run)
    return run


async def started_again(stage: Stage) -> Run:
    """A person who was paged starts it again."""
    stage.scene.wire.faults.clear()
    request = MigrationRequest(reason="it was looked at", requested_by="Ada")
    run = stage.start(DOWN.asked()[0], request=request, environment="production")
    await stage.ended(run)
    return run


def record_of(stage: Stage, service: str) -> Record:
    """What a service of production carries."""
    return Record.read(stage.scene.production.read(service))


def claim_of(stage: Stage) -> Claim:
    """What the lead carries."""
    claim = record_of(stage, BACKEND).claim
    assert claim is not None
    return claim


def a_bug(stage: Stage, call: Call) -> None:
    """Something that nobody foresaw breaks in the middle of the data."""
    if call.method == "update_many" and call.subject == "users":
        raise ZeroDivisionError("nobody foresaw this")


async def pages_and_goes_on(stage: Stage, disturb: Disturb, words: str) -> None:
    """Nothing goes on by itself once somebody is paged; started again it is finished."""
    run = await taken_back(stage, disturb)
    assert run.end == "Halted"
    assert words in run.message
    assert "are off" in run.message
    assert stage.scene.pagerduty.paged
    assert words in claim_of(stage).undoing.halted
    await stage.recover()
    assert stage.server.started == {}
    assert (await started_again(stage)).end == "RolledBack"
    assert database_of(stage).documents.users.count_documents({"oldField": {"$exists": True}}) == 5


def test_a_bug_pages() -> None:
    """Whatever it is, writes are off."""
    play(lambda stage: pages_and_goes_on(stage, a_bug, "ZeroDivisionError: nobody foresaw this"))


def test_a_module_that_is_wrong_meanwhile_pages() -> None:
    """Somebody edits the migrations folder while writes are off: it is no wrong request that touches nothing."""
    wrong: list[str] = []

    def read(folder: str) -> tuple[Migration, ...]:
        if wrong:
            raise BadRequest(wrong)
        return load(folder)

    def edited(stage: Stage, call: Call) -> None:
        if call.method == "refuses_writes":
            wrong[:] = ["20251030093000-rename.py: has no down"]
        if call.method == "page":
            wrong.clear()

    with patch("tasks.migration.load", read):
        play(lambda stage: pages_and_goes_on(stage, edited, "has no down"))


def test_no_walk_waits_for_what_is_shown() -> None:
    """Prefect's server writes no artifact all the while."""

    def away(stage: Stage, call: Call) -> Fault | None:
        return Fault.SERVER_ERROR if call.method in ("artifact", "progress") else None

    async def story(stage: Stage) -> None:
        assert (await taken_back(stage, away)).end == "RolledBack"

    play(story)


def test_no_walk_waits_for_a_look_at_the_services() -> None:
    """Cloud Run is away while documents change: the next look will do, and the last one must succeed."""

    def away(stage: Stage, call: Call) -> Fault | None:
        is_changing = 0 < sum(database_of(stage).changed.values()) < USERS
        return Fault.UNAVAILABLE if is_changing and call.method == "snapshot" else None

    async def story(stage: Stage) -> None:
        run = await taken_back(stage, away)
        assert run.end == "RolledBack"
        begun = [call for call in run.process.calls if (call.method, call.subject) == ("find_one", "playbook_walks")]
        assert len(begun) == 1

    with patch("tasks.walk.SHOWN_EVERY", 1):
        play(story)


def test_the_secret_is_changed_once_that_is_written_down() -> None:
    """Whoever finds the claim knows that instances which start now read another database."""
    noted: list[bool] = []

    def looked_at(stage: Stage, call: Call) -> None:
        if (call.system, call.method) == ("secret manager", "put"):
            noted.append(bool(claim_of(stage).undoing.bases))

    async def story(stage: Stage) -> None:
        assert (await taken_back(stage, looked_at, RESTORE)).end == "RolledBack"
        assert noted == [True]

    play(story)


@pytest.mark.parametrize("is_said_by_the_file", [True, False], ids=["mongodb.uri", "the connection secret"])
def test_a_cluster_that_users_are_on_is_not_restored_to(is_said_by_the_file: bool) -> None:
    """Production was switched to it before, and the file still calls it the restore cluster."""

    def switched(stage: Stage, call: Call) -> None:
        if is_said_by_the_file:
            database_of(stage).uri = SecretStr(f"{RESTORED}:27017/ethixai")
        else:
            stage.scene.secrets.versions[SECRET] = [(0.0, RESTORED)]

    async def story(stage: Stage) -> None:
        run = await taken_back(stage, switched, RESTORE)
        assert "a restore removes everything there first" in run.message
        assert stage.scene.environments["production"].atlas.jobs == {}
        assert stage.server.forms == []

    play(story)


def test_wrong_atlas_credentials_touch_nothing() -> None:
    """They are tried before writes are off."""

    def denied(stage: Stage, call: Call) -> Fault | None:
        return Fault.DENIED if call.system == "atlas" else None

    async def story(stage: Stage) -> None:
        run = await taken_back(stage, denied, RESTORE)
        assert (run.end, "atlas" in run.message.lower()) == ("Refused", True)
        assert stage.scene.production.writes == []

    play(story)


def test_a_change_that_cannot_be_made_touches_nothing() -> None:
    """The dry run says so while users can still write."""
    useless = Batch(collection="users", match={"newField": {"$exists": True}}, change={"$set": {"oldField": "?"}})

    async def story(stage: Stage) -> None:
        run = await taken_back(stage)
        assert (run.end, "still match" in run.message) == ("Refused", True)
        assert stage.scene.production.writes == []

    def read(folder: str) -> tuple[Migration, ...]:
        return tuple(one.model_copy(update={"down": (useless,)}) for one in load(folder))

    with patch("tasks.migration.load", read):
        play(story)


def test_what_would_be_changed_stands_on_the_page() -> None:
    """From before anything was."""

    async def story(stage: Stage) -> None:
        assert (await taken_back(stage)).end == "RolledBack"
        (pages,) = stage.server.artifacts.values()
        assert "dry run: 5 of 5 documents of users (−newField, +oldField)" in pages[-1]

    play(story)


def test_one_that_dies_every_time_pages() -> None:
    """Its host kills it whenever it changes the data: after three restarts a person is woken, and not before."""

    async def story(stage: Stage) -> None:
        def dies(process: Process, call: Call) -> None:
            if call.method == "update_many" and call.subject == "users":
                process.die()
                raise Killed

        stage.scene.wire.faults.append(dies)
        await taken_back(stage)
        await stage.recover()
        assert len([run for run in stage.runs if run.process.name.startswith(DOWN.asked()[0].name)]) == 4
        assert len(stage.scene.pagerduty.paged) == 1
        assert "started again 3 times" in claim_of(stage).undoing.halted
        assert (await started_again(stage)).end == "RolledBack"

    play(story)


def test_it_is_an_incident_as_every_rollback() -> None:
    """The room reads which roles to fill; the ticket has the post-mortem's draft with nothing left to be filled in."""

    async def story(stage: Stage) -> None:
        assert (await taken_back(stage)).end == "RolledBack"
        (room,) = [one.text for one in stage.scene.slack.said if one.key.endswith("/closing")]
        assert "Incident Commander: ?" in room
        (ticket,) = stage.scene.github.tickets
        assert ticket.title == "Production migration rollback: 20251030093000-rename-full-name"
        for words in (
            "Post-mortem: Production",
            "reported by ada",
            "UTC until they were on again",
            "writes are off: a write at",
        ):
            assert words in ticket.body
        assert "$" not in ticket.body

    play(story)


HOLDER = Member(release_id="v20251116-abc123-1f2e3d", epoch=1, lead=BACKEND, stable=TrafficSplit.all_to("x"))


@pytest.mark.parametrize(
    "comes_between",
    [{"member": HOLDER}, {"epoch": 4_000_000_000}],
    ids=["another release", "a newer epoch that is over already"],
)
def test_what_cannot_be_held_whole_is_let_go_as_it_was(comes_between: dict[str, object]) -> None:
    """Between its look and its claim a service was taken: the lead is nobody's again, nothing became good or open on
    it, and no recovery finds a claim of a run that ended.
    """

    async def story(stage: Stage) -> None:
        before: list[Record] = []

        def taken(stage: Stage, call: Call) -> None:
            if call.method == "write" and not before:
                before.append(record_of(stage, BACKEND))
                state = stage.scene.production.services[AI_CORE]
                state.annotations = record_of(stage, AI_CORE).model_copy(update=comes_between).annotations()

        run = await taken_back(stage, taken)
        assert run.end in ("Refused", "Fenced")
        now = record_of(stage, BACKEND)
        assert now == before[0].model_copy(update={"epoch": now.epoch})

    play(story)


def test_an_atlas_that_is_away_now_and_then_is_asked_again() -> None:
    """A restore takes an hour, and a dozen looks at it may fail: it is waited for as long as it may take."""
    failed: list[Call] = []

    def away(stage: Stage, call: Call) -> Fault | None:
        if call.system == "atlas" and call.subject.startswith("restoreJobs/") and len(failed) < 9:
            failed.append(call)
            return Fault.SERVER_ERROR
        return None

    async def story(stage: Stage) -> None:
        assert (await taken_back(stage, away, RESTORE)).end == "RolledBack"
        assert len(failed) == 9

    play(story)


def test_a_restore_that_nobody_hears_of_halts() -> None:
    """After the time that it may take; the last thing heard of it stands on the page."""

    def away(stage: Stage, call: Call) -> Fault | None:
        return Fault.SERVER_ERROR if call.subject.startswith("restoreJobs/") else None

    async def story(stage: Stage) -> None:
        run = await taken_back(stage, away, RESTORE)
        assert run.end == "Halted"
        assert "is not known to be over after 3600 s (" in run.message

    play(story)


def test_the_page_names_the_services_whose_writes_are_off() -> None:
    """The first is closed and the second is not to be: who reads the page knows where users can still write."""

    def refused(stage: Stage, call: Call) -> Fault | None:
        closes = call.method == "write" and AI_CORE in call.subject and "exactly 0" in call.subject
        return Fault.DENIED if closes else None

    async def story(stage: Stage) -> None:
        run = await taken_back(stage, refused)
        assert run.end == "Halted"
        assert f"Writes to {BACKEND} are off. Start" in run.message
        assert AI_CORE not in run.message.partition("Writes to")[2]

    play(story)


def test_a_service_that_cannot_be_read_keeps_nobody_asleep() -> None:
    """The second is gone from Cloud Run's answers while documents change: it stops, and says what it could not see."""

    def gone(stage: Stage, call: Call) -> Fault | None:
        has_begun = sum(database_of(stage).changed.values()) > 0
        return Fault.DENIED if has_begun and call.method == "snapshot" and AI_CORE in call.subject else None

    async def story(stage: Stage) -> None:
        run = await taken_back(stage, gone)
        assert run.end == "Halted"
        assert f"Writes to {BACKEND} are off. Whether they are to {AI_CORE} could not be seen." in run.message
        assert stage.scene.pagerduty.paged
        assert claim_of(stage).undoing.halted
        assert (await started_again(stage)).end == "RolledBack"

    play(story)


def test_no_run_that_recovery_started_goes_on_with_what_has_stopped() -> None:
    """It asks without a reason, and may begin late: only a person has read why."""

    async def story(stage: Stage) -> None:
        assert (await taken_back(stage, a_bug)).end == "Halted"
        stage.scene.wire.faults.clear()
        late = stage.start(DOWN.asked()[0], request=MigrationRequest(migration="rename"), environment="production")
        await stage.ended(late)
        assert late.end == "Refused"
        assert "ZeroDivisionError" in late.message
        assert claim_of(stage).undoing.halted
        assert (await started_again(stage)).end == "RolledBack"

    play(story)


def test_one_that_dies_while_it_waits_again_leaves_the_wait_to_the_next() -> None:
    """It was drained once; somebody opened a service since, and it is closed again: requests are under way."""

    async def story(stage: Stage) -> None:
        assert (await taken_back(stage, a_bug)).end == "Halted"
        assert claim_of(stage).undoing.is_drained
        state = stage.scene.production.services[AI_CORE]
        state.scaling, state.etag = SCALING, state.etag + 1
        closed: list[Call] = []

        def dies(stage: Stage, call: Call) -> Fault | None:
            if call.method == "refuses_writes":
                closed.append(call)
                return Fault.DENIED
            return None

        stage.scene.wire.faults[:] = [lambda process, call: dies(stage, call)]
        request = MigrationRequest(reason="it was looked at", requested_by="Ada")
        await stage.ended(stage.start(DOWN.asked()[0], request=request, environment="production"))
        assert closed
        assert not claim_of(stage).undoing.is_drained
        began_s = stage.scene.now()
        assert (await started_again(stage)).end == "RolledBack"
        assert stage.scene.now() - began_s >= DRAINING.drain_s

    play(story, DRAINING)


def test_the_page_does_not_say_that_writes_are_off_when_they_are_on() -> None:
    """Nothing was closed yet, and users are on code that is not what will be opened with."""

    def refused(stage: Stage, call: Call) -> Fault | None:
        return Fault.DENIED if call.method == "write" and "scaling exactly 0" in call.subject else None

    async def story(stage: Stage) -> None:
        run = await taken_back(stage, refused)
        assert (run.end, "are off" in run.message) == ("Halted", False)

    play(story)


@pytest.mark.parametrize(("every", "changed"), [(1, 2), (10, USERS)], ids=["in the middle", "after the last range"])
def test_a_service_that_somebody_opens_meanwhile_stops_the_walk(every: int, changed: int) -> None:
    """Users write with code of the other schema from then on: a person must know before the next range, and not when
    the counts are looked at. Started again it closes the service again, and finishes.
    """

    def opened(stage: Stage, call: Call) -> None:
        state = stage.scene.production.services[AI_CORE]
        if call.method == "update_many" and call.subject == "users" and state.scaling != SCALING:
            state.scaling, state.etag, state.last_modifier = SCALING, state.etag + 1, "eve"

    async def story(stage: Stage) -> None:
        run = await taken_back(stage, opened)
        assert run.end == "Halted"
        assert (
            "100 % with 1 to 4 instances, set by eve while the data was being changed: users can write" in run.message
        )
        assert f"Writes to {BACKEND} are off. Start" in run.message
        assert sum(database_of(stage).changed.values()) == changed
        assert stage.server.forms == []
        assert (await started_again(stage)).end == "RolledBack"

    with patch("tasks.walk.SHOWN_EVERY", every):
        play(story)


DRAINING = QUICK.model_copy(update={"drain_s": 300})


def a_user_comes(stage: Stage, after_s: float = 0.0, **user: object) -> None:
    """A request that was let in before writes were off makes one, so many seconds from now."""
    insert = partial(database_of(stage).documents.users.insert_one, {"_id": USERS, **user})
    asyncio.get_running_loop().call_later(after_s, insert)


def test_a_request_under_way_is_waited_for() -> None:
    """It writes until its time is up: what it makes is counted, and changed with the others."""
    sent: list[Call] = []

    def under_way(stage: Stage, call: Call) -> None:
        if call.method == "refuses_writes" and not sent:
            sent.append(call)
            a_user_comes(stage, after_s=299, newField="the last one")

    async def story(stage: Stage) -> None:
        assert (await taken_back(stage, under_way)).end == "RolledBack"
        assert database_of(stage).documents.users.count_documents({"oldField": {"$exists": True}}) == USERS + 1

    play(story, DRAINING)


def test_counts_that_differ_page_and_ask_for_no_backup() -> None:
    """Somebody has written meanwhile: a person looks, starts it again, and it goes on with what is there."""

    def comes(stage: Stage, call: Call) -> None:
        is_first = not sum(database_of(stage).changed.values())
        if is_first and call.method == "update_many" and call.subject == "users":
            a_user_comes(stage, oldField="the last one")

    async def story(stage: Stage) -> None:
        run = await taken_back(stage, comes)
        assert run.end == "Halted"
        assert "users had 5 documents and has 6. Somebody has written meanwhile" in run.message
        assert stage.scene.pagerduty.paged
        assert stage.server.forms == []
        assert (await started_again(stage)).end == "RolledBack"

    play(story)


@pytest.mark.parametrize("is_opened", [False, True])
def test_requests_under_way_are_waited_for_once_for_each_time_writes_go_off(is_opened: bool) -> None:
    """Users wait for who starts it again, and for a process that died: not five minutes more without need."""

    async def story(stage: Stage) -> None:
        assert (await taken_back(stage, a_bug)).end == "Halted"
        if is_opened:
            state = stage.scene.production.services[AI_CORE]
            state.scaling, state.etag = SCALING, state.etag + 1
        began_s = stage.scene.now()
        assert (await started_again(stage)).end == "RolledBack"
        assert (stage.scene.now() - began_s >= DRAINING.drain_s) is is_opened

    play(story, DRAINING)
