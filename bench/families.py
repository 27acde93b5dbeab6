"""What the judge does to canaries that are not bad: every family of the simulator that is healthy, between healthy and
bad, or hit by an outage that stable shares. A part of `python -m bench.limit --families`.

The real judge folds each bake at once and decides at its end, which gives what looking at every scrape does: what rolls
back at any time is latched. Families in which latency plays a part, and outages, are looked at scrape by scrape.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from bench.held_out import HELD_OUT
from bench.holds import judged
from bench.judge import SEEDS
from bench.simulator import FAMILIES, TICK_S, Family, Truth, generate, past
from bench.tables import markdown
from bench.traces import Replayed, replay_trace
from playbook.analysis.policy import Policy
from playbook.analysis.verdict import Action, Verdict

RATES = (2.0, 20.0, 200.0, 2000.0)
NOT_BAD: dict[Truth, str] = {
    "healthy": "healthy: rolled back",
    "band": "between 0.1 and 0.5 %: rolled back",
    "shared": "outages that stable shares: rolled back as the canary's own",
}
Counts = dict[str, list[int]]
"""``truth|family|rate`` -> bakes, rolled back (of a shared outage: as the canary's own), promoted."""


def count(runs: int, seeds: Iterable[int], only: str = "", told: Callable[[str], object] = print) -> Counts:
    """Judge ``runs`` bakes of every family, rate and seed. ``told`` hears of each healthy bake that is rolled back."""
    found: Counts = {}
    for family in (*FAMILIES, *HELD_OUT):
        if family.truth not in NOT_BAD or only not in family.name:
            continue
        for rate in RATES:
            counts = found.setdefault(f"{family.truth}|{family.name}|{rate:g}", [0, 0, 0])
            for seed in seeds:
                _add(counts, family, rate, runs, seed, told)
    return found


def _add(counts: list[int], family: Family, rate: float, runs: int, seed: int, told: Callable[[str], object]) -> None:
    traces = generate(family, rate, runs, SEEDS[family.group] + seed)
    for run in range(runs):
        known = past(traces.history[0][run], traces.history[1][run], Policy())
        verdict: Verdict | Replayed
        if family.truth == "shared":  # whose fault it is must be asked when it is found
            verdict = replay_trace(traces.counters[run], traces.gauges[run], TICK_S, known, timed=False)
            action = verdict.verdict
        else:
            verdict = judged(family, traces.counters[run], traces.gauges[run], known, ())
            action = verdict.action
        is_back = action is Action.ROLLBACK
        counts[0] += 1
        counts[1] += is_back and not (family.truth == "shared" and verdict.attribution == "shared")
        counts[2] += action is Action.PROMOTE
        if is_back and family.truth == "healthy":
            told(f"seed {seed}: {family.name} at {rate:g}/s, bake {run}: {verdict.reason}: {verdict.explanation}")


def tables(now: Counts, before: Counts | None = None) -> str:
    """A row for each family with anything rolled back, by rate, and the sum of all; ``before / now`` where both are."""
    return "\n\n".join(_table(truth, now, before) for truth in NOT_BAD)


def _table(truth: Truth, now: Counts, before: Counts | None) -> str:
    names = dict.fromkeys(key.split("|")[1] for key in now if key.startswith(f"{truth}|"))
    sides = [one for one in (before, now) if one is not None]
    rows = [[name, *(_back(sides, [f"{truth}|{name}|{rate:g}"]) for rate in RATES)] for name in names]
    quiet = [row for row in rows if all(set(cell) <= set("0 /") for cell in row[1:])]
    shown = [row for row in rows if row not in quiet]
    shown.append(["all", *(_back(sides, [f"{truth}|{name}|{rate:g}" for name in names]) for rate in RATES)])
    every = [f"{truth}|{name}|{rate:g}" for name in names for rate in RATES]
    total, promoted = _sum(now, every, 0), " / ".join(f"{_sum(one, every, 2):,}" for one in sides)
    return (
        f"{NOT_BAD[truth]}\n\n{markdown(['family', *(f'{rate:g}/s' for rate in RATES)], shown)}\n\n"
        f"{total:,} bakes of {len(names)} families, {_back(sides, every)} rolled back, {promoted} promoted. "
        f"Families without a row: none of their bakes was rolled back."
    )


def _back(sides: Sequence[Counts], keys: Sequence[str]) -> str:
    return " / ".join(f"{_sum(one, keys, 1):,}" for one in sides)


def _sum(counts: Mapping[str, Sequence[int]], keys: Iterable[str], place: int) -> int:
    return sum(counts[key][place] for key in keys if key in counts)
