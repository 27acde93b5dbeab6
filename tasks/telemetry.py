"""Does a revision's telemetry make sense? Asked before users are sent to it, in flight checks and in validations."""

import asyncio
import re
from collections.abc import Sequence

from prefect import get_run_logger

from blocks.environment import Environment
from playbook.analysis.samples import NAME, CounterSeries, RevisionSamples, SeriesAnswer
from playbook.analysis.telemetry_checks import NOT_THE_CODE, RevisionTelemetry, faults, folded, names_faults
from playbook.errors import NoData, Refused, Transient
from playbook.lease.lease import Lease
from playbook.release.version import Telemetry
from tasks.retries import NO_TELEMETRY, READ, is_last_try, step

SCRAPES_NEEDED = 2
SCRAPES_WAITED = 20
LOOKBACK_SCRAPES = 60
SLOW_LOOKBACK_SCRAPES = 180
"""CPU and memory of Cloud Monitoring come once a minute, up to four minutes late."""
SLOTS = ("requests", "latency", "cpu", "memory", "up")
BUCKETS = re.compile(r"_bucket(?=\s*(?:\{|$))")


@step("wait for scrapes", **READ)
async def wait_for_scrapes(env: Environment, lease: Lease, service: str) -> str | None:
    """Prometheus has scraped the canary at least twice, so that no counter is born with errors in it.

    Returns what is missing after `SCRAPES_WAITED` scrape intervals, or None.
    """
    return await _unscraped(env, service, lease.rollout(service).to_revision)


@step("check metrics", **READ)
async def check_metrics(env: Environment, lease: Lease, service: str) -> str | None:
    """The metrics of the new revision make sense, so that the bake can tell a good one from a bad one.

    Returns the service and every fault with its fix, or None. A fault is no fault of the code.
    """
    rollout = lease.rollout(service)
    return await _checked(env, service, rollout.to_revision, rollout.found.main)


@step("check metrics", **READ)
async def check_serving_metrics(env: Environment, service: str) -> str | None:
    """The metrics of the revision that serves most users make sense. Returns the service and every fault, or None."""
    serving = (await env.cloud_run.snapshot(service)).pinned.main
    return await _unscraped(env, service, serving) or await _checked(env, service, serving, None)


async def _unscraped(env: Environment, service: str, revision: str) -> str | None:
    """What is missing while Prometheus has not scraped the revision `SCRAPES_NEEDED` times, after a while; or None.

    A service without metrics of its own is not scraped.
    """
    if env.service(service).telemetry is Telemetry.CLOUD_RUN:
        return None
    selector = env.queries.render("up", env.service(service), revision)
    for _ in range(SCRAPES_WAITED):
        seen = f"{selector} has fewer than {SCRAPES_NEEDED} good samples"
        try:
            series = await env.prometheus.series(selector, span_s=SCRAPES_WAITED * env.policy.scrape_s)
        except NO_TELEMETRY as away:
            series, seen = (), str(away)
        if any(sum(value == 1 for _, value in one.samples) >= SCRAPES_NEEDED for one in series):
            return None
        await asyncio.sleep(env.policy.scrape_s)
    hint = "".join(f" {text}" for text in names_faults(folded(series, env.policy)))
    hint = hint if series else await _elsewhere(env, selector, revision)
    return f"{service}: {NOT_THE_CODE} Prometheus has not scraped {revision} ({seen}).{hint}"


async def _elsewhere(env: Environment, selector: str, revision: str) -> str:
    """Where the metric has the revision under another label than the query asks for: a hint, or nothing."""
    name = selector.partition("{")[0].strip()
    try:
        found = await env.prometheus.series(name, span_s=2 * env.policy.scrape_s)
    except NO_TELEMETRY:
        return ""
    said = next((one.labels for one in found if revision in one.labels.values()), None)
    if said is None:
        return ""
    labels = ", ".join(f'{label}="{value}"' for label, value in sorted(said.items()) if label != NAME)
    return f" It is there with other labels: {name}{{{labels}}}. Correct the queries in [queries]."


async def _checked(env: Environment, service: str, revision: str, stable: str | None) -> str | None:
    if env.service(service).telemetry is Telemetry.CLOUD_RUN:
        return None  # Cloud Run's own counts have one form, and come minutes late
    try:
        now_s = await env.prometheus.clock()
        seen, refused = await _seen(env, service, revision, SLOTS)
        beside = None if stable is None else await _seen_of_stable(env, service, stable, seen)
    except Transient as away:
        if not is_last_try(READ):
            raise
        return f"{service}: {NOT_THE_CODE} {away}"
    found = [*refused, *faults(seen, beside, env.telemetry, env.policy, now_s)]
    for text in found:
        get_run_logger().error("%s: %s", service, text)
    return f"{service}: {NOT_THE_CODE} {' '.join(found)}" if found else None


async def _seen_of_stable(
    env: Environment, service: str, stable: str, seen: RevisionTelemetry
) -> RevisionTelemetry | None:
    """What stable has of that which the new revision has not, or not yet. What is wrong with it is not our business."""
    missing = [slot for slot in ("requests", "cpu", "memory") if not getattr(seen.samples, slot)]
    few = sum(len(one.samples) for one in seen.up) < LOOKBACK_SCRAPES // 10
    try:
        found, _ = await _seen(env, service, stable, [*missing, *(["up"] if few else [])])
    except NO_TELEMETRY as away:
        get_run_logger().warning("%s: no metrics of %s: %s", service, stable, away)
        return None
    return found


async def _seen(
    env: Environment, service: str, revision: str, slots: Sequence[str]
) -> tuple[RevisionTelemetry, list[str]]:
    """What Prometheus says of one revision lately, and the queries that it refuses. Raises: Transient."""
    refused: list[str] = []

    async def ask(slot: str) -> SeriesAnswer:
        scrapes = SLOW_LOOKBACK_SCRAPES if slot in ("cpu", "memory") else LOOKBACK_SCRAPES
        query = env.queries.render(slot, env.service(service), revision)
        try:
            return await env.prometheus.answer(query, span_s=scrapes * env.policy.scrape_s)
        except (Refused, NoData) as no:
            refused.append(f"queries.{slot}: {no}")
            return SeriesAnswer()

    answers = dict(zip(slots, await asyncio.gather(*map(ask, slots)), strict=True))
    samples = RevisionSamples(**{slot: answer.series for slot, answer in answers.items() if slot != "up"})
    return (
        RevisionTelemetry(
            revision=revision,
            samples=samples,
            up=answers["up"].series if "up" in answers else (),
            warnings=tuple(text for answer in answers.values() for text in answer.warnings),
            is_native="latency" in slots and not samples.latency and await _is_native(env, service, revision),
            left_out=await _left_out(env, service, revision, samples) if "requests" in slots else (),
        ),
        refused,
    )


async def _left_out(env: Environment, service: str, revision: str, seen: RevisionSamples) -> tuple[CounterSeries, ...]:
    """The counters of health checks and scrapes, where no user's request was counted."""
    if any(value for one in env.telemetry.of_users(seen.requests) for _, value in one.samples[-1:]):
        return ()
    query = env.queries.render("requests", env.service(service), revision, of_users=False)
    found = await env.prometheus.series(query, span_s=LOOKBACK_SCRAPES * env.policy.scrape_s)
    of_users = env.telemetry.of_users(found)
    return tuple(one for one in found if one not in of_users)


async def _is_native(env: Environment, service: str, revision: str) -> bool:
    """Whether the latency is there without its buckets: as a native histogram."""
    query = env.queries.render("latency", env.service(service), revision)
    bare = BUCKETS.sub("", query, count=1)
    if bare == query:
        return False
    return bool(await env.prometheus.series(bare, span_s=LOOKBACK_SCRAPES * env.policy.scrape_s))
