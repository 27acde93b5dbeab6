"""What a release would do, from one read of each service: for the release itself, and for a run that only plans it."""

from collections.abc import Awaitable, Mapping

from blocks.environment import Environment
from playbook.analysis.forecast import Forecast
from playbook.checklist.items import AFTER_STAGING, Item, overrides_in_use, refusal
from playbook.errors import BadRequest, Refused
from playbook.lease.build import release_lease
from playbook.lease.lease import Lease
from playbook.messages.report import Report
from playbook.release.drift import DriftPolicy
from playbook.release.outcome import FlowResult, ReleaseOutcome
from playbook.release.plan import Order
from playbook.release.request import HotfixRequest
from playbook.release.traffic import ServiceSnapshot
from tasks.announce import planned_words
from tasks.drift import check_drift
from tasks.forecast import forecast_bake
from tasks.lease import holder
from tasks.look import already_live, check_free, look
from tasks.migration.schema import check_schema
from tasks.planned import changes_since, show_plan
from tasks.start import requested_at_s


def in_use(order: Order, items: tuple[Item, ...]) -> Order:
    """The order with the overrides that it needs, and no others."""
    return order.model_copy(update={"overrides": overrides_in_use(items)})


async def lease_for(
    env: Environment,
    order: Order,
    found: Mapping[str, ServiceSnapshot],
    drift: Mapping[str, tuple[str, ...]],
    hotfix: HotfixRequest | None = None,
) -> tuple[Lease, tuple[Forecast, ...]]:
    """The lease that takes the order to its services, with the canary's share and the bake that the forecast chose.

    A hotfix has no canary, and no forecast; nor has an environment without a canary phase.
    """
    me = holder(env) if hotfix is None else holder(env, requested_at_s())
    is_taken = env.policy.drift is DriftPolicy.TAKE
    lease = release_lease(order, found.values(), me, hotfix, drift, takes_template=is_taken, untagged=env.untagged)
    if hotfix is not None or not env.policy.bake_s:
        return lease, ()
    forecasts = await forecast_bake(env, lease, found, order.canary_percent_max)
    return lease.planned({one.service: one.percent for one in forecasts}, forecasts[0].bake_s), forecasts


async def plan(
    env: Environment, order: Order, items: tuple[Item, ...], hotfix: HotfixRequest | None = None
) -> FlowResult:
    """Everything up to the first write: what the release would do and say, its forecast, what has changed since, what
    differs from the templates, and what each check says. Nothing is written.
    """
    found, is_urgent = await look(env, tuple(order.images)), hotfix is not None
    drift = await check_drift(env, found, is_urgent=True)
    why = [
        refusal(items),
        await _refusal(check_schema(env, dict.fromkeys(order.images, str(order.version)))),
        await _refusal(check_drift(env, found, is_urgent=is_urgent)),
        "" if is_urgent else await _refusal(check_free(env, order)),
    ]
    live = f"{env.name} already serves {order.version}: nothing would be released."
    is_live = await already_live(env, order, found)
    lease, forecasts = await lease_for(env, in_use(order, items), found, drift, hotfix)
    later = "; ".join(topic.words for topic in AFTER_STAGING)
    refused = f"It would be refused. {' '.join(one for one in why if one)}" if any(why) else ""
    verdict = live if is_live else refused or f"It may start. Asked after staging: {later}."
    message = f"Plan of {order.version} for {env.name}; nothing was written. {verdict}"
    outcome = FlowResult(end=ReleaseOutcome.PLANNED, message=message)
    report = Report(environment=env.name, lease=lease, checklist=items, outcome=outcome, forecasts=forecasts)
    changes = await changes_since(env, order)
    await show_plan(report, changes, planned_words(env, report, order, changes.line))
    return outcome


async def _refusal(check: Awaitable[object]) -> str:
    """Why a check would refuse the release; empty where it would not. Raises: Transient."""
    try:
        await check
    except (Refused, BadRequest) as refused:
        return str(refused)
    return ""
