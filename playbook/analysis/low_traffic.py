"""What is done about a canary that saw too few requests: the policy's steps, in order, and what `promote` says."""

from collections.abc import Collection, Sequence

from playbook.analysis.explanation import percent
from playbook.analysis.forecast import FAULTS
from playbook.analysis.policy import LowTraffic, Policy
from playbook.analysis.verdict import Action, Reason, Verdict, severest_first

LACKS_REQUESTS = (Reason.TOO_FEW_REQUESTS, Reason.NO_TRAFFIC)


def undecided(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts that a person would have to decide."""
    return [verdict for verdict in verdicts if verdict.action is Action.INCONCLUSIVE]


def due(verdicts: Sequence[Verdict], policy: Policy, step: LowTraffic) -> list[Verdict]:
    """The verdicts that lack nothing but requests, on services whose policy has ``step``.

    Requests of our own are sent only to a canary that users have reached: alone they would rule nothing out.
    """
    lacks = (Reason.TOO_FEW_REQUESTS,) if step is LowTraffic.PROBE else LACKS_REQUESTS
    return [
        verdict
        for verdict in undecided(verdicts)
        if verdict.reason in lacks and step in policy.low_traffic_for(verdict.service)
    ]


def promoted(verdicts: Sequence[Verdict], policy: Policy, taken: Collection[LowTraffic] = ()) -> tuple[Verdict, ...]:
    """The verdicts after the step `promote`: PROMOTE where its turn has come and ``small_fault_max`` is ruled out.

    ``taken``: the steps that were taken before. The severest comes first.
    """
    return severest_first(_promoted(one, policy) if _may_promote(one, policy, taken) else one for one in verdicts)


def _may_promote(verdict: Verdict, policy: Policy, taken: Collection[LowTraffic]) -> bool:
    steps = policy.low_traffic_for(verdict.service)
    if verdict.action is not Action.INCONCLUSIVE or LowTraffic.PROMOTE not in steps:
        return False
    if any(step not in taken for step in steps[: steps.index(LowTraffic.PROMOTE)]):
        return False
    return verdict.ruled_out is not None and verdict.ruled_out < policy.small_fault_max


def _promoted(verdict: Verdict, policy: Policy) -> Verdict:
    change = {
        "action": Action.PROMOTE,
        "reason": Reason.SMALL_FAULT_RULED_OUT,
        "explanation": ruled_out_sentence(verdict, policy),
    }
    return verdict.model_copy(update=change)


def ruled_out_sentence(verdict: Verdict, policy: Policy) -> str:
    """What so few requests say, and what they do not: "0 of 220 requests failed: a fault of 5 % is ruled out, …"."""
    errors = next(signal for signal in verdict.signals if signal.name == "errors")
    bound = verdict.ruled_out or 0.0
    faults = sorted({*FAULTS, policy.small_fault_max, policy.error_ratio_max}, reverse=True)
    smallest = min(fault for fault in faults if fault > bound)
    not_ruled_out = max((fault for fault in faults if fault <= bound), default=None)
    rest = "" if not_ruled_out is None else f", one of {percent(not_ruled_out)} is not"
    return (
        f"{errors.bad or 0:,} of {errors.requests or 0:,} requests failed: a fault of {percent(smallest)} is ruled "
        f"out{rest}. Promoted by the policy for services with few requests."
    )
