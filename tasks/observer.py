"""What is known of one service during a bake: what its telemetry, its traffic and its logs say."""

import asyncio
from collections.abc import Sequence

from prefect import get_run_logger

from blocks.clock import monotonic_s, unix_s
from blocks.environment import Environment
from playbook.analysis.chart import trace
from playbook.analysis.evidence import CounterSeries, Evidence, Observation, RevisionSamples, dispersion
from playbook.analysis.policy import Policy
from playbook.analysis.verdict import Verdict
from playbook.errors import Refused, Transient
from playbook.lease import change
from playbook.lease.lease import Lease, ServiceRollout
from playbook.release.traffic import TrafficSplit
from tasks.retries import NO_TELEMETRY

AROUND_EVERY_S = 10.0
"""Cloud Logging's quota for reads is small: about one a second for a whole project."""
OVERLAP_SCRAPES = 6
"""How far a look reaches back over the last one, so that a sample that came late is not lost."""


class ServiceObserver:
    """What is known of one service during a bake: the evidence so far, and the log lines already shown."""

    def __init__(self, env: Environment, policy: Policy, rollout: ServiceRollout, evidence: Evidence) -> None:
        self.env = env
        self.policy = policy
        self.rollout = rollout
        self.evidence = evidence
        self.oom_kills: int | None = None
        self._looked_around_at_s = 0.0
        self._shown: set[str] = set()
        self._reach_s = 0.0

    @classmethod
    async def open(cls, env: Environment, policy: Policy, lease: Lease, rollout: ServiceRollout) -> "ServiceObserver":
        """A fresh observer, with the stable revision's hour before the bake as its measure of what is usual.

        Raises: as `Prometheus.series`.
        """
        assert lease.bake_start_s is not None
        span_s = policy.history_s + OVERLAP_SCRAPES * policy.scrape_s
        history: tuple[CounterSeries, ...] = ()
        for revision in rollout.found.percent:
            selector = env.queries.render("requests", env.service(rollout.service), revision)
            history += await env.prometheus.series(selector, span_s=span_s, at_s=lease.bake_start_s)
        return cls.after(history, env, policy, lease, rollout)

    @classmethod
    def after(
        cls, history: Sequence[CounterSeries], env: Environment, policy: Policy, lease: Lease, rollout: ServiceRollout
    ) -> "ServiceObserver":
        """A fresh observer after this ``history``; without any the judge takes errors to be bursty."""
        assert lease.bake_start_s is not None
        evidence = Evidence.start(
            service=rollout.service,
            canary=rollout.to_revision,
            stable=tuple(rollout.found.percent),
            bake_start_s=lease.bake_start_s,
            scaled_at_s=lease.scaled_at_s.get(rollout.service),
            dispersion=dispersion(history, policy),
            policy=policy,
        )
        return cls(env, policy, rollout, evidence)

    async def look(self, now_s: float, is_reachable: bool) -> None:
        """Add what is new since the last look. Where Prometheus gives nothing, time passes and nothing is added."""
        observation = Observation(now_s=now_s, oom_kills=self.oom_kills)
        if is_reachable:
            try:
                observation = await self._observe(now_s)
            except NO_TELEMETRY as away:
                get_run_logger().warning("%s: no telemetry: %s", self.rollout.service, away)
        self.evidence = self.evidence.observe(observation)

    async def _observe(self, now_s: float) -> Observation:
        since_s = self._reach_s or self.evidence.bake_start_s
        span_s = now_s - since_s + OVERLAP_SCRAPES * self.policy.scrape_s
        canary, stable = await asyncio.gather(
            self._samples(TrafficSplit.all_to(self.rollout.to_revision), span_s, now_s),
            self._samples(self.rollout.found, span_s, now_s),
        )
        self._reach_s = now_s
        return Observation(now_s=now_s, canary=canary, stable=stable, oom_kills=self.oom_kills)

    async def _samples(self, split: TrafficSplit, span_s: float, now_s: float) -> RevisionSamples:
        service = self.env.service(self.rollout.service)

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
                get_run_logger().warning("%s: no %s: %s", self.rollout.service, slot, away)
                return ()

        requests, latency, cpu, memory = await asyncio.gather(
            ask("requests"), *map(ask_if_possible, ("latency", "cpu", "memory"))
        )
        return RevisionSamples(requests=requests, latency=latency, cpu=cpu, memory=memory)

    def card(self, verdict: Verdict) -> Verdict:
        """The verdict as it is shown to people: with the queries behind its numbers and the course of the bake."""
        service = self.env.service(self.rollout.service)
        slots = ("requests", "latency", "cpu", "memory")
        queries = {slot: self.env.queries.render(slot, service, self.rollout.to_revision) for slot in slots}
        course = trace(self.evidence.rounds, self.evidence.strongest, self.evidence.bake_start_s)
        return verdict.with_queries(queries).model_copy(update={"trace": course})

    async def check_surroundings(self, lease: Lease, is_held: bool, *, is_last: bool = False) -> None:
        """Every `AROUND_EVERY_S` at most: is the service still ours (where it should be), what do its logs say, was
        anything killed?

        The last look of a bake always asks. Raises: Fenced, OutOfBandChange.
        """
        if not is_last and monotonic_s() - self._looked_around_at_s < AROUND_EVERY_S:
            return
        self._looked_around_at_s = monotonic_s()
        if is_held:
            await self._check_ownership(lease)
        await self._read_logs()

    async def _check_ownership(self, lease: Lease) -> None:
        try:
            change.guard(await self.env.cloud_run.snapshot(self.rollout.service), lease)
        except Transient as away:
            get_run_logger().warning("%s: could not be looked at: %s", self.rollout.service, away)

    async def _read_logs(self) -> None:
        logs, name, since_s = self.env.cloud_logging, self.rollout.service, self.evidence.bake_start_s
        try:
            self.oom_kills = await logs.oom_kills(name, self.rollout.to_revision, since_s)
            lines = await logs.errors(name, self.rollout.to_revision, since_s)
        except (Transient, Refused) as away:
            get_run_logger().warning("%s: no logs: %s", name, away)
            return
        for line in lines:
            if line.insert_id not in self._shown:
                self._shown.add(line.insert_id)
                get_run_logger().warning("%s says %s: %s", self.rollout.to_revision, line.severity, line.text)


class PrometheusClock:
    """Prometheus's clock; while it is away, our own, set by the last answer."""

    def __init__(self, env: Environment) -> None:
        self._prometheus = env.prometheus
        self._ahead_s = 0.0

    async def read(self) -> tuple[float, bool]:
        """The time in unix seconds, and whether Prometheus said it."""
        try:
            now_s = await self._prometheus.clock()
        except NO_TELEMETRY:
            return unix_s() + self._ahead_s, False
        self._ahead_s = now_s - unix_s()
        return now_s, True
