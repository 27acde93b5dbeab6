"""The flight check: every dependency of an environment is asked, and nothing is changed."""

import contextlib
from collections.abc import Awaitable, Callable
from functools import partial

from prefect import get_run_logger, task

from blocks.clock import unix_s
from blocks.environment import Environment
from blocks.ports import Reachable, Secrets
from playbook.checklist.checks import secret_problem
from playbook.errors import Conflict, NoData, Refused, ReleaseError, Transient
from playbook.lease.record import Record, Unreadable
from tasks.retries import READ, is_last_try
from tasks.tokens import token_problems
from tasks.windows import alerts_known, release_pagers


@task(name="check", task_run_name="check {dependency}", **READ)
async def check_dependency(env: Environment, dependency: str) -> str | None:
    """It answers, and lets us do what a release needs. Returns what is wrong with it, or None."""
    try:
        await dependencies(env)[dependency]()
    except ReleaseError as error:
        if isinstance(error, Transient) and not is_last_try(READ):
            raise
        get_run_logger().error("%s: %s", dependency, error)
        return f"{dependency}: {error}"
    get_run_logger().info("%s: answers", dependency)
    return None


async def _secret_lasts(env: Environment, manager: Secrets, name: str) -> None:
    """Raises: Refused where the secret cannot be relied on; Transient."""
    if problem := secret_problem(await manager.state(name), unix_s() + env.gates.secrets_last_s):
        raise Refused(problem)


async def _clock(env: Environment) -> None:
    with contextlib.suppress(NoData):  # it answers, and has nothing to say yet
        await env.prometheus.clock()


async def _tokens_last(env: Environment) -> None:
    """Raises: Refused where one cannot be read, is revoked or ends too soon; Transient."""
    if problems := await token_problems(env, unix_s() + env.gates.secrets_last_s):
        raise Refused("; ".join(problems))


def dependencies(env: Environment) -> dict[str, Callable[[], Awaitable[object]]]:
    """What can be tried without changing anything: name -> the call."""
    coordinator = env.service_names[0]
    found: dict[str, Callable[[], Awaitable[object]]] = {
        "Prometheus": partial(_clock, env),
        "Cloud Logging": partial(env.cloud_logging.oom_kills, coordinator, coordinator, 0.0),
    }
    for service in env.services:
        found[f"Cloud Run, writing {service.name}"] = partial(env.cloud_run.can_write, service.name)
        found[f"registry, {service.repository}"] = partial(env.registry.image, service.repository, "latest")
    if env.gates.alerts and env.gates.alert_rules == "listed":
        found["Prometheus, the alerts that stop a release"] = partial(alerts_known, env)
    if env.code_host is not None:
        found["GitHub, checks and branches"] = partial(
            env.code_host.compare, env.gates.main_branch, env.gates.main_branch
        )
        found["GitHub, releases"] = partial(env.code_host.release_notes, "none")
        found["GitHub, acknowledged load tests"] = partial(env.code_host.comments, env.gates.load_test_label)
    if env.secret_manager is not None:
        for name in env.secret_manager.names:
            found[f"Secret Manager, {name}"] = partial(_secret_lasts, env, env.secret_manager, name)
    for place, reference in env.references().items():
        found[f"the worker's {place}"] = reference.read
    found["how long the worker's tokens last"] = partial(_tokens_last, env)
    vendors: dict[str, object] = {f"channel {one.name}": one for one in env.channels}
    vendors["release tracker"] = env.release_tracker
    for name, vendor in vendors.items():
        if isinstance(vendor, Reachable):
            found[name] = vendor.reachable
    for pager in release_pagers(env):
        found[f"who is on call ({pager.name})"] = partial(pager.shifts, unix_s(), unix_s() + env.gates.on_call_s)
    return found


@task(name="try a stale write", task_run_name="try a stale write", **READ)
async def prove_conditional_writes(env: Environment) -> str | None:
    """Cloud Run refuses a write under an older resource version: tried on the first service that no release holds,
    which is written unchanged. Returns what is wrong, or None."""
    for service in env.service_names:
        snapshot = await env.cloud_run.snapshot(service)
        record = Record.parse(service, snapshot.annotations)
        if isinstance(record, Unreadable) or record.holder or snapshot.is_under_way:
            continue
        try:
            await env.cloud_run.check_conditional_writes(snapshot)
        except Conflict as moved:
            raise Transient(f"{service} was changed meanwhile: {moved}") from moved
        except Refused as accepted:
            return str(accepted)
        get_run_logger().info("%s: a stale write was refused", service)
        return None
    return "Whether stale writes are refused was not tried: every service is held, or changes. Start this again later."
