"""Smoke tests (playbook 5.1 to 5.4), against a tag's URL before any user is there and against the service
afterwards."""

from prefect import get_run_logger

from blocks.environment import Environment
from playbook.analysis.explanation import percent
from playbook.errors import NoData, Refused, SmokeFailed, Transient
from playbook.lease.lease import Lease
from playbook.release.request import ExploitCheck
from playbook.release.version import SmokeTest
from tasks.address import application, audience_of, tagged, url_of
from tasks.retries import READ, is_last_try, step


@step("smoke test", **READ)
async def smoke_test(
    env: Environment, service: str, lease: Lease | None = None, only: tuple[SmokeTest, ...] = tuple(SmokeTest)
) -> str | None:
    """Every smoke test of the service passes (or those of ``only``): of the new revision of ``lease``, at its tag's
    URL, or at the service's own.

    Returns the service and what was wrong with the first that did not, or None.
    """
    snapshot = await env.cloud_run.snapshot(service)
    if lease and not env.service(service).has_tags:
        get_run_logger().warning("%s has no tags (has_tags = false): not tested before it has users", service)
        return None
    url = url_of(env, snapshot, *tagged(lease, service))
    for test in (test for test in env.service(service).smoke if test in only):
        try:
            seen = await application(env, service).run(test, url, audience_of(env, snapshot))
        except SmokeFailed as failed:
            get_run_logger().error("%s: %s", service, failed)
            return f"{service}: {failed}"
        except Transient as away:
            if is_last_try(READ):
                return f"{service}: {away}"
            raise
        get_run_logger().info("%s: %s", service, seen)
    return None


@step("exploit check", **READ)
async def exploit_check(env: Environment, check: ExploitCheck, lease: Lease | None = None) -> int:
    """The status that answers ``check``: of the new revision of ``lease``, at its tag's URL, or at the service's own; 0
    where nothing answers."""
    snapshot = await env.cloud_run.snapshot(check.service)
    try:
        url = url_of(env, snapshot, *tagged(lease if env.service(check.service).has_tags else None, check.service))
        status = await application(env, check.service).ask(check, url, audience_of(env, snapshot))
    except Transient:
        if not is_last_try(READ):
            raise
        status = 0
    get_run_logger().info("%s answered %d", check, status)
    return status


@step("check error ratio", **READ)
async def check_error_ratio(env: Environment, lease: Lease, service: str) -> str | None:
    """The new revision's share of 5xx since it was given traffic is below the playbook's line (5.4). Returns what is
    wrong, or None.

    Without requests there is nothing to say, and nothing is said; a Prometheus that gives no answer says nothing of
    the revision either, and the hour of watching comes after.
    """
    query = env.queries.render("error_ratio", env.service(service), lease.rollout(service).to_revision)
    try:
        ratio = await env.prometheus.value(query)
    except NoData:
        get_run_logger().info("%s: no requests yet, so no error ratio", service)
        return None
    except (Transient, Refused) as away:
        if isinstance(away, Transient) and not is_last_try(READ):
            raise
        get_run_logger().warning("%s: its error ratio is not known: %s", service, away)
        return None
    line = env.policy.validation_error_ratio_max
    get_run_logger().info("%s: error ratio %.4f, line %.4f", service, ratio, line)
    if ratio <= line:
        return None
    return f"{service}: Error rate {percent(ratio)} is above {percent(line)} after promotion."
