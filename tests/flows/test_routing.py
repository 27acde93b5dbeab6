"""Who hears what, as the environment file says: channels by kind of message, pagers by severity, contacts by name."""

from typing import Any

import pytest
from cloud import Behaviour
from driver import Run, TestEnvironment, play
from fixture import NEW, SERVICES
from pydantic import SecretStr

from blocks.secret_reference import SecretReference
from flows.hotfix import hotfix
from flows.rollback import rollback
from playbook.incident.decision_matrix import Symptom
from playbook.incident.response import Call, Contact
from playbook.messages.facts import Audience
from playbook.messages.routing import MessageKind, Routing
from playbook.release.request import HotfixRequest, RollbackRequest

LEAD, BACKEND, FRONTEND = SERVICES
FIX = "v20251117-hotfix1-fed987"
HOTFIX = HotfixRequest(version=FIX, reason="Token check", incident="CVE-2025-1", approver="Grace", requested_by="Ada")
CONTACTS = {
    "Security Lead": Contact(slack="@security-lead", slack_id="U0SECURITY", called_for=(Call.SECURITY,)),
    "CTO": Contact(slack="@cto", slack_id="U0CTOCTO", called_for=(Call.P0,)),
    "Platform Lead": Contact(slack="@platform-lead", slack_id="S0PLATFORM", called_for=(Call.P0, Call.P1)),
}
PAGERS = {"security": (Call.SECURITY,), "cto": (Call.P0,)}


def with_people(test_env: TestEnvironment, **channels: tuple[Audience, ...]) -> None:
    """Production has two more pagers, and contacts who are called; ``channels``: kind of message -> audiences."""
    fixture = test_env.fixture
    production = fixture.environments["production"]
    (first,) = production.pagers
    keys = {"security": "1" * 32, "cto": "2" * 32}
    more = [
        first.model_copy(update={"name": name, "routing_key": SecretReference.given(SecretStr(key))})
        for name, key in keys.items()
    ]
    routing = Routing(pagers=PAGERS, channels={MessageKind(kind): to for kind, to in channels.items()})
    changes = {"pagers": [first, *more], "contacts": CONTACTS, "routing": routing}
    fixture.environments["production"] = production.model_copy(update=changes)


def paged(test_env: TestEnvironment) -> dict[str, set[str]]:
    """Pager -> the summaries of what it was called for."""
    names = {"0" * 32: "primary", "1" * 32: "security", "2" * 32: "cto"}
    found: dict[str, set[str]] = {name: set() for name in names.values()}
    for call in test_env.fixture.vendors["production"].calls:
        body: dict[str, Any] = call["body"]
        if call["vendor"] == "pagerduty" and "payload" in body:
            found[names[body["routing_key"]]].add(body["payload"]["summary"])
    return found


def run_with_people(flow: Any, request: Any, behaviour: Behaviour, **channels: tuple[Audience, ...]) -> TestEnvironment:
    """``flow`` to its end after a release, in an environment with people."""

    async def scenario(test_env: TestEnvironment) -> TestEnvironment:
        with_people(test_env, **channels)
        for where in ("staging", "production"):
            test_env.fixture.publish(FIX, {BACKEND: behaviour if where == "production" else Behaviour()}, where=where)
        if flow is rollback:
            test_env.fixture.publish(NEW)
            await test_env.release()
        run: Run = test_env.start(flow, request=request, environment="production")
        await test_env.ended(run)
        return test_env

    return play(scenario)


def test_a_hotfix_calls_the_security_lead_and_nobody_else() -> None:
    """When it starts: a page of their own and a mention; the primary on-call sleeps on. The page is over at its end."""
    test_env = run_with_people(hotfix, HOTFIX, Behaviour())
    assert paged(test_env) == {
        "primary": set(),
        "cto": set(),
        "security": {f"Production hotfix {FIX} started: Token check"},
    }
    assert test_env.fixture.pagerduty.incidents == {}
    (said,) = [one.text for one in test_env.fixture.slack.said if "HOTFIX STARTED" in one.text]
    assert said.splitlines()[-1] == "<@U0SECURITY>"
    assert "• Security Lead: @security-lead" in said.split("Called:")[1].split("Contacts:")[0]


@pytest.mark.parametrize(
    ("symptom", "called", "mentioned"),
    [
        (Symptom.ERRORS_ABOVE_MAX, {"primary"}, {"<!subteam^S0PLATFORM>"}),
        (
            Symptom.VULNERABILITY,
            {"primary", "cto", "security"},
            {"<@U0SECURITY>", "<@U0CTOCTO>", "<!subteam^S0PLATFORM>"},
        ),
    ],
    ids=["P1", "P0"],
)
def test_each_severity_reaches_whom_the_contacts_say(symptom: Symptom, called: set[str], mentioned: set[str]) -> None:
    """P1 the primary on-call; P0, a vulnerability, the CTO and the Security Lead, too."""
    request = RollbackRequest(symptom=symptom, reason="seen", requested_by="Ada", even_so="no fix yet")
    test_env = run_with_people(rollback, request, Behaviour())
    assert {name for name, summaries in paged(test_env).items() if summaries} == called
    (room,) = [one.text for one in test_env.fixture.slack.said if "INCIDENT:" in one.text]
    assert set(room.splitlines()[-1].split()) == mentioned


def test_a_kind_of_message_can_be_sent_to_other_channels() -> None:
    """To several, each once."""
    both = (Audience.PLATFORM, Audience.RELEASES)
    test_env = run_with_people(hotfix, HOTFIX, Behaviour(), hotfix=both)
    calls = test_env.fixture.vendors["production"].calls
    told = [one["body"]["channel"] for one in calls if "🚨 HOTFIX DEPLOYED" in str(one["body"])]
    assert sorted(told) == ["C0PLATFORM", "C0RELEASES"]


def test_text_of_a_person_mentions_nobody() -> None:
    """Only the ids of the environment file do."""
    request = HOTFIX.model_copy(update={"reason": "<!channel> <@U0CTOCTO>"})
    test_env = run_with_people(hotfix, request, Behaviour())
    raw = [
        str(one["body"]) for one in test_env.fixture.vendors["production"].calls if "HOTFIX STARTED" in str(one["body"])
    ]
    assert "<!channel>" not in raw[0]
    assert "&lt;@U0CTOCTO&gt;" in raw[0]
