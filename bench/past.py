"""A release that is over, judged again from what Prometheus remembers of it."""

import argparse
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import httpx

from bench.traces import replay
from playbook.analysis.evidence import CounterSeries, Dispersion, Evidence, Observation, RevisionSamples, dispersion
from playbook.analysis.policy import Policy

SELECTORS = {
    "requests": 'http_requests_total{{job="{job}",revision="{revision}"}}',
    "latency": 'http_request_duration_seconds_bucket{{job="{job}",revision="{revision}"}}',
}
"""As the playbook names them. CPU and memory have no common name and OOM kills are not there: not judged here."""


class Memory:
    """A Prometheus that is asked for raw samples: an instant query with a range selector keeps gaps and timestamps."""

    def __init__(self, url: str, timeout_s: float = 30.0) -> None:
        self._client = httpx.Client(base_url=url, timeout=timeout_s)

    def series(self, slot: str, job: str, revision: str, span_s: float, until_s: float) -> tuple[CounterSeries, ...]:
        """The samples of the ``span_s`` seconds up to ``until_s``. Raises: httpx.HTTPError."""
        selector = SELECTORS[slot].format(job=job, revision=revision)
        params = {"query": f"{selector}[{round(span_s * 1000)}ms]", "time": f"{until_s:.3f}"}
        answer = self._client.get("/api/v1/query", params=params)
        answer.raise_for_status()
        return tuple(
            CounterSeries(one["metric"], tuple((float(at_s), float(value)) for at_s, value in one["values"]))
            for one in answer.json()["data"]["result"]
        )

    def revision(self, job: str, revision: str, span_s: float, until_s: float) -> RevisionSamples:
        """Requests and latency of one revision."""
        return RevisionSamples(*(self.series(slot, job, revision, span_s, until_s) for slot in SELECTORS))


def looks(canary: RevisionSamples, stable: RevisionSamples, start_s: float, policy: Policy) -> Iterator[Observation]:
    """What each tick of that bake would have seen that is new."""
    before_s = start_s - policy.bake_s
    for k in range(int(policy.bake_s / policy.tick_s) + 1):
        now_s = start_s + k * policy.tick_s
        seen = (_between(revision, before_s, now_s) for revision in (canary, stable))
        yield Observation(now_s, *seen, oom_kills=0)  # what is not there is taken to have been none
        before_s = now_s


def _between(revision: RevisionSamples, from_s: float, to_s: float) -> RevisionSamples:
    return RevisionSamples(
        **{
            kind.name: tuple(_cut(one, from_s, to_s) for one in getattr(revision, kind.name))
            for kind in fields(RevisionSamples)
        }
    )


def _cut(one: CounterSeries, from_s: float, to_s: float) -> CounterSeries:
    times = [at_s for at_s, _ in one.samples]
    return CounterSeries(one.labels, one.samples[bisect_right(times, from_s) : bisect_right(times, to_s)])


def judge_past(options: argparse.Namespace) -> dict[str, Any]:
    """The verdict on a past release, with everything it rests on.

    Raises: httpx.HTTPError, ValueError, KeyError, when what answers is not a Prometheus.
    """
    start_s = options.start
    policy = Policy(
        bake_s=60 * options.minutes, scrape_s=options.scrape_s, tick_s=options.scrape_s, allow_unseen=("cpu", "memory")
    )
    memory = Memory(options.prometheus)
    span_s, end_s = policy.bake_s + 2 * policy.scrape_s, start_s + policy.bake_s
    canary = memory.revision(options.service, options.canary, span_s, end_s)
    stable = memory.revision(options.service, options.stable, span_s, end_s)
    if options.phi_hat is None:
        history = memory.series("requests", options.service, options.stable, policy.history_s, start_s)
        known = dispersion(history, policy)
    else:
        known = Dispersion(max(1.0, options.phi_hat), "given")
    evidence = Evidence.start(
        service=options.service,
        canary=options.canary,
        stable=(options.stable,),
        bake_start_s=start_s,
        policy=policy,
        dispersion=known,
    )
    final, verdict = replay(evidence, looks(canary, stable, start_s, policy), policy)
    return {
        "id": f"{options.service}/{options.canary}",
        "verdict": final.verdict.value,
        "at_s": final.at_s,
        "reason": final.reason,
        "attribution": final.attribution,
        "explanation": verdict.explanation,
        "dispersion": {"phi_hat": evidence.dispersion.phi_hat, "source": evidence.dispersion.source},
        "signals": verdict.model_dump(include={"signals"}, exclude_none=True)["signals"],
    }
