"""Why a canary's evidence is unfit to promote by, although it is there."""

from playbook.analysis.evidence import Evidence
from playbook.analysis.policy import Policy
from playbook.analysis.samples import CounterSeries
from playbook.analysis.telemetry import TelemetryForm
from playbook.analysis.telemetry_checks import scraped_faults, status_faults


def telemetry_fault(evidence: Evidence, policy: Policy) -> str | None:
    """What is wrong with the canary's telemetry, with the fix; None where it makes sense.

    Requests whose status is not known may have failed: they count as such here, against the line above which a person
    decides.
    """
    if evidence.fault is not None:
        return evidence.fault.text
    (_, requests), (_, latency) = evidence.sources.of["requests"], evidence.sources.of["latency"]
    return _unread(evidence, policy) or next(scraped_faults(requests, latency), None)


def _unread(evidence: Evidence, policy: Policy) -> str | None:
    unread, bake = evidence.aligner.unread, evidence.bake
    all_of_them = bake.n + evidence.doubtful.n
    if not unread or unread + bake.x <= policy.error_ratio_investigate * all_of_them:
        return None
    series = tuple(CounterSeries(dict(key), ()) for key in evidence.aligner.unread_keys)
    why = " ".join(status_faults(series, TelemetryForm()))
    return f"How {unread:,.0f} of {all_of_them:,.0f} requests ended is not known: {why}"
