"""Whether the telemetry of a revision makes sense: each fault is one sentence with its cause and its fix.

It is looked at before any user is sent to a new revision, in flight checks, and at every look of a bake. A fault says
nothing about the code: the release is held or reverted without blaming it.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from playbook.analysis.counters import ALIKE_MIN, Side, doubled
from playbook.analysis.policy import Policy
from playbook.analysis.samples import INSTANCE_LABEL, NAME, CounterSeries, RevisionSamples
from playbook.analysis.status import status_of
from playbook.analysis.telemetry import TelemetryForm, Unit, edges_of, single

UNJUDGED = "cannot be judged; this says nothing about the code."
NOT_THE_CODE = f"Its metrics {UNJUDGED}"  # stands in the reason of every release that is taken back for its telemetry
FALLS_MIN = 2  # one fall is a restart
FALLS_SHARE = 0.2  # of the scrapes: an instance that restarts does so more rarely
INTERVAL_MAX = 1.5  # scrape intervals of the policy that may lie between two scrapes
LONGEST_REQUEST_S = 3600.0  # Cloud Run ends a request then, at the latest
SHOWN = 6
NOT_A_STATUS = frozenset(
    {NAME, INSTANCE_LABEL, "job", "method", "le", "handler", "path", "route", "service", "revision"}
)
USUAL_LABELS = ("status", "status_code", "code", "http_status", "response_code", "grpc_code", "grpc_status")
"""In the order in which one is proposed."""
ENVIRONMENT_LABELS = ("project_id", "project", "environment", "env", "stage")
"""How one Prometheus tells the environments apart that it holds: Google's name for a project, and the usual ones."""


@dataclass(frozen=True, slots=True)
class RevisionTelemetry:
    """What telemetry says of one revision lately, as it was answered.

    ``up``: Prometheus's own samples for each scrape. ``warnings``: of the answers. ``is_native``: the latency is there
    as a native histogram, without buckets. ``left_out``: counters of health checks and scrapes, where no user's request
    was counted.
    """

    revision: str
    samples: RevisionSamples
    up: tuple[CounterSeries, ...] = ()
    warnings: tuple[str, ...] = ()
    is_native: bool = False
    left_out: tuple[CounterSeries, ...] = ()


def faults(
    new: RevisionTelemetry, stable: RevisionTelemetry | None, form: TelemetryForm, policy: Policy, now_s: float
) -> tuple[str, ...]:
    """What is wrong with the telemetry of ``new``, so that the judge could not tell a good canary from a bad one.

    ``stable``, where there is one, only says what to expect: what is wrong with stable alone is no fault.
    """
    found = [
        *look_faults(new, form, policy),
        *scraped_faults(*(folded(single(one, form), policy) for one in (new.samples.requests, new.samples.latency))),
        *_unmatched(new, stable, policy),
        *_interval(new, stable, policy),
        *_age(new, policy, now_s),
        *_unseen(new, stable, policy),
        *(_users_unseen(new, form) if stable is None and policy.bake_s else ()),
    ]
    return tuple(f"{new.revision}: {text}" for text in found)


def is_about_telemetry(reason: str) -> bool:
    """Whether a release was taken back for its telemetry, by its ``reason``."""
    return UNJUDGED in reason


def look_faults(new: RevisionTelemetry, form: TelemetryForm, policy: Policy) -> tuple[str, ...]:
    """Those that can be seen in the samples of one look."""
    samples = new.samples
    return (
        *_partial(new.warnings),
        *status_faults(samples.requests, form),
        *_histogram(new, form, policy),
        *_doubled(single(samples.requests, form)),
        *_mixed(samples.requests),
    )


def _partial(warnings: Iterable[str]) -> Iterator[str]:
    for text in dict.fromkeys(warnings):
        yield f"Prometheus answers in part only, and warns: {text.rstrip('.')}. Bring back the store that is missing."


def status_faults(requests: Sequence[CounterSeries], form: TelemetryForm) -> Iterator[str]:
    """The one sentence about requests whose status is not known, if any were counted."""
    unknown = [one for one in requests if form.status(one.labels) is None]
    counted = [one for one in unknown if _newest(one) > 0]
    if not unknown or (not counted and len(unknown) < len(requests)):
        return
    label = form.status_label
    said = sorted({str(one.labels[label]) for one in counted or unknown if label in one.labels})
    if said:
        yield (
            f"{label} = {_listed(map(repr, said))} does not say how a request ended (an HTTP status, a class such as "
            "5xx, or a gRPC code does). Say what it means in telemetry.status_values, or name another label in "
            "telemetry.status_label."
        )
        return
    if others := _status_labels(unknown):
        there = _listed(f"{name} ({_listed(values)})" for name, values in others.items())
        yield (
            f"the request counters have no label {label}, so a failed request cannot be told from a good one; there is "
            f'{there}. Set telemetry.status_label = "{next(iter(others))}".'
        )
        return
    labels = sorted({name for one in unknown for name in one.labels} - {NAME})
    yield (
        f"no label of the request counters says how a request ended; there are {_listed(labels) or 'no labels'}. Count "
        "requests by status, and name the label in telemetry.status_label."
    )


def _status_labels(requests: Sequence[CounterSeries]) -> dict[str, list[str]]:
    """Labels whose every value says how a request ended, the usual ones first, with their values."""
    names = {name for one in requests for name in one.labels} - NOT_A_STATUS
    found = {name: sorted({one.labels[name] for one in requests if name in one.labels}) for name in names}
    fit = {name: values for name, values in found.items() if all(status_of(value, name) for value in values)}
    place = {name: index for index, name in enumerate(USUAL_LABELS)}
    return dict(sorted(fit.items(), key=lambda item: (place.get(item[0], len(place)), item[0])))


def _histogram(new: RevisionTelemetry, form: TelemetryForm, policy: Policy) -> Iterator[str]:
    latency = new.samples.latency
    if "latency" in policy.allow_unseen:
        return
    if new.is_native or (latency and not any("le" in one.labels for one in latency)):
        kind = "a native histogram" if new.is_native else "a metric without buckets (no label le)"
        needed = _seconds((policy.p95_max_s, policy.p95_rollback_s))
        yield f"the latency is {kind} only; the judge reads classic buckets. Expose them, with edges at {needed}."
        return
    if not latency:
        return
    if not any(one.key.edge == math.inf for one in latency):
        yield (
            'the latency histogram has no bucket le="+Inf", so it is not known how many requests there were. Keep that '
            "bucket: look for a relabelling rule that drops it."
        )
        return
    scale = 1000.0 if form.is_in_ms(latency) else 1.0
    edges = [edge / scale for edge in edges_of(latency)]
    if form.latency_unit is Unit.AUTO and scale == 1 and edges and edges[-1] > LONGEST_REQUEST_S:
        yield (
            f"the latency histogram has an edge at {edges[-1]:,.0f} s, longer than any request on Cloud Run; its unit "
            'is not seconds. Set telemetry.latency_unit = "ms".'
        )
        return
    missing = [
        line
        for line in (policy.p95_max_s, policy.p95_rollback_s)
        if not any(math.isclose(line, edge, rel_tol=1e-6) for edge in edges)
    ]
    if missing:
        one = len(missing) == 1
        yield (
            f"the latency histogram's {'edge' if one else 'edges'} at {_seconds(missing)} {'is' if one else 'are'} "
            f"missing; its edges are {_listed(f'{edge:g}' for edge in edges) or 'only +Inf'}. Add "
            f"{'it' if one else 'them'} to the application's buckets, or move policy.p95_max_s and "
            "policy.p95_rollback_s to edges that are there."
        )


def folded(series: Iterable[CounterSeries], policy: Policy) -> Side:
    """What the judge makes of these counters."""
    side = Side(True, policy.scrape_s)
    if (new := side.new(series, math.inf)).keys:
        side.grown(new, side)
    return side


def scraped_faults(requests: Side, latency: Side) -> Iterator[str]:
    """What is wrong with the counters of the instances from scrape to scrape."""
    for side, counts, fault in ((requests, requests.falls, WORKERS), (latency, latency.partial, CUT)):
        for instance, count in counts.items():
            scrapes = round((side.last_s[instance] - side.first_s[instance]) / side.scrape_s)
            if fall_often(count, scrapes):
                yield fault.format(instance=instance or "an instance", count=count, scrapes=scrapes)
                break
    yield from names_faults(requests)


WORKERS = (
    "the request counters of {instance} fall at {count} of {scrapes} scrapes: several workers answer one /metrics in "
    "turn. Let them share their counts (prometheus_client's multiprocess mode), or run one worker in each instance."
)
CUT = (
    "the latency histogram of {instance} lacks edges at {count} of {scrapes} scrapes that it has at others. Give it "
    "the same edges at each: look for a relabelling rule on le, or for buckets that the application makes as it goes."
)


def fall_often(falls: int, scrapes: float) -> bool:
    """Whether counters fall more often than restarts explain."""
    return falls >= FALLS_MIN and falls >= FALLS_SHARE * scrapes


def names_faults(side: Side) -> Iterator[str]:
    """The one sentence about instances that are never scraped twice, if most are not."""
    until_s = side.latest_s - INTERVAL_MAX * side.scrape_s
    once = [one for one, at_s in side.last_s.items() if at_s == side.first_s[one] and at_s < until_s]
    if fall_often(len(once), (until_s - side.born_s) / side.scrape_s) and 2 * len(once) >= len(side.last_s):
        yield (
            f"{len(once)} of {len(side.last_s)} instances were scraped once and never again ({_listed(once)}). Either "
            f"the label {INSTANCE_LABEL} changes from scrape to scrape, as with a request or a time in it: take that "
            "out of the relabelling. Or the instances end within seconds: see in their logs why."
        )


def _doubled(requests: Sequence[CounterSeries]) -> Iterator[str]:
    if found := doubled({one.key: _newest(one) for one in requests}):
        name, values = found
        yield (
            f"every request is counted {len(values)} times: the series differ in {name} ({_listed(values)}) alone, "
            f'as those of replicated Prometheus servers do. Add "{name}" to telemetry.replica_labels.'
        )


def _mixed(requests: Sequence[CounterSeries]) -> Iterator[str]:
    """Counters of another environment. One run names the revisions of staging and production, so their names are the
    same; of a label by which they are told apart each instance has one value."""
    for label in (name for name in ENVIRONMENT_LABELS if requests and name in requests[0].labels):
        found = {(one.key.instance, one.labels.get(label, "")) for one in requests}
        values = sorted({value for _, value in found})
        if len(values) > 1 and len({instance for instance, _ in found}) == len(found):
            yield (
                f"its counters are there with {label} = {_listed(map(repr, values))}: another environment's revision "
                f'has the same name, and its requests would count too. Add {label}="…" to the selectors in [queries].'
            )
            return


def _unmatched(new: RevisionTelemetry, stable: RevisionTelemetry | None, policy: Policy) -> Iterator[str]:
    """No series at all, although there should be some. A counter may be born with its first request."""
    if new.samples.requests:
        counted = sum(_newest(one) for one in new.samples.requests)
        is_missing = not new.samples.latency and not new.is_native and "latency" not in policy.allow_unseen
        if counted and is_missing:
            yield (
                f"{counted:,.0f} requests were counted and none has a duration: nothing matches queries.latency. "
                "Correct it."
            )
    elif not new.left_out and (stable is None or not stable.samples.requests):
        beside = f", nor {stable.revision}'s" if stable is not None else ""
        yield f"no series is its request counter{beside}: nothing matches queries.requests. Correct it."


def _interval(new: RevisionTelemetry, stable: RevisionTelemetry | None, policy: Policy) -> Iterator[str]:
    gaps = _gaps(new.up)
    if len(gaps) < 2 and stable is not None:
        gaps += _gaps(stable.up)
    if len(gaps) >= 2 and min(gaps) > INTERVAL_MAX * policy.scrape_s:
        yield (
            f"it is scraped every {min(gaps):.0f} s, and policy.scrape_s is {policy.scrape_s:g}. Set the scrape "
            f"interval to {policy.scrape_s:g} s (`interval` in the sidecar's RunMonitoring, 30s by default), or "
            f"policy.scrape_s to {min(gaps):.0f}."
        )


def _gaps(up: Sequence[CounterSeries]) -> list[float]:
    return [later - before for one in up for (before, _), (later, _) in pairwise(one.samples)]


def _age(new: RevisionTelemetry, policy: Policy, now_s: float) -> Iterator[str]:
    newest = max((at_s for one in new.up for at_s, _ in one.samples), default=math.inf)
    if now_s - newest > policy.freshness_s:
        yield (
            f"its newest sample is {now_s - newest:.0f} s old; the limit is {policy.freshness_s:g} s "
            "(policy.freshness_s). Check Prometheus."
        )


def _unseen(new: RevisionTelemetry, stable: RevisionTelemetry | None, policy: Policy) -> Iterator[str]:
    """CPU and memory may come minutes late: only what has no sample of stable either is missing."""
    for slot in (slot for slot in ("cpu", "memory") if slot not in policy.allow_unseen):
        seen = [getattr(one.samples, slot) for one in (new, stable) if one is not None]
        if not any(one.samples for series in seen for one in series):
            beside = f" or of {stable.revision}" if stable is not None else ""
            name = "CPU" if slot == "cpu" else slot
            yield (
                f'{name} has no sample of it{beside}. Correct queries.{slot}, or say policy.allow_unseen = ["{slot}"].'
            )


def _users_unseen(new: RevisionTelemetry, form: TelemetryForm) -> Iterator[str]:
    """A revision that serves users, and has counted health checks alone. A new one has no users yet."""
    counted = sum(map(_newest, new.left_out))
    if counted >= ALIKE_MIN:
        routes = {one.labels[name] for one in new.left_out for name in form.route_labels if one.labels.get(name)}
        yield (
            f"all its {counted:,.0f} requests were health checks or scrapes ({_listed(sorted(routes))}) and none was a "
            "user's, so a canary beside it would be judged by no request. Send users there; if these are users' "
            "requests, correct telemetry.health_checks."
        )


def _newest(one: CounterSeries) -> float:
    """The last finite value of a series; 0 without any."""
    return next((value for _, value in reversed(one.samples) if math.isfinite(value)), 0.0)


def _seconds(lines: Iterable[float]) -> str:
    return " and ".join(f"{line:g}" for line in lines) + " s"


def _listed(values: Iterable[str]) -> str:
    """The values in a row, the first few of many."""
    found = list(values)
    return ", ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
