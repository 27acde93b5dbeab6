"""What is known of one service during a bake: what its telemetry, its traffic and its logs say.

Each query is asked for itself. One that fails costs only what it is about: its answer is missing, everything else is
judged, and what it would have said is fetched when it answers again.
"""

import asyncio
import math
from collections.abc import Iterable

from prefect import get_run_logger

from blocks.clock import monotonic_s, unix_s
from blocks.environment import Environment
from playbook.analysis.chart import trace
from playbook.analysis.evidence import CounterSeries, Evidence, Observation, RevisionSamples, dispersion
from playbook.analysis.policy import Policy
from playbook.analysis.samples import Dispersion, Sides
from playbook.analysis.signals import for_service
from playbook.analysis.telemetry import TelemetryForm, single, understood
from playbook.analysis.telemetry_checks import RevisionTelemetry, look_faults
from playbook.analysis.verdict import Verdict
from playbook.errors import Refused, ReleaseError, Transient
from playbook.incident.logs import LogLine
from playbook.incident.response import new_signatures
from playbook.lease import change
from playbook.lease.lease import Lease, ServiceRollout
from playbook.release.version import Telemetry
from tasks.retries import NO_TELEMETRY

AROUND_EVERY_S = 10.0
"""Cloud Logging's quota for reads is small: about one a second for a whole project."""
STABLE_LINES = 100
"""Of stable's error lines, to know which of the canary's are new."""
HISTORY_EVERY_S = 10.0
"""How often stable's past is asked for until it is known."""
OVERLAP_SCRAPES = 2
"""How far a look reaches back over the last one, beside the policy's freshness: samples may come so late and count."""

Asked = tuple[str, str]
"""A query, as the environment names it, and the revision that it is asked for."""


class ServiceObserver:
    """What is known of one service during a bake: the evidence so far, and the log lines already shown."""

    def __init__(self, env: Environment, policy: Policy, lease: Lease, rollout: ServiceRollout) -> None:
        assert lease.bake_start_s is not None
        self.env = env
        self.rollout = rollout
        self.service = env.service(rollout.service)
        self.policy = self.service.telemetry.policy(policy)
        self.oom_kills: int | None = None
        self.is_left = False
        """in a watch: no user is on what is watched any more"""
        self._lease = lease
        self._bake_start_s = lease.bake_start_s
        self._signals = tuple(
            one
            for one in for_service(env.signals, rollout.service)
            if all(env.queries.text_of(query) for query in one.queries) and self.service.telemetry.offers(one.queries)
        )
        self._looked_around_at_s = 0.0
        self._asked_history_at_s = -math.inf
        self._is_history_known = False
        self._shown: set[str] = set()
        self._new_lines: list[LogLine] = []
        self._stable_lines: list[LogLine] = []
        self._written: dict[str, tuple[CounterSeries, ...]] = {}
        self._warnings: list[str] = []
        self._failing: dict[Asked, str] = {}
        self._reach_s: dict[Asked, float] = {}
        self.evidence = self._start(dispersion((), self.policy))

    async def look(self, now_s: float) -> None:
        """Add what is new since the last look. Where nothing answers, time passes and nothing is added."""
        await self._learn_history(now_s)
        self.evidence = self.evidence.observe(await self._observe(now_s, self._reach_s))

    def _start(self, past: Dispersion) -> Evidence:
        """Evidence of nothing yet, after this ``past`` of stable."""
        lease, rollout = self._lease, self.rollout
        return Evidence.start(
            service=rollout.service,
            canary=rollout.to_revision,
            stable=tuple(rollout.found.percent),
            bake_start_s=self._bake_start_s,
            scaled_at_s=lease.scaled_at_s.get(rollout.service),
            dispersion=past,
            policy=self.policy,
            signals=self._signals,
            # Which share it had at which time is not known of one whose share was raised.
            canary_percent=0 if lease.earlier_percents else lease.share(rollout),
        )

    async def _learn_history(self, now_s: float) -> None:
        """Stable's hour before the bake says what is usual. Until it is known, errors are taken to be bursty; when it
        comes, everything since the bake's start is folded again."""
        if self._is_history_known or monotonic_s() - self._asked_history_at_s < HISTORY_EVERY_S:
            return
        self._asked_history_at_s = monotonic_s()
        span_s = self.policy.history_s + self._overlap_s
        query = self.service.telemetry.requests
        history: list[CounterSeries] = []
        for revision in self.rollout.found.percent:
            asked = f"{query} of the hour before", revision
            try:
                history += await self._series(query, revision, span_s, self._bake_start_s)
            except NO_TELEMETRY as away:
                self._note_failure(asked, away)
                return
            self._note_success(asked)
        self._is_history_known = True
        known = dispersion(self._understood(RevisionSamples(requests=tuple(history))).requests, self.policy)
        if not self._reach_s:
            self.evidence = self._start(known)
        elif known != self.evidence.dispersion:
            reach_s: dict[Asked, float] = {}
            again = self._start(known).observe(await self._observe(now_s, reach_s))
            if reach_s.keys() >= self._reach_s.keys():  # else something that had answered does not now
                self.evidence, self._reach_s = again, reach_s
            else:
                self._is_history_known = False

    @property
    def _overlap_s(self) -> float:
        return self.policy.freshness_s + OVERLAP_SCRAPES * self.policy.scrape_s

    async def _observe(self, now_s: float, reach_s: dict[Asked, float]) -> Observation:
        """What every query says that is new since ``reach_s``, which moves on."""
        telemetry = self.service.telemetry
        self._written, self._warnings = {}, []
        canary, stable = (self.rollout.to_revision,), tuple(self.rollout.found.percent)
        more = {query: any(query in one.of_stable for one in self._signals) for query in self._queries()}
        answers = iter(
            await asyncio.gather(
                self._samples(telemetry.requests, canary, now_s, reach_s),
                self._samples(telemetry.requests, stable, now_s, reach_s),
                self._samples(telemetry.latency, canary, now_s, reach_s),
                self._samples(telemetry.latency, stable, now_s, reach_s),
                self._samples("cpu", canary, now_s, reach_s),
                self._samples("memory", canary, now_s, reach_s),
                *(self._samples(query, canary, now_s, reach_s) for query in more),
                *(self._samples(query, stable if both else (), now_s, reach_s) for query, both in more.items()),
            )
        )
        requests, stable_requests, latency, stable_latency, cpu, memory = (next(answers) for _ in range(6))
        of_canary = {query: next(answers) for query in more}
        return Observation(
            now_s=now_s,
            canary=self._understood(RevisionSamples(requests=requests, latency=latency, cpu=cpu, memory=memory)),
            stable=self._understood(RevisionSamples(requests=stable_requests, latency=stable_latency)),
            oom_kills=self.oom_kills,
            more={query: Sides(found, next(answers)) for query, found in of_canary.items()},
            new_errors=self._new_errors(),
            faults=self._faults(),
        )

    def _faults(self) -> tuple[str, ...]:
        """What is wrong with the canary's metrics, as they were answered in this look."""
        telemetry = self.service.telemetry
        seen = RevisionSamples(
            requests=self._written.get(telemetry.requests, ()), latency=self._written.get(telemetry.latency, ())
        )
        found = RevisionTelemetry(self.rollout.to_revision, seen, warnings=tuple(self._warnings))
        form = self.env.telemetry if telemetry is Telemetry.OWN else TelemetryForm()
        return look_faults(found, form, self.policy)

    def _understood(self, found: RevisionSamples) -> RevisionSamples:
        """The same in the judge's form: one copy of each series, HTTP status, seconds."""
        return understood(found, self.env.telemetry) if self.service.telemetry is Telemetry.OWN else found

    def _queries(self) -> tuple[str, ...]:
        """What the signals need beside what is asked anyway, each once."""
        wanted = (query for one in self._signals for query in one.queries)
        return tuple(dict.fromkeys(query for query in wanted if query not in ("requests", "latency", "cpu", "memory")))

    async def _samples(
        self, query: str, revisions: Iterable[str], now_s: float, reach_s: dict[Asked, float]
    ) -> tuple[CounterSeries, ...]:
        """The samples of these revisions; nothing where the query fails."""
        if not query:
            return ()
        return tuple(
            series
            for answer in await asyncio.gather(*(self._newest(query, one, now_s, reach_s) for one in revisions))
            for series in answer
        )

    async def _newest(
        self, query: str, revision: str, now_s: float, reach_s: dict[Asked, float]
    ) -> tuple[CounterSeries, ...]:
        asked = query, revision
        span_s = max(0.0, now_s - reach_s.get(asked, self._bake_start_s)) + self._overlap_s
        try:
            found = await self._series(query, revision, span_s, now_s)
        except NO_TELEMETRY as away:
            self._note_failure(asked, away)
            return ()
        reach_s[asked] = now_s
        self._note_success(asked)
        return found

    async def _series(self, query: str, revision: str, span_s: float, at_s: float) -> tuple[CounterSeries, ...]:
        rendered = self.env.queries.render_any(query, self.service, revision)
        answer = await self.env.prometheus.answer(rendered, span_s=span_s, at_s=at_s)
        found = answer.series
        if query == self.service.telemetry.requests:
            found = self.service.telemetry.with_status(found)
        if revision == self.rollout.to_revision:  # what is wrong with stable's costs only the comparison with it
            self._written[query] = found
            self._warnings += answer.warnings
        if query == self.service.telemetry.requests:
            return found
        return found if query == "latency" else single(found, self.env.telemetry)

    def _note_failure(self, asked: Asked, away: ReleaseError) -> None:
        """One line in the log when a query begins to fail, or fails in another way."""
        if self._failing.get(asked) != str(away):
            self._failing[asked] = str(away)
            get_run_logger().warning("%s: no %s of %s: %s", self.rollout.service, *asked, away)

    def _note_success(self, asked: Asked) -> None:
        if self._failing.pop(asked, None):
            get_run_logger().info("%s: %s of %s answers again", self.rollout.service, *asked)

    def card(self, verdict: Verdict) -> Verdict:
        """The verdict as it is shown to people: with the queries behind its numbers and the course of the bake."""
        slots = {slot: slot for slot in ("cpu", "memory")}
        slots |= {one.name: one.queries[0] for one in self._signals}
        slots |= {"requests": self.service.telemetry.requests, "latency": self.service.telemetry.latency}
        queries = {
            slot: self.env.queries.render_any(query, self.service, self.rollout.to_revision)
            for slot, query in slots.items()
            if query
        }
        course = trace(self.evidence.rounds, self.evidence.strongest, self.evidence.bake_start_s)
        return verdict.with_queries(queries).model_copy(update={"trace": course})

    async def check_surroundings(self, lease: Lease, is_held: bool, *, is_last: bool = False) -> None:
        """Every `AROUND_EVERY_S` at most: is the service still ours (else: still where users are), what do its logs
        say, was anything killed?

        The last look always asks. Raises: Fenced, OutOfBandChange.
        """
        if not is_last and monotonic_s() - self._looked_around_at_s < AROUND_EVERY_S:
            return
        self._looked_around_at_s = monotonic_s()
        await self._check_service(lease, is_held)
        await self._count_kills()
        await self._read_errors()

    async def _check_service(self, lease: Lease, is_held: bool) -> None:
        try:
            snapshot = await self.env.cloud_run.snapshot(self.rollout.service)
            if is_held:
                change.guard(snapshot, lease)
            self.is_left = self.rollout.to_revision not in snapshot.pinned.percent
        except Transient as away:
            get_run_logger().warning("%s: could not be looked at: %s", self.rollout.service, away)

    async def _count_kills(self) -> None:
        name = self.rollout.service
        try:
            self.oom_kills = await self.env.cloud_logging.oom_kills(name, self.rollout.to_revision, self._bake_start_s)
        except (Transient, Refused) as away:
            get_run_logger().warning("%s: the logs do not say whether instances were killed: %s", name, away)

    async def _read_errors(self) -> None:
        """New error lines of the canary are logged, and kept; where there are any, stable's are read too."""
        logs, name, since_s = self.env.cloud_logging, self.rollout.service, self._bake_start_s
        try:
            lines = await logs.errors(name, self.rollout.to_revision, since_s)
            new = [line for line in lines if line.insert_id not in self._shown]
            if new:
                past_s = since_s - self.policy.history_s
                for revision in self.rollout.found.percent:
                    self._stable_lines += await logs.errors(name, revision, past_s, STABLE_LINES)
        except (Transient, Refused) as away:
            get_run_logger().warning("%s: no logs: %s", name, away)
            return
        for line in new:
            self._shown.add(line.insert_id)
            self._new_lines.append(line)
            get_run_logger().warning("%s says %s: %s", self.rollout.to_revision, line.severity, line.text)

    def _new_errors(self) -> tuple[str, ...]:
        """The canary's error lines that stable does not have, as signatures with how often they were seen."""
        found = new_signatures(self.rollout.service, self._new_lines, self._stable_lines)
        return tuple(f"{one.count} x {one.text}" for one in found)


class PrometheusClock:
    """Prometheus's clock, which never goes back: while it is away, or was set back, time goes on from where it was.

    So samples that bear an earlier time again are old ones, and the bake ends when it would have.
    """

    def __init__(self, env: Environment) -> None:
        self._prometheus = env.prometheus
        self._ahead_s: float | None = None
        """of our own clock that never goes back"""

    async def read(self) -> float:
        """The time in unix seconds."""
        try:
            now_s = await self._prometheus.clock()
        except NO_TELEMETRY:
            now_s = math.nan
        if math.isfinite(now_s):
            ahead_s = now_s - monotonic_s()
            self._ahead_s = ahead_s if self._ahead_s is None else max(self._ahead_s, ahead_s)
        return unix_s() if self._ahead_s is None else monotonic_s() + self._ahead_s
