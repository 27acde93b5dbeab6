"""What a release finds before it holds anything: its services, what serves, what is due, and whether they are free."""

import asyncio
from collections.abc import Collection

from blocks.environment import Environment
from playbook.errors import Held, Refused, ReleaseError, Transient
from playbook.lease import change
from playbook.lease.record import Record
from playbook.messages.escape import shell
from playbook.release.plan import Order, is_live, version_due
from playbook.release.traffic import PREVIOUS_TAG, ServiceSnapshot
from tasks.address import unreachable
from tasks.ensure import dead_tags
from tasks.heartbeat import goes_as_this
from tasks.retries import READ, step


@step("signing key", **READ)
async def signing_key_problem(env: Environment) -> str:
    """Why nothing can be signed, in one sentence; empty where it can, or where the environment signs nothing."""
    try:
        await env.signer.keys()
    except Refused as unreadable:
        return str(unreadable)
    return ""


@step("look", **READ)
async def look(env: Environment, services: tuple[str, ...]) -> dict[str, ServiceSnapshot]:
    """One fresh read of each service.

    Raises: Transient while a change is not served yet, Refused where a tag is dead, or where smoke tests cannot reach a
    new revision.
    """
    reads = await asyncio.gather(*(env.cloud_run.snapshot(service) for service in services))
    unsettled = [snapshot.service for snapshot in reads if snapshot.is_under_way]
    if unsettled:
        raise Transient(f"{', '.join(unsettled)}: still reconciling an earlier change.")
    tested = [one for one in reads if env.service(one.service).smoke]
    closed = [await unreachable(env, one) for one in tested]
    if any(closed):
        raise Refused(" ".join(filter(None, closed)))
    if taken := [problem for one in reads if (problem := taken_tag(env, one))]:
        raise Refused(" ".join(taken))
    dead = {one.service: await dead_tags(env, one.service, one.split) for one in reads}
    if problems := [
        f"{service}: tag {tag} is dead: {why}, and Cloud Run refuses every change of traffic for it. Remove it: "
        f"gcloud run services update-traffic {service} {env.gcloud_flags} --remove-tags={shell(tag)}"
        for service, tags in dead.items()
        for tag, why in tags.items()
    ]:
        raise Refused(" ".join(problems))
    return {snapshot.service: snapshot for snapshot in reads}


def taken_tag(env: Environment, snapshot: ServiceSnapshot) -> str:
    """What to do where another person's tag has the name that a release of ours needs; empty where it is free.

    The tag of the release before is ours where it is on a revision that we have written down as good.
    """
    on, record = snapshot.split.tags.get(PREVIOUS_TAG), Record.parse(snapshot.service, snapshot.annotations)
    if on is None or not isinstance(record, Record) or record.holder:  # a release under way is named by the lease
        return ""
    if on in {good.revision for good in record.last_good}:
        return ""
    command = f"gcloud run services update-traffic {snapshot.service} {env.gcloud_flags} --remove-tags={PREVIOUS_TAG}"
    return (
        f"{snapshot.service}: tag {PREVIOUS_TAG} is on {on}, and no release of ours put it there; a release needs it. "
        f"Give it another name: {command} --update-tags=NAME={shell(on)}"
    )


@step("already live", **READ)
async def already_live(env: Environment, order: Order, found: dict[str, ServiceSnapshot]) -> bool:
    """Whether every service of the order already gives all users exactly its image."""
    serving = {name: snapshot.pinned.main for name, snapshot in found.items()}
    revisions = await asyncio.gather(*(env.cloud_run.revision(name, main) for name, main in serving.items()))
    return is_live(order, found, {name: revision.image for name, revision in zip(serving, revisions, strict=True)})


@step("check free", **READ)
async def check_free(env: Environment, order: Order) -> None:
    """No release holds a service of the order, and no measure stands on one: nothing else is begun for a release that
    would be refused in the end.

    Raises: Held, Refused.
    """
    reads = await asyncio.gather(*(env.cloud_run.snapshot(service) for service in order.images))
    for snapshot in reads:
        try:
            record = change.check_not_held(snapshot, str(order.version))
        except Held as held:
            raise await with_link(env, held, order.images) from held
        if record.mitigation is not None:
            raise Refused(record.mitigation.in_the_way(snapshot.service))


async def with_link(env: Environment, refusal: ReleaseError, services: Collection[str]) -> ReleaseError:
    """``refusal``; one by a release that holds a service says where its run is seen, whichever service it was.

    One of the same version is only the same release where it is of all ``services``, and goes where this run goes: a
    release to staging alone is none to production.
    """
    if not isinstance(refusal, Held):
        return refusal
    reads = await asyncio.gather(
        *(env.cloud_run.snapshot(service) for service in env.service_names), return_exceptions=True
    )
    snapshots = [read for read in reads if isinstance(read, ServiceSnapshot)]
    records = [Record.of(snapshot) for snapshot in snapshots]
    leases = [record.lease for record in records if isinstance(record, Record) and record.lease]
    held = next((lease for lease in leases if lease.release_id == refusal.holder), None)
    if held is None:
        return refusal
    is_same = refusal.is_same and set(services) <= set(held.services) and await goes_as_this(held)
    less = f" But it is of {', '.join(held.services)} in {env.name} alone: start this again once it has ended."
    words = f"{refusal}{less if is_same is not refusal.is_same else ''} Its run: {env.run_url(held.flow_run_id)}"
    return Held(words, is_same=is_same, holder=refusal.holder)


@step("version in staging", **READ)
async def version_in_staging(env: Environment, staging: Environment | None) -> str:
    """The version that passed staging last and that ``env`` has not had; empty where there is none.

    Raises: Refused (what stands in staging is not signed: other accounts may have written it).
    """
    if staging is None:
        return ""
    if env.signing.secrets and not staging.signing.secrets:
        raise Refused(
            f"{staging.name} signs nothing, so its annotations cannot say what {env.name} gets. Name the version, or "
            f"add [signing] to {staging.name}."
        )
    coordinator = env.service_names[0]
    there = [coordinator, *(name for name in staging.service_names if name != coordinator)]
    passed = await asyncio.gather(*map(staging.cloud_run.snapshot, there))
    served = await asyncio.gather(*map(env.cloud_run.snapshot, env.service_names))
    return version_due(*([Record.read(one) for one in reads] for reads in (passed, served)))
