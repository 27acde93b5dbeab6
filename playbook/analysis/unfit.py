"""Why a canary's evidence is unfit to promote by, although it is there."""

from playbook.analysis.evidence import Evidence
from playbook.analysis.policy import Policy
from playbook.analysis.telemetry import TelemetryForm
from playbook.analysis.telemetry_checks import CUT, WORKERS, often, passing, status_faults


def telemetry_fault(evidence: Evidence, policy: Policy) -> str | None:
    """What is wrong with the canary's telemetry, with the fix; None where it makes sense.

    Requests whose status is not known may have failed: they count as such here, against the line above which a person
    decides.
    """
    if evidence.fault is not None:
        return evidence.fault.text
    return _unread(evidence, policy) or _labels(evidence, policy)


def _unread(evidence: Evidence, policy: Policy) -> str | None:
    unread, bake = evidence.aligner.unread, evidence.bake
    all_of_them = bake.n + evidence.doubtful.n
    if not unread or unread + bake.x <= policy.error_ratio_investigate * all_of_them:
        return None
    why = " ".join(status_faults(evidence.aligner.unread_series, TelemetryForm()))
    return f"How {unread:,.0f} of {all_of_them:,.0f} requests ended is not known: {why}"


def _labels(evidence: Evidence, policy: Policy) -> str | None:
    """What is wrong with the instances of the canary, as they were scraped since the bake's start."""
    (_, requests), (_, latency) = evidence.sources.of["requests"], evidence.sources.of["latency"]
    scrapes = int((evidence.now_s - evidence.bake_start_s) / policy.scrape_s)
    found = (
        *often(requests.falls, lambda _: scrapes, WORKERS),
        *passing(requests.first_s, requests.last_s, policy),
        *often(latency.partial, lambda _: scrapes, CUT),
    )
    return found[0] if found else None
