"""The stories' own checks find what they are there to find: each is shown a tale in which one thing is wrong."""

import dataclasses
from typing import Any

import pytest

from rehearsal import checks
from rehearsal.prefect_api import Run, Step
from rehearsal.scenario import SERVICES, Scenario, ScenarioResult
from rehearsal.test_environment import sums

OLD = {name: {f"{name}-00041-xyz": 100} for name in SERVICES}
WHY = "ethixai-backend: Error rate 5.61 % (23 of 410 requests, last 20 s) is above 0.5 %."


def write(service: str, percent: int, *, applied: bool = True) -> dict[str, Any]:
    """A write that gives the new revision so many percent."""
    (old,) = OLD[service]
    shares = [(f"{service}-abc123", percent), (old, 100 - percent)]
    return {
        "method": "Services.UpdateService",
        "resource": f"projects/ethixai-production/locations/us-east1/services/{service}",
        "applied": applied,
        "served_at": 1.0,
        "traffic": [{"revision": name, "percent": share, "tag": ""} for name, share in shares],
    }


def result(*writes: dict[str, Any], **more: Any) -> ScenarioResult:
    """A tale of these writes; a canary of each service has answered users."""
    run = Run("id", "run", "Reverted", "FAILED", WHY, 100.0, 101.0, 160.0)
    requests = {"total": 1000, "failed": 0, "by_revision": {f"{name}-abc123": 9 for name in SERVICES}}
    told = [
        {"desk": "pagerduty", "at": 151.0, "path": "/v2/enqueue", "body": {"payload": {"summary": WHY}}},
        {"desk": "slack", "at": 152.0, "path": "/", "body": {"text": "❌ PRODUCTION ROLLBACK EXECUTED"}},
        {"desk": "github", "at": 153.0, "path": "/", "body": {"title": "Production canary rollback triggered"}},
    ]
    steps = [Step(f"revert {name}", "Completed", 149.0, 150.0) for name in SERVICES]
    none: dict[str, Any] = {name: {} for name in SERVICES}
    scenario = Scenario("a story", "", "Reverted")
    whole = ScenarioResult(scenario, run, None, steps, [], list(writes), told, OLD, OLD, none, none, requests)
    return dataclasses.replace(whole, **more)


CANARIES = [write(name, 10) for name in SERVICES]
ALL = [write(name, 100) for name in SERVICES]
ORDERS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "as it must be": ([*CANARIES, *ALL], ""),
    "a refused write counts for nothing": ([write("ethixai-frontend", 100, applied=False), *CANARIES, *ALL], ""),
    "no canary at all": (ALL, "showed 10 %"),
    "one service without a canary": ([*CANARIES[:2], *ALL], "showed 10 %"),
    "another share": ([write(name, 50) for name in SERVICES] + ALL, "showed 10 %"),
    "one promoted before another's canary": ([*CANARIES[:2], ALL[0], CANARIES[2], *ALL[1:]], "showed 10 %"),
    "another order": ([*CANARIES, *reversed(ALL)], "in the order"),
}


@pytest.mark.parametrize(("writes", "word"), ORDERS.values(), ids=ORDERS)
def test_the_writes_of_a_promotion_are_looked_at_in_order(writes: list[dict[str, Any]], word: str) -> None:
    """Each service shows its canary to 10 % before anybody's 100 %, which come in the playbook's order."""
    told = result(*writes)
    checks.canary_first(told)
    assert [word in sentence for sentence in told.wrong] == ([True] if word else [])


def test_a_revert_as_it_must_be_has_nothing_wrong() -> None:
    """The reason is in the message and on the page, users met the canaries, and revert, page, words came in order."""
    told = result()
    checks.reverted(told, because=checks.FAILED_RATIO)
    assert told.wrong == []


WRONGS: dict[str, tuple[dict[str, Any], str, str]] = {
    "another reason": ({}, checks.TOO_SLOW, "the reason is not"),
    "no page": ({"told": result().told[1:]}, checks.FAILED_RATIO, "the page does not say"),
    "nothing reverted": ({"steps": []}, checks.FAILED_RATIO, "nothing was reverted"),
    "no user met a canary": (
        {"requests": {"total": 9, "failed": 0, "by_revision": {}}},
        checks.FAILED_RATIO,
        "no user ever reached",
    ),
}


@pytest.mark.parametrize(("more", "because", "word"), WRONGS.values(), ids=WRONGS)
def test_a_revert_that_is_not_one_is_found(more: dict[str, Any], because: str, word: str) -> None:
    """Ending `Reverted` is not enough."""
    told = result(**more)
    checks.reverted(told, because=because)
    assert any(word in sentence for sentence in told.wrong)


USERS: dict[str, tuple[dict[str, Any], bool]] = {
    "all of those due": ({"total": 3000, "failed": 0, "by_revision": {}}, True),
    "a stream that stood still": ({"total": 2600, "failed": 0, "by_revision": {}}, False),
    "one failed": ({"total": 3000, "failed": 1, "by_revision": {}}, False),
}


@pytest.mark.parametrize(("requests", "is_well"), USERS.values(), ids=USERS)
def test_users_are_untroubled_only_if_they_really_came(requests: dict[str, Any], is_well: bool) -> None:
    """Nine tenths of the requests due are wanted, whatever the least is."""
    told = result(requests=requests, due=3000.0)
    checks.untroubled(told, least=2000)
    assert (told.wrong == []) is is_well


def test_a_request_that_could_not_be_sent_has_failed() -> None:
    """A user whom a jam kept from asking is not a user who was served."""
    counts = [
        {"target": "a", "revision": "r", "status": "200", "count": 5},
        {"target": "a", "revision": "", "status": "unsent", "count": 2},
        {"target": "a", "revision": "", "status": "failed", "count": 1},
        {"target": "a", "revision": "r", "status": "503", "count": 1},
    ]
    assert sums(counts) == {"total": 9, "failed": 4, "by_revision": {"r": 6, "": 3}}


TAKEN: dict[str, tuple[list[Step], bool]] = {
    "in time": ([Step("take over", "Completed", 120.0, 125.0), Step("take over", "Completed", 190.0, 191.0)], True),
    "late": ([Step("take over", "Completed", 120.0, 131.0)], False),
    "never": ([], False),
}


@pytest.mark.parametrize(("steps", "is_well"), TAKEN.values(), ids=TAKEN)
def test_the_time_to_recovery_runs_from_the_kill_to_the_first_take_over(steps: list[Step], is_well: bool) -> None:
    """The first of each counts, and a release that nobody took over is not in time."""
    events = [(90.0, "another worker is there"), (100.0, "SIGKILL of the process of run"), (110.0, "SIGKILL of it")]
    told = result(events=events, steps=steps)
    checks.taken_over_within(told, 30)
    assert (told.wrong == []) is is_well
