"""Whether a lease can be one of this environment: its services, and the repositories that their images come from."""

from collections.abc import Iterable

from playbook.lease.lease import Kind, Lease
from playbook.release.version import Service

DEPLOYS = (Kind.RELEASE, Kind.HOTFIX)
"""The kinds that deploy an image. The others move users to revisions that exist."""


def foreign(lease: Lease, services: Iterable[Service]) -> list[str]:
    """What the lease names that this environment does not have: a service, or a repository of images."""
    known = {service.name: service for service in services}
    problems = [f"the lease names {name}, which is no service of this environment" for name in lease.services]
    problems = [problem for problem, name in zip(problems, lease.services, strict=True) if name not in known]
    for rollout in lease.rollouts if lease.kind in DEPLOYS else ():
        service = known.get(rollout.service)
        if service and rollout.image.split("@", 1)[0] not in (service.repository, service.pull_from):
            problems.append(
                f"the image for {service.name} is {rollout.image}; images of it come from "
                f"{service.pull_from or service.repository} only"
            )
    return problems
