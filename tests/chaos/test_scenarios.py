"""A sample of the scenarios beside plain releases (`make chaos` runs all kills): killed after changes and messages, and
in the runs that follow; and every kill that once did harm."""

from collections.abc import Sequence
from typing import TypeVar

import pytest
from cases import deaths, disturbed, recorded
from emergencies import EMERGENCIES
from migration_rollbacks import MIGRATION_ROLLBACKS
from scenarios import CANCELLED, ChaosScenario
from wire import Call, Moment

T = TypeVar("T")

SCENARIOS: tuple[ChaosScenario, ...] = (CANCELLED, *EMERGENCIES, *MIGRATION_ROLLBACKS)
NAMED = {scenario.name: scenario for scenario in SCENARIOS}
CHANGES = {"write", "update_many", "delete_one", "POST", "put", "page", "resolve", "pause", "unpause", "start"}
"""The calls that change something: a kill after them leaves work unfinished."""
MOST, MOST_AFTER = 12, 4
"""How many calls of a run are chosen, and of each run that follows it."""

FOUND = [
    ("rollback, preempting", "REVERT", "it had taken the release over, and the release went on"),
    ("cancelled", "no lease", "it was reverted after all, but stayed recorded as good"),
    ("hotfix, slow", "PROMOTE", "its first minutes passed meanwhile, and it was not reverted"),
    (
        "undo",
        "delete_one",
        "the backfill record stayed, and the next rollback of that migration would have changed nothing",
    ),
    ("restore, no", "cloud run.write", "people were asked again after a denial"),
    ("restore, halted", "pagerduty.page", "it waited for a person, but no page was sent"),
    ("restore, halted", "POST restoreJobs", "the restore had ended meanwhile, and was started a second time"),
]
"""scenario, the calls, and the harm that a kill there once did"""


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_an_undisturbed_scenario_passes(scenario: ChaosScenario) -> None:
    """The baseline for the kills."""
    assert disturbed(scenario, {})[2] == []


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_kill_after_a_change_is_recovered(scenario: ChaosScenario) -> None:
    """Recovery or a person finishes it with the same outcome, and nothing is done or sent twice."""
    for call in some([call for call in recorded(scenario)[0] if _changes(call)], MOST):
        assert disturbed(scenario, {call.n: Moment.APPLIED})[2] == [], str(call)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_kill_of_a_following_run_is_recovered(scenario: ChaosScenario) -> None:
    """The run was killed half-way, and each run that follows is killed before one of its calls."""
    first = deaths(scenario)[len(deaths(scenario)) // 2]
    for number, calls in enumerate(recorded(scenario, first)[1]):
        for call in some(calls, MOST_AFTER):
            wrong = disturbed(scenario, first, *[{}] * number, {call.n: Moment.BEFORE})[2]
            assert wrong == [], f"run {number + 1} after it: {call}"


@pytest.mark.parametrize(("name", "words", "harm"), FOUND, ids=[f"{name}: {harm}" for name, _, harm in FOUND])
def test_a_kill_that_once_did_harm_does_none(name: str, words: str, harm: str) -> None:
    """A regression test for each of them."""
    calls = [call for call in recorded(NAMED[name])[0] if words in str(call) and "staging" not in call.subject]
    assert calls
    for call in calls:
        assert disturbed(NAMED[name], {call.n: Moment.APPLIED})[2] == [], f"{call}: {harm}"


def test_a_restarted_rollback_that_is_killed_at_once_is_started_again() -> None:
    """It is killed before its take-over; this once blocked every further run for the epoch."""
    undo = NAMED["undo"]
    assert disturbed(undo, deaths(undo)[1], {}, {0: Moment.BEFORE})[2] == []


@pytest.mark.parametrize("scenario", MIGRATION_ROLLBACKS, ids=lambda scenario: scenario.name)
def test_two_concurrent_recoveries_start_it_again_once(scenario: ChaosScenario) -> None:
    """Both start at the same moment and one is fenced."""
    assert disturbed(scenario, deaths(scenario)[0], twice=True)[2] == []


def some(found: Sequence[T], most: int) -> list[T]:
    """At most ``most`` of them, evenly spread."""
    return [found[number * len(found) // most] for number in range(most)] if len(found) > most else [*found]


def _changes(call: Call) -> bool:
    return call.method in CHANGES and not call.subject.startswith("staging")
