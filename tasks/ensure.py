"""The one way this project writes to a service: read, compare, and write only what is missing."""

from collections.abc import Callable

from prefect import get_run_logger

from blocks.environment import Environment
from playbook.errors import Conflict, Overwritten, Refused, StartFailed, Transient
from playbook.lease.change import Change
from playbook.release.traffic import LATEST, ServiceSnapshot, TrafficSplit, is_our_tag

CONFLICTS_MAX = 8
"""How often the service may change between our read and our write. Every round reads again and decides again."""


async def ensure(
    env: Environment,
    service: str,
    step: Callable[[ServiceSnapshot], Change | None],
    dropped: list[str] | None = None,
    *,
    gives_way: bool = False,
) -> ServiceSnapshot:
    """Make ``service`` as ``step`` wants it, and return the read that shows it.

    ``step`` is pure: it gets a fresh read and answers what is missing. It raises Fenced or OutOfBandChange where the
    service is no longer ours. Other people's tags whose revision cannot serve make Cloud Run refuse every split: they
    are left out then, with a sentence for each in ``dropped``; so is an operation that has not ended.
    ``gives_way``: what another person wrote over it stands, and it is not written again.
    Raises: Conflict (the service changed every time), Overwritten (where it gives way), and whatever `CloudRun` raises.
    """
    dead: dict[str, str] = {}
    for _ in range(CONFLICTS_MAX):
        snapshot = await env.cloud_run.snapshot(service)
        change = step(snapshot)
        if change is None:
            return snapshot
        if change.split is not None and dead:
            change = change.model_copy(update={"split": change.split.without_tags(*dead)})
        await check_can_serve(env, snapshot, change)
        if change.record is not None:
            change.record.check_readable(service)
        try:
            written = await env.cloud_run.write(snapshot, change)
        except Conflict as moved:
            if gives_way and isinstance(moved, Overwritten):
                raise
            conflict = moved
        except StartFailed:
            raise
        except Refused as refusal:
            if not (found := await dead_tags(env, service, change.split)):
                raise
            dead |= found
            told = [f"{service}: tag {tag} was removed, since {why}." for tag, why in found.items()]
            get_run_logger().warning("%s (%s)", " ".join(told), refusal)
            if dropped is not None:
                dropped += told
        else:
            if written.is_reconciling:
                told = [f"{service}: users are served as asked, but Cloud Run says that it is still reconciling."]
                get_run_logger().warning(told[0])
                if dropped is not None:
                    dropped += told
            return written
    raise conflict


async def check_can_serve(env: Environment, snapshot: ServiceSnapshot, change: Change) -> None:
    """No user is sent to a revision that is gone: one that the service's traffic does not name now is looked up.

    Where the revisions are not shown, Cloud Run itself will say it: users wait for no list. One call, where there is
    such a revision. Raises: Refused.
    """
    if change.split is None:
        return
    new = change.deployment.revision if change.deployment else ""
    known = {LATEST, new, snapshot.latest_ready, *snapshot.split.percent, *snapshot.split.tags.values()}
    if not (unknown := set(change.split.percent) - known):
        return
    try:
        found = {revision.name for revision in await env.cloud_run.revisions(snapshot.service)}
    except (Refused, Transient) as unseen:
        get_run_logger().warning("%s: its revisions could not be looked at: %s", snapshot.service, unseen)
        return
    if gone := sorted(unknown - found):
        raise Refused(
            f"{snapshot.service} has no revision {', '.join(gone)}, which users would be sent to. They stay where they "
            "are. Choose another: gcloud run revisions list."
        )


async def dead_tags(env: Environment, service: str, split: TrafficSplit | None) -> dict[str, str]:
    """Other people's tags in ``split`` whose revision cannot serve, with the reason. One call, where there are tags.

    Where the revisions may not be listed, none is known. Raises: Transient.
    """
    theirs = {
        tag: revision
        for tag, revision in (split.tags if split else {}).items()
        if not is_our_tag(tag, revision) and revision != LATEST
    }
    if not theirs:
        return {}
    try:
        ready = {revision.name: revision.is_ready for revision in await env.cloud_run.revisions(service)}
    except Refused as unseen:
        get_run_logger().warning("%s: whether its tags can serve could not be looked at: %s", service, unseen)
        return {}
    return {
        tag: f"revision {revision} {'never became ready' if revision in ready else 'does not exist any more'}"
        for tag, revision in theirs.items()
        if not ready.get(revision)
    }
