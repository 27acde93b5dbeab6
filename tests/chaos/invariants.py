"""What must be so once nothing is left to do, whatever died and whenever: by what is served and what was written."""

from collections import Counter
from collections.abc import Iterator

from driver import TestEnvironment
from faults import Fault
from fixture import NEW

from playbook.errors import Unfinished
from playbook.lease.record import PREFIX, Record

STAYS = {"epoch", "last-good", "incidents", "signature"}
"""Of our own annotations, what outlives a release."""


def broken(test_env: TestEnvironment, may_fail: tuple[type[Exception], ...] = ()) -> list[str]:
    """A sentence for everything that is not as it must be, whatever was asked for.

    ``may_fail``: errors that a run may end Failed with, because what is being tried leaves it nothing else.
    """
    return [
        *(sentence for name in test_env.fixture.clouds for sentence in services_wrong(test_env, name)),
        *_acts(test_env),
        *_words(test_env),
        *_runs(test_env, may_fail),
    ]


def was_claimed(test_env: TestEnvironment, where: str) -> bool:
    """Whether a release ever held every service there: before that it is refused without messages."""
    cloud = test_env.fixture.clouds[where]
    return {write.service for write in cloud.writes if write.change.record.holder} == set(cloud.services)


def services_wrong(test_env: TestEnvironment, where: str) -> Iterator[str]:
    """All users are on one ready revision, all services on one release, and no lease is left."""
    cloud = test_env.fixture.clouds[where]
    for name, state in cloud.services.items():
        if list(state.served.percent.values()) != [100] or not state.revisions[state.served.main].is_ready:
            yield f"{where} {name} serves {state.served}"
        if state.pending or not cloud.read(name).pinned.moves_like(state.served):
            yield f"{where} {name} is asked for {state.split} and serves {state.served}"
        ours = {key.removeprefix(PREFIX) for key in state.annotations if key.startswith(PREFIX)}
        if ours - STAYS:
            yield f"{where} {name} still carries {', '.join(sorted(ours - STAYS))}"
        if any(tag.startswith(("canary", "c-")) for tag in state.split.tags):
            yield f"{where} {name} still has the tag canary"
        good = Record.read(cloud.read(name)).last_good
        if good and good[0].revision != state.served.main:
            yield f"{where} {name} has {good[0].revision} written down as good and serves {state.served.main}"
    if len(set(test_env.fixture.versions_served(where).values())) != 1:
        yield f"{where} serves {test_env.fixture.versions_served(where)}"


def _acts(test_env: TestEnvironment) -> Iterator[str]:
    """No release moves a service twice to the same place, or deploys twice."""
    for where, cloud in test_env.fixture.clouds.items():
        moves = Counter(
            (write.service, write.change.record.holder, write.change.deployment is None, str(write.change.split))
            for write in cloud.writes
            if write.moved and write.change.record.holder
        )
        for (service, release, is_move, split), times in moves.items():
            if times > 1:
                yield f"{where} {service}: {release} {'moved' if is_move else 'deployed'} {times} times to {split}"


def _words(test_env: TestEnvironment) -> Iterator[str]:
    """No message is sent twice."""
    fixture = test_env.fixture
    for where, channel in fixture.rooms.items():
        for key, times in Counter(message.key for message in channel.said).items():
            if times > 1:
                yield f"{where}: {key} was sent {times} times"
    for key, times in Counter(ticket.key for ticket in fixture.github.tickets).items():
        if times > 1:
            yield f"ticket {key} was opened {times} times"


def release_message_problems(test_env: TestEnvironment, version: str = NEW) -> Iterator[str]:
    """The messages of a release: its start and its outcome."""
    if not was_claimed(test_env, "production"):
        return
    fixture, keys = test_env.fixture, test_env.fixture.slack.keys
    if "not-started" in keys:  # refused once it held every service: the lease is let go, and nothing else happens
        if "starting" in keys or fixture.pagerduty.incidents or fixture.github.tickets:
            yield f"a release that was not started was told as one that was: {keys}"
        if version in fixture.versions_served().values():
            yield f"a release that was not started serves users: {fixture.versions_served()}"
        return
    if "starting" not in keys:
        yield "no start message was sent"
    if set(fixture.versions_served().values()) == {version}:
        if "complete" not in keys:
            yield "no completion message was sent"
        yield from promotion_message_problems(test_env, version)
    else:
        yield from revert_message_problems(test_env)


def promotion_message_problems(test_env: TestEnvironment, version: str) -> Iterator[str]:
    """Sentry knows the promoted version, and its watch was started once."""
    if test_env.fixture.sentries["production"].releases.get(version) != ["production"]:
        yield f"Sentry knows {test_env.fixture.sentries['production'].releases}"
    if [one.deployment for one in test_env.server.started.values()].count("watch/production") != 1:
        yield "watch/production was not started once"


def revert_message_problems(test_env: TestEnvironment) -> Iterator[str]:
    """One page, one message in #releases, and one ticket were sent."""
    keys, tickets = test_env.fixture.slack.keys, test_env.fixture.github.tickets
    # A service that recovery could not read for long has a page of its own.
    pages = [key for key in test_env.fixture.pagerduty.incidents if "/set-aside/" not in key]
    if not (keys.count("rolled-back") == len(pages) == len(tickets) == 1):
        yield f"messages of the revert: {keys}, {pages}, {len(tickets)} tickets"


def _runs(test_env: TestEnvironment, may_fail: tuple[type[Exception], ...]) -> Iterator[str]:
    """No run ended with an unexpected error; a release that is refused a step fails, and recovery finishes it."""
    for run in test_env.runs:
        is_refused = any(isinstance(order, Fault) and order.is_refusal for order in run.process.disturbed)
        foreseen = (*may_fail, Unfinished) if is_refused else may_fail
        if run.end in ("Failed", "Running") and not isinstance(run.error, foreseen):
            yield f"{run.process.name} ended {run.end}: {run.message}"
