"""Forecast: what a bake will be able to say, and the share and the length that are chosen for it."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from playbook.analysis.forecast import SURE, Rules, Traffic, forecast
from playbook.analysis.policy import Policy
from playbook.analysis.samples import CounterSeries, requests_per_s
from playbook.messages.forecast import forecast_table, need, sentence

POLICY = Policy()


def one(per_s, policy=POLICY, percent=10, percent_max=30, **more):
    """The forecast of one service at a rate; None where it is not known."""
    (found,) = forecast({"backend": Traffic(last_hour=per_s, **more)}, policy, percent, percent_max)
    return found


@pytest.mark.parametrize(
    ("per_s", "percent", "bake_s"),
    [(None, 10, 900), (0, 10, 900), (0.2, 30, 1800), (2, 30, 1080), (5, 15, 900), (7.5, 10, 900), (200, 10, 900)],
)
def test_a_small_service_gets_a_larger_share_first_and_then_a_longer_bake(per_s, percent, bake_s):
    """The smallest share and the shortest bake that promote on evidence; else the most that the bounds allow."""
    found = one(per_s)
    assert (found.percent, found.bake_s) == (percent, bake_s)


@settings(deadline=None, max_examples=60)
@given(
    st.floats(0, 3000), st.sampled_from([1.0, 3.0, 20.0]), st.integers(1, 50), st.integers(1, 50), st.floats(900, 3600)
)
def test_nothing_leaves_the_bounds(per_s, phi_hat, percent, percent_max, bake_max_s):
    """Whatever the traffic: never less than what was asked for, never more than the policy allows."""
    policy = POLICY.model_copy(update={"bake_max_s": bake_max_s})
    found = one(per_s, policy, percent, percent_max, phi_hat=phi_hat)
    assert percent <= found.percent <= max(percent, percent_max)
    assert policy.bake_s <= found.bake_s <= bake_max_s
    assert found.chosen.promotes >= SURE or not per_s or found.percent == max(percent, percent_max)


def test_a_fault_is_found_by_the_judges_own_thresholds():
    """Three errors roll back where errors come alone; where nothing is known of them thirty are needed."""
    assert Rules(POLICY, 1.0).bake(10, 900, 2).found == (0.3, 0.1, 0.05, 0.02)
    assert Rules(POLICY, 1.0).bake(10, 900, 20).found[-1] == 0.01
    assert Rules(POLICY, 20.0).bake(10, 900, 0.5).found == ()


def test_a_service_whose_errors_come_in_bursts_needs_more():
    """As many times more as the dispersion says."""
    assert one(20).needed == pytest.approx(650, rel=0.05)
    assert one(20, phi_hat=5.0).needed == pytest.approx(5 * 650, rel=0.1)


def test_the_smaller_of_the_two_hours_is_expected():
    """A quiet hour last week warns of one to come; one that is not known says nothing."""
    assert Traffic(last_hour=5, last_week=2).per_s == 2
    assert Traffic(last_week=2).per_s == 2
    assert Traffic().per_s is None


def test_each_service_has_its_own_share_and_all_have_one_bake():
    """The large one keeps 10 %; one that is helped by the longer bake needs no larger share."""
    rates = {"large": 200, "small": 2, "between": 6, "unknown": None}
    found = forecast({name: Traffic(last_hour=rate) for name, rate in rates.items()}, POLICY, 10, 30)
    assert {one.service: one.percent for one in found} == {"large": 10, "small": 30, "between": 10, "unknown": 10}
    assert {one.bake_s for one in found} == {1080}


def test_the_bounds_may_say_that_nothing_is_raised():
    """A maximum at or below what the policy has changes nothing."""
    policy = POLICY.model_copy(update={"canary_percent_max": 5, "bake_max_s": 60})
    found = one(0.2, policy, percent_max=5)
    assert (found.percent, found.bake_s, found.chosen) == (10, 900, found.planned)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (one(20), "About 1,800 requests will reach backend's canary in 15 minutes; a fault of 1 % would be found."),
        (
            one(2),
            "About 180 requests will reach backend's canary in 15 minutes; a fault of 2 % would be found, one of 1 % "
            "would not. The share is raised to 30 % and the bake to 18 minutes: about 648 requests;",
        ),
        (one(0.2), "and the bake to 30 minutes: about 108 requests; a fault of 5 % would be found, one of 2 % would"),
        (one(0.2), "too few to rule out 0.5 %: a healthy release is promoted once a fault of 5 % is ruled out."),
        (one(0.02), "That is too few to rule out 0.5 %: a person will be asked."),
        (one(0.2, Policy(low_traffic="probe")), ": requests of our own will be sent after the bake."),
        (one(0.2, Policy(low_traffic="hold")), ": the release will wait for requests after the bake."),
        (one(0.2, Policy(low_traffic="ask")), ": a person will be asked."),
        (one(0), "No request is expected at backend's canary: its users sent none. A person will be asked."),
        (one(None), "How many requests will reach backend's canary is not known: Prometheus has none of its requests"),
    ],
)
def test_people_read_one_plain_sentence(found, said):
    """Requests, faults, what was changed, and what comes after the bake where it is not enough."""
    assert said in sentence(found)


def test_the_page_says_what_would_be_needed():
    """For a large fault and for evidence: how many requests, and the share or the bake that would bring them."""
    found = one(2)
    assert need(found, found.needed_small) == "90 requests: enough"
    assert need(found, found.needed) == "647 requests: 36 % for 15 minutes, or 54 minutes at 10 %"
    assert need(found, math.inf) == "–"
    assert need(one(None), 90) == "90 requests"
    assert "| backend | 2 | not known | 30 % for 18 minutes | 648 |" in forecast_table((found,))


def counter(*samples, instance="0", status="200"):
    """The counter of one instance."""
    return CounterSeries({"instance": instance, "status": status}, samples)


def test_the_traffic_is_that_of_every_instance():
    """Growth over the hour; an instance that was there for a part of it counts over the whole hour."""
    whole = counter((0, 100), (3600, 3700))
    assert requests_per_s([whole], POLICY) == pytest.approx(1)
    assert requests_per_s([whole, counter((1800, 0), (3600, 1800), instance="1")], POLICY) == pytest.approx(1.5)
    assert requests_per_s([counter((3000, 0), (3600, 360))], POLICY) == pytest.approx(0.1)
    assert requests_per_s([], POLICY) is None
    assert requests_per_s([counter((0, 5), (3600, 5))], POLICY) == 0
