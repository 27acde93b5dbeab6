"""Every gate x every way in which it does not say yes, in whole flows: nothing is written, by what the world saw.

Which answer of a vendor makes which of these: tests/blocks/test_gates.py, tests/hostile/test_hostile_gates.py.
"""

from typing import Any

import pytest
from driver import Run, TestEnvironment, play
from fixture import NEW

from flows.hotfix import hotfix
from playbook.checklist.items import AFTER_STAGING, WINDOWS, Answer, Topic
from playbook.errors import BadRequest, Conflict, NoData, Refused, ReleaseError, Transient
from playbook.release.request import HotfixRequest
from tasks import checklist
from tasks.checklist import Question, Seen

FIX = "v20251117-hotfix1-fed987"
WHY = "for the test"
WAYS: dict[str, Seen | ReleaseError] = {
    "FAIL": Seen(Answer.FAIL, WHY),
    "CANNOT TELL": Seen(Answer.CANNOT_TELL, WHY),
    "away": Transient(WHY),
    "refused": Refused(WHY),
    "no data": NoData(WHY),
    "a wrong call": BadRequest([WHY]),
    "a conflict": Conflict(WHY),
}
"""Each way in which a check does not pass."""


def answering(way: Seen | ReleaseError, after: int = 0) -> Any:
    """A look-up that passes so many times, and from then on ends this way."""
    left = [after]

    async def look_up(asked: Question) -> Seen:
        if left[0]:
            left[0] -= 1
            return Seen(Answer.PASS, "well")
        if isinstance(way, ReleaseError):
            raise way
        return way

    return look_up


def needing(test_env: TestEnvironment, topic: Topic) -> TestEnvironment:
    """Production's policy asks about ``topic`` too."""
    production = test_env.fixture.environments["production"]
    needless = {one: why for one, why in production.gates.not_needed.items() if one is not topic}
    gates = production.gates.model_copy(update={"not_needed": needless})
    test_env.fixture.environments["production"] = production.model_copy(update={"gates": gates})
    return test_env


def writes(test_env: TestEnvironment) -> dict[str, int]:
    """How many writes Cloud Run has seen in each environment."""
    return {name: len(cloud.writes) for name, cloud in test_env.fixture.clouds.items()}


def told(test_env: TestEnvironment) -> set[str]:
    """Vendor and last part of the path of each call that changed something; messages to people among them."""
    return {
        f"{call['vendor']} {call['path'].rpartition('/')[2]}"
        for vendors in test_env.fixture.vendors.values()
        for call in vendors.calls
    }


@pytest.mark.parametrize("topic", Topic)
def test_a_release_whose_gate_does_not_say_yes_writes_nothing(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor to staging, where the gate is asked before it. One that the policy does not block on stops nothing."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, dict[str, Run], dict[str, int]]:
        runs = {}
        for way, answer in WAYS.items():
            monkeypatch.setitem(checklist.LOOK_UPS, topic, answering(answer))
            needing(test_env, topic).fixture.publish(NEW)
            runs[way] = await test_env.release()
            if runs[way].end != "Refused":
                break
        return test_env, runs, writes(test_env)

    test_env, runs, seen = play(scenario)
    if topic not in test_env.fixture.environments["production"].gates.blocks:
        assert topic is Topic.NOTES
        assert [run.end for run in runs.values()] == ["Promoted"]
        return
    assert {way: run.end for way, run in runs.items()} == dict.fromkeys(WAYS, "Refused")
    assert all(topic.words in run.message and WHY in run.message for run in runs.values())
    assert seen["production"] == 0
    assert bool(seen["staging"]) is (topic in AFTER_STAGING)
    assert not any(test_env.is_held(name) for name in seen)
    if not seen["staging"]:
        assert told(test_env) == {"slack chat.postMessage"}
    assert not test_env.fixture.pagerduty.incidents


@pytest.mark.parametrize("topic", WINDOWS)
def test_a_gate_that_closes_while_staging_runs_keeps_production_unwritten(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was open when the release began, and is asked again before production is written."""

    async def scenario(test_env: TestEnvironment) -> tuple[Run, dict[str, int]]:
        monkeypatch.setitem(checklist.LOOK_UPS, topic, answering(WAYS["CANNOT TELL"], after=1))
        test_env.fixture.publish(NEW)
        return await test_env.release(), writes(test_env)

    run, seen = play(scenario)
    assert (run.end, topic.words in run.message, seen["production"]) == ("Refused", True, 0), run.message
    assert seen["staging"]


@pytest.mark.parametrize("topic", Topic)
def test_a_hotfix_is_stopped_by_what_its_policy_names(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """By nothing else: what is open beside that goes into its follow-up ticket."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run, dict[str, int]]:
        monkeypatch.setitem(checklist.LOOK_UPS, topic, answering(WAYS["CANNOT TELL"]))
        needing(test_env, topic).fixture.publish(FIX)
        asked = HotfixRequest(version=FIX, reason="a hole", incident="CVE-2025-1", approver="Ada")
        run = test_env.start(hotfix, request=asked, environment="production")
        await test_env.ended(run)
        seen = writes(test_env)
        await test_env.catch_up()
        return test_env, run, seen

    test_env, run, seen = play(scenario)
    if topic in test_env.fixture.environments["production"].gates.hotfix_blocks:
        assert (run.end, seen["production"], seen["staging"]) == ("Refused", 0, 0), run.message
        return
    assert run.end == "Promoted", run.message
    (debt,) = (one.text for one in test_env.fixture.github.tickets if "what was skipped" in one.title)
    assert f"{topic.words}: {WHY}" in debt


@pytest.mark.parametrize("topic", Topic)
def test_a_plan_writes_nothing_whatever_its_gates_say(topic: Topic, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends Planned, and says what the gate says."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run, dict[str, int]]:
        monkeypatch.setitem(checklist.LOOK_UPS, topic, answering(WAYS["CANNOT TELL"]))
        needing(test_env, topic).fixture.publish(NEW)
        return test_env, await test_env.release(plan_only=True), writes(test_env)

    test_env, run, seen = play(scenario)
    assert (run.end, set(seen.values())) == ("Planned", {0})
    page = test_env.server.artifacts[f"plan-production-{NEW}"][-1]
    assert topic in AFTER_STAGING or WHY in page
