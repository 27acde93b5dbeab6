"""The observer: each query is asked for itself, and one that fails costs only what it is about."""

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.logging import disable_run_logger

from blocks.clock import CLOCK
from blocks.environment import Environment
from blocks.queries import Queries
from playbook.analysis.policy import Policy
from playbook.analysis.samples import CounterSeries, SeriesAnswer
from playbook.analysis.signals import DEFAULT_SIGNALS
from playbook.analysis.telemetry import TelemetryForm
from playbook.analysis.verdict import Action, Reason, Verdict, judge
from playbook.errors import Refused
from playbook.release.traffic import TrafficSplit
from playbook.release.version import Service, Telemetry
from tasks.observer import PrometheusClock, ServiceObserver

START_S = 1_700_000_000.0
BROKEN = 1.0


class Prometheus:
    """Counters of a canary, of which a share fails from the start, and of a healthy stable, as Prometheus gives them.

    ``refused``: parts of queries that are refused. ``late_s``: until a sample is visible. ``route``: a label of the
    canary's counters that says what was asked for.
    """

    def __init__(
        self,
        refused: Iterable[str] = (),
        late_s: float = 0.0,
        fails: float = BROKEN,
        route: dict[str, str] | None = None,
    ) -> None:
        self.refused, self.late_s, self.fails = set(refused), late_s, fails
        self.route = route or {}
        self.now_s = START_S
        self.asked: list[str] = []

    async def clock(self) -> float:
        """Its time."""
        if "time()" in self.refused:
            raise Refused("time() is refused")
        return self.now_s

    async def answer(self, query: str, span_s: float, at_s: float | None = None) -> SeriesAnswer:
        """The same, of all stores."""
        return SeriesAnswer(await self.series(query, span_s, at_s))

    async def series(self, query: str, span_s: float, at_s: float | None = None) -> tuple[CounterSeries, ...]:
        """The samples of a span."""
        until_s = self.now_s if at_s is None else at_s
        self.asked.append(query)
        kind = f"{query} before" if until_s == START_S and span_s > 3000 else query
        for part in self.refused:
            if part in kind:
                raise Refused(f"{part} is refused")
        is_canary = "new" in query
        first_s = START_S if is_canary else START_S - 4000
        times = [
            START_S + 5 * k
            for k in range(-720, 200)
            if until_s - span_s < START_S + 5 * k <= min(until_s, self.now_s - self.late_s)
            and START_S + 5 * k >= first_s
        ]
        rate = 20 if is_canary else 180
        if query.startswith("cloud"):
            label, shares = "response_code_class", {"2xx": 1 - self.fails, "5xx": self.fails}
        elif query.startswith("requests"):
            label, shares = "status", {"200": 1 - self.fails, "500": self.fails} if is_canary else {"200": 1.0}
        elif query.startswith("latency"):
            label, shares = "le", {"1": 1.0, "2": 1.0, "5": 1.0, "+Inf": 1.0}
        else:
            level = 1.0 if query.startswith("up") else 0.3
            return (CounterSeries({"instance": "a"}, tuple((t, level) for t in times)),)
        route = self.route if is_canary and not query.startswith("cloud") else {}
        return tuple(
            CounterSeries(
                {"instance": "a", label: value, **route}, tuple((t, rate * share * (t - first_s)) for t in times)
            )
            for value, share in shares.items()
        )


def observer(prometheus: Prometheus, telemetry: Telemetry = Telemetry.OWN) -> ServiceObserver:
    """An observer of one service, as the bake begins."""
    slots = ("requests", "latency", "cpu", "memory", "up", "error_ratio", "cloud_run_requests")
    service = Service(name="backend", repository="r", job="j", telemetry=telemetry)
    env: Any = SimpleNamespace(
        prometheus=prometheus,
        signals=DEFAULT_SIGNALS,
        telemetry=TelemetryForm(),
        service=lambda name: service,
        queries=Queries(**{slot: f'{slot}{{revision="{{revision}}"}}' for slot in slots}),
    )
    lease: Any = SimpleNamespace(bake_start_s=START_S, scaled_at_s={}, earlier_percents=(), share=lambda rollout: 10)
    rollout: Any = SimpleNamespace(service="backend", to_revision="new", found=TrafficSplit.all_to("old"))
    return ServiceObserver(env, Policy(), lease, rollout)


async def watched(prometheus: Prometheus, until_s: float = 900, telemetry: Telemetry = Telemetry.OWN) -> Verdict:
    """The verdict, looked for every 5 s."""
    one = observer(prometheus, telemetry)
    clock = PrometheusClock(env_of(one))
    with disable_run_logger():
        while True:
            now_s = prometheus.now_s if "time()" in prometheus.refused else await clock.read()
            one.oom_kills = 0
            await one.look(now_s)
            verdict = judge(one.evidence, one.policy)
            if verdict.action is not Action.CONTINUE or prometheus.now_s - START_S >= until_s:
                return one.card(verdict)
            prometheus.now_s += 5


def env_of(one: ServiceObserver) -> Environment:
    """What it observes with."""
    return one.env


@pytest.mark.parametrize(
    ("refused", "late_s", "within_s"),
    [
        ((), 0, 15),
        (("before",), 0, 15),
        (('requests{revision="old"',), 0, 15),
        (("old",), 0, 15),
        (("latency", "cpu", "memory", "up", "cloud"), 0, 15),
        (("time()",), 0, 15),
        ((), 45, 60),
        ((), 59, 75),
    ],
    ids=[
        "everything answers",
        "stable's history is refused",
        "stable's requests are refused",
        "everything about stable is refused",
        "every other signal is refused",
        "the clock is refused",
        "samples are 45 s late",
        "samples are 59 s late",
    ],
)
async def test_a_canary_that_fails_is_rolled_back_whatever_else_is_missing(
    refused: tuple[str, ...], late_s: float, within_s: float
) -> None:
    """Under the real policy, within a minute of the first visible failures at most."""
    verdict = await watched(Prometheus(refused, late_s))
    assert verdict.action is Action.ROLLBACK
    assert verdict.at_s - START_S <= within_s


@pytest.mark.parametrize("route", [{}, {"handler": "/api/analyze"}, {"uri": "/orders"}])
async def test_a_healthy_canary_with_users_is_promoted(route: dict[str, str]) -> None:
    """Whatever its route is called."""
    verdict = await watched(Prometheus(fails=0.0, route=route))
    assert verdict.action is Action.PROMOTE, verdict.explanation


@pytest.mark.parametrize("route", [{"handler": "/health/readiness"}, {"uri": "/actuator/health"}, {"path": "/metrics"}])
@pytest.mark.parametrize("fails", [0.0, 0.001])
async def test_a_canary_with_health_checks_alone_is_never_promoted(route: dict[str, str], fails: float) -> None:
    """20 a second of them would be more than enough requests; the query of this environment does not leave them out."""
    verdict = await watched(Prometheus(fails=fails, route=route))
    assert (verdict.action, verdict.reason) == (Action.INCONCLUSIVE, Reason.TELEMETRY_MISSING)
    assert "in 900 s, but for health checks and scrapes, if any." in verdict.explanation


async def test_a_history_that_comes_later_is_folded_in() -> None:
    """Until then errors are taken to be bursty; afterwards the evidence is what it would have been from the start."""
    late, whole = Prometheus(("before",), fails=0.001), Prometheus(fails=0.001)
    seen = [observer(late), observer(whole)]
    with disable_run_logger():
        for tick in range(30):
            for one, prometheus in zip(seen, (late, whole), strict=True):
                one._asked_history_at_s = -1e9  # virtual time: no waiting between two tries
                prometheus.now_s = START_S + 5 * tick
                await one.look(prometheus.now_s)
            if tick == 10:
                assert seen[0].evidence.dispersion.source == "default"
                late.refused.clear()
    assert seen[0].evidence == seen[1].evidence
    assert seen[0].evidence.dispersion.source == "history"


async def test_what_a_query_did_not_say_is_fetched_when_it_answers_again() -> None:
    """Nothing of stable's requests is lost, however long they were refused."""
    prometheus = Prometheus(('requests{revision="old"',), fails=0.0)
    one = observer(prometheus)
    with disable_run_logger():
        for tick in range(60):
            prometheus.now_s = START_S + 5 * tick
            if tick == 50:
                prometheus.refused.clear()
            await one.look(prometheus.now_s)
    assert one.evidence.stable_bake.n + one.evidence.stable_since.n == 180 * 295
    assert one.evidence.bake.n == 20 * 295


@pytest.mark.parametrize(("fails", "action"), [(0.0, Action.PROMOTE), (1.0, Action.ROLLBACK), (0.05, Action.ROLLBACK)])
async def test_a_service_without_metrics_is_judged_by_cloud_runs_counts(fails: float, action: Action) -> None:
    """Its own requests and latencies are never asked for."""
    prometheus = Prometheus(fails=fails)
    verdict = await watched(prometheus, telemetry=Telemetry.CLOUD_RUN)
    assert verdict.action is action
    assert not [query for query in prometheus.asked if query.startswith(("requests", "latency"))]


@pytest.mark.parametrize("then_s", [START_S - 3600, START_S - 1, None], ids=["an hour back", "a second back", "away"])
async def test_a_clock_that_is_set_back_or_away_goes_on(then_s: float | None) -> None:
    prometheus = Prometheus()
    prometheus.now_s = START_S + 300
    one = PrometheusClock(env_of(observer(prometheus)))
    before_s = await one.read()
    prometheus.now_s, prometheus.refused = then_s or 0.0, set() if then_s else {"time()"}
    await asyncio.sleep(0.05)
    assert before_s + 0.04 < await one.read() < before_s + 60


async def test_a_clock_that_was_never_read_is_our_own() -> None:
    ours = CLOCK.set(lambda: START_S)
    try:
        assert await PrometheusClock(env_of(observer(Prometheus(refused={"time()"})))).read() == START_S
    finally:
        CLOCK.reset(ours)


async def test_metrics_that_bear_the_times_of_an_hour_ago_are_told_at_once() -> None:
    """Their clock was set back in mid-bake: no store takes a sample older than the last one, so no new one comes."""
    prometheus = Prometheus(fails=0.0)
    one = observer(prometheus)
    with disable_run_logger():
        for tick in range(1, 40):
            prometheus.now_s = START_S + min(5 * tick, 100)
            await one.look(START_S + 5 * tick)
    verdict = judge(one.evidence, one.policy)
    assert (verdict.action, verdict.reason) == (Action.CONTINUE, Reason.TELEMETRY_STALE)
    assert verdict.alert
