"""One example of a call for every public async method of every block. The suite makes each against every answer."""

import inspect
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from pydantic import SecretStr

import blocks
from blocks.base import GoogleBlock
from playbook.errors import ReleaseError
from playbook.incident.decision_matrix import Severity
from playbook.messages.facts import Audience, Message, Page, Ticket
from playbook.migration.backfill import Backfill, Range
from playbook.migration.plan import Batch, Check
from playbook.release.request import ExploitCheck
from playbook.release.version import SmokeTest

Call = Callable[[str], Awaitable[Any]]
"""Makes one call to the server at a base URL."""

DEADLINE_S = 0.4
"""Of each call; some methods make a few."""
SECRET = SecretStr("very-secret-token")


def public_methods() -> Iterator[str]:
    """``Slack.post``: every public async method that a block of this project defines, class methods left out."""
    for block in (getattr(blocks, name) for name in blocks.__all__):
        names = {name for kind in block.__mro__ if kind.__module__.startswith("blocks.") for name in vars(kind)}
        for name in sorted(names):
            if not name.startswith("_") and inspect.iscoroutinefunction(inspect.getattr_static(block, name)):
                yield f"{block.__name__}.{name}"


def slack(url: str) -> Any:
    """One that is told to post."""
    return blocks.Slack(token=SECRET, channels=dict.fromkeys(Audience, "C0"), api_url=url, timeout_s=DEADLINE_S)


def pagerduty(url: str) -> Any:
    """With both of its addresses there."""
    return blocks.PagerDuty(routing_key=SECRET, api_token=SECRET, events_url=url, api_url=url, timeout_s=DEADLINE_S)


def github(url: str) -> Any:
    """A repository."""
    return blocks.GitHub(repository="geoaziz/ethixai", token=SECRET, api_url=url, timeout_s=DEADLINE_S)


def atlas(url: str) -> Any:
    """A project with two clusters."""
    return blocks.Atlas(
        public_key="p",
        private_key=SECRET,
        group="g",
        cluster="c",
        restore_cluster="r",
        api_url=url,
        timeout_s=DEADLINE_S,
    )


def ethixai() -> Any:
    """Asked quickly, and not often."""
    return blocks.EthixAI(timeout_s=DEADLINE_S, poll_interval_s=0.01, polls=2)


def prometheus(url: str) -> Any:
    """With a token."""
    return blocks.Prometheus(url=url, bearer=SECRET, timeout_s=DEADLINE_S)


async def every_smoke_test(url: str) -> None:
    """One after the other, whatever became of the one before."""
    last: ReleaseError | None = None
    for test in SmokeTest:
        try:
            await ethixai().run(test, url)
        except ReleaseError as error:  # the suite looks at the last one; anything else is raised at once
            last = error
    if last is not None:
        raise last


MESSAGE = Message(key="r/starting", audience=Audience.RELEASES, text="v1 starts")
PAGE = Page(key="r", severity=Severity.P1, summary="v1 was taken back", details={})
TICKET = Ticket(key="r", title="v1 was taken back", severity=Severity.P1, body="why", labels=("incident",))
BATCH = Batch(collection="users", match={"a": 1}, change={"$set": {"a": 2}})
WALK = Backfill(migration="20251030093000-x", epoch=1)
RANGE = Range(first=1, last=2)

HTTP: dict[str, Call] = {
    "Slack.post": lambda url: slack(url).post(MESSAGE, repeat=True),
    "PagerDuty.page": lambda url: pagerduty(url).page(PAGE),
    "PagerDuty.resolve": lambda url: pagerduty(url).resolve("r"),
    "PagerDuty.on_call": lambda url: pagerduty(url).on_call(),
    "GitHub.checks": lambda url: github(url).checks("abc123"),
    "GitHub.release_notes": lambda url: github(url).release_notes("v20251116-abc123"),
    "GitHub.ticket": lambda url: github(url).ticket(TICKET),
    "Sentry.release": lambda url: blocks.Sentry(
        organization="o", projects=["p"], token=SECRET, api_url=url, timeout_s=DEADLINE_S
    ).release("v20251116-abc123", "abc123"),
    "Registry.image": lambda url: blocks.Registry(base_url=url, username="u", token=SECRET, timeout_s=DEADLINE_S).image(
        "ghcr.io/geoaziz/ethixai-backend", "sha-abc123"
    ),
    "Atlas.backups": lambda url: atlas(url).backups(),
    "Atlas.restore": lambda url: atlas(url).restore("b"),
    "Atlas.restore_job": lambda url: atlas(url).restore_job("j"),
    "EthixAI.run": every_smoke_test,
    "EthixAI.probe": lambda url: ethixai().probe(url, 2, 0.01),
    "EthixAI.refuses_writes": lambda url: ethixai().refuses_writes(url, may_take_none=True),
    "EthixAI.unreachable": lambda url: ethixai().unreachable(url),
    "EthixAI.ask": lambda url: ethixai().ask(ExploitCheck(path="/x"), url),
    "Prometheus.clock": lambda url: prometheus(url).clock(),
    "Prometheus.series": lambda url: prometheus(url).series("up", 60),
    "Prometheus.value": lambda url: prometheus(url).value("up"),
}
"""Methods that speak HTTP."""

MONGODB: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "MongoDB.applied": lambda database: database.applied(),
    "MongoDB.forget": lambda database: database.forget("x"),
    "MongoDB.count": lambda database: database.count("users"),
    "MongoDB.broken": lambda database: database.broken(Check(collection="users", never={"a": 1}, says="x")),
    "MongoDB.written_since": lambda database: database.written_since(0.0),
    "MongoDB.try_out": lambda database: database.try_out(BATCH, 2),
    "MongoDB.backfill": lambda database: database.backfill("x"),
    "MongoDB.take": lambda database: database.take(WALK),
    "MongoDB.keep": lambda database: database.keep(WALK),
    "MongoDB.ids": lambda database: database.ids(BATCH, None, 2),
    "MongoDB.change": lambda database: database.change(BATCH, RANGE),
    "MongoDB.left": lambda database: database.left(BATCH, RANGE),
}
"""Methods that speak MongoDB's protocol, of a block."""

GOOGLE = {
    f"{block.__name__}.{name}"
    for block in (getattr(blocks, name) for name in blocks.__all__)
    if issubclass(block, GoogleBlock)
    for name in vars(block)
}
"""Methods of blocks that speak gRPC: test_hostile_google.py has their examples."""
