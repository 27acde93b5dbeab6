"""Taking, changing and letting go of the claim that makes a release the only one."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from prefect import get_run_logger, runtime, task

from blocks.environment import Environment
from playbook import change
from playbook.claim import Claim, Record, next_epoch
from playbook.errors import Conflict, Fenced, Held, Interrupted, Refused, ReleaseError, Transient
from playbook.plan import Order, claim_for, is_live, plan, release_id, version_due
from playbook.recovery import Owner, Recovery, recover
from playbook.requests import HotfixRequest
from playbook.traffic import ServiceSnapshot
from tasks.beat import beat, heart
from tasks.ensure import CONFLICTS_MAX, ensure
from tasks.incident import run_url
from tasks.retries import READ, REVERT, WRITE

T = TypeVar("T")


def place_of(env: Environment) -> str:
    """gcloud's flags for where the services of ``env`` are."""
    return f"--project={env.cloud_run.project} --region={env.cloud_run.region}"


@task(name="look", task_run_name="look", **READ)
async def look(env: Environment, services: tuple[str, ...]) -> dict[str, ServiceSnapshot]:
    """One fresh read of each service. Raises Transient while one is still reconciling."""
    reads = await asyncio.gather(*(env.cloud_run.snapshot(service) for service in services))
    unsettled = [snapshot.service for snapshot in reads if snapshot.is_reconciling]
    if unsettled:
        raise Transient(f"{', '.join(unsettled)}: still reconciling an earlier change.")
    return {snapshot.service: snapshot for snapshot in reads}


@task(name="already live", task_run_name="already live", **READ)
async def already_live(env: Environment, order: Order, found: dict[str, ServiceSnapshot]) -> bool:
    """Whether every service of the order already gives all users exactly its image."""
    serving = {name: snapshot.pinned.main for name, snapshot in found.items()}
    revisions = await asyncio.gather(*(env.cloud_run.revision(name, main) for name, main in serving.items()))
    return is_live(order, found, {name: revision.image for name, revision in zip(serving, revisions, strict=True)})


@task(name="check free", task_run_name="check free", **READ)
async def check_free(env: Environment, order: Order) -> None:
    """No release holds a service of the order: nothing else is begun for one that would be refused in the end.

    Raises: Held.
    """
    reads = await asyncio.gather(*(env.cloud_run.snapshot(service) for service in order.images))
    for snapshot in reads:
        try:
            change.not_held(snapshot, str(order.version))
        except Held as held:
            raise await with_link(env, held) from held


async def with_link(env: Environment, refusal: ReleaseError) -> ReleaseError:
    """``refusal``; one by a release that holds a service says where its run is seen, whichever service it was."""
    if not isinstance(refusal, Held):
        return refusal
    try:
        snapshots = await asyncio.gather(*(env.cloud_run.snapshot(service) for service in env.service_names))
    except ReleaseError as away:
        get_run_logger().warning("no link to the run that holds it: %s", away)
        return refusal
    claims = filter(None, (Record.read(snapshot).claim for snapshot in snapshots))
    links = (run_url(env, claim) for claim in claims if claim.release_id == refusal.holder)
    return Held(" ".join([str(refusal), *links]), is_same=refusal.is_same, holder=refusal.holder)


@task(name="version in staging", task_run_name="version in staging", **READ)
async def version_in_staging(env: Environment, staging: Environment | None) -> str:
    """The version that passed staging last and that ``env`` has not had; empty where there is none."""
    if staging is None:
        return ""
    lead = env.service_names[0]
    passed = Record.read(await staging.cloud_run.snapshot(lead))
    return version_due(passed, Record.read(await env.cloud_run.snapshot(lead)))


@task(name="claim", task_run_name="claim", **WRITE)
async def take_claim(
    env: Environment,
    order: Order,
    found: dict[str, ServiceSnapshot],
    hotfix: HotfixRequest | None = None,
    requested_at_s: float | None = None,
) -> Claim:
    """This run holds every service of the order, the lead first.

    What was taken is let go again where one of them cannot be had. Raises: Held (another release has it, whose run is
    named), Conflict (it changed between the look and the claim), Fenced (a newer epoch is written there).
    """
    run_id = str(runtime.flow_run.get_id())
    epochs = [Record.read(snapshot).epoch for snapshot in found.values()]
    now_s = time.time()
    claim = claim_for(
        plan(order, found.values(), release_id(order.version, run_id)),
        flow_run_id=run_id,
        epoch=next_epoch(max(epochs), now_s),
        deadline_s=now_s + env.policy.claim_deadline_s,
        place=place_of(env),
    ).model_copy(update={"hotfix": hotfix, "requested_at_s": requested_at_s})
    taken: list[str] = []
    try:
        async with heart(env, claim):
            for service in claim.services:
                await ensure(env, service, partial(change.to_claim, claim=claim))
                taken.append(service)
    except (Refused, Conflict, Fenced) as refusal:
        for service in reversed(taken):
            with contextlib.suppress(Fenced):  # somebody has it already: there is nothing to let go
                await ensure(env, service, partial(change.to_release, claim=claim, now_s=now_s))
        raise await with_link(env, refusal) from refusal
    get_run_logger().info("release %s holds %s, epoch %d", claim.release_id, ", ".join(claim.services), claim.epoch)
    beat(env, claim)
    return claim


@task(name="note on lead", task_run_name="note on lead", **WRITE)
async def note_on_lead(env: Environment, claim: Claim) -> Claim:
    """The lead carries ``claim`` as it is now, with its traffic where the bake has it. Returns the claim."""
    await ensure(env, claim.lead, partial(change.to_bake, claim=claim))
    return claim


@task(name="take over", task_run_name="take over", **WRITE)
async def take_over(env: Environment, wanted: Claim, found: Claim) -> Claim:
    """This run holds the release ``wanted`` in place of the process that had it, which is fenced from now on.

    A new decision is made in ``wanted`` before: whoever finds it after this run has died must know of it. ``found`` is
    the claim that it was made on, as it was read.
    A service that somebody changed by hand meanwhile is left as it is; the next step finds it so and steps back.
    Raises: Fenced (somebody else took it over, or it ended meanwhile), Conflict (its process has gone on since
    ``found``; see `as_it_stands`).
    """
    claim = wanted.model_copy(update={"flow_run_id": str(runtime.flow_run.get_id())})
    async with heart(env, claim):
        claim = await _under_new_epoch(env, claim, found)
    get_run_logger().info("release %s is held by this run now, epoch %d", claim.release_id, claim.epoch)
    beat(env, claim)
    return claim


@task(name="hand on", task_run_name="hand on {wanted.release_id}", **WRITE)
async def hand_on(env: Environment, wanted: Claim, found: Claim) -> Claim:
    """The process that had ``found`` is fenced, and nobody has it yet: a run that is started for it takes it over.

    The claim still names the lost run, so that the one to come finds it lost too: nobody beats for it meanwhile. The
    epoch is new each time, so that a run which is started for an epoch and dies before it takes over is not the last
    one.
    Raises: as `take_over`.
    """
    return await _under_new_epoch(env, wanted, found)


async def _under_new_epoch(env: Environment, wanted: Claim, found: Claim) -> Claim:
    claim = wanted.model_copy(update={"epoch": next_epoch(wanted.epoch, time.time())})
    for service in claim.services:
        try:
            step = partial(change.to_take_over, claim=claim, found=found)
            await ensure(env, service, step)
        except Interrupted as hand:
            get_run_logger().warning("%s", hand)
    return claim


async def as_it_stands(env: Environment, found: Claim, act: Callable[[Claim], Awaitable[T]]) -> T | None:
    """What ``act`` makes of the release ``found``; None where it has ended.

    ``act`` decides, and takes the release over. Where its process has gone on meanwhile it is read again, and ``act``
    decides anew. Raises: Conflict (so every time), and what ``act`` raises.
    """
    for _ in range(CONFLICTS_MAX):
        try:
            return await act(found)
        except Conflict as moved:
            get_run_logger().info("decided anew: %s", moved)
            conflict, again = moved, await find_claim(env, found)
        if again is None:
            return None
        found = again
    raise conflict


@task(name="find claim", task_run_name="find claim {found.release_id}", **READ)
async def find_claim(env: Environment, found: Claim) -> Claim | None:
    """The claim of the release ``found`` as its lead carries it now; None where it is over."""
    claim = Record.read(await env.cloud_run.snapshot(found.lead)).claim
    return claim if claim is not None and claim.release_id == found.release_id else None


@task(name="release claim", task_run_name="release claim {service}", **REVERT)
async def release_claim(env: Environment, claim: Claim, service: str) -> None:
    """The service carries no claim and no canary tag; a promoted one has its newest good release written down."""
    await ensure(env, service, partial(change.to_release, claim=claim, now_s=time.time()))


@task(name="end watch", task_run_name="end watch {service}", **WRITE)
async def end_watch(env: Environment, claim: Claim, service: str) -> None:
    """The revision before the release is no longer kept alive, unless another release has come since."""
    await ensure(env, service, partial(change.to_end_watch, version=claim.version))


@task(name="find claims", task_run_name="find claims", **READ)
async def claims_found(env: Environment) -> tuple[tuple[Claim, ...], tuple[str, ...]]:
    """Every release that holds services of the environment, and the services that point to a lead that holds none."""
    reads = await asyncio.gather(*(env.cloud_run.snapshot(service) for service in env.service_names))
    records = {snapshot.service: Record.read(snapshot) for snapshot in reads}
    claims = {record.claim.release_id: record.claim for record in records.values() if record.claim}
    orphans = [name for name, record in records.items() if record.member and record.member.release_id not in claims]
    return tuple(claims.values()), tuple(orphans)


@task(name="free orphan", task_run_name="free orphan {service}", **REVERT)
async def free_orphan(env: Environment, service: str) -> None:
    """The service is back on what it was before a release whose claim is gone from its lead.

    The lead is read after the member: a release claims its lead first and lets go of it last, so one that is not there
    then is over, and does not come back.
    """
    member = Record.read(await env.cloud_run.snapshot(service)).member
    if member is None or Record.read(await env.cloud_run.snapshot(member.lead)).holder == member.release_id:
        return
    await ensure(env, service, partial(change.to_free_orphan, release_id=member.release_id))


@task(name="judge recovery", task_run_name="judge recovery of {found.release_id}", **READ)
async def judge_recovery(found: Claim, owner: Owner) -> Recovery:
    """What becomes of a release, given what became of its process."""
    decided = recover(found, owner, time.time())
    get_run_logger().info("%s: %s, because %s", found.release_id, decided.step, decided.reason)
    return decided
