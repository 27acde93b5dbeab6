"""What a person may answer when the judge cannot decide, and what becomes of silence."""

from typing import Any

import pytest
from cloud import Behaviour
from driver import Run, Stage, play
from scene import NEW, OLD, QUICK, SERVICES

from playbook.traffic import TrafficSplit

BACKEND = SERVICES[1]
SOME_ERRORS = Behaviour(errors=0.003)
"""Between 0.1 % and 0.5 %: too many to promote, too few to roll back without a person."""
PATIENT = QUICK.model_copy(update={"gate_deadline_s": 300})
"""Time enough for something to happen while a person is asked."""


def answered(*answers: dict[str, Any], behaviour: Behaviour = SOME_ERRORS) -> tuple[Stage, Run]:
    """A release that cannot be decided, whose gates people answer so, in turn."""

    async def story(stage: Stage) -> tuple[Stage, Run]:
        stage.scene.publish(NEW, {BACKEND: behaviour})
        stage.server.answers = [{"approver": "Ada", "reason": "a known bug"} | answer for answer in answers]
        return stage, await stage.release()

    return play(story)


ANSWERS = {
    "promote": ([{"choice": "promote"}], "Promoted"),
    "revert": ([{"choice": "revert"}], "Reverted"),
    "silence": ([], "Reverted"),
    "extend, then promote": ([{"choice": "extend", "minutes": 1}, {"choice": "promote"}], "Promoted"),
    "extend, then silence": ([{"choice": "extend", "minutes": 1}], "Reverted"),
    "raise, then promote": ([{"choice": "raise", "percent": 25}, {"choice": "promote"}], "Promoted"),
    "without a name, then promote": ([{"choice": "promote", "approver": ""}, {"choice": "promote"}], "Promoted"),
    "raise to 80 %, then silence": ([{"choice": "raise", "percent": 80}], "Reverted"),
}


@pytest.mark.parametrize(("answers", "ends"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_carried_out(answers: list[dict[str, Any]], ends: str) -> None:
    """Each answer ends as it says; one that cannot be carried out is asked for again; silence reverts."""
    stage, run = answered(*answers)
    assert run.end == ends
    assert set(stage.scene.versions_served().values()) == {NEW if ends == "Promoted" else OLD}


def test_silence_is_told_with_its_reason() -> None:
    """Nobody's answer is an answer, and says so."""
    stage, run = answered()
    assert "nobody answered within" in run.message
    assert "asking/0" in stage.scene.slack.keys


def test_who_decided_and_why_stand_in_the_release() -> None:
    """A revert by a person carries the name and the reason to everybody who is told."""
    stage, run = answered({"choice": "revert", "reason": "the CEO is demoing"})
    assert "Ada decided to revert: the CEO is demoing" in run.message
    assert "the CEO is demoing" in stage.scene.slack.text


def test_an_answer_that_cannot_be_carried_out_is_explained_above_the_next_form() -> None:
    """The form says which field is wrong."""
    stage, _ = answered({"choice": "promote", "approver": " "}, {"choice": "promote"})
    assert "approver: say who decides" in stage.server.forms[1]


def test_a_larger_share_is_really_given() -> None:
    """After "raise to 25 %" every service serves a quarter of its users from the canary."""
    stage, _ = answered({"choice": "raise", "percent": 25}, {"choice": "promote"})
    shares = {share for write in stage.scene.production.writes if write.change.split for share in _canary(write)}
    assert shares >= {10, 25, 100}


def _canary(write: Any) -> list[int]:
    return [share for name, share in write.change.split.percent.items() if not name.endswith("-old")]


def test_evidence_ends_the_question() -> None:
    """A canary that turns bad while a person is asked is taken back at once, long before the deadline, and says why."""

    async def story(stage: Stage) -> tuple[Stage, Run, float]:
        stage.scene.publish(NEW, {BACKEND: SOME_ERRORS})
        run = stage.start_release()
        await stage.until(lambda: bool(stage.server.forms))
        began_s = stage.scene.now()
        turn_bad(stage)
        await stage.ended(run)
        return stage, run, run.ended_at_s - began_s

    stage, run, took_s = play(story, PATIENT)
    assert run.end == "Reverted"
    assert took_s < 60 < PATIENT.gate_deadline_s
    assert f"{BACKEND}: " in run.message
    assert "nobody answered" not in run.message
    assert [page.severity for page in stage.scene.pagerduty.incidents.values()] == ["P1"]


def test_nobody_promotes_over_evidence() -> None:
    """What turned bad since the question was asked is looked at before the answer is carried out."""

    async def story(stage: Stage) -> Run:
        stage.scene.publish(NEW, {BACKEND: SOME_ERRORS})
        stage.server.answers = [{"choice": "promote", "approver": "Ada", "reason": "looks fine"}]
        run = stage.start_release()
        await stage.until(lambda: bool(stage.server.forms))
        turn_bad(stage)
        await stage.ended(run)
        return run

    assert play(story, PATIENT).end == "Reverted"


def test_a_hand_on_a_service_ends_the_question() -> None:
    """Somebody moves traffic at the console while a person is asked: Interrupted, not promoted later."""

    async def story(stage: Stage) -> Run:
        stage.scene.publish(NEW, {BACKEND: SOME_ERRORS})
        run = stage.start_release()
        await stage.until(lambda: bool(stage.server.forms))
        await stage.hand(BACKEND, TrafficSplit.all_to(f"{BACKEND}-00001-old"))
        await stage.ended(run)
        return run

    assert play(story, PATIENT).end == "Interrupted"


def test_who_was_asked_is_asked_again_after_a_death() -> None:
    """The process dies while a person is asked: in the run that goes on they have the deadline they had, though the
    judge could promote by then."""

    async def story(stage: Stage) -> tuple[Stage, float]:
        stage.scene.publish(NEW, {BACKEND: SOME_ERRORS})
        run = stage.start_release()
        await stage.until(lambda: bool(stage.server.forms))
        asked_s = stage.scene.now()
        run.process.die()
        for state in stage.scene.production.services[BACKEND].revisions.values():
            state.behaviour = Behaviour()
        await stage.recover()
        return stage, stage.runs[-1].ended_at_s - asked_s

    stage, took_s = play(story, PATIENT)
    assert len(stage.server.forms) == 2
    assert stage.runs[-1].end == "Reverted"
    assert PATIENT.gate_deadline_s - 5 < took_s < PATIENT.gate_deadline_s + 15


def turn_bad(stage: Stage) -> None:
    """The canary of the backend fails every twentieth request, as its counters show from now on."""
    for state in stage.scene.production.services[BACKEND].revisions.values():
        if state.behaviour == SOME_ERRORS:
            state.behaviour = Behaviour(errors=0.05)
