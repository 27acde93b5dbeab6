"""A slice of what is not a plain release (`make chaos` runs all of it): killed after what it changed or said, and what
follows it too; and every place where a death once did harm."""

from collections.abc import Sequence
from typing import TypeVar

import pytest
from cases import deaths, disturbed, recorded
from emergencies import EMERGENCIES
from migration_rollbacks import UNDOINGS
from scenarios import CANCELLED, ChaosScenario
from wire import Call, Moment

T = TypeVar("T")

PLOTS: tuple[ChaosScenario, ...] = (CANCELLED, *EMERGENCIES, *UNDOINGS)
NAMED = {scenario.name: scenario for scenario in PLOTS}
CHANGES = {"write", "update_many", "delete_one", "POST", "put", "page", "resolve", "pause", "unpause", "start"}
"""The calls after which a death leaves something half done."""
MOST, MOST_AFTER = 12, 4
"""How many calls of a run are chosen, and of each run that follows it."""

FOUND = [
    ("rollback, preempting", "REVERT", "it had taken the release over, and the release went on"),
    ("cancelled", "no claim", "it was taken back after all, and stayed written down as good"),
    ("hotfix, slow", "PROMOTE", "its first minutes passed meanwhile, and it stayed"),
    ("undo", "delete_one", "the walk stayed, and the next rollback of that migration would have changed nothing"),
    ("restore, no", "cloud run.write", "people were asked again after their no"),
    ("restore, halted", "pagerduty.page", "it said that it waits for a person, and nobody was paged"),
]
"""plot, the calls, what a death there did"""


@pytest.mark.parametrize("scenario", PLOTS, ids=lambda scenario: scenario.name)
def test_undisturbed_it_ends_as_it_must(scenario: ChaosScenario) -> None:
    """What the kills are measured against."""
    assert disturbed(scenario, {})[2] == []


@pytest.mark.parametrize("scenario", PLOTS, ids=lambda scenario: scenario.name)
def test_it_survives_being_killed_after_what_it_changed(scenario: ChaosScenario) -> None:
    """Recovery finishes it, or a person who starts it again: the same end, and nothing was done or said twice."""
    for call in some([call for call in recorded(scenario)[0] if _changes(call)], MOST):
        assert disturbed(scenario, {call.n: Moment.APPLIED})[2] == [], str(call)


@pytest.mark.parametrize("scenario", PLOTS, ids=lambda scenario: scenario.name)
def test_what_follows_survives_being_killed_too(scenario: ChaosScenario) -> None:
    """The run died half-way, and each run that follows it dies before one of its calls."""
    first = deaths(scenario)[len(deaths(scenario)) // 2]
    for number, calls in enumerate(recorded(scenario, first)[1]):
        for call in some(calls, MOST_AFTER):
            wrong = disturbed(scenario, first, *[{}] * number, {call.n: Moment.BEFORE})[2]
            assert wrong == [], f"run {number + 1} after it: {call}"


@pytest.mark.parametrize(("name", "words", "harm"), FOUND, ids=[f"{name}: {harm}" for name, _, harm in FOUND])
def test_where_a_death_once_did_harm(name: str, words: str, harm: str) -> None:
    """It does none any more."""
    calls = [call for call in recorded(NAMED[name])[0] if words in str(call) and "staging" not in call.subject]
    assert calls
    for call in calls:
        assert disturbed(NAMED[name], {call.n: Moment.APPLIED})[2] == [], f"{call}: {harm}"


def test_a_restarted_rollback_that_dies_at_once_is_started_again() -> None:
    """Before it has taken over nothing of it is known; once no run could be started for that epoch any more."""
    undo = NAMED["undo"]
    assert disturbed(undo, deaths(undo)[1], {}, {0: Moment.BEFORE})[2] == []


@pytest.mark.parametrize("scenario", UNDOINGS, ids=lambda scenario: scenario.name)
def test_two_recoveries_start_it_again_once(scenario: ChaosScenario) -> None:
    """Both begin in the same moment and one is fenced; what a third one starts finds nothing to do, and begins none."""
    assert disturbed(scenario, deaths(scenario)[0], twice=True)[2] == []


def some(found: Sequence[T], most: int) -> list[T]:
    """At most so many of them, evenly."""
    return [found[number * len(found) // most] for number in range(most)] if len(found) > most else [*found]


def _changes(call: Call) -> bool:
    return call.method in CHANGES and not call.subject.startswith("staging")
