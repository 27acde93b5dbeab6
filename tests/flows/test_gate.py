"""What a person may answer when the judge cannot decide, and what becomes of silence."""

from typing import Any

import pytest
from cloud import Behaviour
from driver import Run, TestEnvironment, play
from fixture import NEW, OLD, QUICK, SERVICES

from playbook.release.traffic import TrafficSplit

BACKEND = SERVICES[1]
SOME_ERRORS = Behaviour(errors=0.003)
"""Between 0.1 % and 0.5 %: too many to promote, too few to roll back without a person."""
PATIENT = QUICK.model_copy(update={"gate_deadline_s": 300})
"""Time enough for something to happen while a person is asked."""


def answered(*answers: dict[str, Any], behaviour: Behaviour = SOME_ERRORS) -> tuple[TestEnvironment, Run]:
    """A release that cannot be decided, whose gates people answer so, in turn."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW, {BACKEND: behaviour})
        test_env.server.answers = [{"approver": "Ada", "reason": "a known bug"} | answer for answer in answers]
        return test_env, await test_env.release()

    return play(scenario)


ANSWERS = {
    "promote": ([{"choice": "promote"}], "Promoted"),
    "revert": ([{"choice": "revert"}], "Reverted"),
    "silence": ([], "Reverted"),
    "extend, then promote": ([{"choice": "extend", "minutes": 1}, {"choice": "promote"}], "Promoted"),
    "extend, then silence": ([{"choice": "extend", "minutes": 1}], "Reverted"),
    "raise, then promote": ([{"choice": "raise", "percent": 25}, {"choice": "promote"}], "Promoted"),
    "without a name, then promote": ([{"choice": "promote", "approver": "\u2060"}, {"choice": "promote"}], "Promoted"),
    "raise to 80 %, then silence": ([{"choice": "raise", "percent": 80}], "Reverted"),
}


@pytest.mark.parametrize(("answers", "ends"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_carried_out(answers: list[dict[str, Any]], ends: str) -> None:
    """Each answer ends as it says; one that cannot be carried out is asked for again; silence reverts."""
    test_env, run = answered(*answers)
    assert run.end == ends
    assert set(test_env.fixture.versions_served().values()) == {NEW if ends == "Promoted" else OLD}


def test_silence_is_told_with_its_reason() -> None:
    """Nobody's answer is an answer, and says so."""
    test_env, run = answered()
    assert "No approval within" in run.message
    assert "asking/0" in test_env.fixture.slack.keys


def test_who_decided_and_why_stand_in_the_release() -> None:
    """A revert by a person carries the name and the reason to everybody who is told."""
    test_env, run = answered({"choice": "revert", "reason": "the CEO is demoing"})
    assert "Ada decided to revert: the CEO is demoing" in run.message
    assert "the CEO is demoing" in test_env.fixture.slack.text


def test_an_answer_that_cannot_be_carried_out_is_explained_above_the_next_form() -> None:
    """The form says which field is wrong."""
    test_env, _ = answered({"choice": "promote", "approver": " "}, {"choice": "promote"})
    assert "approver: say who decides" in test_env.server.forms[1]


def test_a_larger_share_is_really_given() -> None:
    """After "raise to 25 %" every service serves a quarter of its users from the canary."""
    test_env, _ = answered({"choice": "raise", "percent": 25}, {"choice": "promote"})
    shares = {share for write in test_env.fixture.production.writes if write.change.split for share in _canary(write)}
    assert shares >= {10, 25, 100}


def _canary(write: Any) -> list[int]:
    return [share for name, share in write.change.split.percent.items() if not name.endswith("-old")]


def test_evidence_ends_the_question() -> None:
    """A canary that turns bad while a person is asked is taken back at once, long before the deadline, and says why."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run, float]:
        test_env.fixture.publish(NEW, {BACKEND: SOME_ERRORS})
        run = test_env.start_release()
        await test_env.until(lambda: bool(test_env.server.forms))
        began_s = test_env.fixture.now()
        turn_bad(test_env)
        await test_env.ended(run)
        return test_env, run, run.ended_at_s - began_s

    test_env, run, took_s = play(scenario, PATIENT)
    assert run.end == "Reverted"
    assert took_s < 60 < PATIENT.gate_deadline_s
    assert f"{BACKEND}: " in run.message
    assert "No approval" not in run.message
    assert [page.severity for page in test_env.fixture.pagerduty.incidents.values()] == ["P1"]


def test_nobody_promotes_over_evidence() -> None:
    """What turned bad since the question was asked is looked at before the answer is carried out."""

    async def scenario(test_env: TestEnvironment) -> Run:
        test_env.fixture.publish(NEW, {BACKEND: SOME_ERRORS})
        test_env.server.answers = [{"choice": "promote", "approver": "Ada", "reason": "looks fine"}]
        run = test_env.start_release()
        await test_env.until(lambda: bool(test_env.server.forms))
        turn_bad(test_env)
        await test_env.ended(run)
        return run

    assert play(scenario, PATIENT).end == "Reverted"


def test_a_hand_on_a_service_ends_the_question() -> None:
    """A person moves traffic in the console while a person is asked: Interrupted, not promoted later."""

    async def scenario(test_env: TestEnvironment) -> Run:
        test_env.fixture.publish(NEW, {BACKEND: SOME_ERRORS})
        run = test_env.start_release()
        await test_env.until(lambda: bool(test_env.server.forms))
        await test_env.out_of_band(BACKEND, TrafficSplit.all_to(f"{BACKEND}-00001-old"))
        await test_env.ended(run)
        return run

    assert play(scenario, PATIENT).end == "Interrupted"


def test_who_was_asked_is_asked_again_after_a_death() -> None:
    """The process dies while a person is asked: in the run that goes on they have the deadline they had, though the
    judge could promote by then."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, float]:
        test_env.fixture.publish(NEW, {BACKEND: SOME_ERRORS})
        run = test_env.start_release()
        await test_env.until(lambda: bool(test_env.server.forms))
        asked_s = test_env.fixture.now()
        run.process.die()
        for state in test_env.fixture.production.services[BACKEND].revisions.values():
            state.behaviour = Behaviour()
        await test_env.recover()
        return test_env, test_env.runs[-1].ended_at_s - asked_s

    test_env, took_s = play(scenario, PATIENT)
    assert len(test_env.server.forms) == 2
    assert test_env.runs[-1].end == "Reverted"
    assert PATIENT.gate_deadline_s - 5 < took_s < PATIENT.gate_deadline_s + 15


def turn_bad(test_env: TestEnvironment) -> None:
    """The canary of the backend fails every twentieth request, as its counters show from now on."""
    for state in test_env.fixture.production.services[BACKEND].revisions.values():
        if state.behaviour == SOME_ERRORS:
            state.behaviour = Behaviour(errors=0.05)
