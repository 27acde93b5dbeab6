"""The training ground of `python -m rehearsal up`: versions to try, the policy that they meet, and what is printed.

A version is a date and a hexadecimal commit, so its name can say what it is in the letters a to f only: ``600d`` is
good, ``bad`` is bad, ``dec1de`` is for a person to decide, ``c105ed`` closes the hole.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from rehearsal.files import SECRETS
from rehearsal.inbox import link, listed
from rehearsal.test_environment import TestEnvironment

USERS_PER_S = 80.0
"""Requests/s to each service. 10 % of them for 90 s are 720 canary requests; 598 without an error are needed."""
POLICY = """\
bake_s = 90
horizon_s = 90
gate_deadline_s = 900
watch_s = 60
"""
"""Added to the compressed policy: a bake that can decide at `USERS_PER_S`; an answer may take 15 minutes, as in
production."""
BACKEND = "ethixai-backend"
HOLE = {"request": "env:EXPLOIT_DEBUG_USERS", "service": BACKEND}


@dataclass(frozen=True)
class Lesson:
    """One thing to try: a deployment, the form as it is filled in, and what will happen."""

    deployment: str
    what: str
    happens: str
    request: Mapping[str, Any]
    behaviours: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The version that it releases; empty where it releases none."""
        return str(self.request.get("version", ""))

    @property
    def parameters(self) -> dict[str, Any]:
        """The form, filled in."""
        return {"request": {**self.request, "requested_by": "a newcomer"}, "environment": "production"}


def lessons(day: str) -> tuple[Lesson, ...]:
    """The five things to try on ``day`` (YYYYMMDD), in a good order."""
    fix = {"version": f"v{day}-hotfix1-c105ed", "incident": "CVE-2025-12345", "approver": "the security lead"}
    return (
        Lesson(
            "release/production",
            f"v{day}-600d01",
            "good; promoted without a person, about 3 minutes after the start",
            {"version": f"v{day}-600d01", "changes": "a good version"},
        ),
        Lesson(
            "release/production",
            f"v{day}-bad001",
            "its backend fails 5 % of requests; 10 % of users see it, and it is reverted within seconds",
            {"version": f"v{day}-bad001", "changes": "a bad version"},
            {BACKEND: "errors=0.05"},
        ),
        Lesson(
            "release/production",
            f"v{day}-dec1de",
            "its backend is slow (p95 2.5 s); it is held, and you have 15 minutes to decide",
            {"version": f"v{day}-dec1de", "changes": "a slow version"},
            {BACKEND: "slow=2.5@0.1"},
        ),
        Lesson(
            "hotfix/production",
            f"v{day}-hotfix1-c105ed",
            "closes a hole; all users at once, the exploit is refused afterwards",
            {**fix, "reason": "user addresses are public", "exploit": [HOLE]},
            {BACKEND: "patched"},
        ),
        Lesson(
            "rollback/production",
            "the newest release",
            "all users go back to the release before; try it after 1 or 4",
            {"symptom": "Error rate > 0.5%", "reason": "trying out a rollback"},
        ),
    )


async def prepare(test_env: TestEnvironment, policy: str = POLICY) -> tuple[Lesson, ...]:
    """Users send requests, the policy is in force, and CI has built every version. Returns what can be tried."""
    await test_env.clean(users_per_s=USERS_PER_S, head_start_s=0, policy=policy)
    found = lessons(time.strftime("%Y%m%d", time.gmtime()))
    for lesson in found:
        if lesson.version:
            await test_env.publish(lesson.version, lesson.behaviours)
    for name in ("production", "staging"):  # it finds nothing, and writes the page of what serves
        await test_env.prefect.start(f"recovery/{name}", {"environment": name})
    return found


async def forms(test_env: TestEnvironment, found: tuple[Lesson, ...]) -> tuple[str, ...]:
    """The address of each lesson's form, filled in. Raises httpx.HTTPStatusError."""
    async with test_env.server.client as http:
        return tuple([await _form(http, test_env.server.ui_url, one) for one in found])


async def _form(http: httpx.AsyncClient, ui_url: str, lesson: Lesson) -> str:
    answer = (await http.get(f"/deployments/name/{lesson.deployment}")).raise_for_status()
    filled = quote(json.dumps(lesson.parameters))
    return f"{ui_url}/v2/deployments/deployment/{answer.json()['id']}/run?parameters={filled}"


async def status_page(test_env: TestEnvironment) -> str:
    """The address of the page that says what serves production now. Raises httpx.HTTPStatusError."""
    async with test_env.server.client as http:
        wanted = {"artifacts": {"key": {"any_": ["production-now"]}}}
        answer = (await http.post("/artifacts/latest/filter", json=wanted)).raise_for_status()
    return f"{test_env.server.ui_url}/v2/artifacts/artifact/{answer.json()[0]['latest_id']}"


async def resolve(test_env: TestEnvironment, key: str) -> None:
    """A person resolves an incident in PagerDuty. Raises httpx.HTTPStatusError."""
    event = {"routing_key": SECRETS["REHEARSAL_ROUTING_KEY"], "event_action": "resolve", "dedup_key": key}
    async with httpx.AsyncClient(base_url=test_env.world.vendors_url) as http:
        (await http.post("/pagerduty/v2/enqueue", json=event)).raise_for_status()


def printed(found: tuple[Lesson, ...]) -> str:
    """Five lines for a newcomer."""
    rows = [f"  {number}. {one.deployment:19} {one.what:27} {one.happens}" for number, one in enumerate(found, 1)]
    return "\n".join(rows) + "\n"


def head(
    test_env: TestEnvironment, found: tuple[Lesson, ...], addresses: tuple[str, ...], status: str, login: str
) -> str:
    """The same as HTML, with links to the filled-in forms and to the page of what serves."""
    links = ((url, f"{one.deployment} {one.what}", one.happens) for one, url in zip(found, addresses, strict=True))
    now = link(status, "What serves production now")
    ui = f"<p>{link(test_env.server.ui_url, 'Prefect UI')}: the login is <code>{login}</code> · {now}</p>"
    return f"<h1>What to try: each link opens a filled-in form; press Submit there</h1>{ui}{listed(links)}"
