"""What a bake will be able to say, from the requests that the services had before it."""

import asyncio
from collections.abc import Mapping, Sequence

from prefect import get_run_logger, task

from blocks.clock import unix_s
from blocks.environment import Environment
from playbook.analysis.forecast import Forecast, Traffic, forecast
from playbook.analysis.samples import CounterSeries, dispersion, requests_per_s
from playbook.lease.lease import Lease, ServiceRollout
from playbook.lease.record import Record
from playbook.messages.forecast import sentence
from playbook.release.traffic import ServiceSnapshot
from tasks.retries import NO_TELEMETRY, READ

WEEK_S = 7 * 86_400.0


@task(name="forecast", task_run_name="forecast the bake in {env.name}", **READ)
async def forecast_bake(
    env: Environment, lease: Lease, found: Mapping[str, ServiceSnapshot], percent_max: int
) -> tuple[Forecast, ...]:
    """How many requests each canary is to get, what they will show, and the share and the bake that are chosen for it.

    What Prometheus does not give is not known, and stops nothing.
    """
    known = await asyncio.gather(*(_traffic(env, rollout, found[rollout.service]) for rollout in lease.rollouts))
    traffic = dict(zip(lease.services, known, strict=True))
    forecasts = forecast(traffic, env.policy, lease.canary_percent, percent_max)
    for one in forecasts:
        get_run_logger().info("%s: %s", one.service, sentence(one))
    return forecasts


async def _traffic(env: Environment, rollout: ServiceRollout, snapshot: ServiceSnapshot) -> Traffic:
    """What one service had in the last hour, and in the hour that begins now a week ago, by every revision that may
    have served it."""
    policy, now_s = env.policy, await _now_s(env)
    goods = (good.revision for good in Record.read(snapshot).last_good)
    revisions = tuple(dict.fromkeys((*rollout.found.percent, *goods)))
    last_hour, last_week = await asyncio.gather(
        _series(env, rollout.service, revisions, now_s),
        _series(env, rollout.service, revisions, now_s - WEEK_S + policy.history_s),
    )
    serving = [one for revision in rollout.found.percent for one in last_hour.get(revision, ())]
    return Traffic(
        last_hour=requests_per_s([one for series in last_hour.values() for one in series], policy),
        last_week=requests_per_s([one for series in last_week.values() for one in series], policy),
        phi_hat=dispersion(serving, policy).phi_hat,
    )


async def _now_s(env: Environment) -> float:
    try:
        return await env.prometheus.clock()
    except NO_TELEMETRY:
        return unix_s()


async def _series(
    env: Environment, service: str, revisions: Sequence[str], until_s: float
) -> dict[str, tuple[CounterSeries, ...]]:
    """The request counters of each revision in the ``history_s`` before ``until_s`` (unix seconds)."""

    async def of(revision: str) -> tuple[CounterSeries, ...]:
        selector = env.queries.render("requests", env.service(service), revision)
        try:
            found = await env.prometheus.series(selector, span_s=env.policy.history_s, at_s=until_s)
            return env.telemetry.of_users(found)
        except NO_TELEMETRY as away:
            get_run_logger().warning("%s: its traffic is not known: %s", service, away)
            return ()

    answers = await asyncio.gather(*map(of, revisions))
    return dict(zip(revisions, answers, strict=True))
