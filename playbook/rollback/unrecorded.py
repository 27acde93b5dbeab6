"""A rollback while no signing key can be read: what ``to`` names is found by the revisions that exist, not by records.

Users are moved and nothing is written down, as a person would do it with gcloud.
"""

from collections.abc import Mapping

from playbook.errors import BadRequest
from playbook.lease.change import Change, keep_tags
from playbook.release.plan import made_for
from playbook.release.traffic import PREVIOUS_TAG, Revision, ServiceSnapshot, TrafficSplit
from playbook.release.version import VERSION


def named(revisions: Mapping[str, tuple[Revision, ...]], to: str) -> dict[str, str]:
    """Service -> the revision that ``to`` names there: revisions, or a version, whose newest ready try is meant.

    ``revisions`` are newest first. Raises: BadRequest, a line for each name that is not there or not ready.
    """
    targets: dict[str, str] = {}
    problems = []
    for word in filter(None, to.replace(",", " ").split()):
        found = {
            service: one.name
            for service, listed in revisions.items()
            for one in reversed(listed)
            if one.is_ready and _is_named(service, one.name, word)
        }
        if not found:
            problems.append(f"to: no service has a ready revision {word!r}; services looked at: {', '.join(revisions)}")
        problems += [f"to: {service} is named twice" for service in found if service in targets]
        targets |= found
    if problems:
        raise BadRequest(problems)
    return {service: targets[service] for service in revisions if service in targets}


def _is_named(service: str, revision: str, word: str) -> bool:
    return made_for(service, revision, word) if VERSION.fullmatch(word) else revision == word


def to_move(snapshot: ServiceSnapshot, revision: str) -> Change | None:
    """All users are on ``revision``; our annotations stay as they are, byte for byte."""
    wanted = TrafficSplit.all_to(revision)
    if snapshot.serves(wanted):
        return None
    previous = snapshot.split.tags.get(PREVIOUS_TAG)
    return Change(record=None, split=keep_tags(snapshot, wanted, {PREVIOUS_TAG: previous} if previous else {}))
