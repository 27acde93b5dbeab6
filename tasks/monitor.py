"""Monitor: look at every scrape, judge, and say what is seen, until the judge has decided."""

import asyncio
import math
from collections.abc import Callable, Sequence

from prefect import get_run_logger, task

from blocks.clock import monotonic_s
from blocks.environment import Environment
from playbook.analysis.policy import Policy
from playbook.analysis.verdict import Action, Reason, Verdict, judge, severest_first
from playbook.lease.lease import Lease, ServiceRollout
from playbook.messages.chat import noticed
from playbook.messages.report import Report
from tasks.address import application, audience_of, tagged, url_of
from tasks.attempt import check_not_paused
from tasks.notify import notify
from tasks.observer import PrometheusClock, ServiceObserver
from tasks.progress import Progress
from tasks.retries import NO_TELEMETRY, READ, step

SAY_EVERY_S = 10.0
TELEMETRY_TRIES = 3
SECOND_LOOKS = 4
"""Scrapes after a revert in which a shared cause may still show itself, before the on-call engineer is paged."""
PROBES_SPARE = 1.05
"""A few more than are missing: not every one is answered."""
PROBES_PER_S_MAX = 100
"""What one canary is asked for at most: it must be looked at, not brought down."""


class BakeNotices:
    """Notifies people once of what they should know during the bake, and does not wait for the channel."""

    def __init__(self, env: Environment, lease: Lease, *, in_watch: bool) -> None:
        self._env, self._lease, self._in_watch = env, lease, in_watch
        self._told: set[tuple[Reason, str]] = set()
        self._under_way: set[asyncio.Task[None]] = set()

    def of(self, verdicts: Sequence[Verdict]) -> None:
        """Whatever is new among these verdicts is being told."""
        for verdict in verdicts:
            about = verdict.reason, verdict.signal
            if verdict.alert and about not in self._told:
                self._told.add(about)
                self._under_way.add(asyncio.ensure_future(self._tell(verdict)))

    async def _tell(self, verdict: Verdict) -> None:
        await notify(self._env, noticed(self._lease, self._env.name, verdict, in_watch=self._in_watch))


async def clock(env: Environment) -> float:
    """Prometheus's clock in unix seconds; ours where it is away."""
    return await PrometheusClock(env).read()


@task(name="probe", task_run_name="probe {service} in {env.name}", **READ)
async def probe(env: Environment, service: str, lease: Lease, missing: int, seconds: float) -> str:
    """The canary was asked for what is ``missing`` to judge it, at its tag's URL, spread over ``seconds``.

    Returns how many requests it answered, as a sentence. They count as any of its requests do.
    """
    snapshot = await env.cloud_run.snapshot(service)
    count = math.ceil(min(missing * PROBES_SPARE, PROBES_PER_S_MAX * seconds))
    answered = await application(env, service).probe(
        url_of(env, snapshot, *tagged(lease, service)), count, seconds, audience_of(env, snapshot)
    )
    said = f"{service}: {answered} of {count} requests of our own to {lease.rollout(service).to_revision} were answered"
    get_run_logger().info("%s", said)
    return said


@step("check telemetry", **READ)
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


@step("monitor", **READ)
async def monitor(
    env: Environment, lease: Lease, policy: Policy, *, is_held: bool = True, report: Report | None = None
) -> tuple[Verdict, ...]:
    """Watch the canary of every service until the release can be decided. Returns a verdict for each, the severest
    first; in a watch, of those alone that users still have.

    A new process that comes here folds the whole window since the bake's start again, and so goes on with the same
    test. ``is_held``: the release still holds its services, and stops at an out-of-band change of one. ``report``: the
    release's page and a progress artifact show what is seen meanwhile.
    """
    progress = Progress(report)
    try:
        return await _watched(
            env,
            lease,
            policy,
            is_held,
            lambda worst: worst.action is not Action.CONTINUE,
            progress,
            in_watch=not is_held,
        )
    finally:
        await progress.end()


async def until_bad(env: Environment, lease: Lease, policy: Policy, *, is_held: bool = True) -> str:
    """There is evidence against a canary, although its bake has ended undecided: the sentence that says so.

    It never returns for one that is none. It looks on while a person is asked, beside a flow that pauses, and so is no
    task. Raises: Fenced, OutOfBandChange.
    """
    worst, *_ = await _watched(env, lease, policy, is_held, lambda worst: worst.action is Action.ROLLBACK)
    return f"{worst.service}: {worst.explanation}"


async def _watched(
    env: Environment,
    lease: Lease,
    policy: Policy,
    is_held: bool,
    is_decided: Callable[[Verdict], bool],
    progress: Progress | None = None,
    *,
    in_watch: bool = False,
) -> tuple[Verdict, ...]:
    """The verdicts as soon as the worst of them decides, the severest first."""
    assert lease.bake_start_s is not None
    time_of, ends_s = PrometheusClock(env), lease.bake_start_s + policy.bake_s
    observers = [ServiceObserver(env, policy, lease, rollout) for rollout in lease.rollouts]
    await asyncio.gather(*(one.check_surroundings(lease, is_held) for one in observers))
    said_at_s, is_last, notices = 0.0, True, BakeNotices(env, lease, in_watch=in_watch)
    while True:
        check_not_paused()
        now_s = await time_of.read()
        if is_last and now_s >= ends_s:  # a kill must be known before users are promoted
            is_last = False
            await asyncio.gather(*(one.check_surroundings(lease, is_held, is_last=True) for one in observers))
        await asyncio.gather(
            *(one.look(now_s) for one in observers),
            *(one.check_surroundings(lease, is_held) for one in observers),
        )
        if in_watch:
            observers = [one for one in observers if not one.is_left]
        if not observers:
            return ()
        verdicts = severest_first(judge(one.evidence, one.policy, services=len(observers)) for one in observers)
        decided = is_decided(verdicts[0])
        if decided and in_watch:
            await asyncio.gather(*(one.check_surroundings(lease, is_held, is_last=True) for one in observers))
            if any(one.is_left for one in observers):
                continue
        observer_of = {one.rollout.service: one for one in observers}
        if decided or monotonic_s() - said_at_s >= SAY_EVERY_S:
            said_at_s = monotonic_s()
            _say(verdicts)
            if progress and not decided:
                progress.of([observer_of[verdict.service].card(verdict) for verdict in verdicts], now_s, ends_s)
        notices.of(verdicts)
        if decided:
            if progress:
                progress.over(verdicts, now_s, ends_s)
            return tuple(observer_of[verdict.service].card(verdict) for verdict in verdicts)
        await asyncio.sleep(policy.tick_s)


@step("second look", **READ)
async def second_look(env: Environment, lease: Lease, verdicts: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
    """The verdicts, with the blame as it looks a moment after users are safe.

    Stable is scraped at other instants than the canary: what both share is seen on the canary first, and no user waits
    for that before going back. Telemetry that is away changes nothing.
    """
    policy = lease.policy(env.policy)
    blamed = {v.service for v in verdicts if v.action is Action.ROLLBACK and v.attribution == "canary"}
    rollouts = [rollout for rollout in lease.rollouts if rollout.service in blamed]
    try:
        for _ in range(SECOND_LOOKS):
            await asyncio.sleep(policy.scrape_s)
            shared = await _shared(env, lease, policy, rollouts)
            if shared:
                return tuple(shared.get(verdict.service, verdict) for verdict in verdicts)
    except NO_TELEMETRY as away:
        get_run_logger().warning("no second look: %s", away)
    return verdicts


async def _shared(
    env: Environment, lease: Lease, policy: Policy, rollouts: Sequence[ServiceRollout]
) -> dict[str, Verdict]:
    """The verdicts on those ``rollouts`` whose cause stable shares, as it looks now."""
    now_s = await env.prometheus.clock()
    seen = [ServiceObserver(env, policy, lease, rollout) for rollout in rollouts]
    await asyncio.gather(*(one.look(now_s) for one in seen))
    verdicts = (judge(one.evidence, one.policy, services=len(lease.rollouts)) for one in seen)
    return {v.service: v for v in verdicts if v.action is Action.ROLLBACK and v.attribution == "shared"}


def _say(verdicts: Sequence[Verdict]) -> None:
    """One line for each service: what was measured so far, and what it means."""
    for verdict in verdicts:
        get_run_logger().info("%s: %s. %s", verdict.service, verdict.action, verdict.explanation)
