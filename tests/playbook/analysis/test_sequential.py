"""The tests that may be looked at after every scrape: their guarantees, exactly where possible and by seeded runs."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playbook.analysis.alignment import Round
from playbook.analysis.levels import Falls, Lasting, lasting_tests
from playbook.analysis.policy import Policy
from playbook.analysis.sequential import MOST_ALONE, Ceiling, Onset, Relative, requests_needed, upper_bound


def binomial(n: int, p: float) -> list[float]:
    """The chances of 0 to n."""
    return [math.comb(n, x) * p**x * (1 - p) ** (n - x) for x in range(n + 1)]


@given(
    n=st.integers(1, 60),
    p0=st.sampled_from([0.001, 0.005, 0.05]),
    share=st.floats(0, 1),
    phi=st.floats(1, 40),
    tilted=st.floats(0, 1),
)
def test_the_ceiling_test_never_grows_on_average_while_its_hypothesis_is_true(n, p0, share, phi, tilted):
    """With the ratio at or below the line, each simple e-process is worth no more after a scrape, on average."""
    test = Ceiling.at(p0, phi, tilted)
    masses = tuple(1.0 + i for i in range(len(test.start)))
    at_start = list(test.step(masses, share, 0, 0))
    for p in (0.0, p0 / 3, p0):
        means = [0.0] * len(masses)
        for x, chance in enumerate(binomial(n, p)):
            means = [a + chance * b for a, b in zip(means, test.step(masses, share, n, x), strict=True)]
        assert all(mean <= before * (1 + 1e-9) for mean, before in zip(means, at_start, strict=True))


@given(blocks=st.integers(1, 12), phi=st.integers(2, 30), p0=st.sampled_from([0.001, 0.005, 0.05]))
def test_bursts_up_to_phi_do_not_break_it(blocks, phi, p0):
    """Even when whole blocks of phi requests fail together, the test does not grow on average."""
    test = Ceiling.at(p0, phi)
    masses = test.start
    means = [0.0] * len(masses)
    for failed, chance in enumerate(binomial(blocks, p0)):
        stepped = test.step(masses, 0.0, blocks * phi, failed * phi)
        means = [a + chance * b for a, b in zip(means, stepped, strict=True)]
    assert all(mean <= before * (1 + 1e-9) for mean, before in zip(means, masses, strict=True))


@given(n=st.integers(1, 300), p0=st.sampled_from([0.001, 0.00375, 0.0375]), share=st.floats(0, 1))
def test_what_relies_on_errors_that_come_alone_never_grows_on_average(n, p0, share):
    """Exactly, over all outcomes: with the ratio at or below the line, a cut tilt is worth no more after a scrape."""
    test = Ceiling.alone(p0)
    masses = tuple(1.0 + i for i in range(len(test.start)))
    at_start = list(test.step(masses, share, 0, 0))
    for p in (0.0, p0 / 3, p0):
        means = [0.0] * len(masses)
        for x, chance in enumerate(binomial(n, p)):
            means = [a + chance * b for a, b in zip(means, test.step(masses, share, n, x), strict=True)]
        assert all(mean <= before * (1 + 1e-9) for mean, before in zip(means, at_start, strict=True))


@given(n=st.integers(1, 10**6), x=st.floats(0, 1), p0=st.sampled_from([0.001, 0.00375]))
def test_one_scrape_never_multiplies_what_relies_on_it_by_more_than_its_cut(n, x, p0):
    """However many requests it counted: a burst that stable never showed is one scrape's word."""
    test = Ceiling.alone(p0)
    assert sum(test.step(test.start, 0.0, n, x * n)) <= MOST_ALONE * (1 + 1e-9)


@pytest.mark.parametrize("scrape_s", [1, 5, 15])
def test_two_scrapes_never_decide_that_a_fault_lasts(scrape_s):
    """All requests of two scrapes fail, at any time of the bake: less than 200 to 1. The third decides."""
    for clean in range(0, 900 // scrape_s, 20):
        test, onset, masses = Ceiling.alone(0.001), Onset(first=0.005), Ceiling.alone(0.001).nothing
        values = []
        for bad in [0] * clean + [1000] * 3:
            share, onset = onset.spend(scrape_s, 900)
            masses = test.step(masses, share, 1000, bad)
            values.append(sum(masses) + onset.cash)
        assert values[-2] < 200 <= values[-1]


@given(both=st.integers(1, 200), n=st.integers(1, 5000))
def test_independent_errors_fall_by_one_half_a_pair_on_average(both, n):
    """Exactly, over all ways in which the bad requests of two scrapes of the same size may split."""
    pairs = [Falls(n, x).after(n, both - x).excess for x in range(both + 1)]
    chances = binomial(both, 0.5)
    assert sum(c * excess for c, excess in zip(chances, pairs, strict=True)) == pytest.approx(0.5)


def test_a_burst_is_known_by_its_end_and_a_fault_that_stays_is_not_one():
    """Two bursts of ten that are over: a burst. Ten errors in every scrape from some scrape on: none."""
    burst, fault = Falls(), Falls()
    for x in (0, 0, 10, 0, 0, 10, 0):
        burst = burst.after(100, x)
    for x in (0, 0, 1, 0, 10, 12, 8, 9, 11):
        fault = fault.after(100, x)
    assert burst.are_bursts
    assert not fault.are_bursts


def test_nothing_is_bet_before_stable_has_shown_that_bad_requests_come_alone():
    """30 of them one at a time; what the canary had before that is forgotten, and bursts of stable never count."""
    policy = Policy()
    tests = lasting_tests(0.05, 0.05, policy)
    quiet, shown, bursts = Lasting.of(), Lasting.of(), Lasting.of()
    for k in range(40):
        quiet = quiet.after(tests, Round(5.0 * k, 5, 100, 30, 900, 0), policy, alone=False)
        shown = shown.after(tests, Round(5.0 * k, 5, 100, 30, 900, 5), policy, alone=False)
        bursts = bursts.after(tests, Round(5.0 * k, 5, 100, 30, 900, 50 * (k % 10 == 0)), policy, alone=False)
    assert quiet.confirmed == bursts.confirmed == 0
    assert quiet.healthy.peak == 1
    assert shown.confirmed >= 200


@given(n=st.integers(1, 500), m=st.integers(1, 5000), bad=st.integers(1, 40), phi=st.floats(1, 40))
def test_the_relative_test_never_grows_on_average_while_the_odds_are_equal(n, m, bad, phi):
    """With the canary's odds at most 1.25 times stable's, the split of the bad requests earns nothing on average."""
    test = Relative(1.25, phi)
    theta = 1.25 * n / (1.25 * n + m)
    means = [0.0] * len(test.start)
    for x, chance in enumerate(binomial(bad, theta)):
        stepped = test.step(test.start, 0.0, n, x, m, bad - x)
        means = [a + chance * b for a, b in zip(means, stepped, strict=True)]
    assert all(mean <= before * (1 + 1e-9) for mean, before in zip(means, test.start, strict=True))


@given(n=st.integers(1, 10_000), x=st.data(), p0=st.sampled_from([0.001, 0.005, 0.05]))
def test_one_more_error_never_lowers_it(n, x, p0):
    """Turning a good request into a bad one raises every simple e-process, or leaves it."""
    test = Ceiling.at(p0, 20)
    bad = x.draw(st.integers(0, n - 1))
    fewer, more = test.step(test.start, 0.1, n, bad), test.step(test.start, 0.1, n, bad + 1)
    assert all(a <= b for a, b in zip(fewer, more, strict=True))


@given(st.lists(st.floats(0.01, 2000), min_size=1, max_size=200), st.sampled_from([60.0, 900.0]))
def test_the_onset_never_spends_more_than_there_is(steps, horizon_s):
    """The shares that start to play and the cash that is left always add up to the initial 1."""
    onset, spent = Onset(), 0.0
    for dt_s in steps:
        share, onset = onset.spend(dt_s, horizon_s)
        assert share >= 0
        spent += share
        assert onset.cash >= 0
        assert spent + onset.cash == pytest.approx(1)


@pytest.mark.parametrize("rate", [2, 100])
def test_looking_at_every_scrape_keeps_the_chance_of_a_false_alarm(rate):
    """180 looks at a canary at exactly 0.5 %: fewer than alpha of the seeded bakes ever reach 1/alpha."""
    test, draw, alarms, bakes = Ceiling.at(0.005, 20), random.Random(rate), 0, 300
    counts = range(10 * rate + 1)
    chances = binomial(rate * 5, 0.005)[: len(counts)]
    for _ in range(bakes):
        masses, onset, alarm = test.nothing, Onset(), False
        for x in draw.choices(range(len(chances)), chances, k=180):
            share, onset = onset.spend(5, 900)
            masses = test.step(masses, share, rate * 5, x)
            alarm |= sum(masses) + onset.cash >= 200
        alarms += alarm
    assert alarms <= 0.005 * bakes + 1


def test_a_total_failure_is_seen_in_two_requests():
    """One request in each of two scrapes, both failed, is enough."""
    test, onset, masses = Ceiling.at(0.005, 20), Onset(), Ceiling.at(0.005, 20).nothing
    for _ in range(2):
        share, onset = onset.spend(5, 900)
        masses = test.step(masses, share, 1, 1)
    assert sum(masses) + onset.cash >= 200


def test_huge_counts_do_not_overflow():
    """A million failures in one scrape is a number, not an exception."""
    test = Ceiling.at(0.005, 1)
    masses = test.step(test.start, 0.5, 1e6, 1e6)
    assert all(math.isfinite(mass) for mass in test.step(masses, 0.0, 1e6, 1e6))


@pytest.mark.parametrize(("errors", "needed"), [(0, 598), (1, 947), (2, 1258), (3, 1549)])
def test_the_requests_that_rule_out_half_a_percent(errors, needed):
    """598 clean requests do, and a few more for each error."""
    assert upper_bound(needed, errors, 1.0, 0.05) < 0.005 <= upper_bound(needed - 1, errors, 1.0, 0.05)


def test_what_is_needed_is_enough_and_not_much_more():
    """At the ratio seen so far, the requests that are asked for rule out the line, and 1 % fewer do not."""
    assert requests_needed(0, 0, 1.0, 0.05, 0.005) == 598
    needed = requests_needed(1000, 1, 1.0, 0.05, 0.005)
    assert needed is not None
    assert upper_bound(needed, needed / 1000, 1.0, 0.05) < 0.005 < upper_bound(0.99 * needed, 0.00099 * needed, 1, 0.05)


def test_no_number_of_requests_clears_a_bad_ratio():
    """At or above the line more of the same never helps."""
    assert requests_needed(1000, 5, 1.0, 0.05, 0.005) is None


def test_nothing_is_ruled_out_by_nothing():
    """Without requests, or with failures only, the bound is 1."""
    assert upper_bound(0, 0, 1.0, 0.05) == 1.0
    assert upper_bound(5, 5, 1.0, 0.05) == 1.0
