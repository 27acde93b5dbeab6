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


async def test_accepted_calls_are_logged_in_order(office: Any) -> None:
    """Accepted calls that change something are logged with vendor, time, path and body; others are not."""
    await office.http.post(POST, json=MESSAGE)
    await office.http.get("/slack/api/conversations.history", params=MESSAGE)
    await office.http.post(POST, json={**MESSAGE, "channel": "C0NOWHERE"})
    await office.http.post(SENTRY, json=RELEASE)
    told = [(one["vendor"], one["method"], one["path"], one["body"]) for one in office.vendors.calls]
    assert told == [
        ("slack", "POST", "/api/chat.postMessage", MESSAGE),
        ("sentry", "POST", SENTRY.removeprefix("/sentry"), RELEASE),
    ]
    first, second = office.vendors.calls
    assert second["seq"] == first["seq"] + 1
    assert second["at"] >= first["at"]


async def test_a_reset_returns_to_the_initial_state(office: Any) -> None:
    """After a reset there are no calls, faults, messages or images; the sequence numbers continue."""
    await office.http.post(POST, json=MESSAGE)
    office.vendors.registry.publish("ghcr.io/geoaziz/x", "sha-1", {})
    office.vendors.fault("slack", status=500, count=None)
    seq = office.vendors.calls[-1]["seq"]
    office.vendors.reset()
    assert office.vendors.calls == []
    assert office.vendors.registry.config("ghcr.io/geoaziz/x:sha-1") is None
    history = await office.http.get("/slack/api/conversations.history", params=MESSAGE)
    assert history.json()["messages"] == []
    await office.http.post(POST, json=MESSAGE)
    assert office.vendors.calls[-1]["seq"] == seq + 1


@pytest.mark.parametrize(("method", "path"), NOT_TAUGHT)
async def test_an_unknown_request_is_answered_501(office: Any, method: str, path: str) -> None:
    """In the vendor's error format."""
    answer = await office.http.request(method, path)
    assert answer.status_code == 501
    assert "not taught" in answer.text


async def test_a_fault_ends_after_its_count(office: Any) -> None:
    """Two failures were ordered, and the third call is accepted; only that one is logged."""
    office.vendors.fault("slack", status=503, count=2)
    statuses = [(await office.http.post(POST, json=MESSAGE)).status_code for _ in range(3)]
    assert statuses == [503, 503, 200]
    assert len(office.vendors.calls) == 1


async def test_a_fault_hits_what_it_names(office: Any) -> None:
    """Method and path choose what fails, and other vendors answer."""
    office.vendors.fault("slack", status=500, count=None, method="POST", path="/api/chat.*")
    assert (await office.http.post(POST, json=MESSAGE)).status_code == 500
    assert (await office.http.get("/slack/api/conversations.history", params=MESSAGE)).status_code == 200
    assert (await office.http.post(SENTRY, json=RELEASE)).status_code == 201
    office.vendors.clear()
    assert (await office.http.post(POST, json=MESSAGE)).status_code == 200


@pytest.mark.parametrize(("vendor", "path", "body"), BODIES)
async def test_a_failure_is_in_the_vendors_form(office: Any, vendor: str, path: str, body: Any) -> None:
    """An ordered 500 has the body with which this vendor says so."""
    office.vendors.fault(vendor, status=500)
    answer = await office.http.get(path)
    assert (answer.status_code, answer.json()) == (500, body)


async def test_too_many_requests_has_retry_after(office: Any) -> None:
    """A 429 carries Retry-After and the vendor's word."""
    office.vendors.fault("slack", status=429)
    answer = await office.http.post(POST, json=MESSAGE)
    assert (answer.status_code, answer.headers["retry-after"], answer.json()["error"]) == (429, "1", "ratelimited")


async def test_an_applied_fault_takes_effect_and_fails(office: Any) -> None:
    """The caller gets a failure, and the call took effect."""
    office.vendors.fault("slack", applied=True)
    assert (await office.http.post(POST, json=MESSAGE)).status_code == 503
    assert [one["body"] for one in office.vendors.calls] == [MESSAGE]


async def test_garbage_is_a_page_of_another_server(office: Any) -> None:
    """200 and an HTML page."""
    office.vendors.fault("github", garbage=True)
    answer = await office.http.get("/github/repos/geoaziz/ethixai/issues")
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "text/html")


@pytest.mark.parametrize("applied", [False, True])
async def test_a_vendor_that_hangs_outlasts_its_caller(office: Any, applied: bool) -> None:
    """There is no answer before the caller gives up, whether it took effect or not."""
    office.vendors.fault("slack", hang=True, applied=applied)
    with pytest.raises(httpx.ReadTimeout):
        await office.http.post(POST, json=MESSAGE, timeout=0.3)
    assert len(office.vendors.calls) == applied


@pytest.mark.parametrize("applied", [False, True])
async def test_the_second_request_is_held_until_its_caller_is_gone(office: Any, applied: bool) -> None:
    """The order says when it was met; whether it took effect does not change when the caller dies."""
    fault = office.vendors.fault("slack", every=2, hang=True, applied=applied)
    await office.http.post(POST, json=MESSAGE)
    assert not fault.met.is_set()
    doomed = asyncio.create_task(office.http.post(POST, json={**MESSAGE, "text": "held"}))
    await asyncio.wait_for(fault.met.wait(), 10)
    doomed.cancel()
    await asyncio.gather(doomed, return_exceptions=True)
    assert (await office.http.post(POST, json={**MESSAGE, "text": "third"})).status_code == 200
    assert [one["body"]["text"] for one in office.vendors.calls] == ["hello", *["held"] * applied, "third"]


async def test_a_late_answer_is_otherwise_normal(office: Any) -> None:
    """With only a delay ordered, the call is accepted, later; others need not wait for it."""
    office.vendors.fault("slack", delay_s=0.3)
    late = asyncio.create_task(office.http.post(POST, json={**MESSAGE, "text": "late"}))
    await asyncio.sleep(0.1)
    await office.http.post(POST, json={**MESSAGE, "text": "prompt"})
    assert (await late).json()["ok"] is True
    assert [one["body"]["text"] for one in office.vendors.calls] == ["prompt", "late"]


@pytest.mark.parametrize(("order", "words"), WRONG_ORDERS)
def test_wrong_orders_are_refused(office: Any, order: dict[str, Any], words: str) -> None:
    """An order without a fault or for an unknown vendor raises."""
    with pytest.raises(ValueError, match=words):
        office.vendors.fault(**order)
