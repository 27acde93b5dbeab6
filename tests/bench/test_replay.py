"""Replay: saved traces in, one final verdict each out, from the very same judge."""

import json

import numpy as np
import pytest

from bench.past import unix
from bench.replay import main, replay_file
from bench.tables import fill

TICKS = 181


def traces(*kinds):
    """Traces with 100 canary and 900 stable requests in each scrape."""
    counters = np.zeros((len(kinds), TICKS, 24), np.int32)
    gauges = np.full((len(kinds), TICKS, 3), np.nan, np.float32)
    gauges[..., 2] = 0
    ticks = np.arange(TICKS)
    for trace, gauge, kind in zip(counters, gauges, kinds, strict=True):
        for first, rate in ((0, 100), (12, 900)):
            trace[:, first] = trace[:, first + 11] = rate * ticks
            trace[:, first + 3 : first + 11] = (rate * ticks)[:, None]
        if kind in ("broken", "outage"):
            trace[:, 0], trace[:, 2] = 50 * ticks, 50 * ticks
        if kind == "outage":
            trace[:, 12], trace[:, 14] = 450 * ticks, 450 * ticks
        if kind == "unborn":
            trace[:, [2, 14]] = -1  # no 5xx series was ever born
        if kind == "dark":
            trace[30:] = -1
        if kind == "slow":
            trace[:, 3:10] = 0
        if kind == "killed":
            gauge[100:, 2] = 1
    return {"counters": counters, "gauges": gauges, "tick_s": 5}


EXPECTED = {
    "clean": ("PROMOTE", None, "healthy", None),
    "unborn": ("PROMOTE", None, "healthy", None),
    "broken": ("ROLLBACK", 5.0, "errors_proven", "canary"),
    "outage": ("ROLLBACK", 5.0, "errors_proven", "shared"),
    "dark": ("INCONCLUSIVE", None, "telemetry_stale", None),
    "killed": ("ROLLBACK", 500.0, "oom_killed", "canary"),
}


@pytest.mark.parametrize("kind", list(EXPECTED))
def test_each_trace_gets_its_final_verdict(tmp_path, kind):
    """PROMOTE, ROLLBACK or INCONCLUSIVE; when, unless it was at the bake's end; why, and whose fault."""
    np.savez(tmp_path / "traces.npz", **traces(kind))
    (one,) = replay_file(tmp_path / "traces.npz", phi_hat=1.0)
    assert (one["verdict"], one["at_s"], one["reason"], one["attribution"]) == EXPECTED[kind]


def test_slow_for_good_is_a_rollback_after_a_second_look(tmp_path):
    """Nobody can add instances to the past: what stays above 5 s is rolled back when it is looked at again."""
    np.savez(tmp_path / "traces.npz", **traces("slow"))
    (one,) = replay_file(tmp_path / "traces.npz", phi_hat=1.0)
    assert (one["verdict"], one["reason"]) == ("ROLLBACK", "latency_5s")
    assert 60 < one["at_s"] < 180


def test_the_command_writes_one_entry_for_each_trace(tmp_path):
    """{id, verdict, at_s, reason, attribution}, in the order of the file."""
    np.savez(tmp_path / "traces.npz", **traces("clean", "broken"))
    assert main([str(tmp_path / "traces.npz"), "--out", str(tmp_path / "verdicts.json"), "--phi-hat", "2"]) == 0
    found = json.loads((tmp_path / "verdicts.json").read_text())
    assert [list(one) for one in found] == [["id", "verdict", "at_s", "reason", "attribution"]] * 2
    assert [one["id"] for one in found] == [0, 1]


@pytest.mark.parametrize("arguments", [[], ["x.npz"], ["--prometheus", "http://localhost:1", "--service", "s"]])
def test_it_says_what_it_lacks(arguments):
    """A command that cannot be carried out ends with its usage."""
    with pytest.raises(SystemExit):
        main(arguments)


def test_times_are_unix_or_iso():
    """Without a zone a time is UTC."""
    assert unix("1763647200") == unix("2025-11-20T14:00:00") == unix("2025-11-20T15:00:00+01:00")


def test_a_table_without_a_place_is_an_error():
    """The page and the tables cannot drift apart unnoticed."""
    assert fill("<!-- table a -->\n<!-- end -->", {"a": "x"}) == "<!-- table a -->\nx\n<!-- end -->"
    with pytest.raises(ValueError, match="0 places"):
        fill("nothing", {"a": "x"})
