"""The same work for each of several services: an error at one of them does not stop the others."""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from blocks.environment import Environment
from playbook.errors import Refused, ReleaseError, Transient
from playbook.lease.record import Aside, Record, Unreadable
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


class Settled(NamedTuple, Generic[T]):
    """What the work returned for each service, and where it failed instead."""

    results: dict[str, T]
    failures: dict[str, ReleaseError]


async def settle(work: Mapping[str, Awaitable[T]], *expected: type[ReleaseError]) -> Settled[T]:
    """What became of ``work`` at each service, side by side, once all of it has ended.

    An error of ``expected`` (none named: any of this project) is a failure. Raises: the first other one.
    """
    results: dict[str, T] = {}
    failures: dict[str, ReleaseError] = {}
    ended = await asyncio.gather(*work.values(), return_exceptions=True)
    for service, one in zip(work, ended, strict=True):
        if isinstance(one, expected or ReleaseError):
            failures[service] = one
        elif isinstance(one, BaseException):
            raise one
        else:
            results[service] = one
    return Settled(results, failures)


async def settle_reads(work: Mapping[str, Awaitable[T]]) -> Settled[T]:
    """As `settle`, from within a step with READ's options. A service that refuses, or that stays away, is a failure.

    Raises: Transient while asking again may help.
    """
    expected = (Refused, Transient) if is_last_try(READ) else (Refused,)
    return await settle(work, *expected)


class ReadServices(NamedTuple):
    """What could be read, and what is set aside."""

    snapshots: dict[str, ServiceSnapshot]
    records: dict[str, Record]
    aside: tuple[Unreadable, ...]


async def read_services(env: Environment, services: Sequence[str]) -> ReadServices:
    """One fresh read of each service, from within a step with READ's options.

    One that Cloud Run refuses to show, or that stays away, is set aside as one whose annotations cannot be read.
    Raises: Transient while asking again may help.
    """
    snapshots, failures = await settle_reads({service: env.cloud_run.snapshot(service) for service in services})
    found = {service: Record.of(snapshot) for service, snapshot in snapshots.items()}
    records = {service: one for service, one in found.items() if isinstance(one, Record)}
    unreadable = [one for one in found.values() if isinstance(one, Unreadable)]
    return ReadServices(snapshots, records, (*unread(failures), *unreadable))


def unread(failures: Mapping[str, ReleaseError]) -> tuple[Unreadable, ...]:
    """Services that could not be read, as they are set aside."""
    return tuple(
        Unreadable(service=service, problem=str(error)[:500], why=Aside.NOT_READ) for service, error in failures.items()
    )
