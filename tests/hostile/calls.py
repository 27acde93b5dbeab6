"""One example of a call for every public async method of every block. The suite makes each against every answer."""

import inspect
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from answers import ENDLESS, SERVICE, WAITS
from pydantic import SecretStr

import blocks
from blocks.cloud_run_v1 import snapshot_of
from playbook.errors import ReleaseError
from playbook.incident.decision_matrix import Severity
from playbook.lease.change import Change, Deployment
from playbook.lease.record import Record
from playbook.messages.facts import Audience, DeploymentState, Message, Page, Recorded, TakenBack, Ticket
from playbook.migration.backfill import Backfill, Range
from playbook.migration.plan import Batch, Check
from playbook.release.request import ExploitCheck
from playbook.release.traffic import TrafficSplit
from playbook.release.version import Image, SmokeTest

Call = Callable[[str], Awaitable[Any]]
"""Makes one call to the server at a base URL."""

_DEADLINE_S = ContextVar("deadline", default=0.4)
"""Of each call; some methods make a few."""
SECRET = SecretStr("very-secret-token")


def deadline_s() -> float:
    """The deadline of the calls that are made now."""
    return _DEADLINE_S.get()


@contextmanager
def against(answer: str) -> Iterator[None]:
    """The calls inside have a deadline that suits ``answer``: what never ends is soon given up, and what ends is read,
    however busy the machine is."""
    token = _DEADLINE_S.set(0.1 if answer in ENDLESS else 0.4 if answer in WAITS else 5.0)
    try:
        yield
    finally:
        _DEADLINE_S.reset(token)


def public_methods() -> Iterator[str]:
    """``Slack.post``: every public async method that a block of this project defines, class methods left out."""
    for block in (getattr(blocks, name) for name in blocks.__all__):
        names = {name for kind in block.__mro__ if kind.__module__.startswith("blocks.") for name in vars(kind)}
        for name in sorted(names):
            if not name.startswith("_") and inspect.iscoroutinefunction(inspect.getattr_static(block, name)):
                yield f"{block.__name__}.{name}"


def slack(url: str) -> Any:
    """One that is told to post."""
    return blocks.Slack(token=SECRET, channels=dict.fromkeys(Audience, "C0"), api_url=url, timeout_s=deadline_s())


def pagerduty(url: str) -> Any:
    """With both of its addresses there."""
    return blocks.PagerDuty(routing_key=SECRET, api_token=SECRET, events_url=url, api_url=url, timeout_s=deadline_s())


def github(url: str) -> Any:
    """A repository."""
    return blocks.GitHub(repository="geoaziz/ethixai", token=SECRET, api_url=url, timeout_s=deadline_s())


def atlas(url: str) -> Any:
    """A project with two clusters."""
    return blocks.Atlas(
        public_key="p",
        private_key=SECRET,
        group="g",
        cluster="c",
        restore_cluster="r",
        api_url=url,
        timeout_s=deadline_s(),
    )


def registry(url: str) -> Any:
    """One that asks for a login."""
    return blocks.Registry(base_url=url, username="u", token=SECRET, timeout_s=deadline_s())


def sentry(url: str) -> Any:
    """A project."""
    return blocks.Sentry(organization="o", projects=["p"], token=SECRET, api_url=url, timeout_s=deadline_s())


def ethixai() -> Any:
    """Asked quickly, and not often."""
    return blocks.EthixAI(timeout_s=deadline_s(), poll_interval_s=0.01, polls=2)


def prometheus(url: str) -> Any:
    """With a token."""
    return blocks.Prometheus(url=url, bearer=SECRET, timeout_s=deadline_s())


def cloud_run(url: str, endpoint: str = "127.0.0.1:1") -> Any:
    """One project's services: v1 at ``url``, v2 at ``endpoint``."""
    return blocks.CloudRun(
        project="p",
        region="r",
        api_url=url,
        api_endpoint=endpoint,
        read_timeout_s=deadline_s(),
        write_timeout_s=deadline_s(),
    )


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
RECORDED = Recorded(
    key="r/recorded",
    release_id="r",
    environment="production",
    is_production=True,
    commit="abc123",
    state=DeploymentState.SUCCESS,
    description="all users",
)
TAKEN_BACK = TakenBack(
    key="r/back", release_id="r", version="v1", back_on="v0", reason="errors", from_s=1_000.0, until_s=1_100.0
)
BATCH = Batch(collection="users", match={"a": 1}, change={"$set": {"a": 2}})
WALK = Backfill(migration="20251030093000-x", epoch=1)
RANGE = Range(first=1, last=2)
SNAPSHOT = snapshot_of(SERVICE)
MOVE = Change(record=Record(epoch=1), split=TrafficSplit(percent={"s-1": 50, "s-0": 50}))
DEPLOY = Change(
    record=Record(epoch=1),
    split=TrafficSplit.all_to("s-0"),
    deployment=Deployment(revision="s-2", base="s-0", image="i@sha256:1"),
)

HTTP: dict[str, Call] = {
    "Slack.post": lambda url: slack(url).post(MESSAGE, repeat=True),
    "Slack.reachable": lambda url: slack(url).reachable(),
    "PagerDuty.page": lambda url: pagerduty(url).page(PAGE),
    "PagerDuty.resolve": lambda url: pagerduty(url).resolve("r"),
    "PagerDuty.shifts": lambda url: pagerduty(url).shifts(0, 7200),
    "PagerDuty.is_open": lambda url: pagerduty(url).is_open("r"),
    "GitHub.checks": lambda url: github(url).checks("abc123"),
    "GitHub.compare": lambda url: github(url).compare("main", "abc123"),
    "GitHub.comments": lambda url: github(url).comments("load-test"),
    "GitHub.release_notes": lambda url: github(url).release_notes("v20251116-abc123"),
    "GitHub.token_ends_s": lambda url: github(url).token_ends_s(),
    "GitHub.ticket": lambda url: github(url).ticket(TICKET),
    "Sentry.release": lambda url: sentry(url).release("v20251116-abc123", "abc123"),
    "GitHub.record": lambda url: github(url).record(RECORDED),
    "Sentry.take_back": lambda url: sentry(url).take_back(TAKEN_BACK, "abc123"),
    "Sentry.reachable": lambda url: sentry(url).reachable(),
    "Registry.image": lambda url: blocks.Registry(
        base_url=url, username="u", token=SECRET, timeout_s=deadline_s()
    ).image("ghcr.io/geoaziz/ethixai-backend", "sha-abc123"),
    "Registry.revision_of": lambda url: registry(url).revision_of(
        Image(repository="ghcr.io/geoaziz/ethixai-backend", digest="sha256:" + "0" * 64)
    ),
    "Atlas.backups": lambda url: atlas(url).backups(),
    "Atlas.restore": lambda url: atlas(url).restore("b", 0),
    "Atlas.restore_job": lambda url: atlas(url).restore_job("j"),
    "EthixAI.run": every_smoke_test,
    "EthixAI.probe": lambda url: ethixai().probe(url, 2, 0.01),
    "EthixAI.refuses_writes": lambda url: ethixai().refuses_writes(url, may_take_none=True),
    "EthixAI.unreachable": lambda url: ethixai().unreachable(url),
    "EthixAI.ask": lambda url: ethixai().ask(ExploitCheck.model_validate({"path": "/x"}), url),
    "Prometheus.clock": lambda url: prometheus(url).clock(),
    "Prometheus.series": lambda url: prometheus(url).series("up", 60),
    "Prometheus.answer": lambda url: prometheus(url).answer("up", 60),
    "Prometheus.value": lambda url: prometheus(url).value("up"),
    "Prometheus.alert_rules": lambda url: prometheus(url).alert_rules(),
    "CloudRun.snapshot": lambda url: cloud_run(url).snapshot("s"),
    "CloudRun.drift": lambda url: cloud_run(url).drift(SNAPSHOT, "s-0", ()),
    "CloudRun.can_write": lambda url: cloud_run(url).can_write("s"),
    "CloudRun.write": lambda url: cloud_run(url).write(SNAPSHOT, MOVE),
    "CloudRun.write, and what follows": lambda url: cloud_run(f"{url}~PUT").write(SNAPSHOT, MOVE),
    "CloudRun.write, and the operation": lambda url: cloud_run(f"{url}~PUT~GET").write(SNAPSHOT, MOVE),
    "CloudRun.write, and the last read": lambda url: cloud_run(f"{url}~PUT~POST").write(SNAPSHOT, MOVE),
    "CloudRun.write, a deployment": lambda url: cloud_run(url).write(SNAPSHOT, DEPLOY),
    "CloudRun.check_conditional_writes": lambda url: cloud_run(url).check_conditional_writes(SNAPSHOT),
    "CloudRun.check_conditional_writes, and the operation": lambda url: cloud_run(
        f"{url}~PUT"
    ).check_conditional_writes(SNAPSHOT),
}
"""Methods that speak HTTP. After a comma: which of the calls that a method makes is answered so."""

MONGODB: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "MongoDB.applied": lambda database: database.applied(),
    "MongoDB.forget": lambda database: database.forget("x", "0" * 64),
    "MongoDB.taken_back_by": lambda database: database.taken_back_by("x"),
    "MongoDB.count": lambda database: database.count("users"),
    "MongoDB.broken": lambda database: database.broken(Check(collection="users", never={"a": 1}, says="x")),
    "MongoDB.written_since": lambda database: database.written_since(0.0),
    "MongoDB.try_out": lambda database: database.try_out(BATCH, 2),
    "MongoDB.backfill": lambda database: database.backfill("x"),
    "MongoDB.take": lambda database: database.take(WALK),
    "MongoDB.keep": lambda database: database.keep(WALK),
    "MongoDB.ids": lambda database: database.ids(BATCH, None, 2),
    "MongoDB.change": lambda database: database.change(BATCH, RANGE),
    "MongoDB.retain": lambda database: database.retain(BATCH, RANGE, ("a",), "rollback", "step"),
    "MongoDB.retained": lambda database: database.retained("rollback"),
    "MongoDB.left": lambda database: database.left(BATCH, RANGE),
}
"""Methods that speak MongoDB's protocol, of a block."""

PREFECT = ("ServerNotices.publish",)
"""Methods that speak to the Prefect server alone, as the flows do. Its answers are Prefect's client's to judge."""


class Ends(NamedTuple):
    """Where a hostile gRPC server is, and a Cloud Run v1 API on which all is well."""

    grpc: str
    rest: str


def cloud_logging(at: Ends) -> Any:
    """One project's logs."""
    return blocks.CloudLogging(project="p", api_endpoint=at.grpc, timeout_s=deadline_s())


def secret_manager(at: Ends) -> Any:
    """One project's secrets."""
    return blocks.SecretManager(project="p", api_endpoint=at.grpc, timeout_s=deadline_s())


VERSION = "projects/p/secrets/s/versions/latest"
GRPC: dict[str, Callable[[Ends], Awaitable[Any]]] = {
    "CloudLogging.errors": lambda at: cloud_logging(at).errors("s", "r", time.time()),
    "CloudLogging.oom_kills": lambda at: cloud_logging(at).oom_kills("s", "r", time.time()),
    "SecretManager.state": lambda at: secret_manager(at).state("s"),
    "SecretManager.value": lambda at: secret_manager(at).value(VERSION),
    "SecretManager.holds": lambda at: secret_manager(at).holds("s", SecretStr("x")),
    "SecretManager.put": lambda at: secret_manager(at).put("s", SecretStr("x")),
    "CloudRun.revision": lambda at: cloud_run(at.rest, at.grpc).revision("s", "s-1"),
    "CloudRun.revisions": lambda at: cloud_run(at.rest, at.grpc).revisions("s"),
    "CloudRun.can_write": lambda at: cloud_run(at.rest, at.grpc).can_write("s"),
}
"""Methods that speak gRPC."""
