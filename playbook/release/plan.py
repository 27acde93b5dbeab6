"""A request with everything looked up: which version, which images, which services. Nothing is written yet."""

import re
from collections.abc import Mapping, Sequence

from pydantic import Field

from playbook.base import Frozen
from playbook.checklist.items import Override
from playbook.lease.record import Record
from playbook.release.traffic import ServiceSnapshot
from playbook.release.version import Image, Version, commit_of_version

REVISION_NAME_MAX = 63
"""Cloud Run's revision names are DNS labels."""


class Order(Frozen):
    """A request with everything looked up: version, images pinned to digests, services in order of promotion."""

    version: Version
    images: dict[str, Image] = Field(description="service -> image, in order of promotion")
    canary_percent: int
    canary_percent_max: int = Field(0, description="how far the forecast may raise that; below it: not at all")
    changes: str = ""
    requested_by: str = ""
    overrides: tuple[Override, ...] = ()
    plan_reviewed_by: str = ""


def version_due(staging: Sequence[Record], production: Sequence[Record]) -> str:
    """The version that a release without one means: what passed staging last; empty where there is nothing to release.

    No person may be watching when it runs, so it only goes forward: not to what staging was taken back to, not to what
    production has had, and not to what was taken back from production since its last good release. A person may name
    such a version all the same. Both are the records of all services, the coordinator's first: what is taken back from
    some services alone stands on the first of them.
    """
    passed = staging[0].last_good
    if not passed or passed[0].is_return:
        return ""
    newest = passed[0].release
    had = {good.release for good in production[0].last_good}
    return "" if newest in had or any(was_taken_back(one, newest) for one in (*staging, *production)) else newest


def was_taken_back(record: Record, version: str) -> bool:
    """Whether an incident that is still open names a release or a rollback of ``version``."""
    return any(key.removeprefix("rollback-of-").startswith(f"{version}-") for key in record.incidents)


def revision_name(service: str, version: Version, release: str) -> str:
    """``ethixai-backend-abc123-1f2e3d``: service, commit, and the try, so that a name is never used twice."""
    return name_of_try(service, version.commit[:12], release)


def name_of_try(service: str, what: str, release: str) -> str:
    """A revision's name for one try of a release, cut in ``what``: Cloud Run takes `REVISION_NAME_MAX` characters."""
    suffix = release.rsplit("-", 1)[-1]
    return f"{service}-{what[: REVISION_NAME_MAX - len(service) - len(suffix) - 2]}-{suffix}"


def commit_of(service: str, revision: str) -> str:
    """The commit in a revision's name, as `revision_name` writes it; empty where the revision is not ours."""
    found = re.fullmatch(rf"{re.escape(service)}-([0-9a-f]{{6,12}})-[0-9a-z]{{6}}", revision)
    return found[1] if found else ""


def made_for(service: str, revision: str, version: str) -> bool:
    """Whether a release of ``version`` made the revision, by the commit in its name; no where the version is none."""
    commit = commit_of(service, revision)
    return bool(commit) and commit_of_version(version).startswith(commit)


def is_live(order: Order, snapshots: Mapping[str, ServiceSnapshot], served_images: Mapping[str, str]) -> bool:
    """Whether every service of the order already serves exactly its image to all users.

    ``served_images`` maps a service to the image of the one revision that serves it, where there is only one.
    """
    return all(
        len(snapshots[service].pinned.percent) == 1
        and snapshots[service].serves(snapshots[service].pinned)
        and served_images.get(service, "").endswith(image.digest)
        for service, image in order.images.items()
    )
