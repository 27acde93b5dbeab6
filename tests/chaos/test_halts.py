"""What stops a migration rollback while writes are off, without killing its process: somebody is woken, every time."""

from collections.abc import Callable
from unittest.mock import patch

from driver import Run, Stage, play
from faults import Fault
from undoings import UNDOINGS, database_of
from wire import Call

from blocks.migrations import load
from playbook.claim import Record
from playbook.errors import BadRequest
from playbook.migration import Migration, MigrationRequest

DOWN = UNDOINGS[0]
Disturb = Callable[[Stage, Call], Fault | None]


async def taken_back(stage: Stage, disturb: Disturb = lambda stage, call: None) -> Run:
    """A migration is asked to be taken back; ``disturb`` is asked at each call."""
    await DOWN.set_the_scene(stage)
    stage.scene.wire.faults.append(lambda process, call: disturb(stage, call))
    flow, request = DOWN.asked()
    run = stage.start(flow, request=request, environment="production")
    await stage.ended(run)
    return run


async def started_again(stage: Stage) -> Run:
    """A person who was paged starts it again."""
    stage.scene.wire.faults.clear()
    run = stage.start(DOWN.asked()[0], request=MigrationRequest(), environment="production")
    await stage.ended(run)
    return run


def why_halted(stage: Stage) -> str:
    """What the lead's claim says."""
    claim = Record.read(stage.scene.production.read("ethixai-backend")).claim
    assert claim is not None
    return claim.undoing.halted


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
    assert words in why_halted(stage)
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
