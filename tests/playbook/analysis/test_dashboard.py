"""What the dashboard and the alert rules ask of Prometheus for each kind of signal."""

from typing import Any

import pytest

from playbook.analysis.dashboard import alert_rules, dashboard
from playbook.analysis.signals import Breach, Count, Gauge, Ratio, Share, Signal
from playbook.release.version import Service

BACKEND = Service(name="backend", job="api", repository="ghcr.io/x/backend")
FRONTEND = Service(name="frontend", job="web", repository="ghcr.io/x/frontend")
QUERIES = {
    "requests": 'http_requests_total{job="{job}",revision_name="{revision}"}',
    "latency": 'http_seconds_bucket{revision_name="{revision}"}',
    "up": 'up{service="{service}",revision_name="{revision}"}',
    "cpu": 'cpu{revision_name="{revision}"} / 2',
    "cloud_run_requests": "cloud_run_requests",
}
ORDERS = 'orders_total{revision="{revision}"}'


def text_of(query: str) -> str:
    """The PromQL of a slot; a signal's own query is its PromQL already."""
    return QUERIES.get(query, query)


def panels(*signals: Signal, services: tuple[Service, ...] = (BACKEND,)) -> list[dict[str, Any]]:
    """The panels of these signals, without the rows."""
    board = dashboard("production", services, signals, text_of)
    return [one for one in board["panels"] if one["type"] == "timeseries"]


def rules(*signals: Signal) -> list[dict[str, Any]]:
    """The alert rules of these signals."""
    found: list[dict[str, Any]] = alert_rules("production", (BACKEND,), signals, text_of)["groups"][0]["rules"]
    return found


def ratio(**fields: Any) -> Ratio:
    """A ratio of requests whose breach holds."""
    return Ratio(**{"name": "a ratio", "total": "requests", "breach": Breach.HOLD, "limit": 0.02, **fields})


REQUESTS = 'http_requests_total{job="api",revision_name=~"$canary"}'
FAILED = 'http_requests_total{job="api",revision_name=~"$canary",status=~"5.."}'
LATENCY = 'http_seconds_bucket{revision_name=~"$canary"'


@pytest.mark.parametrize(
    ("signal", "expression"),
    [
        (
            ratio(bad_where={"status": "5.."}),
            f"(sum(rate({FAILED}[5m])) or vector(0)) / sum(rate({REQUESTS}[5m]))",
        ),
        (
            ratio(total=ORDERS, bad='failed{revision="{revision}"}'),
            '(sum(rate(failed{revision=~"$canary"}[5m])) or vector(0)) / '
            'sum(rate(orders_total{revision=~"$canary"}[5m]))',
        ),
        (
            ratio(total="latency", above_s="every edge", limit=None, factor=3),
            f"histogram_quantile(0.95, sum by (le) (rate({LATENCY}}}[5m])))",
        ),
        (
            ratio(total="latency", above_s=2),
            f'1 - sum(rate({LATENCY},le=~"2(\\\\.0+)?"}}[5m])) / sum(rate({LATENCY},le=~"\\\\+Inf"}}[5m]))',
        ),
        (Gauge(name="gauge", query="cpu", limit=0.8, breach=Breach.HOLD), 'max(cpu{revision_name=~"$canary"} / 2)'),
        (
            Gauge(name="gauge", query="up", at_least=1, breach=Breach.HOLD),
            'min(up{service="backend",revision_name=~"$canary"})',
        ),
        (
            Count(name="count", query=ORDERS, breach=Breach.HOLD),
            'sum(increase(orders_total{revision=~"$canary"}[15m]))',
        ),
        (
            Count(name="count", query=ORDERS, changes=True, breach=Breach.HOLD),
            'sum(changes(orders_total{revision=~"$canary"}[15m]))',
        ),
        (
            Share(name="share", at_least=0.85, breach=Breach.HOLD),
            f'sum(rate({REQUESTS}[5m])) / sum(rate(http_requests_total{{job="api",revision_name=~".+"}}[5m]))',
        ),
    ],
    ids=["errors", "another counter", "every edge", "an edge", "most", "least", "events", "changes", "share"],
)
def test_each_kind_of_signal_has_its_promql(signal: Signal, expression: str) -> None:
    """The canary's beside stable's, in one panel."""
    (panel,) = panels(signal)
    canary, stable = (target["expr"] for target in panel["targets"])
    assert canary == expression
    assert stable == expression.replace("$canary", "$stable")


def test_more_labels_are_added_to_a_selector_only() -> None:
    """An expression has no place for them: it stays as the team wrote it."""
    sums = 'sum by (le) (x_bucket{revision="{revision}"})'
    (panel,) = panels(ratio(total=sums, above_s=2))
    assert "le=~" not in panel["targets"][0]["expr"]


def test_what_prometheus_does_not_answer_has_no_panel() -> None:
    """Cloud Run's own counts, and errors of which only one counter is Prometheus's."""
    signals = (
        ratio(name="r1", total="cloud_run_requests", bad_where={"x": "y"}),
        ratio(name="r2", total=ORDERS, bad="cloud_run_requests"),
        ratio(name="r3", bad_where={"status": "5.."}),
    )
    assert [panel["title"] for panel in panels(*signals)] == ["r3"]


@pytest.mark.parametrize(
    ("signal", "expression", "severity"),
    [
        (Gauge(name="gauge", query="cpu", limit=0.8, breach=Breach.HOLD), "> 0.8", "ticket"),
        (Gauge(name="gauge", query="up", at_least=1, breach=Breach.ROLLBACK), "< 1", "page"),
        (ratio(total="latency", above_s=5, breach=Breach.SCALE), "> 0.02", "page"),
        (Count(name="count", query=ORDERS, breach=Breach.ROLLBACK), "> 0", "page"),
    ],
    ids=["above, held", "below, rolled back", "scaled", "a count of none"],
)
def test_a_breach_that_moves_users_pages_and_one_that_holds_is_a_ticket(
    signal: Signal, expression: str, severity: str
) -> None:
    """On the side of the limit that is bad."""
    (rule,) = rules(signal)
    assert rule["expr"].endswith(expression)
    assert rule["labels"]["severity"] == severity


def test_what_has_no_limit_of_its_own_alerts_nobody() -> None:
    """A comparison with stable needs a canary; a share needs its part of the users."""
    share = Share(name="share", at_least=0.85, breach=Breach.HOLD)
    compared = ratio(bad_where={"status": "4.."}, limit=None, factor=2)
    assert rules(share, compared) == []
    shown = [(panel["description"], panel["fieldConfig"]["defaults"]) for panel in panels(share, compared)]
    for description, defaults in shown:
        assert description.startswith("compared with stable")
        assert defaults["thresholds"]["steps"] == [{"color": "green", "value": None}]
        assert defaults["custom"]["thresholdsStyle"]["mode"] == "off"


@pytest.mark.parametrize(
    ("signal", "colors", "unit", "limit"),
    [
        (Gauge(name="gauge", query="cpu", limit=0.8, breach=Breach.HOLD), ["green", "red"], "short", 0.8),
        (Gauge(name="gauge", query="up", at_least=1, breach=Breach.HOLD), ["red", "green"], "short", 1),
        (ratio(bad_where={"status": "5.."}), ["green", "red"], "percentunit", 0.02),
    ],
    ids=["a ceiling", "a floor", "a ratio"],
)
def test_the_bad_side_of_the_limit_is_red(signal: Signal, colors: list[str], unit: str, limit: float) -> None:
    """With the limit as a line."""
    (panel,) = panels(signal)
    defaults = panel["fieldConfig"]["defaults"]
    assert [step["color"] for step in defaults["thresholds"]["steps"]] == colors
    assert (defaults["thresholds"]["steps"][1]["value"], defaults["unit"]) == (limit, unit)
    assert defaults["custom"]["thresholdsStyle"]["mode"] == "line"
    assert panel["description"] == f"limit {limit:g}; a breach: hold."


def test_a_signal_of_one_service_is_shown_for_that_one() -> None:
    """And for no other."""
    both = ratio(name="both", bad_where={"status": "5.."})
    one = ratio(name="one", bad_where={"status": "4.."}, services=("frontend",))
    found = panels(both, one, services=(BACKEND, FRONTEND))
    assert [panel["title"] for panel in found] == ["both", "both", "one"]


def test_the_revisions_to_compare_come_from_the_label_that_the_query_has() -> None:
    """Whatever an environment calls it; where no query has one, it is called revision."""
    board = dashboard("production", (BACKEND,), (), text_of)
    assert [one["query"]["query"] for one in board["templating"]["list"][1:]] == [
        "label_values(http_requests_total, revision_name)"
    ] * 2
    bare = dashboard("production", (BACKEND,), (), lambda _: "x{}")
    assert bare["templating"]["list"][1]["query"]["query"] == "label_values(x, revision)"
    assert "sum by (revision) (x{})" in bare["annotations"]["list"][0]["expr"]
