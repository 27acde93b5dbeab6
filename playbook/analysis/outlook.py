"""What the requests of a bake rule out, and how many more would be needed."""

import math

from playbook.analysis.evidence import Evidence
from playbook.analysis.policy import Policy
from playbook.analysis.sequential import requests_needed, small_fault_bound, upper_bound


def bound(evidence: Evidence, policy: Policy) -> float:
    """The error ratio that the bake rules out, at the certainty this look asks for. Failed requests whose time is in
    doubt count, good ones do not."""
    bake, more = evidence.bake, evidence.doubtful.x
    return upper_bound(bake.n + more, bake.x + more, evidence.dispersion.phi_hat, policy.alpha_promote_now)


def eta_s(evidence: Evidence, policy: Policy, *, is_open: bool) -> float | None:
    """Seconds until there are requests enough, at the rate and the error ratio seen so far.

    ``is_open``: a person is asked. With errors it is worked out for them only: it costs more than everything else.
    """
    n, x, phi_hat = evidence.bake.n, evidence.bake.x, evidence.dispersion.phi_hat
    if not n or (x and not is_open):
        return None
    needed = requests_needed(n, x, phi_hat, policy.alpha_promote_now, policy.error_ratio_max)
    if needed is None:
        return None
    return max(0.0, needed - n) / n * (evidence.now_s - evidence.bake_start_s)


def missing(evidence: Evidence, policy: Policy) -> int | None:
    """Requests that would let the next look promote, at the error ratio seen so far."""
    n, x, alpha = evidence.bake.n, evidence.bake.x, policy.extended(0).alpha_promote_now
    needed = requests_needed(n, x, evidence.dispersion.phi_hat, alpha, policy.error_ratio_max)
    return None if needed is None else max(0, math.ceil(needed - n))


def ruled_out(evidence: Evidence, policy: Policy) -> float | None:
    """What is ruled out where requests are too few to rule out 0.5 %: for the policy's step `promote` at the end.

    None where anything else stands in the way: an error ratio that is itself above 0.5 %, or above 0.1 % even without
    its worst scrape. A single error is forgiven.
    """
    bake = evidence.bake
    if bake.ratio > policy.error_ratio_max or bake.above(policy.error_ratio_investigate, least=1):
        return None
    rounds = ((one.n, one.x) for one in evidence.rounds)
    return small_fault_bound(rounds, evidence.dispersion.phi_hat, policy.alpha_small_now)
