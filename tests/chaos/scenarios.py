"""The scenarios: each starts a run, which kills and faults then disturb, and says what must be true in the end."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from cloud import Behaviour
from driver import Orders, Run, TestEnvironment
from fixture import NEW, SERVICES
from invariants import release_message_problems, revert_message_problems, was_claimed
from prefect import Flow

from playbook.lease.record import Record
from playbook.release.promotion import Promotion
from playbook.release.traffic import TrafficSplit

TRIES_MAX = 4
"""How often a person starts a run again that died before recovery could know of it."""


@dataclass(frozen=True)
class ChaosScenario:
    """A scenario. `invariants.broken` checks what holds for all of them, `wrong` what holds for this one."""

    name: str

    async def begin(self, test_env: TestEnvironment, orders: Orders) -> Run:
        """Prepare and start the run that ``orders`` are for. Returns it once it has ended or was killed."""
        raise NotImplementedError

    async def follow(self, test_env: TestEnvironment, run: Run) -> list[Run]:
        """The runs after it, until nothing is left to do: those that automations start, then those of a person."""
        return await test_env.recover()

    def wrong(self, test_env: TestEnvironment, run: Run) -> Iterator[str]:
        """A sentence for each violation of what this scenario requires in the end."""
        raise NotImplementedError

    def outcome(self, test_env: TestEnvironment) -> str:
        """One word for the table."""
        served = set(test_env.fixture.versions_served().values())
        return served.pop() if len(served) == 1 else "split"


@dataclass(frozen=True)
class Release(ChaosScenario):
    """A release: how its backend behaves, and whether it is promoted when it is not disturbed.

    A release that is killed before it holds a lease has changed nothing and is not finished.
    """

    backend: Behaviour
    is_good: bool

    async def begin(self, test_env: TestEnvironment, orders: Orders) -> Run:
        """Release to production, through staging."""
        test_env.fixture.publish(NEW, {SERVICES[1]: self.backend})
        return await test_env.release(orders=orders, changes="x")

    def wrong(self, test_env: TestEnvironment, run: Run) -> Iterator[str]:
        """All users have the release, or none because it is bad; the messages say so."""
        yield from release_message_problems(test_env)
        is_new = set(test_env.fixture.versions_served().values()) == {NEW}
        if is_new and not self.is_good:
            yield "a bad release was promoted"
        if self.is_good and not is_new and was_claimed(test_env, "production") and run.process.is_dead:
            yield "a good release was not finished"

    def outcome(self, test_env: TestEnvironment) -> str:
        """Promoted, on stable or split."""
        served = set(test_env.fixture.versions_served().values())
        return "promoted" if served == {NEW} else "on stable" if len(served) == 1 else "split"


@dataclass(frozen=True)
class Cancelled(Release):
    """A good release that a person cancels: it is reverted, even if the recoveries are disturbed too."""

    async def begin(self, test_env: TestEnvironment, orders: Orders) -> Run:
        """The kill is a cancellation."""
        run = await super().begin(test_env, orders)
        if run.process.is_dead:
            test_env.cancel(run)
        return run

    def wrong(self, test_env: TestEnvironment, run: Run) -> Iterator[str]:
        """No user has it and the revert was reported, unless it had released its lease before the cancellation."""
        if not test_env.died_holding(run):
            yield from release_message_problems(test_env)
            return
        yield from revert_message_problems(test_env)
        if NEW in test_env.fixture.versions_served().values():
            yield "a release that was cancelled went on"


@dataclass(frozen=True)
class Undecided(Release):
    """A release that opens a gate or is scaled. A person answers each gate with ``choice``, or not at all.

    It may be reverted even if ``choice`` is promote: the time that a kill costs counts against the gate's deadline.
    """

    choice: str = ""

    async def begin(self, test_env: TestEnvironment, orders: Orders) -> Run:
        """Every gate gets the same answer."""
        answer = {"choice": self.choice, "approver": "Ada", "reason": "a known bug"}
        test_env.server.answers = [answer] * TRIES_MAX if self.choice else []
        return await super().begin(test_env, orders)

    def wrong(self, test_env: TestEnvironment, run: Run) -> Iterator[str]:
        """The messages match the outcome, and only a good release is promoted."""
        yield from release_message_problems(test_env)
        if set(test_env.fixture.versions_served().values()) == {NEW} and not self.is_good:
            yield "a release was promoted without a decision for it"


HEALTHY = Release("healthy", Behaviour(), True)
BREACH = Release("breach", Behaviour(errors=0.05), False)
BROKEN_START = Release("broken start", Behaviour(starts=False), False)
CANCELLED = Cancelled("cancelled", Behaviour(), True)
IN_BAND = Behaviour(errors=0.003)
MARGINAL = Undecided("marginal", IN_BAND, False)
MARGINAL_PROMOTED = Undecided("marginal, promoted", IN_BAND, True, choice="promote")
SCALED = Undecided("scaled", Behaviour(very_slow=0.2, cured_by_instances=True), True)
RELEASES = (HEALTHY, BREACH, BROKEN_START, MARGINAL, MARGINAL_PROMOTED, SCALED)


@dataclass(frozen=True)
class Asked(ChaosScenario):
    """A run that a person starts and waits for. If it is killed before it holds a lease, recovery does not know of it:
    the person sees it Crashed and starts it again.
    """

    async def prepare(self, test_env: TestEnvironment) -> None:
        """Prepare the state in which the person starts it."""

    def asked(self) -> tuple[Flow[..., object], object]:
        """The flow, and its request."""
        raise NotImplementedError

    def is_known(self, test_env: TestEnvironment) -> bool:
        """Whether a lease of it is on the services: from then on recovery finishes it."""
        raise NotImplementedError

    async def begin(self, test_env: TestEnvironment, orders: Orders) -> Run:
        """Start it for the first time."""
        await self.prepare(test_env)
        flow, request = self.asked()
        run = test_env.start(flow, orders, request=request, environment="production")
        await test_env.ended(run)
        return run

    async def follow(self, test_env: TestEnvironment, run: Run) -> list[Run]:
        """The runs of the automations; where they find no lease, the person starts it again."""
        followers, last = await test_env.recover(), run
        flow, request = self.asked()
        for _ in range(TRIES_MAX):
            if not last.process.is_dead or self.is_known(test_env):
                break
            last = await test_env.follow(flow, request=request, environment="production")
            followers += [last, *await test_env.recover()]
        return followers


def released(test_env: TestEnvironment, service: str, *versions: str) -> None:
    """``versions`` (oldest first) have served the service's users in turn, and the last one still does."""
    state = test_env.fixture.production.services[service]
    first = next(iter(state.revisions.values()))
    goods = []
    for number, version in enumerate(versions, 1):
        name, image = f"{service}-{version}", test_env.fixture.image(service, version)
        state.revisions[name] = replace(first, image=str(image), shares=[], probes=[])
        goods.insert(0, Promotion(release=version, revision=name, digest=image.digest, promoted_at_s=float(number)))
    state.split = state.served = TrafficSplit.all_to(name)
    state.latest_created = state.latest_ready = name
    test_env.fixture.production.store(service, Record(epoch=1, last_good=tuple(goods)))
