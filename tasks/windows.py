"""Whether this is a time for a release: freeze windows, the emergency stop, open incidents, firing alerts."""

import asyncio
import re
from collections.abc import Iterable
from typing import Any

from prefect.client import orchestration

from blocks.clock import unix_s
from blocks.environment import Environment
from blocks.http import UNREADABLE
from blocks.ports import Pager
from blocks.prefect_api import PREFECT_AWAY
from playbook.checklist.calendar import frozen
from playbook.checklist.checks import alert_problem
from playbook.checklist.items import Answer, Seen
from playbook.errors import Refused, Transient
from playbook.incident.decision_matrix import SEVERITY_OF, Event, Severity
from playbook.incident.response import Call
from playbook.lease.record import Record
from playbook.messages.times import clock, day
from playbook.text import clean, says_something

STOP = "stop_the_line"
OFF = ("", "false", "off", "no", "none", "null", "0")
ON = ("true", "on", "yes", "1")
REASON_MAX = 300
ANSWERS_S = 15.0
"""How long Prefect may take to say what a variable is. Its client's own limit is a minute for each of six tries."""


def freeze(env: Environment, *, is_hotfix: bool = False) -> Seen:
    """No freeze window of this environment holds from now until a release that begins now would be over, at the latest
    that the policy allows without asking a person.
    """
    now_s, lasts_s = unix_s(), env.policy.longest_s(is_hotfix=is_hotfix)
    held = frozen(env.gates.freeze, now_s, lasts_s)
    if held is None:
        return Seen(Answer.PASS, f"none of {len(env.gates.freeze)} freeze windows is in force")
    until = f"{day(held.until_s)} {clock(held.until_s)} UTC"
    begins = f", begins at {clock(held.from_s)} UTC, before this would be over," if held.from_s > now_s else ""
    named = f"{held.freeze.name} ({held.freeze.begins} to {held.freeze.ends}, {held.freeze.zone})"
    return Seen(Answer.FAIL, f"{named}{begins} holds until {until}")


async def line(env: Environment) -> Seen:
    """No person has stopped the line: a Prefect variable, whose text is the reason. Raises: Transient."""
    names = stop_names(env.name)
    # Prefect takes dashes in a name, too: a stop that is written with them counts.
    values = await _variables([*names, *(one.replace("_", "-") for one in names)])
    for name, value in values.items():
        if reason := _reason(value):
            return Seen(Answer.FAIL, f"the line is stopped ({name}): {reason}", env.ui("/variables"))
    return Seen(Answer.PASS, f"the variable {names[0]} is not set", env.ui("/variables"))


def stop_names(environment: str) -> tuple[str, str]:
    """The variables that stop releases to an environment, and all releases."""
    return f"{STOP}_{re.sub('[^a-z0-9]+', '_', environment)}", STOP


async def _variables(names: list[str]) -> dict[str, Any]:
    """The values of Prefect variables, in this order, without those that are not there. Raises: Transient."""
    asked = {"variables": {"name": {"any_": names}}}
    try:
        async with asyncio.timeout(ANSWERS_S), orchestration.get_client() as client:
            answer = await client.request("POST", "/variables/filter", json=asked)
            found = {one["name"]: one["value"] for one in answer.json()}
    except (*PREFECT_AWAY, *UNREADABLE, TimeoutError) as away:
        why = str(away) or f"nothing came within {ANSWERS_S:g} s"
        raise Transient(f"Prefect, asked for the variable {names[0]}, did not answer ({why}). Ask again.") from away
    return {name: found[name] for name in names if name in found}


def _reason(value: Any) -> str:
    """Why a variable with this value stops the line; empty where it is a word for no."""
    text = "" if value in (None, False) else str(value).strip()
    if text.lower() in OFF:
        return ""
    reason = clean(" ".join(text.split()), REASON_MAX)
    return reason if says_something(reason) and text.lower() not in ON else "no reason is given"


async def incidents(env: Environment) -> Seen:
    """No incident of a release here is still to be resolved. Raises: Transient, Refused."""
    # A release of some services alone leaves its incident on the first of them.
    reads = await asyncio.gather(*map(env.cloud_run.snapshot, env.service_names))
    keys = tuple(dict.fromkeys(key for one in reads for key in Record.read(one).incidents))
    if not keys:
        return Seen(Answer.PASS, "no incident of a release is open")
    pagers = _pagers(env, Severity)  # a rollback for a vulnerability is P0
    if not pagers:
        return Seen(Answer.PASS, f"{len(keys)} of earlier releases; there is no pager in which one could be open")
    pairs = [(key, pager) for key in keys for pager in pagers]
    answers = await asyncio.gather(*(pager.is_open(f"{env.name}/{key}") for key, pager in pairs))
    still = list(dict.fromkeys(key for (key, _), is_open in zip(pairs, answers, strict=True) if is_open))
    if still:
        return Seen(Answer.FAIL, f"open: {', '.join(still)}. Resolve it in the pager once its fault is found")
    return Seen(Answer.PASS, f"{len(keys)} of earlier releases, all resolved")


def release_pagers(env: Environment) -> list[Pager]:
    """The pagers that a release's page reaches. Who is called for security alone knows of none, and covers none."""
    return _pagers(env, [SEVERITY_OF[event] for event in (Event.HALF_PROMOTED, Event.NO_USER_REACHED)])


def _pagers(env: Environment, severities: Iterable[Severity]) -> list[Pager]:
    calls = [Call(one.value) for one in severities]
    return [one for one in env.pagers if env.routing.is_called_for(one.name, calls)]


async def alerts(env: Environment) -> Seen:
    """None of the alerts that the policy names is firing, and Prometheus has a rule for each. Raises: Transient,
    Refused, NoData (the rules are not listed there)."""
    names = env.gates.alerts
    if not names:
        return Seen(Answer.PASS, "the policy names no alert (gates.alerts)")
    is_listed = env.gates.alert_rules == "listed"
    firing = [name for name in names if await _is_firing(env, name)]
    if firing:
        return Seen(Answer.FAIL, f"firing: {', '.join(firing)}")
    if not is_listed:
        unsure = 'not firing; whether a rule has that name was not asked (gates.alert_rules = "unlisted")'
        return Seen(Answer.PASS, f"{', '.join(names)}: {unsure}")
    rules = await env.prometheus.alert_rules()
    if firing := [name for name in names if any(rule.name == name and rule.state == "firing" for rule in rules)]:
        return Seen(Answer.FAIL, f"firing: {', '.join(firing)}")
    if problems := [problem for name in names if (problem := alert_problem(name, rules))]:
        return Seen(Answer.CANNOT_TELL, f"{'; '.join(problems)}. Correct gates.alerts, or the rules")
    return Seen(Answer.PASS, f"{', '.join(names)}: not firing")


async def alerts_known(env: Environment) -> None:
    """For the flight check: each alert that the policy names has a rule. Raises: Transient, Refused, NoData."""
    rules = await env.prometheus.alert_rules()
    if problems := [problem for name in env.gates.alerts if (problem := alert_problem(name, rules))]:
        raise Refused(f"{'; '.join(problems)}. Correct gates.alerts, or the rules.")


async def _is_firing(env: Environment, name: str) -> bool:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return await env.prometheus.value(f'count(ALERTS{{alertname="{quoted}",alertstate="firing"}}) or vector(0)') > 0
