"""What ``BEHAVIOUR`` means, without a process."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rehearsal.world.ethixai.behaviour import LATENCY_S, BadBehaviour, Behaviour, Fate, Share, parse


@given(share=st.fractions(min_value=0, max_value=1, max_denominator=1000), count=st.integers(1, 3000))
def test_share_is_exact(share: Fraction, count: int) -> None:
    """After any number of requests exactly the share of them was taken, rounded down."""
    one = Share(share)
    assert sum(one.take() for _ in range(count)) == count * share.numerator // share.denominator


@given(every=st.integers(1, 50))
def test_share_is_evenly_spread(every: int) -> None:
    """A share of 1/k takes each k-th request."""
    one = Share(Fraction(1, every))
    assert [n for n in range(1, 5 * every + 1) if one.take()] == [every, 2 * every, 3 * every, 4 * every, 5 * every]


@pytest.mark.parametrize(
    "text",
    ["errors", "errors=2", "errors=-1", "errors=x", "errors_after=5", "slow=0", "slow=1@3", "capacity=nan", "sleepy=1"],
)
def test_unknown_items_are_refused(text: str) -> None:
    """The error names the unknown or invalid item."""
    with pytest.raises(BadBehaviour, match="is not a behaviour"):
        parse(f"healthy,{text}")


def test_items_add_up() -> None:
    """Several items apply at once."""
    settings = parse("slow=6.0@0.2, errors_after=30:0.05,smoke_fails,leak=8,burns=0.9,capacity=20")
    assert settings.slow_s == 6
    assert settings.slow_share == Fraction(1, 5)
    assert settings.errors == Fraction(1, 20)
    assert settings.errors_after_s == 30
    assert settings.flags == {"smoke_fails"}
    assert (settings.leak_mib_per_s, settings.burns, settings.capacity_per_s) == (8, 0.9, 20)


def test_errors_begin_after_the_first_user() -> None:
    """The clock of ``errors_after`` starts with the first user, and no smoke test starts it or fails."""
    behaviour = Behaviour(parse("errors_after=30:1"))
    assert [behaviour.fails(at, smoke=True) for at in (0, 50)] == [False, False]
    assert [behaviour.fails(at, smoke=False) for at in (100, 129.9, 130)] == [False, False, True]


def test_work_queues_up_at_capacity() -> None:
    """With room for 20 requests a second, each one waits for those before it, and a pause empties the queue."""
    behaviour = Behaviour(parse("capacity=20"))
    assert [round(behaviour.delay_s(0, smoke=False), 3) for _ in range(3)] == [0.05, 0.1, 0.15]
    assert round(behaviour.delay_s(9, smoke=False), 3) == 0.05


def test_smoke_tests_are_not_slowed() -> None:
    """A smoke test is neither slow nor counted in the share of the slow."""
    behaviour = Behaviour(parse("slow=6@0.5"))
    assert [behaviour.delay_s(0, smoke=True) for _ in range(3)] == [LATENCY_S] * 3
    assert [behaviour.delay_s(0, smoke=False) for _ in range(4)] == [LATENCY_S, 6, LATENCY_S, 6]


def test_a_crowded_instance_is_slow_and_two_instances_are_not() -> None:
    """More requests a second than a revision can take make each slow; spread over two instances, none is."""

    def slow(per_s: int) -> int:
        behaviour = Behaviour(parse("crowded=9:6"))
        return sum(behaviour.delay_s(number / per_s, smoke=False) > 1 for number in range(50 * per_s))

    assert slow(12) > 500
    assert slow(6) == 0


def test_a_request_may_meet_a_fate_that_the_application_does_not_see() -> None:
    """Each fate takes its exact share, in the order of the table; a smoke test meets none."""
    behaviour = Behaviour(parse("hangs=0.5,client_errors=1"))
    assert [behaviour.fate(smoke=True) for _ in range(3)] == [None] * 3
    assert [behaviour.fate(smoke=False) for _ in range(4)] == [Fate.CLIENT_ERROR, Fate.HANGS] * 2
    assert Behaviour(parse("healthy")).fate(smoke=False) is None


def test_how_requests_are_counted_can_be_chosen() -> None:
    """The label, the edges, and workers that are asked in turn."""
    settings = parse("labels=code,edges=1/0.1/0.5,workers=4")
    assert (settings.labels, settings.edges_s, settings.workers) == ("code", (0.1, 0.5, 1.0), 4)


@pytest.mark.parametrize("text", ["labels=a b", "edges=x", "workers=0", "hangs=2"])
def test_a_way_of_counting_that_is_none_is_refused(text: str) -> None:
    """The error names it."""
    with pytest.raises(BadBehaviour, match="is not a behaviour"):
        parse(text)
