"""A call of every public async method of every block, from its signature. The suite makes each against every answer.

A new block and a new method join by themselves; a type that no other method takes needs an example in `VALUES`."""

import inspect
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from types import UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from answers import ENDLESS, SERVICE, WAITS
from pydantic import BaseModel, SecretStr

import blocks
from blocks.cloud_run_v1 import snapshot_of
from blocks.secret_reference import SecretReference
from playbook.errors import ReleaseError
from playbook.incident.decision_matrix import Severity
from playbook.lease.change import Change, Deployment
from playbook.lease.record import Record
from playbook.messages.facts import Audience, DeploymentState, Message, Page, Recorded, TakenBack, Ticket
from playbook.migration.backfill import Backfill, Range
from playbook.migration.plan import Batch, Check
from playbook.release.request import ExploitCheck
from playbook.release.traffic import ServiceSnapshot, TrafficSplit
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


def block_of(kind: type[Any], url: str, endpoint: str = "127.0.0.1:1") -> Any:
    """A block whose vendor is at ``url``, and at ``endpoint`` over gRPC. Its fields are filled by name and type: a
    new block needs no line here unless one of its fields has a rule of its own."""
    given: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        if name == "uri":
            given[name] = SecretStr(url)
        elif name == "url" or name.endswith("_url"):
            given[name] = url
        elif name == "api_endpoint":
            given[name] = endpoint
        elif name.endswith("timeout_s"):
            given[name] = deadline_s()
        elif SecretReference in (field.annotation, *get_args(field.annotation)):
            given[name] = SECRET
        elif field.is_required():
            given[name] = FIELDS.get(name) or example(field.annotation)
    return kind(**{**given, **SPECIAL.get(kind, {})})


def cloud_run(url: str, endpoint: str = "127.0.0.1:1") -> Any:
    """One project's services: v1 at ``url``, v2 at ``endpoint``."""
    return block_of(blocks.CloudRun, url, endpoint)


def ethixai() -> Any:
    """Asked quickly, and not often."""
    return block_of(blocks.EthixAI, "")


def example(kind: Any) -> Any:
    """A value of this type: one of `VALUES`, or a list or a model of such values. Raises TypeError if there is none."""
    if kind in VALUES:
        return VALUES[kind]
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (list, tuple, set, frozenset, Iterable):
        return (list if origin is Iterable else origin)([example(inner[0])])
    if origin in (Union, UnionType):
        return example(inner[0])
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind(**{name: example(one.annotation) for name, one in kind.model_fields.items() if one.is_required()})
    raise TypeError(f"{kind}: add an example of it to VALUES in tests/hostile/calls.py")


def arguments(method: Callable[..., Any], url: str) -> dict[str, Any]:
    """What a method must be given, by the names and types of its parameters."""
    hints = get_type_hints(method)
    return {
        name: url if name == "url" else ARGUMENTS[name] if name in ARGUMENTS else example(hints[name])
        for name, one in inspect.signature(method).parameters.items()
        if name != "self" and one.default is one.empty
    }


async def called(block: Any, method: str, url: str) -> Any:
    """What the method ``Slack.post`` of such a block answers."""
    own = getattr(block, method.partition(".")[2])
    return await own(**arguments(own, url))


async def made(method: str, url: str, endpoint: str = "127.0.0.1:1") -> Any:
    """What ``Slack.post`` answers, of a block whose vendor is there."""
    return await called(block_of(getattr(blocks, method.partition(".")[0]), url, endpoint), method, url)


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
    deployment=Deployment(revision="s-2", base="s", image="i@sha256:1"),
)

IMAGE = Image(repository="ghcr.io/geoaziz/ethixai-backend", digest="sha256:" + "0" * 64)
VALUES: dict[Any, Any] = {
    str: "x",
    int: 2,
    float: 60.0,
    bool: True,
    object: None,
    SecretStr: SecretStr("x"),
    Message: MESSAGE,
    Page: PAGE,
    Ticket: TICKET,
    Recorded: RECORDED,
    TakenBack: TAKEN_BACK,
    Batch: BATCH,
    Backfill: WALK,
    Range: RANGE,
    Check: Check(collection="users", never={"a": 1}, says="x"),
    Image: IMAGE,
    ExploitCheck: ExploitCheck.model_validate({"path": "/x"}),
    ServiceSnapshot: SNAPSHOT,
    Change: MOVE,
}
"""An example of each type of a parameter."""
ARGUMENTS: dict[str, Any] = {
    "service": SNAPSHOT.service,
    "base": SNAPSHOT.service,
    "since_s": time.time(),
    "seconds": 0.01,
    "repository": IMAGE.repository,
    "digest": "0" * 64,
}
"""What a parameter of this name is given, where an example of its type will not do."""
FIELDS: dict[str, Any] = {
    "restore_cluster": "r",
    "repository": "geoaziz/ethixai",
    "channels": dict.fromkeys(Audience, "C0"),
}
"""The same for a block's own fields."""
SPECIAL: dict[type[Any], dict[str, Any]] = {
    blocks.EthixAI: {"poll_interval_s": 0.01, "polls": 2},
    blocks.Registry: {"username": "u"},
}
"""What a block is given beyond its addresses, secrets and required fields."""

BY_HAND: dict[str, Call] = {
    "Slack.post": lambda url: block_of(blocks.Slack, url).post(MESSAGE, repeat=True),
    "EthixAI.run": every_smoke_test,
    "CloudRun.write, and what follows": lambda url: cloud_run(f"{url}~PUT").write(SNAPSHOT, MOVE),
    "CloudRun.write, and the operation": lambda url: cloud_run(f"{url}~PUT~GET").write(SNAPSHOT, MOVE),
    "CloudRun.write, and the last read": lambda url: cloud_run(f"{url}~PUT~POST").write(SNAPSHOT, MOVE),
    "CloudRun.write, a deployment": lambda url: cloud_run(url).write(SNAPSHOT, DEPLOY),
    "CloudRun.check_conditional_writes, and the operation": lambda url: cloud_run(
        f"{url}~PUT"
    ).check_conditional_writes(SNAPSHOT),
}
"""HTTP calls that a signature does not tell. After a comma: which of the calls that a method makes is answered so."""

PREFECT = ("ServerNotices.publish",)
"""Methods that speak to the Prefect server alone, as the flows do. Its answers are Prefect's client's to judge."""


class Ends(NamedTuple):
    """Where a hostile gRPC server is, and a Cloud Run v1 API on which all is well."""

    grpc: str
    rest: str


def _speaks(method: str, field: str) -> bool:
    return field in getattr(blocks, method.partition(".")[0]).model_fields


def _over_http(method: str) -> Call:
    return lambda url: made(method, url)


def _over_grpc(method: str) -> Callable[[Ends], Awaitable[Any]]:
    return lambda at: made(method, at.rest, at.grpc)


METHODS = [name for name in public_methods() if name not in PREFECT]
MONGODB = [name for name in METHODS if _speaks(name, "uri")]
"""Every method that speaks MongoDB's protocol."""
GRPC = {name: _over_grpc(name) for name in METHODS if _speaks(name, "api_endpoint")}
"""Every method of a block that speaks gRPC."""
HTTP: dict[str, Call] = BY_HAND | {
    name: _over_http(name)
    for name in METHODS
    if name not in {*BY_HAND, *MONGODB} and (name not in GRPC or _speaks(name, "api_url"))
}
"""Every method of a block that speaks HTTP."""
