"""A fix that cannot wait: to everybody at once, back by itself if it is bad, in the place of whatever runs."""

from typing import Any

import pytest
from cloud import Behaviour
from driver import Run, Stage, play
from scene import NEW, OLD, SERVICES

from flows.hotfix import hotfix
from playbook.claim import Record
from playbook.requests import ExploitCheck, HotfixRequest

LEAD, BACKEND, FRONTEND = SERVICES
FIX = "v20251117-hotfix1-fed987"
ALL_OLD, ALL_FIX = dict.fromkeys(SERVICES, OLD), dict.fromkeys(SERVICES, FIX)
REQUEST = HotfixRequest(
    version=FIX,
    reason="Critical security vulnerability",
    incident="CVE-2025-12345",
    approver="the security lead",
    exploit=(ExploitCheck(path="/api/debug/users", service=BACKEND),),
    requested_by="ada",
)
PATCHED = Behaviour(is_patched=True)


def begin(stage: Stage, behaviour: Behaviour = PATCHED, orders: Any = None, **fields: Any) -> Run:
    """A hotfix whose backend behaves so begins."""
    for where in ("staging", "production"):
        stage.scene.publish(FIX, {BACKEND: behaviour if where == "production" else PATCHED}, where=where)
    return stage.start(hotfix, orders, request=REQUEST.model_copy(update=fields), environment="production")


def fixed(behaviour: Behaviour = PATCHED, **fields: Any) -> tuple[Stage, Run]:
    """A hotfix to its end, and that of everything it started."""

    async def story(stage: Stage) -> tuple[Stage, Run]:
        run = begin(stage, behaviour, **fields)
        await stage.ended(run)
        await stage.catch_up()
        return stage, run

    return play(story)


def told(stage: Stage, words: str) -> int:
    """How many messages say so."""
    return sum(words in message.text for message in stage.scene.slack.said)


def test_everybody_gets_it_at_once() -> None:
    """Never a share between nothing and everything; told in the playbook's words; what was skipped has a ticket."""
    stage, run = fixed()
    assert (run.end, stage.scene.versions_served()) == ("Promoted", ALL_FIX)
    assert all(len(w.change.split.percent) == 1 for w in stage.scene.production.writes if w.change.split)
    assert told(stage, "🚨 HOTFIX DEPLOYED") == 1
    assert told(stage, "Verified: Smoke tests passed, the exploit is refused") == 1
    assert told(stage, "Production release complete") == 0
    assert [ticket.title for ticket in stage.scene.github.tickets] == [f"Follow-up of hotfix {FIX}: what was skipped"]
    assert Record.read(stage.scene.production.read(LEAD)).last_good[0].release == FIX
    assert stage.scene.pagerduty.incidents == {}
    assert "watch/production" in [one.deployment for one in stage.server.started.values()]


def test_the_exploit_is_tried_before_at_the_tag_and_live() -> None:
    """Open before; refused twice afterwards; the run shows all three."""
    stage, _ = fixed()
    seen = [line for _, line in stage.server.log if line.endswith(("answered 200", "answered 403"))]
    assert [line[-3:] for line in seen] == ["200", "403", "403"]


BAD = {
    "it does not start": (Behaviour(starts=False), "did not start|failed to start"),
    "its smoke tests fail at the tag": (Behaviour(is_patched=True, smoke=False), "answered 500"),
    "its smoke tests fail live": (Behaviour(is_patched=True, smoke_serving=False), "answered 500"),
    "the hole is still open": (Behaviour(), "the hole is still open: GET ethixai-backend/api/debug/users answered 200"),
    "its first minutes show errors": (Behaviour(is_patched=True, errors=0.05), "5 %|error ratio 5.00%"),
    "its first minutes are slow": (Behaviour(is_patched=True, very_slow=1.0), "longer than 5 s"),
}


@pytest.mark.parametrize(("behaviour", "words"), BAD.values(), ids=BAD)
def test_a_bad_hotfix_is_taken_back_by_itself(behaviour: Behaviour, words: str) -> None:
    """Everybody is where they were; paged once, and the ticket says hotfix."""
    stage, run = fixed(behaviour)
    assert (run.end, stage.scene.versions_served()) == ("Reverted", ALL_OLD)
    assert any(word in run.message for word in words.split("|")), run.message
    assert told(stage, "❌ PRODUCTION ROLLBACK EXECUTED") == 1
    assert len(stage.scene.pagerduty.incidents) == 1
    assert [ticket.title for ticket in stage.scene.github.tickets] == ["Production hotfix rolled back"]
    assert not stage.is_held("production")


def test_a_release_that_runs_gives_way() -> None:
    """It is fenced, its users are back before the fix comes, its readers know why, and nobody is woken."""

    async def story(stage: Stage) -> tuple[Stage, Run, Run]:
        stage.scene.publish(NEW)
        running = stage.start_release(NEW)
        await stage.until(stage.baking(BACKEND))
        fix = begin(stage)
        await stage.ended(fix, running)
        await stage.catch_up()
        return stage, running, fix

    stage, running, fix = play(story)
    assert (running.end, fix.end) == ("Fenced", "Promoted")
    assert stage.scene.versions_served() == ALL_FIX
    assert told(stage, "PRODUCTION RELEASE GAVE WAY") == 1
    assert told(stage, "🚨 HOTFIX DEPLOYED") == 1
    assert stage.scene.pagerduty.incidents == {}


def test_a_hotfix_does_not_push_another_one_aside() -> None:
    """The second is refused and says who holds what; the first goes on."""
    other = "v20251117-hotfix2-fed988"

    async def story(stage: Stage) -> tuple[Stage, Run, Run]:
        first = begin(stage)
        await stage.until(lambda: stage.split(BACKEND) != {f"{BACKEND}-00001-old": 100})
        stage.scene.publish(other, {BACKEND: PATCHED})
        second = stage.start(hotfix, request=REQUEST.model_copy(update={"version": other}), environment="production")
        await stage.ended(first, second)
        return stage, first, second

    stage, first, second = play(story)
    assert (first.end, second.end) == ("Promoted", "Refused")
    assert f"is held by release {FIX}" in second.message
    assert stage.scene.versions_served() == ALL_FIX


def test_everything_that_is_missing_is_named_before_any_write() -> None:
    """One refusal for all fields."""
    stage, run = fixed(version="v20251117-fed987", incident="", approver="")
    assert run.end == "Refused"
    for field in ("version: ", "incident: ", "approver: "):
        assert field in run.message
    assert stage.scene.production.writes == []


def test_a_killed_hotfix_goes_on_in_its_first_minutes() -> None:
    """Recovery finds a hotfix that everybody has, watches the rest of its minutes, and tells once."""

    async def story(stage: Stage) -> tuple[Stage, Run]:
        run = begin(stage)
        await stage.until(lambda: all(len(w) == 1 and "old" not in next(iter(w)) for w in map(stage.split, SERVICES)))
        run.process.die()
        return stage, (await stage.recover())[-1]

    stage, recovered = play(story)
    assert recovered.end == "Promoted"
    assert stage.scene.versions_served() == ALL_FIX
    assert told(stage, "🚨 HOTFIX DEPLOYED") == 1
    assert not stage.is_held("production")
