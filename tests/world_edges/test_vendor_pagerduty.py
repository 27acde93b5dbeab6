"""The stand-in for PagerDuty."""

from typing import Any

import pytest

KEY = "0123456789abcdef0123456789abcdef"
PAYLOAD = {"summary": "Production canary rollback triggered", "source": "playbook", "severity": "error"}
REST = {"Authorization": "Token token=good", "From": "release@ethixai.example"}
INCIDENT = {
    "type": "incident",
    "title": "Production deployment failure",
    "service": {"id": "PSERVICE", "type": "service_reference"},
    "incident_key": "v1",
}


def event(**more: Any) -> dict[str, Any]:
    """A trigger."""
    return {"routing_key": KEY, "event_action": "trigger", "dedup_key": "v1", "payload": PAYLOAD, **more}


async def incidents(stand_ins: Any, **query: str) -> list[dict[str, Any]]:
    """What the REST API lists."""
    answer = await stand_ins.http.get("/pagerduty/api/incidents", headers=REST, params=query)
    return list(answer.json()["incidents"])


async def test_events_with_one_key_are_one_incident(stand_ins: Any) -> None:
    """A second trigger joins the first; acknowledge and resolve act on it; a trigger after that opens a new one."""
    for action, status in (("trigger", "triggered"), ("trigger", "triggered"), ("acknowledge", "acknowledged")):
        answer = await stand_ins.http.post("/pagerduty/v2/enqueue", json=event(event_action=action))
        accepted = {"status": "success", "message": "Event processed", "dedup_key": "v1"}
        assert (answer.status_code, answer.json()) == (202, accepted)
        (one,) = await incidents(stand_ins)
        assert (one["status"], one["incident_key"], one["title"]) == (status, "v1", PAYLOAD["summary"])
    await stand_ins.http.post("/pagerduty/v2/enqueue", json=event(event_action="resolve", payload=None))
    await stand_ins.http.post("/pagerduty/v2/enqueue", json=event())
    assert [one["status"] for one in await incidents(stand_ins)] == ["resolved", "triggered"]
    assert len(await incidents(stand_ins, **{"statuses[]": "triggered"})) == 1
    assert len(stand_ins.vendors.calls) == 5


async def test_a_trigger_without_a_key_gets_one(stand_ins: Any) -> None:
    """The answer says which key to resolve it by."""
    answer = await stand_ins.http.post("/pagerduty/v2/enqueue", json=event(dedup_key=""))
    assert [one["incident_key"] for one in await incidents(stand_ins)] == [answer.json()["dedup_key"]]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(event(routing_key="short"), "Length of 'routing_key' is incorrect", id="a wrong routing key"),
        pytest.param(event(event_action="shout"), "'event_action' is invalid", id="an unknown action"),
        pytest.param(event(payload=None), "'payload' is missing", id="no payload"),
        pytest.param(event(payload={**PAYLOAD, "summary": ""}), "'payload.summary' is missing", id="no summary"),
        pytest.param(event(payload={**PAYLOAD, "summary": "x" * 1025}), "'payload.summary' is too long", id="too long"),
        pytest.param(event(payload={**PAYLOAD, "severity": "P1"}), "'payload.severity' is invalid", id="severity"),
        pytest.param(event(event_action="resolve", dedup_key=""), "'dedup_key' is missing", id="resolve what"),
        pytest.param(event(dedup_key="x" * 256), "'dedup_key' is too long", id="a long key"),
        pytest.param([1], "JSON parse error", id="no object"),
    ],
)
async def test_invalid_events_are_refused(stand_ins: Any, body: Any, words: str) -> None:
    """A 400 says what is wrong, and no incident is opened."""
    answer = await stand_ins.http.post("/pagerduty/v2/enqueue", json=body)
    assert (answer.status_code, answer.json()["status"]) == (400, "invalid event")
    assert any(words in problem for problem in answer.json()["errors"])
    assert (await incidents(stand_ins), stand_ins.vendors.calls) == ([], [])


async def test_who_is_on_call(stand_ins: Any) -> None:
    """The on-calls of a policy, by level of escalation; of an unknown policy there are none."""
    asked = {"escalation_policy_ids[]": "PABC123", "earliest": "true"}
    found = (await stand_ins.http.get("/pagerduty/api/oncalls", headers=REST, params=asked)).json()["oncalls"]
    assert [(one["escalation_level"], one["user"]["summary"]) for one in found] == [
        (1, "Release Engineer"),
        (2, "Backend Lead"),
    ]
    asked["escalation_policy_ids[]"] = "PNOBODY"
    assert (await stand_ins.http.get("/pagerduty/api/oncalls", headers=REST, params=asked)).json()["oncalls"] == []


async def test_an_incident_can_be_opened_through_the_rest_api(stand_ins: Any) -> None:
    """It is found by its id and its key, and a second one with an open key is refused."""
    made = await stand_ins.http.post("/pagerduty/api/incidents", headers=REST, json={"incident": INCIDENT})
    assert made.status_code == 201
    identity = made.json()["incident"]["id"]
    found = await stand_ins.http.get(f"/pagerduty/api/incidents/{identity}", headers=REST)
    assert found.json() == made.json()
    assert [one["id"] for one in await incidents(stand_ins, incident_key="v1")] == [identity]
    again = await stand_ins.http.post("/pagerduty/api/incidents", headers=REST, json={"incident": INCIDENT})
    assert (again.status_code, again.json()["error"]["code"]) == (400, 2002)


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        pytest.param({"Authorization": "Bearer good"}, INCIDENT, 401, 2006, id="the wrong scheme"),
        pytest.param({"Authorization": "Token token=wrong"}, INCIDENT, 401, 2006, id="a wrong token"),
        pytest.param({"Authorization": "Token token=readonly"}, INCIDENT, 403, 2010, id="a read-only token"),
        pytest.param({"From": ""}, INCIDENT, 400, 2001, id="no From header"),
        pytest.param({}, {"type": "incident"}, 400, 2001, id="no title"),
    ],
)
async def test_what_the_rest_api_refuses(stand_ins: Any, headers: Any, body: Any, status: int, code: int) -> None:
    """A refusal has the status and PagerDuty's own code for it."""
    answer = await stand_ins.http.post("/pagerduty/api/incidents", headers={**REST, **headers}, json={"incident": body})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_an_unknown_incident(stand_ins: Any) -> None:
    """404 with PagerDuty's code."""
    answer = await stand_ins.http.get("/pagerduty/api/incidents/QNONE", headers=REST)
    assert (answer.status_code, answer.json()["error"]) == (404, {"message": "Not Found", "code": 2100, "errors": []})
