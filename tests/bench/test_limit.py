"""The oracles of `bench.limit` against theory, and the mixed traces against themselves."""

import math

import numpy as np
import pytest

from bench.limit import HEALTHY, MIDDLE, NULL_BAKES, Setup, bakes, cusum, judged, oracle, threshold
from bench.mixed import COUNT, mixed
from bench.simulator import SHARE, generate

SETUP = Setup("test")


@pytest.mark.parametrize(("ratio", "alarms", "bakes_of"), [(1e-3, 0.003, 10_000), (3e-3, 0.05, 4_000)])
def test_an_oracle_alarms_as_often_as_asked(ratio, alarms, bakes_of):
    """On bakes that its threshold was not made from: the share that was asked for, within four deviations."""
    line = threshold(SETUP, 200, 0.02, MIDDLE, ratio, alarms, np.random.default_rng(1))
    rng = np.random.default_rng(2)
    requests = rng.poisson(200 * SHARE * 5, (bakes_of, 180))
    found = cusum(requests, rng.binomial(requests, ratio), 0.02, MIDDLE).max(axis=1) > line
    spread = 4 * math.sqrt(alarms / bakes_of + alarms / NULL_BAKES)
    assert abs(found.mean() - alarms) < spread


@pytest.mark.parametrize("fault", [0.01, 0.02, 0.05])
def test_cusum_reaches_lordens_bound(fault):
    """Its mean delay is the threshold over the information of a scrape, and at most one scrape's step more (Wald)."""
    rng, line, n = np.random.default_rng(3), 12.0, 50
    requests = np.full((4000, 400), n)
    found = cusum(requests, rng.binomial(requests, fault), fault, MIDDLE) > line
    assert found.any(axis=1).all()
    information = n * (fault * math.log(fault / MIDDLE) + (1 - fault) * math.log((1 - fault) / (1 - MIDDLE)))
    spent = (found.argmax(axis=1) + 1).mean() * information
    assert line - 2 < spent < line + 2 * math.log(fault / MIDDLE)


def test_false_alarms_are_as_rare_as_lorden_says():
    """At the ratio that it is compared with, CUSUM passes h in a scrape with a chance of at most e^-h."""
    rng, line = np.random.default_rng(4), 5.0
    requests = np.full((2000, 180), 100)
    found = cusum(requests, rng.binomial(requests, MIDDLE), 0.02, MIDDLE).max(axis=1) > line
    assert found.mean() < 180 * math.exp(-line)


def test_who_is_bound_by_the_band_is_never_sooner():
    """The healthy oracle may roll back what a person should decide, so it is at least as fast."""
    seen = bakes(SETUP, 20, 0.05, 200, np.random.default_rng(5))
    healthy, band = (np.median(oracle(SETUP, 20, 0.05, np.random.default_rng(6), band)(seen)) for band in (False, True))
    assert healthy <= band


def test_an_unknown_dispersion_costs_the_oracle_too():
    """Its threshold must hold for bursts, so it is higher."""
    known, unknown = (
        threshold(Setup("test", known=known), 200, 0.02, HEALTHY, HEALTHY, 0.003, np.random.default_rng(7))
        for known in (True, False)
    )
    assert unknown > known


@pytest.mark.parametrize("setup", [SETUP, Setup("three", instances=3), Setup("rare", scrape_s=15.0)])
def test_the_judge_sees_a_large_fault_soon_after_it_began(setup):
    """In every form in which the bakes are seen: never before the onset, and within three scrapes."""
    rng = np.random.default_rng(8)
    seen = bakes(setup, 200, 0.3, 5, rng)
    delays = judged(setup, 200, seen, rng)
    assert (delays > 0).all()
    assert (delays <= 3 * setup.scrape_s).all()


def test_the_mixed_traces_are_the_same_every_time():
    """Their seed is committed, not they: two calls give the same 200, of every kind."""
    once, again = mixed(), mixed()
    assert [(f.name, f.onset_s, f.burst, rate) for f, rate in once] == [
        (f.name, f.onset_s, f.burst, rate) for f, rate in again
    ]
    assert len(once) == COUNT == 200
    for kind in ("gaps", "resets", "late", "onset_s"):
        assert any(getattr(family, kind) for family, _ in once), kind
    assert {family.truth for family, _ in once} == {"healthy", "bad"}
    first, second = (generate(*made[7], 1, 15).counters for made in (once, again))
    assert (first == second).all()
