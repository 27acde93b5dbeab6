"""Cloud Run in memory: the methods and errors of the block `CloudRun`, with the behaviour of the rehearsal's stand-in.

A write is accepted at once and served a little later, even if its caller has died. A revision that does not start stays
requested but not served, as in Cloud Run.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from wire import PROCESS, Wire

from blocks.cloud_run import _shows, _was_overwritten
from blocks.signing import Signer
from playbook.errors import Conflict, Gone, Overwritten, Refused, StartFailed, Transient
from playbook.lease.change import Change
from playbook.lease.record import Record, beside
from playbook.lease.signature import Key, Scope, signed
from playbook.release.drift import NOT_SET, Difference, Drift
from playbook.release.traffic import LATEST, Revision, Scaling, ServiceSnapshot, TrafficSplit, is_our_tag

RECONCILE_S = 0.5
WRITE_TIMEOUT_S = 300
POLL_S = 0.2
WORKER = "release-worker@ethixai.iam.gserviceaccount.com"


@dataclass(frozen=True)
class Behaviour:
    """How an image behaves once it runs. Shares of 0-1."""

    errors: float = 0.0
    very_slow: float = 0.0
    cured_by_instances: bool = False
    starts: bool = True
    smoke: bool = True
    """its smoke tests pass at the tag's URL"""
    smoke_serving: bool = True
    """its smoke tests pass once it serves all users"""
    is_patched: bool = False
    """an exploit is refused"""
    memory: float = 0.3
    oom_kills: int = 0
    takes_writes: bool = True
    """a maintenance revision refuses them"""


class Written(NamedTuple):
    """One write that was accepted: who, where, what traffic was asked for, what record, and when."""

    by: str
    service: str
    change: Change
    moved: bool
    at_s: float


@dataclass
class RevisionState:
    """One revision, and the share of the users it had since when."""

    image: str
    created_at_s: float
    behaviour: Behaviour
    is_ready: bool = False
    reason: str = ""
    ready_at_s: float = 0.0
    shares: list[tuple[float, float]] = field(default_factory=list)
    """(unix seconds, share of 0-1), rising in time"""
    probes: list[tuple[float, float, int]] = field(default_factory=list)
    """requests of our own at its tag: from, to, how many"""
    env: dict[str, str] = field(default_factory=dict)
    """its template's variables"""


@dataclass
class ServiceState:
    """One service as the API shows it."""

    split: TrafficSplit
    served: TrafficSplit
    revisions: dict[str, RevisionState]
    latest_ready: str
    latest_created: str
    etag: int = 1
    annotations: dict[str, str] = field(default_factory=dict)
    scaling: Scaling = field(default_factory=partial(Scaling, min_instances=1, max_instances=10))
    pending: int = 0
    fails_next: str = ""
    """why the operation of the next write fails, though the write is accepted"""
    never_ends: bool = False
    """from now on it says that it is reconciling, whatever it serves"""
    last_modifier: str = "terraform"
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Cloud:
    """One project's services. ``behaviour`` says how an image behaves; ``write_timeout_s`` is the block's field."""

    write_timeout_s = WRITE_TIMEOUT_S
    region = "us-east1"

    def __init__(self, wire: Wire, name: str, behaviour: Callable[[str], Behaviour], now: Callable[[], float]) -> None:
        self._wire, self.name, self._behaviour, self._now = wire, name, behaviour, now
        self.project = f"ethixai-{name}"
        self.services: dict[str, ServiceState] = {}
        self.writes: list[Written] = []
        self._work: set[asyncio.Task[None]] = set()
        self.signer = Signer(name, ())
        self.key: Key | None = None
        """The environment's signing key, for what a test writes in the engine's name."""
        self.enforces_versions = True
        """Off only to show that a proof rests on it."""

    def begin(self, service: str, image: str) -> None:
        """Create a service that has served ``image`` to all users for a day, as LATEST."""
        name = f"{service}-00001-old"
        past_s = self._now() - 86_400
        state = RevisionState(image, past_s, self._behaviour(image), True, "", past_s, [(past_s, 1.0)])
        self.services[service] = ServiceState(
            split=TrafficSplit.all_to(LATEST),
            served=TrafficSplit.all_to(name),
            revisions={name: state},
            latest_ready=name,
            latest_created=name,
        )

    def sign_with(self, signer: Signer) -> None:
        """As `CloudRun.sign_with`."""
        self.signer = signer

    async def snapshot(self, service: str) -> ServiceSnapshot:
        """As `CloudRun.snapshot`."""
        found = await self._wire.carry("cloud run", "snapshot", self._said(service), lambda: self.read(service))
        return await self.signer.checked(found, self.project, self.region)

    def store(self, service: str, record: Record) -> None:
        """The service carries ``record``, as the engine would have written it."""
        state = self._find(service)
        state.annotations = beside(state.annotations, self.signed(service, record))

    def signed(self, service: str, record: Record) -> dict[str, str]:
        """The annotations of ``record`` as the engine would write them there."""
        uid = self.read(service).uid
        scope = Scope(environment=self.name, project=self.project, region=self.region, service=service, uid=uid)
        return signed(record.annotations(), scope, self.key) if self.key else record.annotations()

    async def revision(self, service: str, name: str) -> Revision:
        """As `CloudRun.revision`."""
        return await self._wire.carry(
            "cloud run", "revision", self._said(name), lambda: self._shown(self._find(service), name)
        )

    async def revisions(self, service: str) -> tuple[Revision, ...]:
        """As `CloudRun.revisions`."""

        def every() -> tuple[Revision, ...]:
            state = self._find(service)
            found = [self._shown(state, name) for name in state.revisions]
            return tuple(sorted(found, key=lambda revision: -revision.created_at_s))

        return await self._wire.carry("cloud run", "revisions", self._said(service), every)

    async def can_write(self, service: str) -> None:
        """As `CloudRun.can_write`."""
        await self._wire.carry("cloud run", "can write", self._said(service), lambda: self.read(service))

    async def drift(self, snapshot: ServiceSnapshot, base: str, overrides: Iterable[str]) -> Drift:
        """As `CloudRun.drift`, of the variables alone."""
        return await self._wire.carry(
            "cloud run", "drift", self._said(snapshot.service), lambda: self._drift(snapshot, base)
        )

    def _drift(self, snapshot: ServiceSnapshot, base: str) -> Drift:
        state, newest = self._find(snapshot.service), snapshot.latest_created
        has, serves = state.revisions[newest].env, state.revisions[base].env
        tags = snapshot.split.tags.items()
        return Drift(
            service=snapshot.service,
            revision=newest,
            previews=tuple(tag for tag, on in tags if on == newest and not is_our_tag(tag, on)),
            differences=tuple(
                Difference(field=f"env {name}", template=has.get(name, NOT_SET), serves=serves.get(name, NOT_SET))
                for name in sorted(has.keys() | serves.keys())
                if has.get(name) != serves.get(name)
            ),
        )

    async def write(self, snapshot: ServiceSnapshot, change: Change) -> ServiceSnapshot:
        """As `CloudRun.write`."""
        ours = None
        if change.record is not None:
            ours = await self.signer.written(change.record, snapshot, self.project, self.region)
        return await self._wire.carry(
            "cloud run",
            "write",
            self._said(f"{snapshot.service}: {described(change)}"),
            lambda: self._reply(snapshot, change, self.accept(snapshot, change, WORKER, ours)),
        )

    async def check_conditional_writes(self, written: ServiceSnapshot) -> None:
        """As `CloudRun.check_conditional_writes`."""

        def stale_write() -> None:
            if not self.enforces_versions:
                raise Refused(f"{written.service}: conditional writes are not enforced here.")

        await self._wire.carry("cloud run", "stale write", self._said(written.service), stale_write)

    def read(self, service: str) -> ServiceSnapshot:
        """What a read shows now."""
        state = self._find(service)
        host = f"{service}.{self.name}.example.com"
        return ServiceSnapshot(
            service=service,
            etag=str(state.etag),
            uri=f"https://{host}",
            split=state.split,
            served=state.served,
            tag_urls={tag: f"https://{tag}---{host}" for tag in state.served.tags},
            annotations=dict(state.annotations),
            uid=f"uid of {self.name}/{service}",
            scaling=state.scaling,
            latest_ready=state.latest_ready,
            latest_created=state.latest_created,
            is_reconciling=state.pending > 0,
            last_modifier=state.last_modifier,
        )

    def takes_writes(self, service: str) -> bool:
        """Whether what a user writes reaches the database: a revision that takes it serves, and has an instance."""
        state = self._find(service)
        is_stopped = state.scaling.manual == 0 and not state.pending
        return state.revisions[state.served.main].behaviour.takes_writes and not is_stopped

    def accept(
        self, snapshot: ServiceSnapshot, change: Change, by: str, ours: Mapping[str, str] | None = None
    ) -> "asyncio.Task[None]":
        """Take ``change`` as wanted and begin to follow it. ``ours`` is its record with a signature.

        Raises: Conflict (version, name), Refused (base).
        """
        state, now_s = self._find(snapshot.service), self._now()
        if self.enforces_versions and snapshot.etag != str(state.etag):
            raise Conflict(f"{snapshot.service}: version {snapshot.etag} was read, {state.etag} is current.")
        new = change.deployment
        if new and new.revision in state.revisions:
            raise Conflict(f"{snapshot.service}: revision {new.revision} exists already. Read it again.")
        if new and new.base not in state.revisions:
            raise Refused(f"{snapshot.service}: there is no revision {new.base}.")
        if new and new.planned is not None:
            found = self._drift(snapshot, new.base).lines if snapshot.latest_created != new.base else ()
            if found != new.planned:
                raise Refused(f"{snapshot.service}: its template was changed since the release was planned.")
        moved = change.split is not None and not change.split.moves_like(self.read(snapshot.service).pinned)
        state.etag, state.last_modifier, state.pending = state.etag + 1, by, state.pending + 1
        # The whole object that was read goes back, with the change in it.
        state.annotations = dict(snapshot.annotations)
        if ours is not None:
            state.annotations = beside(snapshot.annotations, ours)
        elif change.record is not None and not change.record.stands_in(snapshot.annotations):
            state.annotations = change.record.beside(snapshot.annotations)
        state.split = change.split or snapshot.split
        state.scaling = change.scaling or snapshot.scaling
        if new:
            source = state.revisions[state.latest_created if new.takes_template else new.base]
            env = {**source.env, **new.environment}
            state.revisions[new.revision] = RevisionState(new.image, now_s, self._behaviour(new.image), env=env)
            state.latest_created = new.revision
        process = PROCESS.get(None)
        who = process.name if by == WORKER and process else by
        self.writes.append(Written(who, snapshot.service, change, moved or new is not None, now_s))
        work = asyncio.ensure_future(self._follow(state, state.split, new.revision if new else ""))
        self._work.add(work)
        work.add_done_callback(self._work.discard)
        return work

    async def settled(self) -> None:
        """Nothing is under way any more."""
        await asyncio.gather(*self._work, return_exceptions=True)

    def forget(self) -> set[str]:
        """No write is remembered, and no revision that its service names nowhere. Returns the images that are left."""
        self.writes.clear()
        for name, state in self.services.items():
            served = (
                *state.split.percent,
                *state.split.tags.values(),
                *state.served.percent,
                *state.served.tags.values(),
            )
            good = (one.revision for one in Record.read(self.read(name)).last_good)
            named = {*served, *good, state.latest_ready, state.latest_created}
            state.revisions = {one: revision for one, revision in state.revisions.items() if one in named}
        return {revision.image for state in self.services.values() for revision in state.revisions.values()}

    def _find(self, service: str) -> ServiceState:
        if service not in self.services:
            raise Gone(f"Cloud Run, asked for service {service}: not found. Check the name.")
        return self.services[service]

    def _said(self, text: str) -> str:
        return f"{self.name}/{text}"

    async def _follow(self, state: ServiceState, want: TrafficSplit, new: str) -> None:
        """Start what is new, then serve what is wanted. Raises what the operation ends in, and then nothing moved."""
        async with state.lock:
            await asyncio.sleep(RECONCILE_S)
            try:
                if state.fails_next:
                    why, state.fails_next = state.fails_next, ""
                    raise Refused(f"Cloud Run could not do it: code 13: {why}")
                if new:
                    self._start(state, new)
                self._serve(state, want)
            finally:
                state.pending -= 0 if state.never_ends else 1

    def _start(self, state: ServiceState, name: str) -> None:
        revision = state.revisions[name]
        if not revision.behaviour.starts:
            revision.reason = "The user-provided container failed to start and listen on its port."
            raise StartFailed(f"Revision '{name}' is not ready and cannot serve traffic. {revision.reason}")
        revision.is_ready, revision.ready_at_s, state.latest_ready = True, self._now(), name

    def _serve(self, state: ServiceState, want: TrafficSplit) -> None:
        pinned = ServiceSnapshot(
            service="any", etag="", uri="", split=want, served=None, latest_ready=state.latest_ready
        ).pinned
        for name in (*pinned.percent, *pinned.tags.values()):
            if name not in state.revisions:
                raise Refused(f"Revision '{name}' does not exist or is deleted.")
            if not state.revisions[name].is_ready:
                raise Refused(f"Revision '{name}' is not ready and cannot serve traffic.")
        state.served = pinned
        for name, revision in state.revisions.items():
            share = pinned.percent.get(name, 0) / 100
            if share != (revision.shares[-1][1] if revision.shares else 0.0):
                revision.shares.append((self._now(), share))
            if revision.behaviour.cured_by_instances and state.scaling.min_instances > 1:
                revision.behaviour = replace(revision.behaviour, very_slow=0.0)

    async def _reply(self, read: ServiceSnapshot, change: Change, work: "asyncio.Task[None]") -> ServiceSnapshot:
        """The block's own way from an operation to a read that shows the change."""
        service, before = read.service, read.etag
        error: Exception | None = None
        try:
            await asyncio.shield(work)
        except (StartFailed, Refused) as failed:
            error = failed
        ends_s = self._now() + self.write_timeout_s
        while True:
            found = self.read(service)
            if _shows(found, change):
                return found.model_copy(update={"before": before})
            if error and not found.is_reconciling:
                raise error
            if _was_overwritten(found, change):
                raise Overwritten(f"{service}: changed by {found.last_modifier} right after this write.")
            if self._now() > ends_s:
                raise Transient(f"{service}: written, but not served. Read it again.")
            await asyncio.sleep(POLL_S)

    def _shown(self, state: ServiceState, name: str) -> Revision:
        if name not in state.revisions:
            raise Refused(f"Cloud Run, asked for revision {name}: not found. Check the name.")
        revision = state.revisions[name]
        return Revision(
            name=name,
            image=revision.image,
            is_ready=revision.is_ready,
            is_active=revision.is_ready and name in (*state.served.percent, *state.served.tags.values()),
            reason=revision.reason,
            created_at_s=revision.created_at_s,
        )


def described(change: Change) -> str:
    """A change in a few words, for the name of its call."""
    if change.deployment:
        return f"deploy {change.deployment.revision}"
    rollouts: Mapping[str, object] = {"traffic": change.split, "scaling": change.scaling}
    lease, participant = (change.record.lease, change.record.participant) if change.record else (None, None)
    held = lease.decision if lease else "participant" if participant else "no lease"
    return ", ".join([*(f"{name} {value}" for name, value in rollouts.items() if value), held])
