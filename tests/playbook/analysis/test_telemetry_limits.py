"""Where a fault of the telemetry begins, and which rows of [[signals]] are refused."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from playbook.analysis.policy import Policy
from playbook.analysis.samples import NAME, CounterSeries
from playbook.analysis.signals import Absence, Breach, Count, Gauge, Ratio, for_service, playbook_table
from playbook.analysis.telemetry import TelemetryForm, edges_of
from playbook.analysis.telemetry_checks import fall_often


@pytest.mark.parametrize(
    ("falls", "scrapes", "is_often"),
    [(1, 1, False), (1, 5, False), (2, 2, True), (2, 10, True), (2, 11, False), (3, 15, True), (3, 16, False)],
)
def test_counters_fall_often_from_two_falls_and_a_fifth_of_the_scrapes_on(
    falls: int, scrapes: int, is_often: bool
) -> None:
    """One fall is a restart; an instance that restarts does so more rarely."""
    assert fall_often(falls, scrapes) is is_often


def buckets(*edges: str, name: str = "") -> tuple[CounterSeries, ...]:
    """A histogram with these edges."""
    return tuple(CounterSeries({"le": edge, NAME: name}, ((0.0, 1.0),)) for edge in edges)


@pytest.mark.parametrize(
    ("edges", "name", "is_ms"),
    [
        (("300", "+Inf"), "", False),
        (("301", "+Inf"), "", True),
        (("301",), "latency_seconds_bucket", False),
        (("1",), "latency_ms_bucket", True),
        ((), "", False),
    ],
)
def test_an_edge_above_five_minutes_is_in_milliseconds(edges: tuple[str, ...], name: str, is_ms: bool) -> None:
    """Unless the metric's name says its unit."""
    assert TelemetryForm().is_in_ms(buckets(*edges, name=name)) is is_ms


def test_edges_that_are_no_numbers_are_left_out() -> None:
    """The rest rise, each once."""
    assert edges_of(buckets("5", "2", "2.0", "NaN", "+Inf", "x")) == (2.0, 5.0)
    assert math.inf not in edges_of(buckets("+Inf"))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"bad": "x"}, "limit or factor is missing"),
        ({"limit": 0.1}, "exactly one of bad, bad_where and above_s"),
        ({"limit": 0.1, "bad": "x", "above_s": 2}, "exactly one of bad, bad_where and above_s"),
        ({"limit": 0.1, "above_s": "every edge"}, "has no limit of its own"),
        ({"limit": 0.1, "bad": "x", "floor": 0.1}, "must be below limit"),
        ({"limit": 0.1, "bad_where": {"status": "("}}, "is no regular expression"),
    ],
)
def test_a_ratio_that_contradicts_itself_is_refused(fields: dict[str, Any], says: str) -> None:
    """Before anything is saved, with what to write instead."""
    with pytest.raises(ValidationError, match=says):
        Ratio(name="orders", total="requests", breach=Breach.HOLD, **fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": 0.1, "bad": "x"},
        {"factor": 2, "bad": "x"},
        {"limit": 0.1, "above_s": 2},
        {"factor": 2, "above_s": "every edge", "floor": 0.5},
        {"limit": 0.1, "factor": 2, "bad": "x", "floor": 0.09},
    ],
)
def test_a_ratio_needs_a_limit_or_a_factor_and_one_way_to_be_bad(fields: dict[str, Any]) -> None:
    """Stable is asked too where the two are compared, and only there."""
    made = Ratio(name="orders", total="requests", breach=Breach.HOLD, **fields)
    assert made.queries == (("requests", "x") if "bad" in fields else ("requests",))
    assert made.of_stable == (made.queries if "factor" in fields else ())


@pytest.mark.parametrize("fields", [{}, {"limit": 1.0, "at_least": 0.0}])
def test_a_gauge_has_one_bad_side(fields: dict[str, float]) -> None:
    """Neither none nor both."""
    with pytest.raises(ValidationError, match="exactly one of limit"):
        Gauge(name="queue", query="x", breach=Breach.HOLD, **fields)


@pytest.mark.parametrize(
    ("fields", "is_looked_at"),
    [({}, True), ({"services": ("backend",)}, True), ({"services": ("web",)}, False), ({"enabled": False}, False)],
)
def test_a_row_is_looked_at_for_its_services_while_it_is_enabled(fields: dict[str, Any], is_looked_at: bool) -> None:
    """For all of them, where it names none."""
    row = Gauge(name="queue", query="x", limit=1.0, breach=Breach.HOLD, **fields)
    assert for_service((row,), "backend") == ((row,) if is_looked_at else ())


def test_only_what_the_policy_allows_may_never_be_seen() -> None:
    """The rest of the playbook's table holds the release."""
    table = playbook_table(Policy(allow_unseen=("cpu",)))
    assert [row.name for row in table if row.absence is Absence.ALLOW] == ["CPU"]


def test_changes_of_a_level_are_no_counter() -> None:
    """The start time of a process rises and falls; events only rise."""
    assert not Count(name="restarts", query="x", changes=True, breach=Breach.HOLD).is_of_counters
    assert Count(name="kills", query="x", breach=Breach.HOLD).is_of_counters
