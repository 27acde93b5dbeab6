"""How bursty stable's errors were in the hour before a canary."""

import pytest

from playbook.analysis.evidence import CounterSeries, Dispersion, dispersion
from playbook.analysis.policy import Policy

POLICY = Policy()


def series(samples, **labels):
    """One series; samples are (time, value)."""
    return CounterSeries({"instance": "a", **labels}, tuple(samples))


def history(ratios, seconds, n):
    """An hour of stable: ``n`` requests a scrape, with so many errors in each in turn."""
    total = bad = 0
    good_samples, bad_samples = [], []
    for k in range(int(seconds / 5) + 1):
        good_samples.append((5.0 * k, float(total - bad)))
        bad_samples.append((5.0 * k, float(bad)))
        total, bad = total + n, bad + ratios[k % len(ratios)]
    return series(good_samples, status="200"), series(bad_samples, status="500")


@pytest.mark.parametrize(
    ("ratios", "seconds", "n", "source", "low", "high"),
    [
        ((0,), 3600, 100, "history", 1, 1),
        ((0, 0, 0, 1), 3600, 100, "history", 1, 1),
        ((20, *[0] * 39), 3600, 100, "history", 15, 25),
        ((100, *[0] * 99), 3600, 100, "history", 60, 200),
        ((0,), 300, 100, "default", 20, 20),
        ((0,), 3600, 2, "default", 20, 20),
        ((0,), 595, 100, "history", 1, 1),
    ],
    ids=[
        "no errors: 1",
        "spread evenly: never below 1",
        "twenty at a time: about twenty",
        "never above 200",
        "too short: what is assumed",
        "too few requests: what is assumed",
        "ten minutes, less a scrape at the edge: long enough",
    ],
)
def test_dispersion_has_one_rule(ratios, seconds, n, source, low, high):
    """A history counts from ten minutes and 2,000 requests on; otherwise 20 is assumed, and the verdict says so."""
    found = dispersion(history(ratios, seconds, n), POLICY)
    assert found.source == source
    assert low <= found.phi_hat <= high


def test_no_history_is_assumed_bursty():
    """A service without a past gets the policy's assumption."""
    assert dispersion((), POLICY) == Dispersion(20, "default")


def test_the_burst_that_bears_a_series_is_in_the_dispersion():
    """A 5xx series that comes late counts from zero: its first sample is a burst of 60."""
    good = series([(5.0 * k, 100.0 * k) for k in range(720)], status="200")
    late = series([(5.0 * k, 60.0) for k in range(300, 720)], status="500")
    assert dispersion((good, late), Policy()).phi_hat > 20
