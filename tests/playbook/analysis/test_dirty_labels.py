"""Labels that change from scrape to scrape: no more requests are counted than were served."""

import math
import random
from collections.abc import Callable, Iterable
from typing import ClassVar

import pytest

from playbook.analysis.evidence import CounterSeries, Evidence, Observation, RevisionSamples
from playbook.analysis.policy import Policy
from playbook.analysis.telemetry import TelemetryForm, understood
from playbook.analysis.telemetry_checks import RevisionTelemetry, faults
from playbook.analysis.verdict import Action, Reason, Verdict, judge

POLICY = Policy()
EDGES = ("0.5", "2", "5", "+Inf")
Named = Callable[[int, int, float], dict[str, str]]
"""Labels of a process (its number, the scrape's number, unix seconds)."""


class Process:
    """One instance as it really is: what it served, and when it is scraped, every 5 s at ``phase`` seconds."""

    def __init__(self, number: int, good: float, bad: float, phase: float = 0.0, slow: float = 0.0) -> None:
        self.number, self.good, self.bad, self.phase, self.slow = number, good, bad, phase, slow
        self.restarts: tuple[int, ...] = ()
        self.scrapes = range(181)

    def counted(self, scrape: int) -> tuple[int, int]:
        """Good and bad requests since its last start."""
        since = max((one for one in self.restarts if one <= scrape), default=0)
        seconds = 5 * (scrape - since) + (self.phase if not since else 0.0)
        return int(self.good * seconds), int(self.bad * seconds)

    def samples(self, named: Named) -> tuple[list[CounterSeries], list[CounterSeries]]:
        """Its request counters and its histogram, a series for each sample."""
        requests, latency = [], []
        for scrape in self.scrapes:
            at_s = 5.0 * scrape + self.phase
            labels = {"instance": f"i{self.number}", **named(self.number, scrape, at_s)}
            counts = self.counted(scrape)
            for status, count in zip(("200", "500"), counts, strict=True):
                requests.append(CounterSeries({**labels, "status": status}, ((at_s, float(count)),)))
            for edge in EDGES:
                under = sum(counts) * (1 - self.slow if edge in ("0.5", "2") else 1)
                latency.append(CounterSeries({"le": edge, **labels}, ((at_s, float(int(under))),)))
        return requests, latency


def joined(series: Iterable[CounterSeries]) -> tuple[CounterSeries, ...]:
    """Samples of one series together."""
    found: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    for one in series:
        found.setdefault(tuple(one.labels.items()), []).extend(one.samples)
    return tuple(CounterSeries(dict(labels), tuple(sorted(samples))) for labels, samples in found.items())


def cut(series: Iterable[CounterSeries], from_s: float, to_s: float) -> tuple[CounterSeries, ...]:
    """The samples of a span."""
    kept = ((one.labels, tuple(s for s in one.samples if from_s < s[0] <= to_s)) for one in series)
    return tuple(CounterSeries(labels, samples) for labels, samples in kept if samples)


LEVEL = (CounterSeries({"instance": "level"}, tuple((5.0 * k, 0.3) for k in range(182))),)
STABLE = (CounterSeries({"instance": "old", "status": "200"}, tuple((5.0 * k, 900.0 * k) for k in range(182))),)


def baked(processes: Iterable[Process], named: Named, form: TelemetryForm | None = None) -> tuple[Evidence, Verdict]:
    """What is counted of a canary with these processes, and the first verdict that is one; look by look."""
    parts = [process.samples(named) for process in processes]
    requests, latency = (joined(one for part in parts for one in part[kind]) for kind in (0, 1))
    evidence, verdict = blank(), None
    for now_s in range(0, 906, 5):
        from_s, to_s = float(now_s - 20), float(now_s)
        looked = RevisionSamples(cut(requests, from_s, to_s), cut(latency, from_s, to_s), LEVEL, LEVEL)
        looked = understood(looked, form or TelemetryForm())
        stable = RevisionSamples(requests=cut(STABLE, from_s, to_s))
        evidence = evidence.observe(Observation(float(now_s), looked, stable, oom_kills=0))
        said = judge(evidence, POLICY) if verdict is None and now_s % 60 == 0 else None
        if said is not None and said.action is not Action.CONTINUE:
            verdict = said
    assert verdict is not None
    return evidence, verdict


def blank() -> Evidence:
    """Evidence of nothing."""
    return Evidence.start(
        service="s", canary="new", stable=("old",), bake_start_s=0.0, policy=POLICY, phi_hat=1.0, signals=()
    )


def clean(_: int, __: int, ___: float) -> dict[str, str]:
    """Labels that say what they should."""
    return {}


def at_every_scrape(number: int, scrape: int, _: float) -> dict[str, str]:
    """A request's id, or a time in seconds, in the instance label."""
    return {"instance": f"i{number}-{scrape}"}


def every_minute(number: int, _: int, at_s: float) -> dict[str, str]:
    """A time in minutes."""
    return {"instance": f"i{number}-{at_s // 60:.0f}"}


def in_turn(number: int, scrape: int, _: float) -> dict[str, str]:
    """Two servers that scrape one instance under two names, and answer in turn."""
    return {"instance": f"i{number}-{'ab'[scrape % 2]}"}


def one_for_all(_: int, scrape: int, at_s: float) -> dict[str, str]:
    """Names that several instances share: whose is whose is not known."""
    return {"instance": f"{scrape}-{at_s % 5:.1f}"}


def another_label(_: int, scrape: int, __: float) -> dict[str, str]:
    """The instance stays the same, and its series have a trace's id."""
    return {"trace": f"t{scrape}"}


def replicas_in_turn(_: int, scrape: int, __: float) -> dict[str, str]:
    """Two replicated servers answer in turn, under a label that the environment does not name."""
    return {"monitor": f"mon-{scrape % 2}"}


NAMINGS: tuple[Named, ...] = (at_every_scrape, every_minute, in_turn, one_for_all, another_label, replicas_in_turn)


@pytest.mark.parametrize("named", NAMINGS, ids=lambda one: one.__name__)
@pytest.mark.parametrize("seed", range(3))
def test_no_more_is_counted_than_was_served(named: Named, seed: int) -> None:
    """Of up to three processes, each scraped at an instant of its own, with restarts; requests and errors alike."""
    dice = random.Random(seed)
    processes = [
        Process(number, dice.uniform(0.5, 30), dice.uniform(0, 3), round(dice.uniform(0, 4.9), 1))
        for number in range(1 + seed % 3)
    ]
    processes[0].restarts = tuple(dice.sample(range(20, 160), seed % 3))
    evidence, _ = baked(processes, named)
    truth, _ = baked(processes, clean)
    assert evidence.bake.n <= truth.bake.n
    assert evidence.latency.bake.n <= truth.latency.bake.n


@pytest.mark.parametrize("named", NAMINGS, ids=lambda one: one.__name__)
def test_one_process_is_counted_exactly_under_any_name(named: Named) -> None:
    """What a first name had counted is where the second one goes on. Two scrapes at the start may not be known."""
    evidence, _ = baked([Process(0, 20, 0.1)], named)
    assert 18_000 + 90 - 3 * 101 <= evidence.bake.n <= 18_090
    assert 87 <= evidence.bake.x <= 90


def test_a_name_that_changes_at_every_scrape_is_held_with_its_cause() -> None:
    """A healthy canary: 18,000 requests are known, and whose they are is not."""
    evidence, verdict = baked([Process(0, 20, 0)], at_every_scrape)
    assert evidence.bake.n <= 18_000
    assert (verdict.action, verdict.reason) == (Action.INCONCLUSIVE, Reason.TELEMETRY_FAULTY)
    assert "180 of 182" in verdict.explanation or "179 of 181" in verdict.explanation
    assert "take that out of the relabelling" in verdict.explanation


def test_a_bad_canary_whose_name_changes_at_every_scrape_is_rolled_back() -> None:
    """Errors are counted once, and so are the requests that would thin them: 5 % fail."""
    _, verdict = baked([Process(0, 19, 1)], at_every_scrape)
    assert verdict.action is Action.ROLLBACK
    assert verdict.at_s <= 120


@pytest.mark.parametrize("named", NAMINGS, ids=lambda one: one.__name__)
def test_a_healthy_canary_with_an_early_error_is_not_rolled_back(named: Named) -> None:
    """One error that is counted again at each scrape would be 180."""
    _, verdict = baked([Process(0, 20, 1 / 400)], named)
    assert verdict.action is not Action.ROLLBACK, verdict.explanation


class Replicated(Process):
    """One that two servers scrape at the same instants from 400 s on, one of them until 700 s."""

    before: ClassVar[dict[str, str]] = {}

    def samples(self, named: Named) -> tuple[list[CounterSeries], list[CounterSeries]]:
        """Each sample once for each server."""
        requests, latency = (
            [
                CounterSeries({**one.labels, **more}, one.samples)
                for one in kind
                for ((at_s, _),) in [one.samples]
                for more in self.servers(at_s)
            ]
            for kind in super().samples(named)
        )
        return requests, latency

    def servers(self, at_s: float) -> list[dict[str, str]]:
        """What tells them apart."""
        both = [{"monitor": "a"}, {"monitor": "b"}]
        return [self.before] if at_s <= 400 else both if at_s <= 700 else both[1:]


class SecondServer(Replicated):
    """The same, where the first server has its label from the beginning."""

    before: ClassVar[dict[str, str]] = {"monitor": "a"}


@pytest.mark.parametrize("kind", [Replicated, SecondServer])
def test_a_replica_that_appears_in_mid_bake_counts_nothing_twice(kind: type[Process]) -> None:
    """Nor is anything lost when the server ends whose samples were counted."""
    evidence, _ = baked([kind(0, 20, 0.1), kind(1, 3, 0, 2.3)], clean)
    truth, _ = baked([Process(0, 20, 0.1), Process(1, 3, 0, 2.3)], clean)
    assert (evidence.bake, evidence.latency.bake) == (truth.bake, truth.latency.bake)
    assert evidence.bake.n > 18_000


def born_at(scrape: int) -> Process:
    """A pod that lives for one scrape; its counters begin with it, 3 s before."""
    pod = Process(scrape, 20, 0, 0.0)
    pod.scrapes = range(scrape, scrape + 1)
    pod.counted = lambda scrape: (60, 0)  # type: ignore[method-assign]
    return pod


def test_pods_that_live_for_one_scrape_are_held() -> None:
    """What they had served counts at most once, and a canary whose pods die all the time is no healthy one."""
    evidence, verdict = baked(map(born_at, range(181)), clean)
    assert evidence.bake.n <= 181 * 60
    assert (verdict.action, verdict.reason) == (Action.INCONCLUSIVE, Reason.TELEMETRY_FAULTY)
    assert "see in their logs why" in verdict.explanation


def test_instances_that_come_and_go_are_counted_in_full() -> None:
    """As an autoscaler makes them: four at a time, each for two minutes, and nobody's telemetry is at fault."""
    fleet = []
    for number in range(40):
        one = Process(number, 5, 0, (0.3, 1.4, 2.6, 4.1)[number % 4])
        first = 22 * (number // 4)
        one.scrapes, one.restarts = range(first, min(181, first + 24)), (first,) if first else ()
        fleet.append(one)
    evidence, verdict = baked(fleet, clean)
    served = sum(sum(one.counted(max(one.scrapes))) for one in fleet if one.scrapes)
    assert verdict.action is Action.PROMOTE, verdict.explanation
    assert 0.97 * served <= evidence.bake.n <= served


def test_an_instance_that_is_scraped_again_was_no_other() -> None:
    """What was held back because another one might be it counts as soon as it is known better: 2 s later."""
    old = CounterSeries({"instance": "a", "status": "200"}, tuple((5.0 * k + 1, 2.0) for k in range(20)))
    busy = CounterSeries({"instance": "b", "status": "200"}, tuple((5.0 * k + 2, 500.0 * k) for k in range(20)))
    new = CounterSeries({"instance": "c", "status": "200"}, tuple((5.0 * k + 4, 30.0 * (k - 5)) for k in range(6, 20)))
    evidence = blank()
    for now_s in range(0, 101, 5):
        requests = cut((old, busy, new), now_s - 20.0, float(now_s))
        evidence = evidence.observe(Observation(float(now_s), RevisionSamples(requests, tuple(timed(requests)))))
    assert [one.n for one in evidence.rounds[5:9]] == [500, 500, 530, 530]
    assert evidence.bake.n == 500 * 18 + 30 * 13  # the last round is open
    assert [one.timed for one in evidence.rounds[5:9]] == [500, 500, 530, 530]
    assert [one.slow for one in evidence.rounds[5:9]] == [125, 125, 132.5, 132.5]


def timed(requests: Iterable[CounterSeries]) -> Iterable[CounterSeries]:
    """A histogram of these requests, a quarter of them slower than 2 s."""
    for one in requests:
        for edge in EDGES:
            share = 0.75 if edge in ("0.5", "2") else 1
            samples = tuple((at_s, share * value) for at_s, value in one.samples)
            yield CounterSeries({"instance": one.key.instance, "le": edge}, samples)


EDGES_IN_TURN = {"2": "2.5", "0.5": "0.7"}


def test_edges_that_change_from_scrape_to_scrape_are_held() -> None:
    """A canary that gets slow at 100 s is not promoted on the latency of its first scrapes."""
    requests, latency = Process(0, 20, 0, slow=0.4).samples(clean)
    dirty = [
        CounterSeries({**one.labels, "le": EDGES_IN_TURN.get(le, le) if at_s > 20 and at_s % 10 else le}, one.samples)
        for one in latency
        for le, ((at_s, _),) in [(one.labels["le"], one.samples)]
    ]
    whole = RevisionSamples(joined(requests), joined(dirty), LEVEL, LEVEL)
    verdict = judge(blank().observe(Observation(905.0, whole, RevisionSamples(STABLE), oom_kills=0)), POLICY)
    assert (verdict.action, verdict.reason) == (Action.INCONCLUSIVE, Reason.TELEMETRY_FAULTY)
    assert "lacks edges at" in verdict.explanation


def test_edges_that_are_written_another_way_are_the_same() -> None:
    """An upgraded Prometheus writes le="2.0" where it wrote "2": nothing is lost, nothing counted twice."""
    requests, latency = Process(0, 20, 0).samples(clean)
    after = [
        CounterSeries({**one.labels, "le": f"{float(one.labels['le']):.1f}"} if at_s > 400 else one.labels, one.samples)
        for one in latency
        for ((at_s, _),) in [one.samples]
        if not (at_s > 400 and math.isinf(float(one.labels["le"])))
    ] + [one for one in latency if one.labels["le"] == "+Inf" and one.samples[0][0] > 400]
    whole = RevisionSamples(joined(requests), joined(after), LEVEL, LEVEL)
    evidence = blank().observe(Observation(905.0, whole, RevisionSamples(STABLE), oom_kills=0))
    assert judge(evidence, POLICY).action is Action.PROMOTE
    assert evidence.latency.bake == evidence.latency.bake._replace(n=17_800, x=0)


@pytest.mark.parametrize(
    ("named", "is_told"),
    [(at_every_scrape, True), (one_for_all, True), (every_minute, False), (in_turn, False), (clean, False)],
    ids=lambda one: getattr(one, "__name__", None),
)
def test_one_look_says_it_before_any_user_is_sent_there(named: Named, is_told: bool) -> None:
    """The flight check and the check before the shift see a minute or more."""
    requests, _ = Process(0, 20, 0).samples(named)
    seen = RevisionTelemetry("new", RevisionSamples(requests=cut(joined(requests), 0, 60)))
    found = faults(seen, None, TelemetryForm(), POLICY, 60.0)
    assert any("scraped once and never again" in text for text in found) is is_told
