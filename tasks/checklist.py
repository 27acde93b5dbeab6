"""The checks before a release, side by side. Their table stands in the UI; the graph has one step for all of them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from prefect import get_run_logger

from blocks.clock import unix_s
from blocks.environment import Environment
from blocks.ports import CodeHost
from playbook.checklist.acknowledgement import load_test
from playbook.checklist.checks import ci_findings, secret_problem, staging_problem, uncovered
from playbook.checklist.items import Answer, Item, Seen, Topic
from playbook.checklist.notes import draft, notes_problems, summary
from playbook.checklist.scan import scan_answer
from playbook.errors import BadRequest, Conflict, NoData, Refused, Transient
from playbook.lease.record import Record
from playbook.messages.times import clock, minutes
from playbook.release.plan import Order
from playbook.release.version import VERSION, Image
from tasks import windows
from tasks.migration.tested import migrations_tested
from tasks.retries import TELL, is_last_try, step
from tasks.tokens import token_problems


class Question(NamedTuple):
    """What a check may look at."""

    env: Environment
    order: Order
    staging: Environment | None
    is_hotfix: bool = False


@step("checklist item", **TELL)
async def check_item(
    env: Environment, topic: Topic, order: Order, staging: Environment | None = None, is_hotfix: bool = False
) -> Item:
    """One item, looked up. A system that stays away, or refuses, leaves it at CANNOT TELL; it never fails this step."""
    if why := env.gates.not_needed.get(topic):
        seen = Seen(Answer.ACKNOWLEDGED, f"not needed in {env.name}: {why} (gates.not_needed)")
    else:
        try:
            seen = await LOOK_UPS[topic](Question(env, order, staging, is_hotfix))
        except (Transient, Refused, BadRequest, NoData, Conflict) as away:
            if isinstance(away, Transient) and not is_last_try(TELL):
                raise
            seen = Seen(Answer.CANNOT_TELL, f"no answer ({away})")
    item = Item(
        topic=topic,
        answer=seen.answer,
        seen=seen.fact,
        url=seen.url,
        blocks=env.gates.stops(topic, is_hotfix=is_hotfix),
        override=next((one for one in order.overrides if one.item is topic), None),
    )
    get_run_logger().info("%s", item)
    return item


def _passes(is_met: bool, fact: str, url: str = "") -> Seen:
    return Seen(Answer.PASS if is_met else Answer.FAIL, fact, url)


def _unknown(what: str, table: str) -> Seen:
    return Seen(Answer.CANNOT_TELL, f"this environment names no {what}; add [{table}] to its file")


async def _ci(asked: Question) -> Seen:
    env, commit = asked.env, asked.order.version.commit
    if env.code_host is None:
        return _unknown("code host", "github")
    if not env.required_checks:
        return Seen(Answer.CANNOT_TELL, "this environment names no required_checks; add them to its file")
    if env.required_checks == ("none",):
        return Seen(Answer.ACKNOWLEDGED, 'not needed: required_checks = ["none"]')
    # The scan has an item of its own, which knows what is accepted until when.
    required = [
        name for name in env.required_checks if not env.gates.is_scan(name) or Topic.SCAN in env.gates.not_needed
    ]
    if not required:
        return Seen(Answer.CANNOT_TELL, "required_checks names the image scan alone; add the checks that test the code")
    checks, compared = await asyncio.gather(
        env.code_host.checks(commit), env.code_host.compare(env.gates.main_branch, commit)
    )
    problems = ci_findings(checks, required)
    if not compared.is_ancestor:
        problems.append(f"the commit is not on {env.gates.main_branch}")
    url = next((check.url for check in checks if check.name in required and check.url), compared.url)
    return _passes(
        not problems,
        f"commit {commit}: {', '.join(problems) or f'on {env.gates.main_branch}; ' + ', '.join(required) + ' passed'}",
        url,
    )


async def _build(asked: Question) -> Seen:
    commit = asked.order.version.commit
    images = {name: _pushed(asked, name) for name in asked.order.images}
    built = dict(
        zip(images, await asyncio.gather(*(map(asked.env.registry.revision_of, images.values()))), strict=True)
    )
    silent = [name for name, found in built.items() if not found]
    wrong = [
        f"{name} was built from {found}" for name, found in built.items() if found and not found.startswith(commit)
    ]
    if wrong:
        return Seen(Answer.FAIL, f"version {asked.order.version} is of commit {commit}, but {'; '.join(wrong)}")
    if silent:
        label = "org.opencontainers.image.revision"
        return Seen(
            Answer.CANNOT_TELL,
            f"the images of {', '.join(silent)} do not say from which commit they were built (label {label})",
        )
    digests = ", ".join(f"{name} {image.digest[:19]}…" for name, image in images.items())
    return Seen(Answer.PASS, f"pinned, and built from {commit}: {digests}")


def _pushed(asked: Question, service: str) -> Image:
    """The image where CI pushed it."""
    repository = asked.env.service(service).repository
    return Image(repository=repository, digest=asked.order.images[service].digest)


async def _scan(asked: Question) -> Seen:
    env, gates = asked.env, asked.env.gates
    if env.code_host is None:
        return _unknown("code host", "github")
    checks = await env.code_host.checks(asked.order.version.commit)
    digests = {name: image.digest for name, image in asked.order.images.items()}
    seen = scan_answer(checks, gates.scan_check, digests, gates.scan_fails_on, gates.scan_ignored, unix_s())
    return seen._replace(url=next((one.url for one in checks if gates.is_scan(one.name)), ""))


async def _staging(asked: Question) -> Seen:
    staging, images = asked.staging, asked.order.images
    if staging is None and asked.env.is_production:
        said = (
            'production names no staging environment; add staging = "…", or say in gates.not_needed why there is none'
        )
        return Seen(Answer.CANNOT_TELL, said)
    if staging is None:
        return Seen(Answer.ACKNOWLEDGED, f"not needed: {asked.env.name} names no staging environment")
    snapshots = await asyncio.gather(*(staging.cloud_run.snapshot(service) for service in images))
    problems = [problem for one in snapshots if (problem := staging_problem(one, images[one.service].digest))]
    return _passes(not problems, "; ".join(problems) or f"{staging.name} serves these images; its smoke tests passed")


async def _migrations(asked: Question) -> Seen:
    return await migrations_tested(asked.env, asked.staging)


async def _secrets(asked: Question) -> Seen:
    """Those of the file, those that the serving revisions read, and the worker's own tokens."""
    env = asked.env
    if env.secret_manager is None:
        return _unknown("secret manager", "secret_manager")
    problems, fact = await secrets_state(env, asked.order.images)
    return _passes(not problems, "; ".join(problems) or fact)


async def secrets_state(env: Environment, services: Iterable[str]) -> tuple[list[str], str]:
    """What is wrong with the secrets that ``services`` and the worker read, and a sentence for where nothing is.

    Raises: Transient, Refused (the Secret Manager does not say).
    """
    manager = env.secret_manager
    if manager is None:
        return [], "This environment names no Secret Manager."
    until_s = unix_s() + env.gates.secrets_last_s
    used, unread = await asyncio.gather(_used(env, services), token_problems(env, until_s))
    tokens = [place for reference in env.references().values() if (place := reference.secret_name)]
    names = list(dict.fromkeys([*manager.names, *used, *tokens]))
    states = await asyncio.gather(*(manager.state(name) for name in names))
    problems = [problem for state in states if (problem := secret_problem(state, until_s))] + unread
    last = f"each is valid for at least {minutes(env.gates.secrets_last_s)}"
    return (
        problems,
        f"{len(names)} secrets and {len(env.references())} tokens of the worker exist and are enabled; {last}",
    )


async def _used(env: Environment, services: Iterable[str]) -> list[str]:
    """The secrets that the revisions which serve now read: a new revision is made of one of them."""
    snapshots = await asyncio.gather(*(env.cloud_run.snapshot(service) for service in services))
    revisions = await asyncio.gather(*(env.cloud_run.revision(one.service, one.pinned.main) for one in snapshots))
    return [secret.removesuffix("/versions/latest") for revision in revisions for secret in revision.secrets]


async def _load_test(asked: Question) -> Seen:
    env = asked.env
    if env.code_host is None:
        return _unknown("code host", "github")
    label = env.gates.load_test_label
    found = load_test(
        await env.code_host.comments(label), str(asked.order.version), unix_s(), env.gates.load_test_days_max
    )
    kept = "" if found.url else f". It is kept as a comment below an issue labelled {label} (docs/operations.md)"
    return found._replace(fact=f"{found.fact}{kept}")


async def _notes(asked: Question) -> Seen:
    env, version = asked.env, str(asked.order.version)
    if env.code_host is None:
        said = asked.order.changes
        return Seen(Answer.ACKNOWLEDGED, f"by the request: {said}") if said else _unknown("code host", "github")
    notes = await env.code_host.release_notes(version)
    if notes is None:
        return await _drafted(asked, env.code_host)
    if problems := notes_problems(notes, version):
        return Seen(Answer.FAIL, f"the release {version} on the code host does not say {', '.join(problems)}")
    return Seen(Answer.PASS, f"the release {version} says version, changelog and breaking changes")


async def _drafted(asked: Question, code_host: CodeHost) -> Seen:
    """Notes drafted from the commits since what serves."""
    order, env = asked.order, asked.env
    since = await serving_version(env)
    if not (found := VERSION.fullmatch(since)):
        said = f"; the request says: {order.changes}" if order.changes else ""
        answer = Answer.ACKNOWLEDGED if order.changes else Answer.FAIL
        return Seen(
            answer, f"no release {order.version} on the code host, and what serves has no recorded commit{said}"
        )
    compared = await code_host.compare(found["commit"], order.version.commit)
    text = draft(str(order.version), since, compared)
    return Seen(
        Answer.PASS, f"drafted from {compared.total} commits since {since}: {summary(compared)}\n{text}", compared.url
    )


async def serving_version(env: Environment) -> str:
    """The release that the coordinator has written down last; empty where there is none."""
    record = Record.read(await env.cloud_run.snapshot(env.service_names[0]))
    return record.last_good[0].release if record.last_good else ""


async def _on_call(asked: Question) -> Seen:
    env = asked.env
    pagers = windows.release_pagers(env)
    if not pagers:
        if env.pager == "none":
            return Seen(Answer.ACKNOWLEDGED, 'not needed: pager = "none"')
        return _unknown("pager", "pagerduty")
    from_s, until_s = unix_s(), unix_s() + env.gates.on_call_s
    answers = await asyncio.gather(*(pager.shifts(from_s, until_s) for pager in pagers))
    shifts = [shift for found in answers for shift in found]
    people = ", ".join(dict.fromkeys(shift.person for shift in shifts)) or "no person"
    if gap := uncovered(shifts, from_s, until_s):
        known = f"on call in the next {minutes(env.gates.on_call_s)}: {people}, but " if shifts else ""
        return Seen(Answer.FAIL, f"{known}no person is on call from {clock(gap[0])} to {clock(gap[1])} UTC")
    return Seen(Answer.PASS, f"{people}, until {clock(until_s)} UTC")


async def _rollback_plan(asked: Question) -> Seen:
    env, order = asked.env, asked.order
    snapshots = await asyncio.gather(*(env.cloud_run.snapshot(service) for service in order.images))
    revisions = await asyncio.gather(*(env.cloud_run.revision(one.service, one.pinned.main) for one in snapshots))
    broken = [f"{one.name} is not ready" for one in revisions if not one.is_ready]
    back = ", ".join(f"{one.service} to {one.pinned}" for one in snapshots)
    if broken:
        return Seen(Answer.FAIL, f"there is no way back: {', '.join(broken)}")
    if order.plan_reviewed_by:
        return Seen(Answer.ACKNOWLEDGED, f"reviewed by {order.plan_reviewed_by}: back {back}")
    if env.gates.rollback_plan == "policy":
        return Seen(Answer.ACKNOWLEDGED, f'accepted by policy (gates.rollback_plan = "policy"): back {back}')
    return Seen(Answer.FAIL, f"no person is named who has read it (plan_reviewed_by). The plan: back {back}")


async def _freeze(asked: Question) -> Seen:
    return windows.freeze(asked.env, is_hotfix=asked.is_hotfix)


async def _line(asked: Question) -> Seen:
    return await windows.line(asked.env)


async def _incidents(asked: Question) -> Seen:
    return await windows.incidents(asked.env)


async def _alerts(asked: Question) -> Seen:
    return await windows.alerts(asked.env)


LOOK_UPS: dict[Topic, Callable[[Question], Awaitable[Seen]]] = {
    Topic.CI: _ci,
    Topic.BUILD: _build,
    Topic.SCAN: _scan,
    Topic.STAGING: _staging,
    Topic.MIGRATIONS: _migrations,
    Topic.SECRETS: _secrets,
    Topic.LOAD_TEST: _load_test,
    Topic.NOTES: _notes,
    Topic.ON_CALL: _on_call,
    Topic.ROLLBACK_PLAN: _rollback_plan,
    Topic.FREEZE: _freeze,
    Topic.LINE: _line,
    Topic.INCIDENTS: _incidents,
    Topic.ALERTS: _alerts,
}
