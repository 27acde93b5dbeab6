"""The same work for each of several services: an error at one of them does not stop the others."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from blocks.environment import Environment
from playbook.errors import Refused, ReleaseError, Transient
from playbook.lease.record import Record, Unreadable
from playbook.release.traffic import ServiceSnapshot
from tasks.retries import READ, is_last_try

T = TypeVar("T")


async def finish_all(work: Iterable[Awaitable[T]]) -> list[T]:
    """What each of ``work`` returns, side by side. Where one fails the others are finished all the same, and the first
    failure is raised then."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for failed in results:
        if isinstance(failed, BaseException):
            raise failed
    return [one for one in results if not isinstance(one, BaseException)]


class Services(NamedTuple):
    """What could be read, and what is set aside."""

    snapshots: dict[str, ServiceSnapshot]
    records: dict[str, Record]
    aside: tuple[Unreadable, ...]


async def read_services(env: Environment, services: Sequence[str]) -> Services:
    """One fresh read of each service, from within a task with READ's options.

    One that Cloud Run refuses to show, or that stays away, is set aside as one whose annotations cannot be read.
    Raises Transient while asking again may help.
    """
    reads = await asyncio.gather(*(env.cloud_run.snapshot(service) for service in services), return_exceptions=True)
    snapshots: dict[str, ServiceSnapshot] = {}
    records: dict[str, Record] = {}
    aside: list[Unreadable] = []
    for service, read in zip(services, reads, strict=True):
        if isinstance(read, Transient) and not is_last_try(READ):
            raise read
        if isinstance(read, Refused | Transient):
            aside.append(Unreadable(service=service, problem=str(read)[:500], is_read=False))
            continue
        if isinstance(read, BaseException):
            raise read
        snapshots[service] = read
        record = Record.of(read)
        if isinstance(record, Unreadable):
            aside.append(record)
        else:
            records[service] = record
    return Services(snapshots, records, tuple(aside))


def first_of(errors: Iterable[BaseException]) -> ReleaseError | None:
    """The first error that the project knows; raises the first that it does not."""
    found = list(errors)
    for error in found:
        if not isinstance(error, ReleaseError):
            raise error
    return next((error for error in found if isinstance(error, ReleaseError)), None)
