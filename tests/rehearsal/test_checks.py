"""The scenarios' checks find problems: each check gets a result with one problem in it."""

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
    """A write that sends ``percent`` of the users to the new revision."""
    (old,) = OLD[service]
    shares = [(f"{service}-abc123", percent), (old, 100 - percent)]
    return {
        "method": "Services.ReplaceService",
        "resource": f"projects/ethixai-production/locations/us-east1/services/{service}",
        "applied": applied,
        "served_at": 1.0,
        "traffic": [{"revision": name, "percent": share, "tag": ""} for name, share in shares],
    }


def result(*writes: dict[str, Any], **more: Any) -> ScenarioResult:
    """A result with these writes; a canary of each service has answered users."""
    run = Run("id", "run", "Reverted", "FAILED", WHY, 100.0, 101.0, 160.0)
    requests = {"total": 1000, "failed": 0, "by_revision": {f"{name}-abc123": 9 for name in SERVICES}}
    vendor_calls = [
        {"vendor": "pagerduty", "at": 151.0, "path": "/v2/enqueue", "body": {"payload": {"summary": WHY}}},
        {"vendor": "slack", "at": 152.0, "path": "/", "body": {"text": "❌ PRODUCTION ROLLBACK EXECUTED"}},
        {"vendor": "github", "at": 153.0, "path": "/", "body": {"title": "Production canary rollback triggered"}},
    ]
    steps = [Step(f"revert {name}", "Completed", 149.0, 150.0) for name in SERVICES]
    none: dict[str, Any] = {name: {} for name in SERVICES}
    scenario = Scenario("a scenario", "", "Reverted")
    whole = ScenarioResult(scenario, run, None, steps, [], list(writes), vendor_calls, OLD, OLD, none, none, requests)
    return dataclasses.replace(whole, **more)


CANARIES = [write(name, 10) for name in SERVICES]
ALL = [write(name, 100) for name in SERVICES]
ORDERS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "canaries, then promotions in order": ([*CANARIES, *ALL], ""),
    "a refused write is ignored": ([write("ethixai-frontend", 100, applied=False), *CANARIES, *ALL], ""),
    "no canary at all": (ALL, "before every canary had 10 %"),
    "one service without a canary": ([*CANARIES[:2], *ALL], "before every canary had 10 %"),
    "a larger share, as the forecast may choose": ([write(name, 50) for name in SERVICES] + ALL, ""),
    "a smaller share": ([write(name, 5) for name in SERVICES] + ALL, "before every canary had 10 %"),
    "one promoted before another's canary": (
        [*CANARIES[:2], ALL[0], CANARIES[2], *ALL[1:]],
        "before every canary had 10 %",
    ),
    "another order": ([*CANARIES, *reversed(ALL)], "order of promotion"),
}


@pytest.mark.parametrize(("writes", "word"), ORDERS.values(), ids=ORDERS)
def test_the_order_of_the_writes_of_a_promotion_is_checked(writes: list[dict[str, Any]], word: str) -> None:
    """Every canary has at least 10 % before any service has 100 %, and promotions follow the playbook's order."""
    found = result(*writes)
    checks.canary_first(found)
    assert [word in sentence for sentence in found.wrong] == ([True] if word else [])


def test_a_correct_revert_passes() -> None:
    """The reason is in outcome and page, the canaries answered users, and revert, page and message came in order."""
    found = result()
    checks.reverted(found, because=checks.FAILED_RATIO)
    assert found.wrong == []


WRONGS: dict[str, tuple[dict[str, Any], str, str]] = {
    "another reason": ({}, checks.TOO_SLOW, "the reason does not match"),
    "no page": ({"vendor_calls": result().vendor_calls[1:]}, checks.FAILED_RATIO, "the page does not match"),
    "nothing reverted": ({"steps": []}, checks.FAILED_RATIO, "no step reverted"),
    "no user met a canary": (
        {"requests": {"total": 9, "failed": 0, "by_revision": {}}},
        checks.FAILED_RATIO,
        "never answered a user",
    ),
}


@pytest.mark.parametrize(("more", "because", "word"), WRONGS.values(), ids=WRONGS)
def test_a_wrong_revert_is_found(more: dict[str, Any], because: str, word: str) -> None:
    """The outcome `Reverted` alone is not enough."""
    found = result(**more)
    checks.reverted(found, because=because)
    assert any(word in sentence for sentence in found.wrong)


USERS: dict[str, tuple[dict[str, Any], bool]] = {
    "all planned requests": ({"total": 3000, "failed": 0, "by_revision": {}}, True),
    "a load that stalled": ({"total": 2600, "failed": 0, "by_revision": {}}, False),
    "one failed": ({"total": 3000, "failed": 1, "by_revision": {}}, False),
}


@pytest.mark.parametrize(("requests", "is_well"), USERS.values(), ids=USERS)
def test_no_failed_requests_counts_only_with_enough_requests(requests: dict[str, Any], is_well: bool) -> None:
    """90 % of the planned requests are required, whatever the minimum is."""
    found = result(requests=requests, due=3000.0)
    checks.no_failed_requests(found, least=2000)
    assert (found.wrong == []) is is_well


def test_a_request_that_could_not_be_sent_counts_as_failed() -> None:
    """A request that the load could not send counts as failed."""
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
def test_the_time_to_recovery_is_from_the_kill_to_the_first_take_over(steps: list[Step], is_well: bool) -> None:
    """The first kill and the first take-over count, and a release without take-over is not in time."""
    events = [(90.0, "Another worker is running."), (100.0, "SIGKILL of the process of run"), (110.0, "SIGKILL of it")]
    found = result(events=events, steps=steps)
    checks.taken_over_within(found, 30)
    assert (found.wrong == []) is is_well
