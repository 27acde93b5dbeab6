"""Which revision each service goes back to (playbook 4, scenario 2): found before anything moves, or refused."""

from collections.abc import Iterable, Mapping

from pydantic import Field

from playbook.base import Frozen
from playbook.errors import BadRequest, Refused
from playbook.lease.build import rollback_rollout
from playbook.lease.change import check_not_held
from playbook.lease.lease import Kind, ServiceRollout
from playbook.lease.record import Aside, Record, Unreadable
from playbook.messages.escape import shell
from playbook.release.plan import made_for
from playbook.release.promotion import Promotion
from playbook.release.traffic import Revision, ServiceSnapshot, TrafficSplit
from playbook.release.version import VERSION

LEFT_MAX = 10
"""So many services that were taken out of the file are looked at."""


class ServiceState(Frozen):
    """What a service is now, and every revision of it that exists."""

    snapshot: ServiceSnapshot
    revisions: tuple[Revision, ...]

    @property
    def service(self) -> str:
        return self.snapshot.service

    @property
    def last_good(self) -> tuple[Promotion, ...]:
        return Record.read(self.snapshot).last_good

    @property
    def serving(self) -> Promotion | None:
        """The good release that serves most users now; None where what serves is not recorded."""
        main = self.snapshot.pinned.main
        return next((good for good in self.last_good if good.revision == main), None)

    @property
    def older(self) -> tuple[Promotion, ...]:
        """Good releases from before what serves now, the newest first."""
        return self.last_good if self.serving is None else self.last_good[self.last_good.index(self.serving) + 1 :]

    def can_serve(self, good: Promotion) -> bool:
        """Whether the revision of ``good`` is there and ready. Taken to be so where no revisions were read."""
        return not self.revisions or any(one.name == good.revision and one.is_ready for one in self.revisions)


class RollbackPlan(Frozen):
    """What is taken back, and the rollouts that do it. No rollouts: every service is there already."""

    version: str
    rollouts: tuple[ServiceRollout, ...]
    unrecorded: tuple[str, ...] = Field((), description="services that stay, since no release of them is recorded")
    aside: tuple[Unreadable, ...] = Field((), description="services that stay, since their record is an older one")

    @property
    def left(self) -> str:
        """What is said of the services that stay for want of a record; empty where there are none."""
        who = ", ".join(self.unrecorded)
        said = f" {who}: no release is recorded there, so it stays as it is. To move it too, name its revision in 'to'."
        return said if who else ""


def plan_rollback(found: Mapping[str, ServiceState], to: str = "") -> RollbackPlan:
    """Where each service goes. ``to`` is a release or revisions; empty: the release before the newest one.

    Only services that serve the newest release go back from it: the others never had it. What is named goes back
    wherever it is.

    Raises: BadRequest (``to`` names what is not there), Refused (there is nothing to go back to, or it is not what it
    was).
    """
    targets, aside = (named(found, to), ()) if to.strip() else previous(found)
    problems = [
        problem
        for name, good in targets.items()
        for problem in (*unfit(found[name], good), *mitigated(found[name], good))
    ]
    if problems:
        raise Refused(" ".join(problems))
    rollouts = tuple(
        rollback_rollout(found[name].snapshot, good, found[name].revisions) for name, good in targets.items()
    )
    newest = next((one.serving for one in found.values() if one.serving and one.service in targets), None)
    coordinator = found[next(iter(targets))]
    return RollbackPlan(
        version=newest.name if newest else coordinator.snapshot.pinned.main,
        rollouts=tuple(
            rollout
            for rollout in rollouts
            if not found[rollout.service].snapshot.serves(TrafficSplit.all_to(rollout.to_revision))
        ),
        unrecorded=tuple(name for name, one in found.items() if not (to.strip() or one.last_good or name in targets)),
        aside=aside,
    )


def previous(found: Mapping[str, ServiceState]) -> tuple[dict[str, Promotion], tuple[Unreadable, ...]]:
    """The good release before the one that serves now, for each service that serves the newest release; and those
    that are set aside.

    One that serves what is not recorded goes back with them, to a release from before the newest; one of which no
    release is recorded stays, unless there is none of any. One that serves the newest release and does not know it has
    a record that was put back: it goes where the others go, or is set aside where it does not know that either.
    Raises: Refused, naming each service that has none and what to do; Held.
    """
    newest = max(
        (one.serving for one in found.values() if one.serving), key=lambda good: good.promoted_at_s, default=None
    )
    if newest is not None and newest.is_return:
        raise Refused(
            f"Users have already been taken back to {newest.name}. To go further back, name the release or the "
            f"revisions in 'to'; known are {_known(found)}."
        )
    recorded = [one for one in found.values() if one.last_good] or [*found.values()]
    concerned = [
        one for one in recorded if newest is None or one.serving is None or one.serving.release == newest.release
    ]
    older = {
        one.service: [good for good in one.older if newest is None or good.release != newest.release or one.serving]
        for one in concerned
    }
    theirs = {older[one.service][0].release for one in concerned if one.serving and older[one.service]}
    aside = []
    for one in concerned:
        if newest is None or one.serving or not made_for(one.service, one.snapshot.pinned.main, newest.release):
            continue
        older[one.service] = [good for good in older[one.service] if good.release in theirs]
        if theirs and not older[one.service]:
            aside.append(_put_back(one, newest.release))
    concerned = [one for one in concerned if one.service not in {each.service for each in aside}]
    lost = [one for one in concerned if not older[one.service]]
    for one in lost:
        check_not_held(one.snapshot, newest.name if newest else "")  # a rollback under way may have moved it already
    if lost:
        told = "; ".join(f"{one.service} serves {one.snapshot.pinned}" for one in lost)
        raise Refused(
            f"There is nothing to roll back to: {told}. No good release before that is written down. "
            "Name a revision in 'to', or fix forward."
        )
    return {one.service: older[one.service][0] for one in concerned}, tuple(aside)


def _put_back(one: ServiceState, release: str) -> Unreadable:
    what = f"they are an older record ({release} serves its users and is not among its releases)"
    problem = f"{what}, so it stays as it is; to move it, name its revision in 'to'"
    return Unreadable(service=one.service, problem=problem, why=Aside.UNSIGNED)


def preview(snapshots: Iterable[ServiceSnapshot]) -> str:
    """What a rollback without a target would do now, in a sentence. Whether the revisions still exist is not looked
    at: `plan_rollback` does that."""
    records = {one.service: (one, Record.parse(one.service, one.annotations)) for one in snapshots}
    readable = {name: one for name, (one, record) in records.items() if isinstance(record, Record)}
    if any(isinstance(record, Record) and record.lease is not None for _, record in records.values()):
        return "takes back what is under way; without a target nothing else moves."
    if not readable:
        return "is not possible: no service can be read."
    found = {name: ServiceState(snapshot=one, revisions=()) for name, one in readable.items()}
    try:
        targets, aside = previous(found)
    except Refused as refusal:
        return f"is refused. {refusal}"
    stays = "".join(f" {one}" for one in aside)
    by_release: dict[str, list[str]] = {}
    for name, good in targets.items():
        by_release.setdefault(good.name, []).append(name)
    if len(by_release) == 1:
        ((to, names),) = by_release.items()
        return f"takes all users of {', '.join(names)} back to {to}.{stays}"
    moves = "; ".join(f"{', '.join(names)} to {to}" for to, names in by_release.items())
    return f"takes users back: {moves}.{stays}"


def named(found: Mapping[str, ServiceState], to: str) -> dict[str, Promotion]:
    """What ``to`` names, for each service that it concerns. Raises: BadRequest, a line for each wrong name."""
    targets: dict[str, Promotion] = {}
    problems = []
    for word in filter(None, to.replace(",", " ").split()):
        goods = _of_release(found, word) if VERSION.fullmatch(word) else _of_revision(found, word)
        if not goods:
            problems.append(
                _under_way(found, word)
                or f"to: {word!r} is no release and no revision of {', '.join(found)}; known are {_known(found)}"
            )
        problems += [f"to: {service} is named twice" for service in goods if service in targets]
        targets |= goods
    if problems:
        raise BadRequest(problems)
    return {service: targets[service] for service in found if service in targets}


def unfit(found: ServiceState, good: Promotion) -> list[str]:
    """Why ``good`` cannot serve users; empty where it can."""
    revision = {revision.name: revision for revision in found.revisions}.get(good.revision)
    what = f"{found.service}: revision {good.revision} ({good.name})"
    if revision is None:
        return [f"{what} does not exist any more. Name another in 'to'; known are {_names(found)}."]
    if not revision.is_ready:
        return [f"{what} is not ready: {revision.reason or 'no reason given'}. Name another in 'to'."]
    if good.digest and not revision.image.endswith(good.digest):
        return [f"{what} runs {revision.image}, not {good.digest} as when it was promoted. Name another in 'to'."]
    return []


def mitigated(found: ServiceState, good: Promotion) -> list[str]:
    """Why the service must not be moved to ``good``: the end of a measure would put it back."""
    what = Record.read(found.snapshot).mitigation
    if what is None or found.snapshot.serves(TrafficSplit.all_to(good.revision)):
        return []
    return [what.in_the_way(found.service)]


def check_free(found: Mapping[str, ServiceState], plan: RollbackPlan) -> None:
    """No service that the plan moves is held, be it by a release that left the coordinator alone, or named by a lease
    that has not come to it yet: another rollback holds its coordinator first. All move, or none.

    Raises: Held.
    """
    moved = {rollout.service for rollout in plan.rollouts}
    for name, one in found.items():
        lease = Record.read(one.snapshot).lease
        if name in moved or (lease is not None and moved & set(lease.services)):
            check_not_held(one.snapshot, plan.version)


def left_out(found: Mapping[str, ServiceState], plan: RollbackPlan, to: str = "") -> tuple[str, ...]:
    """The services that what is taken back was of, and that the environment's file no longer has. None where ``to``
    names revisions: what it does not name is left on purpose."""
    if not all(map(VERSION.fullmatch, to.replace(",", " ").split())):
        return ()
    serving = (found[one.service].serving for one in plan.rollouts)
    of_it = (name for good in serving if good and good.release == plan.version for name in good.services)
    return tuple(name for name in dict.fromkeys(of_it) if name not in found)[:LEFT_MAX]


def stays(snapshot: ServiceSnapshot, version: str, place: str) -> str:
    """That a service which was taken out of the file stays on ``version``, and the command that moves it; empty where
    it serves something else by now. ``place``: gcloud's flags."""
    name, record = snapshot.service, Record.of(snapshot)
    state = ServiceState(snapshot=snapshot, revisions=())
    if isinstance(record, Unreadable):
        return f"{name} is no longer in the environment's file, so it stays as it is. {record}"
    if state.serving is None or state.serving.release != version:
        return ""
    where = f"{shell(name)} {place}"
    command = (
        f"gcloud run services update-traffic {where} --to-revisions={shell(state.older[0].revision)}=100"
        if state.older
        else f"gcloud run revisions list --service={where}"
    )
    return (
        f"{name} is no longer in the environment's file, so it stays on {state.serving.revision} ({version}). "
        f"To take it back: {command}"
    )


def _of_release(found: Mapping[str, ServiceState], version: str) -> dict[str, Promotion]:
    goods = ((name, good) for name, one in found.items() for good in one.last_good if good.release == version)
    return dict(reversed([*goods]))


def _of_revision(found: Mapping[str, ServiceState], revision: str) -> dict[str, Promotion]:
    for name, one in found.items():
        if revision in {there.name for there in one.revisions}:
            unknown = Promotion(release="", revision=revision, digest="", promoted_at_s=0)
            return {name: next((good for good in one.last_good if good.revision == revision), unknown)}
    return {}


def _under_way(found: Mapping[str, ServiceState], word: str) -> str:
    """What is wrong with going back to a version that a release is bringing right now; empty where none does."""
    leases = [lease for one in found.values() if (lease := Record.read(one.snapshot).lease) is not None]
    return next(
        (
            f"to: {word!r} is on its way to users as {lease.release_id}, so they cannot go back to it. "
            "Wait for its end, or leave 'to' empty, which takes it back"
            for lease in leases
            if lease.kind in (Kind.RELEASE, Kind.HOTFIX) and lease.version == word
        ),
        "",
    )


def _known(found: Mapping[str, ServiceState]) -> str:
    """Every release that is written down as good and can serve wherever it is, each once."""
    goods = [(one, good) for one in found.values() for good in one.last_good]
    lost = {good.name for one, good in goods if not one.can_serve(good)}
    return ", ".join(dict.fromkeys(good.name for _, good in goods if good.name not in lost)) or "none"


def _names(found: ServiceState) -> str:
    return ", ".join(good.name for good in found.older if found.can_serve(good)) or "none"
