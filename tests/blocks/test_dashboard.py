"""The dashboard and the alert rules that are generated from an environment's signals, checked by promtool
and by Grafana's own types."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from blocks.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
PRODUCTION = ROOT / "environments" / "production.toml"
OWN = """
[[signals]]
name = "orders"
kind = "ratio"
total = 'orders_total{job="{job}",revision="{revision}"}'
bad = 'orders_total{job="{job}",revision="{revision}",result="failed"}'
limit = 0.02
breach = "rollback"
"""


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What the command prints, as JSON."""
    assert main(["dashboard", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def promtool(folder: Path, rules: Any) -> None:
    """Prometheus would load these rules."""
    path = folder / "rules.yml"
    path.write_text(json.dumps(rules))
    answer = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_prometheus_takes_the_alert_rules(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One for each service and limit; what rolls a canary back pages."""
    rules = printed(capsys, "--rules", str(PRODUCTION))
    promtool(tmp_path, rules)
    found = {(one["labels"]["service"], one["alert"]): one for one in rules["groups"][0]["rules"]}
    assert found["ethixai-backend", "Errors5xx"]["labels"]["severity"] == "page"
    assert found["ethixai-backend", "CPU".capitalize()]["labels"]["severity"] == "ticket"
    assert found["ethixai-backend", "Errors5xx"]["expr"].endswith("> 0.005")


def test_every_expression_of_the_dashboard_is_promql(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With revisions in place of Grafana's variables."""
    board = printed(capsys, str(PRODUCTION))
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    expressions += [one["expr"] for one in board["annotations"]["list"]]
    filled = [one.replace("$canary", "a-1").replace("$stable", "a-0") for one in expressions]
    assert len(filled) > 30
    promtool(
        tmp_path, {"groups": [{"name": "g", "rules": [{"record": f"r:{n}", "expr": e} for n, e in enumerate(filled)]}]}
    )


def test_start_shift_verdict_and_end_are_annotated(capsys: pytest.CaptureFixture[str]) -> None:
    """From metrics that exist: the requests and the scrapes of the coordinator. promtool has checked each above."""
    found = {one["name"].split(":")[0]: one["expr"] for one in printed(capsys, str(PRODUCTION))["annotations"]["list"]}
    assert list(found) == ["start", "shift", "verdict", "end"]
    assert found["start"].count("up{") == 2
    assert all('revision_name=~"$stable"' in found[name] or name != "end" for name in found)
    assert all("ethixai-ai-core" in expression for expression in found.values())


PLUGINS_OWN = {"annotations.list[].titleFormat"}
"""What Grafana's Prometheus plugin reads of an annotation, beside the fields that every plugin has."""


def lost(ours: Any, theirs: Any, at: str = "") -> Iterator[str]:
    """Each place where ``theirs``, read by Grafana's types and written again, is not ``ours``."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            yield from lost(value, theirs.get(key, f"no {key}"), f"{at}.{key}".lstrip("."))
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for one, other in zip(ours, theirs, strict=True):
            yield from lost(one, other, f"{at}[]")
    elif ours != theirs:
        yield at


def as_grafana_reads(board: Any) -> Any:
    """The dashboard as Grafana's own types have it: a field that they do not know is gone."""
    register_default_plugins()
    return json.loads(JSONEncoder().encode(Dashboard.from_json(board)))


@pytest.mark.parametrize("environment", ["production", "staging"])
def test_grafana_knows_every_field_of_the_dashboard(capsys: pytest.CaptureFixture[str], environment: str) -> None:
    """Of the dashboard, its variables, annotations, panels and queries, by the types that Grafana publishes."""
    board = printed(capsys, str(PRODUCTION.with_stem(environment)))
    assert set(lost(board, as_grafana_reads(board))) <= PLUGINS_OWN
    assert {panel["type"] for panel in board["panels"]} == {"row", "timeseries"}


@pytest.mark.parametrize("wrong", ["gridpos", "thresholds", "targets"])
def test_a_field_that_grafana_does_not_know_is_found(capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    """Misspelt keys of a panel and of its limits, and a query that Prometheus's plugin does not have."""
    board = printed(capsys, str(PRODUCTION))
    panel = next(one for one in board["panels"] if one["type"] == "timeseries")
    if wrong == "gridpos":
        panel["gridpos"] = panel.pop("gridPos")
    elif wrong == "targets":
        panel["targets"][0]["query"] = panel["targets"][0].pop("expr")
    else:
        panel["fieldConfig"]["defaults"]["treshold"] = panel["fieldConfig"]["defaults"].pop("thresholds")
    assert set(lost(board, as_grafana_reads(board))) - PLUGINS_OWN


def test_no_panel_covers_another(capsys: pytest.CaptureFixture[str]) -> None:
    """Grafana's grid is 24 wide; ids are unique."""
    panels = printed(capsys, str(PRODUCTION))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells = {(x, y) for x in columns for y in rows}
        assert not cells & taken
        assert columns.stop <= 24
        taken |= cells


def test_a_signal_of_the_teams_own_is_on_the_dashboard(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Adding a row to the environment file is all."""
    path = tmp_path / "production.toml"
    path.write_text(PRODUCTION.read_text() + OWN)
    titles = [panel["title"] for panel in printed(capsys, str(path))["panels"]]
    assert titles.count("orders") == 3
    rules = printed(capsys, "--rules", str(path))
    promtool(tmp_path, rules)
    assert any("orders_total" in rule["expr"] for rule in rules["groups"][0]["rules"])
