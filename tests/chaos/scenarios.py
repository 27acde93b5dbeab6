"""What is disturbed: a plot begins with the run that meets bad luck, and says how it must end whatever happens."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from cloud import Behaviour
from driver import Orders, Run, TestEnvironment
from fixture import NEW, SERVICES
from invariants import release_told_wrong, revert_told_wrong, was_claimed
from prefect import Flow

from playbook.lease.record import Record
from playbook.release.promotion import Promotion
from playbook.release.traffic import TrafficSplit

TRIES_MAX = 4
"""How often a person starts again what died before anybody else could finish it."""


@dataclass(frozen=True)
class ChaosScenario:
    """A story with a name. What holds for all of them is in `invariants.broken`, what only it must keep in `wrong`."""

    name: str

    async def begin(self, test_env: TestEnvironment, orders: Orders) -> Run:
        """The run that ``orders`` are for, after what comes before it: it has ended, or it is dead."""
        raise NotImplementedError

    async def follow(self, test_env: TestEnvironment, run: Run) -> list[Run]:
        """What comes after it, until nothing is left to do: the automations' work, and a person's where theirs ends."""
        return await test_env.recover()

    def wrong(self, test_env: TestEnvironment, run: Run) -> Iterator[str]:
        """A sentence for everything of this plot that is not as it must be in the end."""
        raise NotImplementedError

    def outcome(self, test_env: TestEnvironment) -> str:
        """In a word, for the table."""
        served = set(test_env.fixture.versions_served().values())
        return served.pop() if len(served) == 1 else "split"


@dataclass(frozen=True)
class Release(ChaosScenario):
    """A release: how its backend behaves, and whether it would be promoted if nothing happened.

    One that dies before it holds anything has changed nothing, and stays undone: the next one is on Thursday.
    """

    backend: Behaviour
    is_good: bool

    async def begin(self, test_env: TestEnvironment, orders: Orders) -> Run:
        """Released to production, by way of staging."""
        test_env.fixture.publish(NEW, {SERVICES[1]: self.backend})
        return await test_env.release(orders=orders, changes="x")

    def wrong(self, test_env: TestEnvironment, run: Run) -> Iterator[str]:
        """Everybody has it, or nobody because it is bad; told so."""
        yield from release_told_wrong(test_env)
        is_new = set(test_env.fixture.versions_served().values()) == {NEW}
        if is_new and not self.is_good:
            yield "a bad release reached everybody"
        if self.is_good and not is_new and was_claimed(test_env, "production") and run.process.is_dead:
            yield "a good release was not finished"

    def outcome(self, test_env: TestEnvironment) -> str:
        """As people say it."""
        served = set(test_env.fixture.versions_served().values())
        return "promoted" if served == {NEW} else "on stable" if len(served) == 1 else "split"


@dataclass(frozen=True)
class Cancelled(Release):
    """A good release that a person cancels: it is taken back, whatever becomes of those who take it back."""

    async def begin(self, test_env: TestEnvironment, orders: Orders) -> Run:
        """Its process ends by the cancellation."""
        run = await super().begin(test_env, orders)
        if run.process.is_dead:
            test_env.cancel(run)
        return run

    def wrong(self, test_env: TestEnvironment, run: Run) -> Iterator[str]:
        """Nobody has it, and whoever must act knows, even where nobody had been told yet that it begins; unless it had
        let go already."""
        if not test_env.died_holding(run):
            yield from release_told_wrong(test_env)
            return
        yield from revert_told_wrong(test_env)
        if NEW in test_env.fixture.versions_served().values():
            yield "a release that was cancelled went on"


@dataclass(frozen=True)
class Undecided(Release):
    """A release that must be looked at again or asked about. Whoever is asked says ``choice`` each time, or nothing.

    It may be reverted even where it would be promoted: what a death costs is taken off the deadline that people had.
    """

    choice: str = ""

    async def begin(self, test_env: TestEnvironment, orders: Orders) -> Run:
        """Whoever is asked, and however often, says the same."""
        answer = {"choice": self.choice, "approver": "Ada", "reason": "a known bug"}
        test_env.server.answers = [answer] * TRIES_MAX if self.choice else []
        return await super().begin(test_env, orders)

    def wrong(self, test_env: TestEnvironment, run: Run) -> Iterator[str]:
        """Told as it ended; promoted only where that is right."""
        yield from release_told_wrong(test_env)
        if set(test_env.fixture.versions_served().values()) == {NEW} and not self.is_good:
            yield "a release that nobody decided for reached everybody"


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
    """Something that a person asks for and waits for. Where its process dies before it holds anything, nobody else
    knows of it: the person sees it Crashed, and starts it again.
    """

    async def set_the_scene(self, test_env: TestEnvironment) -> None:
        """What is so when the person asks."""

    def asked(self) -> tuple[Flow[..., object], object]:
        """The flow, and its request."""
        raise NotImplementedError

    def is_known(self, test_env: TestEnvironment) -> bool:
        """Whether it stands on the services that it was asked for: from then on it is finished without the person."""
        raise NotImplementedError

    async def begin(self, test_env: TestEnvironment, orders: Orders) -> Run:
        """It is asked for the first time."""
        await self.set_the_scene(test_env)
        flow, request = self.asked()
        run = test_env.start(flow, orders, request=request, environment="production")
        await test_env.ended(run)
        return run

    async def follow(self, test_env: TestEnvironment, run: Run) -> list[Run]:
        """The automations', and where they find nothing the person's."""
        followers, last = await test_env.recover(), run
        flow, request = self.asked()
        for _ in range(TRIES_MAX):
            if not last.process.is_dead or self.is_known(test_env):
                break
            last = await test_env.follow(flow, request=request, environment="production")
            followers += [last, *await test_env.recover()]
        return followers


def released(test_env: TestEnvironment, service: str, *versions: str) -> None:
    """Each of ``versions`` (the oldest first) served the service's users in its turn, and the last one still does."""
    state = test_env.fixture.production.services[service]
    first = next(iter(state.revisions.values()))
    goods = []
    for number, version in enumerate(versions, 1):
        name, image = f"{service}-{version}", test_env.fixture.image(service, version)
        state.revisions[name] = replace(first, image=str(image), shares=[], probes=[])
        goods.insert(0, Promotion(release=version, revision=name, digest=image.digest, promoted_at_s=float(number)))
    state.split = state.served = TrafficSplit.all_to(name)
    state.latest_created = state.latest_ready = name
    state.annotations = Record(epoch=1, last_good=tuple(goods)).annotations()
