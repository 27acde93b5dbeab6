"""PagerDuty: one incident for one key, and who would be woken."""

import pytest
from pydantic import SecretStr

from blocks import PagerDuty
from blocks.secret_reference import SecretReference
from playbook.checklist.checks import Shift
from playbook.errors import Refused, Transient
from playbook.incident.decision_matrix import Severity
from playbook.messages.facts import Page

KEY = "0123456789abcdef0123456789abcdef"
PAGE = Page(key="release-1", severity=Severity.P1, summary="Production deployment failure", details={"run": "http://x"})


@pytest.fixture
def pagerduty(stand_ins) -> PagerDuty:
    """A service of the vendor's account."""
    return PagerDuty(
        routing_key=SecretStr(KEY),
        api_token=SecretStr("token"),
        escalation_policy="PABC123",
        events_url=f"{stand_ins.url}/pagerduty",
        api_url=f"{stand_ins.url}/pagerduty/api",
    )


@pytest.mark.parametrize(
    ("severity", "theirs"),
    [(Severity.P0, "critical"), (Severity.P1, "critical"), (Severity.P2, "error"), (Severity.P3, "warning")],
)
async def test_a_page_carries_the_playbooks_severity(pagerduty: PagerDuty, stand_ins, severity, theirs: str) -> None:
    """Each of the playbook's severities is one of PagerDuty's."""
    await pagerduty.page(PAGE.model_copy(update={"severity": severity}))
    (event,) = stand_ins.told("pagerduty")
    assert event["payload"]["severity"] == theirs
    assert event["dedup_key"] == "release-1"
    assert event["payload"]["custom_details"] == {"run": "http://x"}


async def test_a_page_is_resolved_under_its_key(pagerduty: PagerDuty, stand_ins) -> None:
    """The incident that a key opened is the one it closes."""
    await pagerduty.page(PAGE)
    await pagerduty.resolve(PAGE.key)
    assert [event["event_action"] for event in stand_ins.told("pagerduty")] == ["trigger", "resolve"]


async def test_a_long_summary_is_cut(pagerduty: PagerDuty, stand_ins) -> None:
    """PagerDuty would refuse the page, and nobody would wake up."""
    await pagerduty.page(PAGE.model_copy(update={"summary": "x" * 5000}))
    assert len(stand_ins.told("pagerduty")[0]["payload"]["summary"]) == 1024


async def test_who_is_on_call_comes_in_order(pagerduty: PagerDuty) -> None:
    """The first responder is named first."""
    assert [one.person for one in await pagerduty.shifts(0, 7200)] == ["Release Engineer", "Backend Lead"]


async def test_a_shift_that_ends_is_read_with_its_end(pagerduty: PagerDuty, stand_ins) -> None:
    """In unix seconds; the shift after it is read too, and one that is over is not."""
    stand_ins.vendors.pagerduty.on_call(("Ada", 1, None, 3600.0), ("Bob", 1, 3600.0, 9000.0), ("Eve", 1, None, -10.0))
    assert await pagerduty.shifts(0, 7200) == (
        Shift(person="Ada", until_s=3600.0),
        Shift(person="Bob", from_s=3600.0, until_s=9000.0),
    )


async def test_more_shifts_than_fit_a_page_are_all_read(pagerduty: PagerDuty, stand_ins) -> None:
    """A policy with many layers has more than a hundred."""
    stand_ins.vendors.pagerduty.on_call(*((f"Person {number}", 1, None, None) for number in range(230)))
    assert len(await pagerduty.shifts(0, 7200)) == 230


async def test_an_incident_is_open_until_it_is_resolved(pagerduty: PagerDuty) -> None:
    """Acknowledging it does not end it; one that was never opened is not open."""
    assert not await pagerduty.is_open("release-1")
    await pagerduty.page(PAGE)
    assert await pagerduty.is_open("release-1")
    await pagerduty.resolve("release-1")
    assert not await pagerduty.is_open("release-1")


async def test_nobody_on_call_is_an_answer(pagerduty: PagerDuty) -> None:
    """The checklist decides what it means."""
    assert await pagerduty.model_copy(update={"escalation_policy": "PNOBODY"}).shifts(0, 7200) == ()


async def test_a_wrong_routing_key_is_refused(pagerduty: PagerDuty) -> None:
    """PagerDuty's own words say which field; the key itself is not repeated."""
    wrong = pagerduty.model_copy(update={"routing_key": SecretReference.given(SecretStr("short"))})
    with pytest.raises(Refused, match="routing_key") as raised:
        await wrong.page(PAGE)
    assert "short" not in str(raised.value)


async def test_a_gateways_page_wakes_nobody_and_is_no_yes(pagerduty: PagerDuty, stand_ins) -> None:
    """A 200 that is not PagerDuty's is asked again."""
    stand_ins.vendors.fault("pagerduty", garbage=True)
    with pytest.raises(Transient, match=r"pagerduty\.events_url"):
        await pagerduty.page(PAGE)


async def test_a_missing_token_is_named(stand_ins) -> None:
    """Who is on call needs a second credential."""
    with pytest.raises(Refused, match=r"pagerduty\.api_token"):
        await PagerDuty(routing_key=SecretStr(KEY)).shifts(0, 7200)
