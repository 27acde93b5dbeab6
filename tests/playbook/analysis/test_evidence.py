"""Evidence: what counters of many instances add up to, and that it does not matter how they were fetched."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playbook.analysis.evidence import CounterSeries, Evidence, Observation, RevisionSamples
from playbook.analysis.policy import Policy

POLICY = Policy()


def start(**more):
    """Evidence of nothing, with a bake that starts at 0."""
    return Evidence.start(
        service="backend", canary="new", stable=("old",), bake_start_s=0.0, policy=POLICY, phi_hat=1.0, **more
    )


def series(samples, **labels):
    """One series; samples are (time, value)."""
    return CounterSeries({"instance": "a", **labels}, tuple(samples))


def requests(*found, now_s=None):
    """An observation of the canary's requests."""
    last = max((s.samples[-1][0] for s in found if s.samples), default=0.0)
    return Observation(last if now_s is None else now_s, canary=RevisionSamples(requests=found))


def counts(evidence):
    """Requests and errors since the bake's start."""
    return evidence.bake.n, evidence.bake.x


def test_what_was_counted_before_the_bake_does_not_count():
    """The last sample up to the bake's start is the baseline."""
    seen = start().observe(requests(series([(-5, 70), (0, 100), (5, 130)], status="200")))
    assert counts(seen) == (30, 0)


def test_a_counter_that_fell_started_again():
    """After a restart the whole new value is new."""
    seen = start().observe(requests(series([(0, 100), (5, 130), (10, 20), (15, 50)], status="200")))
    assert counts(seen) == (30 + 20 + 30, 0)


def test_an_error_series_that_is_born_late_counts_from_zero():
    """A 5xx series that its instance did not have before counts from its first value on: the first error too."""
    good = series([(0, 10), (5, 20), (10, 30)], status="200")
    seen = start().observe(requests(good, series([(10, 3)], status="500")))
    assert counts(seen) == (23, 3)


def test_no_error_series_means_no_errors():
    """A canary whose 5xx series was never born has none."""
    assert counts(start().observe(requests(series([(0, 0), (5, 10)], status="200")))) == (10, 0)


def test_a_canary_that_only_fails_is_seen():
    """Where only 5xx exist, they are all the requests there are."""
    assert counts(start().observe(requests(series([(0, 0), (5, 10)], status="5xx")))) == (10, 10)


def test_an_instance_that_is_born_in_the_bake_counts_from_zero():
    """An instance that appears long after its revision was first seen brings all its requests."""
    first = series([(t, t) for t in range(0, 65, 5)], status="200")
    later = CounterSeries({"instance": "b", "status": "200"}, ((52.0, 7.0), (57.0, 9.0)))
    assert counts(start().observe(requests(first, later))) == (60 + 9, 0)


def test_a_revision_that_is_first_seen_late_starts_from_a_baseline():
    """When telemetry begins during the bake, its first sample says nothing yet."""
    assert counts(start().observe(requests(series([(20, 500), (25, 510)], status="200")))) == (10, 0)


def test_a_vanished_instance_takes_nothing_away():
    """What it counted stays; the others go on."""
    gone = CounterSeries({"instance": "b", "status": "200"}, ((0.0, 50.0), (5.0, 80.0)))
    stays = series([(0, 10), (5, 20), (10, 30), (15, 40), (20, 50)], status="200")
    assert counts(start().observe(requests(stays, gone))) == (40 + 30, 0)


def test_a_gap_makes_one_long_round():
    """Nothing is invented for a gap: what came in it is one round, and the gap is not counted as seen."""
    seen = start().observe(requests(series([(0, 0), (5, 10), (205, 400)], status="200")))
    assert [one.n for one in seen.rounds] == [10, 390]
    assert seen.covered_s == 5 + POLICY.freshness_s / 2


def test_instances_that_are_scraped_at_different_moments_make_one_round():
    """Three instances, each with its own phase: one round for each scrape interval, when the last has reported."""
    found = [
        CounterSeries({"instance": name, "status": "200"}, tuple((5 * k + at_s, 10.0 * (k + 1)) for k in range(-1, 5)))
        for name, at_s in (("a", 0.5), ("b", 2.0), ("c", 4.5))
    ]
    rounds = start().observe(requests(*found)).rounds
    assert [r.at_s for r in rounds[1:]] == [9.5, 14.5, 19.5, 24.5]
    assert [r.n for r in rounds[1:]] == [30, 30, 30, 30]


def test_values_that_are_no_numbers_are_absent():
    """A NaN or an infinity is a missing sample, never a passing one."""
    seen = start().observe(requests(series([(0, 0), (5, math.nan), (10, math.inf), (15, 30)], status="200")))
    assert counts(seen) == (30, 0)


@pytest.mark.parametrize(
    ("bounds", "slow", "maybe_slow"),
    [(("1", "2", "5", "+Inf"), 30, 30), (("1", "2.5", "5", "+Inf"), 20, 60), (("2.5", "+Inf"), 20, 100)],
    ids=["a bucket ends at 2 s", "none does: 2.5 s against it, 1 s for it", "none at or below: nothing speaks for it"],
)
def test_slow_requests_are_never_interpolated(bounds, slow, maybe_slow):
    """Of 100 requests 60 take over 1 s, 30 over 2 s, 20 over 2.5 s: the neighbours of a missing edge are used."""
    under = {"1": 40, "2": 70, "2.5": 80, "5": 100, "+Inf": 100}
    latency = tuple(series([(15, 0), (20, under[le])], le=le) for le in bounds)
    good = series([(0, 0), (15, 0), (20, 100)], status="200")
    seen = start().observe(Observation(20, RevisionSamples(requests=(good,), latency=latency)))
    last = seen.rounds[-1]
    assert (last.timed, last.slow, last.maybe_slow) == (100, slow, maybe_slow)


def test_a_series_that_is_no_bucket_is_left_out():
    """A query that also matches a histogram's count does not disturb its buckets."""
    latency = (*(series([(0, 0), (5, 10)], le=le) for le in ("2", "5", "+Inf")), series([(0, 0), (5, 10)]))
    good = series([(0, 0), (5, 10)], status="200")
    seen = start().observe(Observation(5, RevisionSamples(requests=(good,), latency=latency)))
    assert (seen.rounds[-1].timed, seen.rounds[-1].slow) == (10, 0)


def test_a_histogram_with_a_missing_bucket_waits_for_the_next_scrape():
    """A scrape that lost one bucket is not read as slow requests."""
    good = series([(t, t) for t in (0, 5, 10, 15, 20)], status="200")
    two = series([(0, 0), (10, 100), (20, 300)], le="2")
    five = series([(0, 0), (10, 100), (15, 200), (20, 300)], le="5")
    total = series([(0, 0), (10, 100), (15, 200), (20, 300)], le="+Inf")
    seen = start().observe(Observation(20, RevisionSamples(requests=(good,), latency=(two, five, total))))
    assert sum(one.timed for one in seen.rounds) == 300
    assert sum(one.slow for one in seen.rounds) == 0


def test_it_ages_while_nothing_comes():
    """Observations without samples make time pass, and nothing else."""
    seen = start().observe(requests(series([(0, 0), (5, 10)], status="200")))
    later = seen.observe(Observation(70.0))
    assert (later.age_s, counts(later)) == (65, (10, 0))
    assert later.observe(Observation(60.0)).now_s == 70, "and time never goes back"


def test_kills_are_remembered_when_the_logs_cannot_be_asked():
    """None means not asked; it does not undo what was seen."""
    assert start().observe(Observation(5, oom_kills=2)).observe(Observation(10)).oom_kills == 2


def test_levels_that_come_once_a_minute_are_timed_too():
    """A vendor that measures CPU once a minute fills the timer as fast as one that does at every scrape."""
    good = series([(t, t) for t in range(0, 245, 5)], status="200")
    rare = series([(t, 0.95) for t in range(60, 245, 60)])
    often = series([(t, 0.95) for t in range(5, 245, 5)])
    for cpu in (rare, often):
        seen = start().observe(Observation(240, RevisionSamples(requests=(good,), cpu=(cpu,))))
        assert seen.cpu.held
        assert seen.cpu.level == 0.95


def test_a_level_that_was_high_for_a_moment_holds_nothing():
    """Above the line for less than two minutes, and below for as long: the timer is empty again."""
    good = series([(t, t) for t in range(0, 245, 5)], status="200")
    cpu = series([(t, 0.95 if t <= 100 else 0.2) for t in range(5, 245, 5)])
    seen = start().observe(Observation(240, RevisionSamples(requests=(good,), cpu=(cpu,))))
    assert not seen.cpu.held
    assert seen.cpu.seconds == 0


def test_latency_is_looked_at_anew_after_a_scaling():
    """Slow requests before it, and while new instances are cold, are forgotten; errors are not."""
    good = [series([(t, 10 * t) for t in range(0, 200, 5)], status="200")]
    slow = [series([(t, 0) for t in range(0, 200, 5)], le=le) for le in ("2", "5")]
    total = series([(t, 10 * t) for t in range(0, 200, 5)], le="+Inf")
    whole = Observation(195, RevisionSamples(requests=(*good,), latency=(*slow, total)))
    before = start().observe(whole)
    assert before.latency.very_slow.peak > 200
    after = before.after_scaling(195)
    assert after.latency.very_slow.peak == 1
    assert counts(after) == counts(before)
    assert start(scaled_at_s=195).observe(whole).latency == after.latency, "a process that takes over knows it too"


@st.composite
def fleets(draw):
    """Requests, latency and levels of up to three canary and two stable instances, with restarts, gaps and phases."""
    ticks, found = draw(st.integers(3, 25)), []
    for kind, most in (("canary", 3), ("stable", 2)):
        revision = {"requests": [], "latency": [], "cpu": [], "memory": []}
        for instance in range(draw(st.integers(1, most))):
            phase, born = draw(st.floats(0.0, 4.9)), draw(st.integers(-2, ticks // 2))
            rows: list[list[tuple[float, float]]] = [[] for _ in range(6)]
            value = [0.0] * 5
            for k in range(born, ticks):
                if draw(st.integers(0, 14)) == 0:
                    value = [0.0] * 5  # it started again
                bad, good, slow = draw(st.integers(0, 3)), draw(st.integers(0, 20)), draw(st.integers(0, 2))
                grown = (good, bad, good, max(0, good - slow), good)
                value = [a + b for a, b in zip(value, grown, strict=True)]
                if draw(st.integers(0, 9)) == 0:
                    continue  # this scrape is missing
                at_s = 5.0 * k + phase
                for row, number in zip(rows, [*value, draw(st.floats(0, 1))], strict=True):
                    row.append((at_s, number))
            labels = {"instance": f"{kind}-{instance}"}
            names = [{"status": "200"}, {"status": "500"}, {"le": "1"}, {"le": "2"}, {"le": "+Inf"}, {}]
            made = [CounterSeries({**labels, **n}, tuple(r)) for n, r in zip(names, rows, strict=True)]
            revision["requests"] += made[:2]
            revision["latency"] += made[2:5]
            revision["cpu"].append(made[5])
        found.append(RevisionSamples(**{name: tuple(group) for name, group in revision.items()}))
    return 5.0 * ticks + 5, found[0], found[1]


def between(revision, from_s, to_s):
    """The samples of a revision in a stretch of time."""
    return RevisionSamples(
        *(
            tuple(
                CounterSeries(one.labels, kept)
                for one in getattr(revision, kind)
                if (kept := tuple(s for s in one.samples if from_s < s[0] <= to_s))
            )
            for kind in ("requests", "latency", "cpu", "memory")
        )
    )


@settings(max_examples=60, deadline=None)
@given(fleets(), st.lists(st.floats(0.5, 30), min_size=1, max_size=40), st.floats(0, 40))
def test_it_does_not_matter_how_it_was_fetched(fleet, steps, overlap_s):
    """Tick by tick with overlapping samples, or all at once: the same state, so a restart goes on with the test."""
    end_s, canary, stable = fleet
    ticked, now_s = start(), 0.0
    for step_s in [*steps, end_s]:
        before, now_s = now_s, min(end_s, now_s + step_s)
        since = -math.inf if before == 0 else before - overlap_s
        ticked = ticked.observe(Observation(now_s, between(canary, since, now_s), between(stable, since, now_s)))
    assert ticked == start().observe(Observation(end_s, canary, stable))


def test_a_restart_hides_no_errors():
    """An instance that starts again has no 5xx series until its next error: what it counts then is new, not old."""
    good = series([(5, 0), (10, 900), (15, 10), (20, 900)], status="200")
    bad = series([(5, 0), (10, 8), (20, 8)], status="500")
    evidence = start().observe(Observation(20, RevisionSamples(requests=(good, bad))))
    assert evidence.bake.x == 16


def test_an_instance_of_stable_that_comes_back_brings_no_old_errors():
    """It may have served for days: it is counted from its first sample on."""
    known = series([(5.0 * k, 100.0 * k) for k in range(1, 30)], status="200")
    old = [
        CounterSeries({"instance": "b", "status": status}, ((100.0, value), (105.0, value + 1)))
        for status, value in (("200", 5e6), ("500", 6e5))
    ]
    looks = RevisionSamples(requests=(known,)), RevisionSamples(requests=(known, *old))
    evidence = start().observe(Observation(145, *looks))
    assert evidence.stable_bake.x == 1


def test_cpu_before_a_scaling_does_not_count_for_who_takes_over():
    """The same state, whether the scaling was lived through or read from the claim."""
    good = series([(5.0 * k, 100.0 * k) for k in range(181)], status="200")
    cpu = series([(5.0 * k, 0.95 if k < 60 else 0.3) for k in range(181)])
    until = [RevisionSamples(requests=(good,), cpu=(cpu,))]
    lived = start().observe(Observation(300, between(until[0], -1, 300))).after_scaling(300)
    lived = lived.observe(Observation(900, between(until[0], 300, 900)))
    taken_over = start(scaled_at_s=300).observe(Observation(900, until[0]))
    assert (lived.cpu, lived.latency) == (taken_over.cpu, taken_over.latency)
    assert not lived.cpu.held


def blinking(rate, offset_s, seed, share=0.3):
    """900 s of a revision that fails in the same second as everybody: scraped every 5 s, ``offset_s`` late."""
    dice = np.random.default_rng(seed)
    at_s = np.sort(dice.random(dice.poisson(rate * 900)) * 900)
    fails = dice.random(len(at_s)) < np.where((at_s % 31.3 < 1) & (at_s > 60), share, 0)
    times = [5.0 * k + offset_s for k in range(181)]
    asked, failed = np.searchsorted(at_s, times), np.searchsorted(at_s[fails], times)
    counts = {"200": asked - failed, "500": failed}
    return RevisionSamples(
        requests=tuple(series(zip(times, map(float, found), strict=True), status=s) for s, found in counts.items())
    )


@pytest.mark.parametrize("offset_s", [0.0, 0.5, 2.5, 4.5])
def test_it_does_not_matter_when_stable_is_scraped(offset_s):
    """A canary that fails exactly when stable does is never called worse, whatever lies between their scrapes."""
    for seed in range(4):
        looks = Observation(905, blinking(20, 0.0, seed), blinking(180, offset_s, seed + 100))
        assert start().observe(looks).relative.peak < 200


@pytest.mark.parametrize("odd", [None, "restart", "born", "away"])
def test_instances_with_instants_of_their_own_are_counted_as_if_each_were_looked_at_alone(odd):
    """A look takes twelve together; also where one of them starts again, appears late, or misses a scrape."""

    def instance(k):
        times = [step * 5.0 + 0.4 * k for step in range(1, 30)]
        good = [(at_s, 10.0 * step) for step, at_s in enumerate(times)]
        bad = [(at_s, float(step // 4)) for step, at_s in enumerate(times)]
        if odd == "restart" and k == 7:
            good, bad = ([*one[:15], *((at_s, value - one[14][1]) for at_s, value in one[15:])] for one in (good, bad))
        good, bad = (one[15:] if odd == "born" and k == 7 else one for one in (good, bad))
        bad = bad[:9] + bad[10:] if odd == "away" and k == 7 else bad
        name = f"i{k}"
        return series(good, status="200", instance=name), series(bad, status="500", instance=name)

    fleet = [one for k in range(12) for one in instance(k)]
    instants = sorted({at_s for one in fleet for at_s, _ in one.samples})
    ticked = alone = start()
    for at_s in instants:
        now = [CounterSeries(one.labels, tuple(s for s in one.samples if s[0] == at_s)) for one in fleet]
        alone = alone.observe(requests(*now, now_s=at_s))
    for now_s in [*np.arange(2.0, 150.0, 5.0), instants[-1]]:
        ticked = ticked.observe(requests(*(between_one(one, now_s - 20, now_s) for one in fleet), now_s=float(now_s)))
    whole = start().observe(requests(*fleet, now_s=instants[-1]))
    assert whole.rounds == alone.rounds == ticked.rounds
    assert counts(whole) == counts(alone) == counts(ticked)
    assert counts(whole)[1] > 60


def between_one(one, from_s, to_s):
    """The series with its samples of a span."""
    return CounterSeries(one.labels, tuple(sample for sample in one.samples if from_s < sample[0] <= to_s))
