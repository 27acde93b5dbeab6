"""Something that cannot wait takes the place of a release that runs: its process is fenced, its users are back on
stable."""

import contextlib
from collections.abc import Iterator, Sequence

from blocks.environment import Environment
from flows.steps import carry_out
from playbook.errors import Fenced, Refused, ReleaseError, Transient
from playbook.lease.lease import Kind, Lease
from playbook.lease.record import Aside, Unreadable
from playbook.lease.recovery import Owner, Step, recover
from playbook.release.outcome import FlowResult, ReleaseOutcome
from tasks.announce import notify_set_aside
from tasks.find_leases import find_leases, free_orphans
from tasks.heartbeat import owner_of, runs_as, with_heartbeat
from tasks.lease import as_it_stands, take_over
from tasks.report import note, open_report
from tasks.start import requested_at_s


async def take_back_running(
    env: Environment, services: tuple[str, ...], kind: Kind, what: str
) -> tuple[FlowResult, ...]:
    """No release that must give way to ``kind`` holds any of ``services`` any more; how each of them ended.

    ``what`` names who comes instead. What gives way to a rollback is bad itself: it is paged and ticketed as any
    release that was taken back. A release that ends by itself meanwhile is none. Raises: Refused where another
    person changed its services. One that a living run of ``kind`` has, or is taking back, stays: what comes next finds
    it held.
    """
    held = await find_leases(env)
    if kind is Kind.ROLLBACK:
        await free_orphans(env, held.orphans)
    mine = [one for one in held.leases if kind.may_take_over(one.kind) and set(services) & set(one.services)]
    mine = await without_old_records(env, mine, kind)
    is_bad = kind is Kind.ROLLBACK

    async def taken(found: Lease) -> Lease:
        wanted = found.asked_back(what, requested_at_s()) if is_bad else found.giving_way(what)
        return await take_over(env, wanted, found)

    ended: list[FlowResult] = []
    done: list[str] = []
    with recording_done(done):
        for found in mine:
            try:
                lease = await as_it_stands(env, found, taken)
            except Fenced:
                continue
            if lease is None:
                continue
            done.append(f"{found.release_id} was taken back in {env.name} to make way.")
            whole = env.whole(lease)
            async with with_heartbeat(whole, lease):
                outcome = await carry_out(whole, await note(await open_report(whole, lease), lease.reason))
            if outcome.end is ReleaseOutcome.INTERRUPTED:
                raise Refused(
                    f"{found.release_id} could not be taken back to make way: {outcome.message} "
                    "Check where its users are, then start this again."
                )
            ended.append(outcome)
    return tuple(ended)


async def without_old_records(env: Environment, leases: Sequence[Lease], kind: Kind) -> list[Lease]:
    """The leases that hold services now, and that a living run of ``kind`` does not hold: it was first. One whose run
    has let go of it was written back: a person is paged.

    Where Prefect is away each of them counts as one of now: what cannot wait goes on.
    """
    kept = []
    for lease in leases:
        try:
            owner = await owner_of(env, lease)
        except Transient:
            owner = Owner.SILENT
        decided = recover(lease, owner, 0)
        if decided.step is Step.SET_ASIDE:
            why = decided.reason
            await notify_set_aside(env, (Unreadable(service=lease.coordinator, problem=why, why=Aside.UNSIGNED),))
        elif owner is not Owner.ALIVE or kind.may_take_over(await runs_as(lease)):
            kept.append(lease)
    return kept


def gave_way(env: Environment, taken_back: Sequence[FlowResult]) -> list[str]:
    """A sentence for each release that these are the ends of."""
    return [f"{outcome.release_id} gave way in {env.name}: its users are back on stable." for outcome in taken_back]


@contextlib.contextmanager
def recording_done(done: Sequence[str]) -> Iterator[None]:
    """A refusal of what is inside does not say that nothing was touched, but what was ``done`` until then, if anything.

    ``done`` may grow meanwhile.
    """
    try:
        yield
    except ReleaseError as error:
        error.done_before = " ".join([*done, *filter(None, [error.done_before])])
        raise
