"""Monitor: look at every scrape, judge, and say what is seen, until the judge has decided."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence

from prefect import get_run_logger, task

from blocks.environment import Environment
from playbook import change
from playbook.claim import Claim, Part
from playbook.errors import Refused, Transient
from playbook.evidence import CounterSeries, Evidence, Observation, RevisionSamples, dispersion
from playbook.picture import trace
from playbook.policy import Policy
from playbook.traffic import CANARY_TAG, TrafficSplit
from playbook.verdict import Action, Verdict, judge, severest_first
from tasks.retries import NO_TELEMETRY, READ

AROUND_EVERY_S = 10.0
"""Cloud Logging's quota for reads is small: about one a second for a whole project."""
SAY_EVERY_S = 10.0
TELEMETRY_TRIES = 3
SECOND_LOOKS = 4
"""Scrapes after a revert in which a shared cause may still show itself, before somebody is woken."""
PROBES_SPARE = 1.05
"""A few more than are missing: not every one is answered."""
PROBES_PER_S_MAX = 100
"""What one canary is asked for at most: it must be looked at, not brought down."""
OVERLAP_SCRAPES = 6
"""How far a look reaches back over the last one, so that a sample that came late is not lost."""


class Lookout:
    """What is known of one service during a bake: the evidence so far, and the log lines already shown."""

    def __init__(self, env: Environment, policy: Policy, part: Part, evidence: Evidence) -> None:
        self.env = env
        self.policy = policy
        self.part = part
        self.evidence = evidence
        self.oom_kills: int | None = None
        self._looked_around_at_s = 0.0
        self._shown: set[str] = set()
        self._reach_s = 0.0

    @classmethod
    async def open(cls, env: Environment, policy: Policy, claim: Claim, part: Part) -> "Lookout":
        """A fresh lookout, with the stable revision's hour before the bake as its measure of what is usual.

        Raises: as `Prometheus.series`.
        """
        assert claim.bake_start_s is not None
        span_s = policy.history_s + OVERLAP_SCRAPES * policy.scrape_s
        history: tuple[CounterSeries, ...] = ()
        for revision in part.stable.percent:
            selector = env.queries.render("requests", env.service(part.service), revision)
            history += await env.prometheus.series(selector, span_s=span_s, at_s=claim.bake_start_s)
        return cls.after(history, env, policy, claim, part)

    @classmethod
    def after(
        cls, history: Sequence[CounterSeries], env: Environment, policy: Policy, claim: Claim, part: Part
    ) -> "Lookout":
        """A fresh lookout after this ``history``; without any the judge takes errors to be bursty."""
        assert claim.bake_start_s is not None
        evidence = Evidence.start(
            service=part.service,
            canary=part.canary,
            stable=tuple(part.stable.percent),
            bake_start_s=claim.bake_start_s,
            scaled_at_s=claim.scaled_at_s.get(part.service),
            dispersion=dispersion(history, policy),
            policy=policy,
        )
        return cls(env, policy, part, evidence)

    async def look(self, now_s: float, is_reachable: bool) -> None:
        """Add what is new since the last look. Where Prometheus gives nothing, time passes and nothing is added."""
        observation = Observation(now_s=now_s, oom_kills=self.oom_kills)
        if is_reachable:
            try:
                observation = await self._observe(now_s)
            except NO_TELEMETRY as away:
                get_run_logger().warning("%s: no telemetry: %s", self.part.service, away)
        self.evidence = self.evidence.observe(observation)

    async def _observe(self, now_s: float) -> Observation:
        since_s = self._reach_s or self.evidence.bake_start_s
        span_s = now_s - since_s + OVERLAP_SCRAPES * self.policy.scrape_s
        canary, stable = await asyncio.gather(
            self._samples(TrafficSplit.all_to(self.part.canary), span_s, now_s),
            self._samples(self.part.stable, span_s, now_s),
        )
        self._reach_s = now_s
        return Observation(now_s=now_s, canary=canary, stable=stable, oom_kills=self.oom_kills)

    async def _samples(self, split: TrafficSplit, span_s: float, now_s: float) -> RevisionSamples:
        service = self.env.service(self.part.service)

        async def ask(slot: str) -> tuple[CounterSeries, ...]:
            selectors = [self.env.queries.render(slot, service, revision) for revision in split.percent]
            answers = await asyncio.gather(
                *(self.env.prometheus.series(selector, span_s=span_s, at_s=now_s) for selector in selectors)
            )
            return tuple(series for answer in answers for series in answer)

        async def ask_if_possible(slot: str) -> tuple[CounterSeries, ...]:
            try:
                return await ask(slot)
            except NO_TELEMETRY as away:  # what is not known of it must not hide its errors
                get_run_logger().warning("%s: no %s: %s", self.part.service, slot, away)
                return ()

        requests, latency, cpu, memory = await asyncio.gather(
            ask("requests"), *map(ask_if_possible, ("latency", "cpu", "memory"))
        )
        return RevisionSamples(requests=requests, latency=latency, cpu=cpu, memory=memory)

    def card(self, verdict: Verdict) -> Verdict:
        """The verdict as it is shown to people: with the queries behind its numbers and the course of the bake."""
        service = self.env.service(self.part.service)
        slots = ("requests", "latency", "cpu", "memory")
        queries = {slot: self.env.queries.render(slot, service, self.part.canary) for slot in slots}
        course = trace(self.evidence.points, self.evidence.bake_start_s)
        return verdict.with_queries(queries).model_copy(update={"trace": course})

    async def look_around(self, claim: Claim, is_held: bool, *, is_last: bool = False) -> None:
        """Every `AROUND_EVERY_S` at most: is the service still ours (where it should be), what do its logs say, was
        anything killed?

        The last look of a bake always asks. Raises: Fenced, Interrupted (somebody else's hand).
        """
        if not is_last and time.monotonic() - self._looked_around_at_s < AROUND_EVERY_S:
            return
        self._looked_around_at_s = time.monotonic()
        if is_held:
            await self._check_ownership(claim)
        await self._read_logs()

    async def _check_ownership(self, claim: Claim) -> None:
        try:
            change.guard(await self.env.cloud_run.snapshot(self.part.service), claim)
        except Transient as away:
            get_run_logger().warning("%s: could not be looked at: %s", self.part.service, away)

    async def _read_logs(self) -> None:
        logs, name, since_s = self.env.cloud_logging, self.part.service, self.evidence.bake_start_s
        try:
            self.oom_kills = await logs.oom_kills(name, self.part.canary, since_s)
            lines = await logs.errors(name, self.part.canary, since_s)
        except (Transient, Refused) as away:
            get_run_logger().warning("%s: no logs: %s", name, away)
            return
        for line in lines:
            if line.insert_id not in self._shown:
                self._shown.add(line.insert_id)
                get_run_logger().warning("%s says %s: %s", self.part.canary, line.severity, line.text)


class Clock:
    """Prometheus's clock; while it is away, our own, set by the last answer."""

    def __init__(self, env: Environment) -> None:
        self._prometheus = env.prometheus
        self._ahead_s = 0.0

    async def read(self) -> tuple[float, bool]:
        """The time in unix seconds, and whether Prometheus said it."""
        try:
            now_s = await self._prometheus.clock()
        except NO_TELEMETRY:
            return time.time() + self._ahead_s, False
        self._ahead_s = now_s - time.time()
        return now_s, True


async def clock(env: Environment) -> float:
    """Prometheus's clock in unix seconds; ours where it is away."""
    now_s, _ = await Clock(env).read()
    return now_s


@task(name="probe", task_run_name="probe {service}", **READ)
async def probe(env: Environment, service: str, missing: int, seconds: float) -> str:
    """The canary was asked for what is ``missing`` to judge it, at its tag URL, spread over ``seconds``.

    Returns how many requests it answered, as a sentence. They count as any of its requests do.
    """
    snapshot = await env.cloud_run.snapshot(service)
    count = math.ceil(min(missing * PROBES_SPARE, PROBES_PER_S_MAX * seconds))
    answered = await env.ethixai.probe(snapshot.tag_urls[CANARY_TAG], count, seconds)
    said = f"{service}: {answered} of {count} requests of our own to {snapshot.split.tags[CANARY_TAG]} were answered"
    get_run_logger().info("%s", said)
    return said


@task(name="check telemetry", task_run_name="check telemetry", **READ)
async def check_telemetry(env: Environment) -> str | None:
    """Prometheus answers, before anything depends on it. Returns what is wrong with it, or None."""
    for _ in range(TELEMETRY_TRIES):
        try:
            await env.prometheus.clock()
        except NO_TELEMETRY as away:
            problem = f"telemetry: {away}"
            await asyncio.sleep(env.policy.tick_s)
        else:
            return None
    return problem


@task(name="monitor", task_run_name="monitor {claim.version}", **READ)
async def monitor(env: Environment, claim: Claim, policy: Policy, *, is_held: bool = True) -> tuple[Verdict, ...]:
    """Watch the canary of every service until the release can be decided. Returns a verdict for each, the severest
    first.

    A new process that comes here folds the whole window since the bake's start again, and so goes on with the same
    test. ``is_held``: the release still holds its services, and stops where somebody else's hand is on them.
    """
    return await _watched(env, claim, policy, is_held, lambda worst: worst.action is not Action.CONTINUE)


async def until_bad(env: Environment, claim: Claim, policy: Policy) -> str:
    """There is evidence against a canary, although its bake has ended undecided: the sentence that says so.

    It never returns for one that is none. It looks on while a person is asked, beside a flow that pauses, and so is no
    task. Raises: Fenced, Interrupted.
    """
    worst, *_ = await _watched(env, claim, policy, True, lambda worst: worst.action is Action.ROLLBACK)
    return f"{worst.service}: {worst.explanation}"


async def _watched(
    env: Environment, claim: Claim, policy: Policy, is_held: bool, is_decided: Callable[[Verdict], bool]
) -> tuple[Verdict, ...]:
    """The verdicts as soon as the worst of them decides, the severest first."""
    assert claim.bake_start_s is not None
    time_of, ends_s = Clock(env), claim.bake_start_s + policy.bake_s
    lookouts = await _opened(env, claim, policy, ends_s, is_held)
    await asyncio.gather(*(one.look_around(claim, is_held) for one in lookouts))
    said_at_s, is_last = 0.0, True
    while True:
        now_s, is_reachable = await time_of.read()
        if is_last and now_s >= ends_s:  # a kill must be known before anybody is promoted
            is_last = False
            await asyncio.gather(*(one.look_around(claim, is_held, is_last=True) for one in lookouts))
        await asyncio.gather(
            *(one.look(now_s, is_reachable) for one in lookouts),
            *(one.look_around(claim, is_held) for one in lookouts),
        )
        verdicts = severest_first(judge(one.evidence, policy, services=len(lookouts)) for one in lookouts)
        decided = is_decided(verdicts[0])
        if decided or time.monotonic() - said_at_s >= SAY_EVERY_S:
            said_at_s = time.monotonic()
            _say(verdicts)
        if decided:
            lookout_of = {one.part.service: one for one in lookouts}
            return tuple(lookout_of[verdict.service].card(verdict) for verdict in verdicts)
        await asyncio.sleep(policy.tick_s)


async def _opened(env: Environment, claim: Claim, policy: Policy, until_s: float, is_held: bool) -> list[Lookout]:
    """A lookout for each service.

    A Prometheus that is away is waited for while the bake lasts, and then done without; what can be seen without it is
    looked at meanwhile.
    """
    blind = [Lookout.after((), env, policy, claim, part) for part in claim.parts]
    while True:
        try:
            return list(await asyncio.gather(*(Lookout.open(env, policy, claim, part) for part in claim.parts)))
        except NO_TELEMETRY as away:
            get_run_logger().warning("no telemetry to begin with: %s", away)
        await asyncio.gather(*(one.look_around(claim, is_held) for one in blind))
        if time.time() > until_s or any(one.oom_kills for one in blind):
            return blind
        await asyncio.sleep(policy.tick_s)


@task(name="second look", task_run_name="second look", **READ)
async def second_look(env: Environment, claim: Claim, verdicts: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    """The verdicts, with the blame as it looks a moment after users are safe.

    Stable is scraped at other instants than the canary: what both share is seen on the canary first, and nobody waits
    for that before going back. Telemetry that is away changes nothing.
    """
    policy = claim.policy(env.policy)
    blamed = {v.service for v in verdicts if v.action is Action.ROLLBACK and v.attribution == "canary"}
    parts = [part for part in claim.parts if part.service in blamed]
    try:
        for _ in range(SECOND_LOOKS):
            await asyncio.sleep(policy.scrape_s)
            shared = await _shared(env, claim, policy, parts)
            if shared:
                return tuple(shared.get(verdict.service, verdict) for verdict in verdicts)
    except NO_TELEMETRY as away:
        get_run_logger().warning("no second look: %s", away)
    return verdicts


async def _shared(env: Environment, claim: Claim, policy: Policy, parts: Sequence[Part]) -> dict[str, Verdict]:
    """The verdicts on those ``parts`` whose cause stable shares, as it looks now."""
    now_s = await env.prometheus.clock()
    seen = [await Lookout.open(env, policy, claim, part) for part in parts]
    await asyncio.gather(*(one.look(now_s, True) for one in seen))
    verdicts = (judge(one.evidence, policy, services=len(claim.parts)) for one in seen)
    return {v.service: v for v in verdicts if v.action is Action.ROLLBACK and v.attribution == "shared"}


def _say(verdicts: Sequence[Verdict]) -> None:
    """One line for each service: what was measured so far, and what it means."""
    for verdict in verdicts:
        get_run_logger().info("%s: %s. %s", verdict.service, verdict.action, verdict.explanation)
