"""Grafana's "Production Release Monitor" and Prometheus's alert rules (playbook 3, step 2), from the judge's signals.

Both are generated, so that what people look at and what the judge looks at have the same queries and the same limits.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from playbook.analysis.signals import Breach, Count, Gauge, Ratio, Share, Signal, for_service
from playbook.release.version import Service

Json = dict[str, Any]
TextOf = Callable[[str], str]  # a signal's query, which may be the name of a slot -> its PromQL with placeholders

TITLE = "Production Release Monitor"
WINDOW = "5m"  # the playbook's
REVISIONS = "=<revisions>"
CANARY, STABLE, EVERY = '=~"$canary"', '=~"$stable"', '=~".+"'
_REVISION = re.compile(r'(\w+)\s*=\s*"\{revision\}"')
_SELECTOR = re.compile(r"[A-Za-z_:][\w:]*\{.*\}", re.DOTALL)
WIDTH, HEIGHT, PER_ROW = 8, 7, 3


class Panel(NamedTuple):
    """One signal of one service, and its limit."""

    signal: Signal
    service: str
    expression: str  # PromQL, with `REVISIONS` where it says which revisions
    limit: float | None
    is_floor: bool = False  # whether a breach is below the limit

    def of(self, revisions: str) -> str:
        """Its PromQL for the revisions that a matcher such as `CANARY` names."""
        return self.expression.replace(REVISIONS, revisions)


def dashboard(name: str, services: Sequence[Service], signals: Sequence[Signal], text_of: TextOf) -> Json:
    """The dashboard of an environment, as JSON that Grafana imports. Its variables are the revisions to compare."""
    panels: list[Json] = []
    row_y = 0
    for service in services:
        panels.append(_row(len(panels) + 1, service.name, row_y))
        found = list(_panels(service, signals, text_of))
        for at, panel in enumerate(found):
            place = {"h": HEIGHT, "w": WIDTH, "x": WIDTH * (at % PER_ROW), "y": row_y + 1 + HEIGHT * (at // PER_ROW)}
            panels.append(_timeseries(len(panels) + 1, panel, place))
        row_y += 1 + HEIGHT * -(-len(found) // PER_ROW)
    requests = _filled(text_of("requests"), services[0], CANARY)
    label = (_REVISION.search(text_of("requests")) or ["", "revision"])[1]
    metric = requests.partition("{")[0]
    return {
        "uid": f"playbook-{name}"[:40],
        "title": f"{TITLE} ({name})",
        "tags": ["playbook", name],
        "timezone": "utc",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
                *(_revisions(one, f"label_values({metric}, {label})") for one in ("canary", "stable")),
            ]
        },
        "annotations": {"list": _annotations(services[0], text_of)},
        "panels": panels,
    }


def alert_rules(name: str, services: Sequence[Service], signals: Sequence[Signal], text_of: TextOf) -> Json:
    """Prometheus's alerting rules for whatever serves: every signal that has a limit of its own.

    A breach that rolls a canary back pages; one that holds it is a ticket's severity.
    """
    rules = [
        {
            "alert": _camel(panel.signal.name),
            "expr": f"{panel.of(EVERY)} {'<' if panel.is_floor else '>'} {panel.limit:g}",
            "for": "1m",
            "labels": {
                "severity": "ticket" if panel.signal.breach is Breach.HOLD else "page",
                "environment": name,
                "service": panel.service,
            },
            "annotations": {
                "summary": f"{panel.service}: {panel.signal.name} is {{{{ $value }}}}; the limit is {panel.limit:g}."
            },
        }
        for service in services
        for panel in _panels(service, signals, text_of)
        if panel.limit is not None
    ]
    return {"groups": [{"name": f"playbook-{name}", "rules": rules}]}


def _panels(service: Service, signals: Sequence[Signal], text_of: TextOf) -> Iterator[Panel]:
    """A panel for each signal that Prometheus can answer; the others are read from the logs, or not looked at here."""
    for signal in for_service(tuple(signals), service.name):
        texts = [text_of(query) for query in signal.queries]
        if not all("{" in text for text in texts):
            continue
        limit = None if isinstance(signal, Share) else signal.limit
        is_floor = isinstance(signal, Gauge) and signal.at_least is not None
        if isinstance(signal, Gauge) and is_floor:
            limit = signal.at_least
        expression = _expression(signal, [_filled(text, service, REVISIONS) for text in texts])
        yield Panel(signal, service.name, expression, limit, is_floor)


def _expression(signal: Signal, selectors: Sequence[str]) -> str:
    """What the signal is, of a set of revisions. ``selectors`` are its queries."""
    first = selectors[0]
    match signal:
        case Ratio(above_s=None):
            bad = selectors[1] if signal.bad else _and(first, signal.bad_where)
            return f"({_rate(bad)} or vector(0)) / {_rate(first)}"
        case Ratio(above_s=str()):
            return f"histogram_quantile(0.95, sum by (le) (rate({first}[{WINDOW}])))"
        case Ratio():
            within, every = _and(first, {"le": rf"{signal.above_s:g}(\\.0+)?"}), _and(first, {"le": r"\\+Inf"})
            return f"1 - {_rate(within)} / {_rate(every)}"
        case Gauge():
            return f"{'max' if signal.at_least is None else 'min'}({first})"
        case Count():
            return f"sum({'changes' if signal.changes else 'increase'}({first}[15m]))"
        case Share():
            return f"{_rate(first)} / {_rate(first.replace(REVISIONS, EVERY))}"


def _rate(selector: str) -> str:
    return f"sum(rate({selector}[{WINDOW}]))"


def _and(selector: str, matchers: Mapping[str, str]) -> str:
    """The selector with more matchers; an expression that is none stays as it is."""
    if _SELECTOR.fullmatch(selector.strip()) is None:
        return selector
    more = "".join(f',{label}=~"{pattern}"' for label, pattern in matchers.items())
    return f"{selector.strip()[:-1]}{more}}}"


def _filled(template: str, service: Service, revision: str) -> str:
    known = _REVISION.sub(lambda found: f"{found[1]}{revision}", template)
    return known.replace("{job}", service.job).replace("{service}", service.name)


def _annotations(service: Service, text_of: TextOf) -> list[Json]:
    """Start, shift, verdict and end of a release, as what the coordinator's own metrics show of them.

    No token and no write is needed: a revision that is scraped for the first time, users' first requests to the canary,
    its last ones (taken back), and stable's last ones (promoted).
    """
    requests, up = text_of("requests"), text_of("up")
    label, up_label = ((_REVISION.search(text) or ["", "revision"])[1] for text in (requests, up))
    canary, stable = (_filled(requests, service, revisions) for revisions in (CANARY, STABLE))
    return [
        _annotation("start: the new revision runs", "blue", _appears(_filled(up, service, CANARY), up_label)),
        _annotation("shift: the canary's first requests", "orange", _appears(canary, label)),
        _annotation("verdict: taken back, the canary's last requests", "red", _ends(canary, label)),
        _annotation("end: promoted, stable's last requests", "green", _ends(stable, label)),
    ]


def _appears(selector: str, label: str) -> str:
    return f"sum by ({label}) ({selector}) unless sum by ({label}) ({selector} offset 1m)"


def _ends(selector: str, label: str) -> str:
    rate = f"sum by ({label}) (rate({selector}[1m]))"
    return f"({rate} == 0) and ({rate.replace('[1m]', '[1m] offset 1m')} > 0)"


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in re.findall(r"[A-Za-z0-9]+", name))


def _row(number: int, title: str, y: int) -> Json:
    return {"id": number, "type": "row", "title": title, "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}, "panels": []}


def _timeseries(number: int, panel: Panel, place: Json) -> Json:
    unit = "percentunit" if isinstance(panel.signal, Ratio | Share) else "short"
    below, above = ("red", "green") if panel.is_floor else ("green", "red")
    steps: list[Json] = [{"color": below, "value": None}]
    if panel.limit is not None:
        steps.append({"color": above, "value": panel.limit})
    limit = "compared with stable" if panel.limit is None else f"limit {panel.limit:g}"
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.signal.name,
        "description": f"{limit}; a breach: {panel.signal.breach}.",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": place,
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": {"thresholdsStyle": {"mode": "line" if panel.limit is not None else "off"}},
            },
            "overrides": [],
        },
        "options": {"legend": {"showLegend": True, "displayMode": "list", "placement": "bottom"}},
        "targets": [
            {"refId": "A", "expr": panel.of(CANARY), "legendFormat": "canary"},
            {"refId": "B", "expr": panel.of(STABLE), "legendFormat": "stable"},
        ],
    }


def _revisions(name: str, query: str) -> Json:
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": name},
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "refresh": 2,
        "sort": 2,
    }


def _annotation(name: str, color: str, expression: str) -> Json:
    return {
        "name": name,
        "enable": True,
        "iconColor": color,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "expr": expression,
        "titleFormat": name,
    }
