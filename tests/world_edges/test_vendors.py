"""What all vendor stand-ins have in common: ordered faults, the log of calls, and unknown requests."""

import asyncio
from typing import Any

import httpx
import pytest

MESSAGE = {"channel": "C0RELEASES", "text": "hello"}
POST = "/slack/api/chat.postMessage"
SENTRY = "/sentry/api/0/organizations/ethixai/releases/"
RELEASE = {"version": "v1", "projects": ["backend"]}
NOT_TAUGHT = [
    ("GET", "/slack/api/users.list"),
    ("POST", "/pagerduty/v2/change/enqueue"),
    ("DELETE", SENTRY),
    ("GET", "/github/repos/geoaziz/ethixai/pulls"),
    ("POST", "/registry/v2/geoaziz/ethixai-backend/blobs/uploads/"),
]
WRONG_ORDERS = [
    pytest.param({"vendor": "mongodb", "status": 500}, "unknown vendor", id="an unknown vendor"),
    pytest.param({"vendor": "slack"}, "needs one of", id="nothing ordered"),
    pytest.param({"vendor": "slack", "status": 99}, "not an HTTP status", id="no status"),
]
BODIES = [
    ("slack", POST, {"ok": False, "error": "internal_error"}),
    ("sentry", SENTRY, {"detail": "Internal Error"}),
    (
        "pagerduty",
        "/pagerduty/api/oncalls",
        {"error": {"message": "Internal Server Error", "code": 2000, "errors": []}},
    ),
    ("registry", "/registry/v2/", {"errors": [{"code": "UNKNOWN", "message": "unknown"}]}),
]


async def test_accepted_calls_are_logged_in_order(stand_ins: Any) -> None:
    """Accepted calls that change something are logged with vendor, time, path and body; others are not."""
    await stand_ins.http.post(POST, json=MESSAGE)
    await stand_ins.http.get("/slack/api/conversations.history", params=MESSAGE)
    await stand_ins.http.post(POST, json={**MESSAGE, "channel": "C0NOWHERE"})
    await stand_ins.http.post(SENTRY, json=RELEASE)
    told = [(one["vendor"], one["method"], one["path"], one["body"]) for one in stand_ins.vendors.calls]
    assert told == [
        ("slack", "POST", "/api/chat.postMessage", MESSAGE),
        ("sentry", "POST", SENTRY.removeprefix("/sentry"), RELEASE),
    ]
    first, second = stand_ins.vendors.calls
    assert second["seq"] == first["seq"] + 1
    assert second["at"] >= first["at"]


async def test_a_reset_returns_to_the_initial_state(stand_ins: Any) -> None:
    """After a reset there are no calls, faults, messages or images; the sequence numbers continue."""
    await stand_ins.http.post(POST, json=MESSAGE)
    stand_ins.vendors.registry.publish("ghcr.io/geoaziz/x", "sha-1", {})
    stand_ins.vendors.fault("slack", status=500, count=None)
    seq = stand_ins.vendors.calls[-1]["seq"]
    stand_ins.vendors.reset()
    assert stand_ins.vendors.calls == []
    assert stand_ins.vendors.registry.config("ghcr.io/geoaziz/x:sha-1") is None
    history = await stand_ins.http.get("/slack/api/conversations.history", params=MESSAGE)
    assert history.json()["messages"] == []
    await stand_ins.http.post(POST, json=MESSAGE)
    assert stand_ins.vendors.calls[-1]["seq"] == seq + 1


@pytest.mark.parametrize(("method", "path"), NOT_TAUGHT)
async def test_an_unknown_request_is_answered_501(stand_ins: Any, method: str, path: str) -> None:
    """In the vendor's error format."""
    answer = await stand_ins.http.request(method, path)
    assert answer.status_code == 501
    assert "not taught" in answer.text


async def test_a_fault_ends_after_its_count(stand_ins: Any) -> None:
    """Two failures were ordered, and the third call is accepted; only that one is logged."""
    stand_ins.vendors.fault("slack", status=503, count=2)
    statuses = [(await stand_ins.http.post(POST, json=MESSAGE)).status_code for _ in range(3)]
    assert statuses == [503, 503, 200]
    assert len(stand_ins.vendors.calls) == 1


async def test_a_fault_hits_what_it_names(stand_ins: Any) -> None:
    """Method and path choose what fails, and other vendors answer."""
    stand_ins.vendors.fault("slack", status=500, count=None, method="POST", path="/api/chat.*")
    assert (await stand_ins.http.post(POST, json=MESSAGE)).status_code == 500
    assert (await stand_ins.http.get("/slack/api/conversations.history", params=MESSAGE)).status_code == 200
    assert (await stand_ins.http.post(SENTRY, json=RELEASE)).status_code == 201
    stand_ins.vendors.clear()
    assert (await stand_ins.http.post(POST, json=MESSAGE)).status_code == 200


@pytest.mark.parametrize(("vendor", "path", "body"), BODIES)
async def test_a_failure_is_in_the_vendors_form(stand_ins: Any, vendor: str, path: str, body: Any) -> None:
    """An ordered 500 has the body with which this vendor says so."""
    stand_ins.vendors.fault(vendor, status=500)
    answer = await stand_ins.http.get(path)
    assert (answer.status_code, answer.json()) == (500, body)


async def test_too_many_requests_has_retry_after(stand_ins: Any) -> None:
    """A 429 carries Retry-After and the vendor's word."""
    stand_ins.vendors.fault("slack", status=429)
    answer = await stand_ins.http.post(POST, json=MESSAGE)
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["error"]) == (429, "1", "ratelimited")


async def test_an_applied_fault_takes_effect_and_fails(stand_ins: Any) -> None:
    """The caller gets a failure, and the call took effect."""
    stand_ins.vendors.fault("slack", applied=True)
    assert (await stand_ins.http.post(POST, json=MESSAGE)).status_code == 503
    assert [one["body"] for one in stand_ins.vendors.calls] == [MESSAGE]


async def test_garbage_is_a_page_of_another_server(stand_ins: Any) -> None:
    """200 and an HTML page."""
    stand_ins.vendors.fault("github", garbage=True)
    answer = await stand_ins.http.get("/github/repos/geoaziz/ethixai/issues")
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/html")


@pytest.mark.parametrize("applied", [False, True])
async def test_a_vendor_that_hangs_outlasts_its_caller(stand_ins: Any, applied: bool) -> None:
    """There is no answer before the caller gives up, whether it took effect or not."""
    stand_ins.vendors.fault("slack", hang=True, applied=applied)
    with pytest.raises(httpx.ReadTimeout):
        await stand_ins.http.post(POST, json=MESSAGE, timeout=0.3)
    assert len(stand_ins.vendors.calls) == applied


@pytest.mark.parametrize("applied", [False, True])
async def test_the_second_request_is_held_until_its_caller_is_gone(stand_ins: Any, applied: bool) -> None:
    """The order says when it was met; whether it took effect does not change when the caller dies."""
    fault = stand_ins.vendors.fault("slack", every=2, hang=True, applied=applied)
    await stand_ins.http.post(POST, json=MESSAGE)
    assert not fault.met.is_set()
    doomed = asyncio.create_task(stand_ins.http.post(POST, json={**MESSAGE, "text": "held"}))
    await asyncio.wait_for(fault.met.wait(), 10)
    doomed.cancel()
    await asyncio.gather(doomed, return_exceptions=True)
    assert (await stand_ins.http.post(POST, json={**MESSAGE, "text": "third"})).status_code == 200
    assert [one["body"]["text"] for one in stand_ins.vendors.calls] == ["hello", *["held"] * applied, "third"]


async def test_a_late_answer_is_otherwise_normal(stand_ins: Any) -> None:
    """With only a delay ordered, the call is accepted, later; others need not wait for it."""
    stand_ins.vendors.fault("slack", delay_s=0.3)
    late = asyncio.create_task(stand_ins.http.post(POST, json={**MESSAGE, "text": "late"}))
    await asyncio.sleep(0.1)
    await stand_ins.http.post(POST, json={**MESSAGE, "text": "prompt"})
    assert (await late).json()["ok"] is True
    assert [one["body"]["text"] for one in stand_ins.vendors.calls] == ["prompt", "late"]


@pytest.mark.parametrize(("order", "words"), WRONG_ORDERS)
def test_wrong_orders_are_refused(stand_ins: Any, order: dict[str, Any], words: str) -> None:
    """An order without a fault or for an unknown vendor raises."""
    with pytest.raises(ValueError, match=words):
        stand_ins.vendors.fault(**order)
