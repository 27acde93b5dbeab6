"""A sample of the dirty events (`python tests/chaos/run.py --dirty` runs all): one event at one call of a release."""

import pytest
from cases import recorded
from dirty import EVENTS, Event, dirtied
from fixture import SERVICES
from scenarios import BREACH, HEALTHY, ChaosScenario

EVERY = 149
"""The sample takes every 149th call; a prime, so that it covers all kinds of calls."""


@pytest.mark.parametrize("event", EVENTS, ids=[event.name for event in EVENTS])
@pytest.mark.parametrize("scenario", [HEALTHY, BREACH], ids=lambda scenario: scenario.name)
def test_a_release_ends_safely_in_a_dirty_world(scenario: ChaosScenario, event: Event) -> None:
    """It ends in time; users are safe or a page says where they are; other people's tags are as they left them."""
    calls, _ = recorded(scenario)
    number = EVENTS.index(event)
    for call in calls[7 * number + 20 :: EVERY]:
        _, _, wrong = dirtied(scenario, event, SERVICES[(call.n + number) % len(SERVICES)], call.n)
        assert not wrong, f"{call}, {event.name}"
