"""Whether a lease can be one of this environment and of now: its services, its images, its epoch beside theirs, its
revisions, and the run that it names."""

from collections.abc import Collection, Iterable, Mapping

from pydantic import Field

from playbook.base import Frozen
from playbook.lease.lease import Decision, Kind, Lease
from playbook.lease.record import Record
from playbook.release.version import Service

DEPLOYS = (Kind.RELEASE, Kind.HOTFIX)
"""The kinds that deploy an image. The others move users to revisions that exist."""

FLOWS = {
    Kind.RELEASE: "release",
    Kind.HOTFIX: "hotfix",
    Kind.ROLLBACK: "rollback",
    Kind.MIGRATION: "migration-rollback",
}
"""The flow that acquires each kind of lease."""
RECOVERY = "recovery"


class NamedRun(Frozen):
    """The flow run that a lease names, as Prefect knows it."""

    run_id: str
    flow: str
    environment: str = Field("", description="name of its deployment; empty: it has none, or that is gone")

    @property
    def short_id(self) -> str:
        """What the releases that this run acquires are called at their end: its last six digits."""
        return short_id(self.run_id)


def short_id(run_id: str) -> str:
    """The last six digits of a flow run's id: runs of a schedule begin with the same time."""
    return run_id.replace("-", "")[-6:]


def not_its_run(lease: Lease, run: NamedRun, environments: Collection[str]) -> str:
    """Why ``run`` cannot hold ``lease``; empty where it can.

    A lease is held by the run that acquired it, whose id its release's id ends with; by a recovery; or by a run of a
    kind that may take its place. ``environments`` are those whose deployments act here.
    """
    own = FLOWS[lease.kind]
    others = [FLOWS[kind] for kind in Kind if kind.may_take_over(lease.kind)]
    named = f"flow run {run.run_id}, which {lease.release_id} names,"
    if run.environment and run.environment not in environments:
        return f"{named} is one of {run.flow}/{run.environment}, which does not act on these services"
    if run.flow == own and lease.kind is not Kind.MIGRATION and not lease.release_id.endswith(f"-{run.short_id}"):
        return f"{named} acquired another release"
    if run.flow not in (own, RECOVERY, *others):
        return f"{named} is one of {run.flow}, which holds no {lease.kind}"
    return ""


def missing(lease: Lease, service: Service, images: Mapping[str, str]) -> list[str]:
    """What the lease names of ``service`` that is not there: a revision, or one with an image of its repository.

    ``images``: name of each revision that exists -> its image. The new revision need not exist while it is deployed, or
    once the release is taken back.
    """
    rollout = lease.rollout(service.name)
    needed = dict.fromkeys(lease.fallback(rollout).percent)
    if lease.kind in DEPLOYS and lease.decision is Decision.DEPLOY:
        needed[rollout.from_revision] = None
    if lease.kind in DEPLOYS and lease.decision in (Decision.BAKE, Decision.PROMOTE):
        needed[rollout.to_revision] = None
    found = [f"{service.name} has no revision {name}, which the lease names" for name in needed if name not in images]
    image = images.get(rollout.to_revision, "") if lease.kind in DEPLOYS else ""
    if image and _repository(image) not in (service.repository, service.pull_from):
        found.append(f"revision {rollout.to_revision} of {service.name} runs {image}, an image of another repository")
    return found


def foreign(lease: Lease, services: Iterable[Service], *, is_signed: bool = False) -> list[str]:
    """What the lease names that this environment does not have: a service, or a repository of images.

    The signature of a lease names its environment: what it names beside the environment's services was taken out of
    the file since, and is taken back with the others. Only a migration rollback does not go on without one.
    """
    known = {service.name: service for service in services}
    unknown = [name for name in lease.services if name not in known]
    problems = [f"the lease names {name}, which is no service of this environment" for name in unknown]
    problems = [] if is_signed and lease.kind is not Kind.MIGRATION else problems
    for rollout in lease.rollouts if lease.kind in DEPLOYS else ():
        service = known.get(rollout.service)
        if service and rollout.image.split("@", 1)[0] not in (service.repository, service.pull_from):
            problems.append(
                f"the image for {service.name} is {rollout.image}; images of it come from "
                f"{service.pull_from or service.repository} only"
            )
    return problems


def taken_out(lease: Lease, services: Iterable[Service]) -> list[Service]:
    """The services of the lease that are no longer in the environment's file, as far as the lease describes them: they
    are not smoke-tested."""
    known = {service.name for service in services}
    return [
        Service(name=one.service, repository=one.image.split("@", 1)[0], job=one.service, smoke=())
        for one in lease.rollouts
        if one.service not in known
    ]


def outdated(lease: Lease, records: Mapping[str, Record]) -> list[str]:
    """Which services of ``lease`` have seen a newer epoch: a lease is written on its coordinator first, so it is the
    newest that they know, or it was written back later."""
    newer = {name: records[name].epoch for name in lease.services if name in records}
    return [
        f"its lease of epoch {lease.epoch} is older than what {name} knows, epoch {epoch}"
        for name, epoch in newer.items()
        if epoch > lease.epoch
    ]


def _repository(image: str) -> str:
    """``host:5000/team/name:tag@sha256:…`` -> ``host:5000/team/name``."""
    path, slash, name = image.split("@", 1)[0].rpartition("/")
    return path + slash + name.split(":", 1)[0]
