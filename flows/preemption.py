"""Something that cannot wait takes the place of a release that runs: its process is fenced, its users are back on
stable."""

from blocks.environment import Environment
from flows.steps import carry_out
from playbook.claim import Decision, Kind
from playbook.errors import Fenced, Refused
from playbook.outcome import End, Outcome
from playbook.report import Report
from tasks.claim import claims_found, take_over
from tasks.report import note


async def take_back_running(env: Environment, services: tuple[str, ...], kind: Kind, what: str) -> tuple[Outcome, ...]:
    """No release that must give way to ``kind`` holds any of ``services`` any more; how each of them ended.

    ``what`` names who comes instead. What gives way to a rollback is bad itself: it is paged and ticketed as any
    release that was taken back. A release that ends by itself meanwhile is none. Raises: Refused where somebody else's
    hand is on its services.
    """
    claims, _ = await claims_found(env)
    ended = []
    for found in claims:
        if not kind.may_take_over(found.kind) or not set(services) & set(found.services):
            continue
        is_bad = kind is Kind.ROLLBACK
        try:
            claim = await take_over(env, found.decided(Decision.REVERT, what) if is_bad else found.giving_way(what))
        except Fenced:
            continue
        report = await note(Report(environment=env.name, claim=claim), claim.reason)
        outcome = await carry_out(env, report)
        if outcome.end is End.INTERRUPTED:
            raise Refused(f"{found.release_id} could not give way: {outcome.message} Look, and start this again.")
        ended.append(outcome)
    return tuple(ended)
