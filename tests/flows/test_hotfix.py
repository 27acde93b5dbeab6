"""A fix that cannot wait: to everybody at once, back by itself if it is bad, in the place of whatever runs."""

import asyncio
from typing import Any

import pytest
from cloud import Behaviour
from driver import SILENCE_S, Run, TestEnvironment, play
from fixture import NEW, OLD, SERVICES

from flows.hotfix import hotfix
from playbook.lease.record import Record
from playbook.release.request import ExploitCheck, HotfixRequest

LEAD, BACKEND, FRONTEND = SERVICES
FIX = "v20251117-hotfix1-fed987"
ALL_OLD, ALL_FIX = dict.fromkeys(SERVICES, OLD), dict.fromkeys(SERVICES, FIX)
REQUEST = HotfixRequest(
    version=FIX,
    reason="Critical security vulnerability",
    incident="CVE-2025-12345",
    approver="the security lead",
    exploit=(ExploitCheck(request="env:EXPLOIT_USERS", service=BACKEND),),
    requested_by="ada",
)
PATCHED = Behaviour(is_patched=True)


def begin(test_env: TestEnvironment, behaviour: Behaviour = PATCHED, orders: Any = None, **fields: Any) -> Run:
    """A hotfix whose backend behaves so begins."""
    for where in ("staging", "production"):
        test_env.fixture.publish(FIX, {BACKEND: behaviour if where == "production" else PATCHED}, where=where)
    return test_env.start(hotfix, orders, request=REQUEST.model_copy(update=fields), environment="production")


def fixed(behaviour: Behaviour = PATCHED, **fields: Any) -> tuple[TestEnvironment, Run]:
    """A hotfix to its end, and that of everything it started."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        run = begin(test_env, behaviour, **fields)
        await test_env.ended(run)
        await test_env.catch_up()
        return test_env, run

    return play(scenario)


def told(test_env: TestEnvironment, words: str) -> int:
    """How many messages say so."""
    return sum(words in message.text for message in test_env.fixture.slack.said)


def test_everybody_gets_it_at_once() -> None:
    """Never a share between nothing and everything; told in the playbook's words; what was skipped has a ticket."""
    test_env, run = fixed()
    assert (run.end, test_env.fixture.versions_served()) == ("Promoted", ALL_FIX)
    assert all(len(w.change.split.percent) == 1 for w in test_env.fixture.production.writes if w.change.split)
    assert told(test_env, "🚨 HOTFIX DEPLOYED") == 1
    assert told(test_env, "Verified: Smoke tests passed, the exploit is refused") == 1
    assert told(test_env, "Production release complete") == 0
    assert [ticket.title for ticket in test_env.fixture.github.tickets] == [
        f"Follow-up of hotfix {FIX}: what was skipped"
    ]
    assert Record.read(test_env.fixture.production.read(LEAD)).last_good[0].release == FIX
    assert test_env.fixture.pagerduty.incidents == {}
    assert "watch/production" in [one.deployment for one in test_env.server.started.values()]


def test_the_exploit_is_tried_before_at_the_tag_and_live() -> None:
    """Open before; refused twice afterwards; the run shows all three."""
    test_env, _ = fixed()
    seen = [line for _, line in test_env.server.log if line.endswith(("answered 200", "answered 403"))]
    assert [line[-3:] for line in seen if not line.startswith("production: ")] == ["200", "403", "403"]
    assert any(line.startswith("production: lease acquired; before the fix") for line in seen)


BAD = {
    "it does not start": (Behaviour(starts=False), "did not start|failed to start"),
    "its smoke tests fail at the tag": (Behaviour(is_patched=True, smoke=False), "answered 500"),
    "its smoke tests fail live": (Behaviour(is_patched=True, smoke_serving=False), "answered 500"),
    "the hole is still open": (Behaviour(), "the hole is still open: EXPLOIT_USERS to ethixai-backend answered 200"),
    "its first minutes show errors": (Behaviour(is_patched=True, errors=0.05), "5 %|error ratio 5.00%"),
    "its first minutes are slow": (Behaviour(is_patched=True, very_slow=1.0), "longer than 5 s"),
}


@pytest.mark.parametrize(("behaviour", "words"), BAD.values(), ids=BAD)
def test_a_bad_hotfix_is_taken_back_by_itself(behaviour: Behaviour, words: str) -> None:
    """Everybody is where they were; paged once, and the ticket says hotfix."""
    test_env, run = fixed(behaviour)
    assert (run.end, test_env.fixture.versions_served()) == ("Reverted", ALL_OLD)
    assert any(word in run.message for word in words.split("|")), run.message
    assert told(test_env, "❌ PRODUCTION ROLLBACK EXECUTED") == 1
    assert len(test_env.fixture.pagerduty.incidents) == 1
    assert [ticket.title for ticket in test_env.fixture.github.tickets] == ["Production hotfix rolled back"]
    assert not test_env.is_held("production")


def test_a_release_that_runs_gives_way() -> None:
    """It is fenced, its users are back before the fix comes, its readers know why, and nobody is woken."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run, Run]:
        test_env.fixture.publish(NEW)
        running = test_env.start_release(NEW)
        await test_env.until(test_env.baking(BACKEND))
        fix = begin(test_env)
        await test_env.ended(fix, running)
        await test_env.catch_up()
        return test_env, running, fix

    test_env, running, fix = play(scenario)
    assert (running.end, fix.end) == ("Fenced", "Promoted")
    assert test_env.fixture.versions_served() == ALL_FIX
    assert told(test_env, "PRODUCTION RELEASE GAVE WAY") == 1
    assert told(test_env, "🚨 HOTFIX DEPLOYED") == 1
    assert test_env.fixture.pagerduty.incidents == {}


def test_a_hotfix_does_not_push_another_one_aside() -> None:
    """The second is refused and says who holds what; the first goes on."""
    other = OTHER

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run, Run]:
        first = begin(test_env)
        await test_env.until(lambda: test_env.split(BACKEND) != {f"{BACKEND}-00001-old": 100})
        test_env.fixture.publish(other, {BACKEND: PATCHED})
        second = test_env.start(hotfix, request=REQUEST.model_copy(update={"version": other}), environment="production")
        await test_env.ended(first, second)
        return test_env, first, second

    test_env, first, second = play(scenario)
    assert (first.end, second.end) == ("Promoted", "Refused")
    assert f"is held by release {FIX}" in second.message
    assert test_env.fixture.versions_served() == ALL_FIX


def test_everything_that_is_missing_is_named_before_any_write() -> None:
    """One refusal for all fields."""
    test_env, run = fixed(version="v20251117-fed987", incident="", approver="")
    assert run.end == "Refused"
    for field in ("version: ", "incident: ", "approver: "):
        assert field in run.message
    assert test_env.fixture.production.writes == []


def test_a_killed_hotfix_goes_on_in_its_first_minutes() -> None:
    """Recovery finds a hotfix that everybody has, watches the rest of its minutes, and tells once."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        run = begin(test_env)
        await test_env.until(
            lambda: all(len(w) == 1 and "old" not in next(iter(w)) for w in map(test_env.split, SERVICES))
        )
        run.process.die()
        return test_env, (await test_env.recover())[-1]

    test_env, recovered = play(scenario)
    assert recovered.end == "Promoted"
    assert test_env.fixture.versions_served() == ALL_FIX
    assert told(test_env, "🚨 HOTFIX DEPLOYED") == 1
    assert not test_env.is_held("production")


OTHER = "v20251117-hotfix2-fed988"


@pytest.mark.parametrize("is_running", [False, True], ids=["alone", "while a release runs"])
@pytest.mark.parametrize(("version", "ends"), [(FIX, {"Duplicate", "Refused"}), (OTHER, {"Refused"})])
@pytest.mark.parametrize("gap_s", [0.0, 0.2, 1.0, 4.0])
def test_two_hotfixes_at_once_do_not_push_each_other_aside(
    gap_s: float, version: str, ends: set[str], is_running: bool
) -> None:
    """In staging, too, which a hotfix passes by the lease of a release; also while the first takes a release back. One
    is promoted, the other says who holds what."""

    async def scenario(test_env: TestEnvironment) -> None:
        if is_running:
            test_env.fixture.publish(NEW)
            test_env.start_release(NEW)
            await test_env.until(test_env.baking(BACKEND))
        for where in ("staging", "production"):
            test_env.fixture.publish(version, {BACKEND: PATCHED}, where=where)
        first = begin(test_env)
        await asyncio.sleep(gap_s)
        asked = REQUEST.model_copy(update={"version": version})
        second = test_env.start(hotfix, request=asked, environment="production")
        await test_env.ended(first, second)
        promoted, late = sorted((first, second), key=lambda run: run.end != "Promoted")
        assert promoted.end == "Promoted"
        assert late.end in ends
        assert " is held by release " in late.message
        assert not test_env.is_held("staging")
        assert not test_env.is_held("production")

    play(scenario)


def test_a_hotfix_takes_the_place_of_one_that_was_lost_in_staging() -> None:
    """Its process is dead: what cannot wait does not wait for its recovery."""

    async def scenario(test_env: TestEnvironment) -> Run:
        lost = begin(test_env)
        await test_env.until(lambda: test_env.is_held("staging"))
        lost.process.die()
        await asyncio.sleep(SILENCE_S)
        again = begin(test_env)
        await test_env.ended(again)
        return again

    assert play(scenario).end == "Promoted"
