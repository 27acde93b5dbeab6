"""A slice of what is not a release (`make chaos` runs all of it): killed right after anything it changed or said, and
what follows it too."""

import pytest
from cases import deaths, disturbed, recorded
from emergencies import EMERGENCIES
from plots import CANCELLED, Plot
from undoings import UNDOINGS
from wire import Call, Moment

PLOTS: tuple[Plot, ...] = (CANCELLED, *EMERGENCIES, *UNDOINGS)
CHANGES = {"write", "update_many", "delete_one", "POST", "put", "page", "resolve", "pause", "unpause", "start"}
"""The calls after which a death leaves something half done."""
EVERY = 13
"""The slice of what follows: every so manieth call, a prime."""


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.name)
def test_undisturbed_it_ends_as_it_must(plot: Plot) -> None:
    """What the kills are measured against."""
    assert disturbed(plot, {})[2] == []


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.name)
def test_it_survives_being_killed_after_anything_it_changed(plot: Plot) -> None:
    """Recovery finishes it, or a person who starts it again: the same end, and nothing was done or said twice."""
    for call in filter(_changes, recorded(plot)[0]):
        assert disturbed(plot, {call.n: Moment.APPLIED})[2] == [], str(call)


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.name)
def test_what_follows_survives_being_killed_too(plot: Plot) -> None:
    """The run died half-way, and each run that follows it dies before one of its calls."""
    first = deaths(plot)[len(deaths(plot)) // 2]
    for number, calls in enumerate(recorded(plot, first)[1]):
        for call in calls[1::EVERY]:
            wrong = disturbed(plot, first, *[{}] * number, {call.n: Moment.BEFORE})[2]
            assert wrong == [], f"run {number + 1} after it: {call}"


@pytest.mark.parametrize("plot", UNDOINGS, ids=lambda plot: plot.name)
def test_two_recoveries_start_it_again_once(plot: Plot) -> None:
    """Both start in the same moment; one is fenced."""
    assert disturbed(plot, deaths(plot)[0], twice=True)[2] == []


def _changes(call: Call) -> bool:
    return call.method in CHANGES and not call.subject.startswith("staging")
