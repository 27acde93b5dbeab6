"""A sample of the dirty events (`python tests/chaos/run.py --dirty` runs all): one event at one call of a release."""

import pytest
from cases import recorded
from dirty import EVENTS, Event, dirtied
from fixture import NEW, SERVICES
from scenarios import BREACH, HEALTHY, ChaosScenario

EVERY = 149
"""The sample takes every 149th call; a prime, so that it covers all kinds of calls."""


def test_annotations_spoilt_after_the_promotion_do_not_take_the_others_back() -> None:
    """The last service's are garbage once all users are promoted: recovery reverted the other two then."""
    garbage = next(event for event in EVENTS if event.name == "annotation garbage")
    calls, _ = recorded(HEALTHY)
    moved = [call for call in calls if call.method == "write" and f"{NEW[-6:]}-" in call.subject]
    last = next(call for call in reversed(moved) if "100 %, participant" in call.subject)
    at = next(call.n for call in calls if call.n > last.n and call.method == "value")
    outcome, _, wrong = dirtied(HEALTHY, garbage, SERVICES[-1], at)
    assert (outcome, wrong) == ("promoted", [])


@pytest.mark.parametrize("event", EVENTS, ids=[event.name for event in EVENTS])
@pytest.mark.parametrize("scenario", [HEALTHY, BREACH], ids=lambda scenario: scenario.name)
def test_a_release_ends_safely_in_a_dirty_world(scenario: ChaosScenario, event: Event) -> None:
    """It ends in time; users are safe or a page says where they are; other people's tags are as they left them."""
    calls, _ = recorded(scenario)
    number = EVENTS.index(event)
    for call in calls[7 * number + 20 :: EVERY]:
        _, _, wrong = dirtied(scenario, event, SERVICES[(call.n + number) % len(SERVICES)], call.n)
        assert not wrong, f"{call}, {event.name}"
