"""A release that is over, judged again from what Prometheus remembers of it."""

import argparse
import asyncio
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from bench.traces import replay
from blocks import Environment, Prometheus, files
from playbook.analysis.evidence import CounterSeries, Dispersion, Evidence, Observation, RevisionSamples, dispersion
from playbook.analysis.policy import Policy
from playbook.analysis.telemetry import TelemetryForm, understood
from playbook.analysis.telemetry_checks import RevisionTelemetry, look_faults
from playbook.release.version import Service

SELECTORS = {
    "requests": 'http_requests_total{{job="{job}",revision="{revision}"}}',
    "latency": 'http_request_duration_seconds_bucket{{job="{job}",revision="{revision}"}}',
}
"""As the playbook names them, where no environment says it. CPU and memory have no common name: not judged then."""
SLOTS = ("requests", "latency", "cpu", "memory")


class Memory:
    """A Prometheus that is asked for raw samples, with the queries and labels of an environment where one is given."""

    def __init__(self, url: str, service: str, environment: Environment | None) -> None:
        known = environment.prometheus if environment is not None else None
        own = known.model_copy(update={"url": url}) if isinstance(known, Prometheus) else Prometheus(url=url)
        self._prometheus, self._name, self._environment = own, service, environment
        self.form = environment.telemetry if environment is not None else TelemetryForm()

    async def series(self, slot: str, revision: str, span_s: float, until_s: float) -> tuple[CounterSeries, ...]:
        """The samples of the ``span_s`` seconds up to ``until_s``. Raises: ReleaseError."""
        if self._environment is not None:
            query = self._environment.queries.render(slot, self._service, revision)
        elif slot in SELECTORS:
            query = SELECTORS[slot].format(job=self._name, revision=revision)
        else:
            return ()
        return await self._prometheus.series(query, span_s, until_s)

    async def revision(self, revision: str, span_s: float, until_s: float) -> RevisionSamples:
        """What it remembers of one revision, as it was written."""
        found = await asyncio.gather(*(self.series(slot, revision, span_s, until_s) for slot in SLOTS))
        return RevisionSamples(*found)

    @property
    def _service(self) -> Service:
        assert self._environment is not None
        return self._environment.service(self._name)


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


def _policy(options: argparse.Namespace, environment: Environment | None) -> Policy:
    """That of the environment, or the playbook's for a Prometheus that has no CPU and memory under a known name."""
    changed = {"bake_s": 60 * options.minutes, "scrape_s": options.scrape_s, "tick_s": options.scrape_s}
    if environment is not None:
        return environment.policy.model_copy(update=changed)
    return Policy(**changed, allow_unseen=("cpu", "memory"))


async def judge_past(options: argparse.Namespace) -> dict[str, Any]:
    """The verdict on a past release, with everything it rests on, and what was wrong with its telemetry.

    Raises: ReleaseError (no Prometheus answers, or the environment's file is wrong), KeyError (no such service there).
    """
    start_s = options.start
    environment = await files.read(options.environment, with_secrets=False) if options.environment else None
    policy = _policy(options, environment)
    memory = Memory(options.prometheus, options.service, environment)
    span_s, end_s = policy.bake_s + 2 * policy.scrape_s, start_s + policy.bake_s
    written = await memory.revision(options.canary, span_s, end_s)
    canary = understood(written, memory.form)
    stable = understood(await memory.revision(options.stable, span_s, end_s), memory.form)
    if options.phi_hat is None:
        past = RevisionSamples(await memory.series("requests", options.stable, policy.history_s, start_s))
        known = dispersion(understood(past, memory.form).requests, policy)
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
        "telemetry_faults": look_faults(RevisionTelemetry(options.canary, written), memory.form, policy),
        "dispersion": {"phi_hat": evidence.dispersion.phi_hat, "source": evidence.dispersion.source},
        "signals": verdict.model_dump(include={"signals"}, exclude_none=True)["signals"],
    }
