"""Replay: saved traces in, one final verdict each out, from the very same judge."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import ceil
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from bench.replay import main, unix
from bench.tables import fill
from bench.traces import replay_file

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


def test_a_file_that_is_none_is_named(tmp_path, capsys):
    """Saved traces that cannot be read: one sentence, and nothing is written."""
    with pytest.raises(SystemExit):
        main([str(tmp_path / "absent.npz"), "--out", str(tmp_path / "verdicts.json")])
    assert "absent.npz cannot be read as saved traces" in capsys.readouterr().err
    assert not (tmp_path / "verdicts.json").exists()


START = 1_700_000_000


class Remembering(BaseHTTPRequestHandler):
    """A Prometheus that remembers one release: 20 requests/s on the canary, every tenth fails; 180 on stable, which is
    well. It answers a range selector with the samples of that range."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        """An instant query."""
        asked = parse_qs(urlsplit(self.path).query)
        query, until_s = asked["query"][0], float(asked["time"][0])
        self.asked.append(query)
        since_s = until_s - float(re.search(r"\[(\d+)ms[:\]]", query)[1]) / 1000
        rate, bad = (20, 0.1) if '"new"' in query else (180, 0)
        shares = {"status": (("2xx", 1 - bad), ("5xx", bad))}
        if query.startswith("http_request_duration_seconds_bucket"):
            shares = {"le": (("2", 1), ("5", 1), ("+Inf", 1))}
        is_level = query.startswith("(")
        first_s = START - 3600 if rate == 180 else START
        times = range(max(first_s, 5 * ceil(since_s / 5)), int(until_s) + 1, 5)
        ((label, values),) = shares.items()
        result = [
            {
                "metric": {"instance": "a", label: value},
                "values": [[t, "0.3" if is_level else str(rate * share * (t - first_s))] for t in times],
            }
            for value, share in values
        ]
        body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing."""


@pytest.fixture
def prometheus():
    """Its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Remembering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def past(url, *more):
    """The command for that release."""
    return ["--prometheus", url, "--service", "s", "--canary", "new", "--stable", "old", "--start", str(START), *more]


def test_a_past_release_is_judged_from_what_prometheus_remembers(prometheus, tmp_path, capsys):
    """The verdict with everything it rests on; stable's hour before the canary says how bursty errors are."""
    assert main(past(prometheus)) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["id"], found["verdict"], found["attribution"]) == ("s/new", "ROLLBACK", "canary")
    assert 0 < found["at_s"] < 60
    assert found["dispersion"]["source"] == "history"
    errors = next(one for one in found["signals"] if one["name"] == "errors")
    assert errors["ratio"] == pytest.approx(0.1)

    assert main(past(prometheus, "--out", str(tmp_path / "verdict.json"), "--phi-hat", "3")) == 0
    found = json.loads((tmp_path / "verdict.json").read_text())
    assert found["dispersion"] == {"phi_hat": 3.0, "source": "given"}


def test_an_environment_says_how_to_ask(prometheus, tmp_path, capsys):
    """Its queries, labels and policy; a service that it does not have is named."""
    shipped = (Path(__file__).resolve().parents[2] / "environments/production.toml").read_text()
    file = tmp_path / "production.toml"
    file.write_text(shipped.replace("google_auth = true", "google_auth = false"))
    asked = past(prometheus, "--environment", str(file))
    with pytest.raises(SystemExit):
        main(asked)
    assert "has no service 's'" in capsys.readouterr().err

    asked[asked.index("s")] = "ethixai-backend"
    assert main(asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["telemetry_faults"]) == ("ROLLBACK", [])
    assert any('revision_name="new"' in query for query in Remembering.asked)
    assert any("container_cpu_utilizations" in query for query in Remembering.asked)


def test_a_past_that_cannot_be_asked_for_is_one_sentence(prometheus, capsys):
    """An address where nobody answers, and a start that is no time: named, with the usage, without a traceback."""
    for arguments, words in (
        (past("http://127.0.0.1:1"), "--prometheus http://127.0.0.1:1 does not answer"),
        ([*past(prometheus)[:-1], "yesterday"], "yesterday is neither unix seconds nor an ISO time"),
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert words in capsys.readouterr().err


def test_times_are_unix_or_iso():
    """Without a zone a time is UTC."""
    assert unix("1763647200") == unix("2025-11-20T14:00:00") == unix("2025-11-20T15:00:00+01:00")


def test_a_table_without_a_place_is_an_error():
    """The page and the tables cannot drift apart unnoticed."""
    assert fill("<!-- table a -->\n<!-- end -->", {"a": "x"}) == "<!-- table a -->\nx\n<!-- end -->"
    with pytest.raises(ValueError, match="0 places"):
        fill("nothing", {"a": "x"})
