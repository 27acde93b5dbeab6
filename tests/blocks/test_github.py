"""GitHub: what CI says, the release notes, and one ticket for one key."""

import pytest
from pydantic import SecretStr

from blocks import GitHub
from blocks.github import _check_of
from blocks.secret_reference import SecretReference
from playbook.checklist.checks import Check, ci_findings
from playbook.errors import Refused, Transient
from playbook.incident.decision_matrix import Severity
from playbook.messages.facts import Ticket

TICKET = Ticket(
    key="v20251116-abc123-1f2e3d/ticket",
    title="Production canary rollback triggered",
    severity=Severity.P2,
    body="Error rate 5 %",
    labels=("incident", "P2"),
)


@pytest.fixture
def github(stand_ins) -> GitHub:
    """The stand-in's repository, in which CI has built abc123."""
    stand_ins.vendors.registry.publish("ghcr.io/geoaziz/ethixai-backend", "sha-abc123", {})
    return GitHub(repository="geoaziz/ethixai", token=SecretStr("token"), api_url=f"{stand_ins.url}/github")


async def test_every_check_of_a_commit_is_seen(github: GitHub, stand_ins) -> None:
    """Passed, failed and still running are told apart."""
    stand_ins.vendors.github.checked("abc123", {"build": "success", "trivy": "failure", "test": ""})
    found = await github.checks("abc123")
    assert {check.name: check.conclusion for check in found} == {
        "build": "success",
        "trivy": "failure",
        "test": "pending",
    }
    assert ci_findings(found, ["build", "trivy", "test"]) == ["trivy is failure", "test is pending"]


async def test_more_checks_than_fit_a_page_are_all_seen(github: GitHub, stand_ins) -> None:
    """The one that failed may be on the second page."""
    stand_ins.vendors.github.checked("abc123", {f"check-{number}": "success" for number in range(150)})
    assert len(await github.checks("abc123")) == 150


async def test_an_unknown_commit_is_refused(github: GitHub) -> None:
    """CI has never seen it."""
    with pytest.raises(Refused, match="ffffff"):
        await github.checks("ffffff")


async def test_release_notes_are_found_while_they_are_a_draft(github: GitHub, stand_ins) -> None:
    """The checklist asks for drafted notes, and a draft has no tag yet."""
    stand_ins.vendors.github.release("v20251116-abc123", "Bug fixes", draft=True)
    assert await github.release_notes("v20251116-abc123") == "Bug fixes"
    assert await github.release_notes("v20251117-abc123") is None


async def test_a_ticket_is_opened_once(github: GitHub, stand_ins) -> None:
    """The second call finds the first's issue by the key in its body, though the reply was lost."""
    stand_ins.vendors.fault("github", applied=True, method="POST")
    with pytest.raises(Transient):
        await github.ticket(TICKET)
    url = await github.ticket(TICKET)
    (said,) = stand_ins.told("github")
    assert url.endswith("/issues/1")
    assert said["title"] == TICKET.title
    assert said["labels"] == ["incident", "P2"]
    assert said["body"].startswith("Error rate 5 %")


async def test_another_key_is_another_ticket(github: GitHub) -> None:
    """Two releases that fail are two incidents."""
    first = await github.ticket(TICKET)
    assert await github.ticket(TICKET.model_copy(update={"key": "other"})) != first


async def test_a_wrong_token_is_named(github: GitHub) -> None:
    """By its field."""
    with pytest.raises(Refused, match=r"github\.token"):
        await github.model_copy(update={"token": SecretReference.given(SecretStr("wrong"))}).checks("abc123")


def test_a_check_without_an_address_is_still_a_check() -> None:
    """GitHub leaves the address out for some apps."""
    assert ci_findings([Check(name="build", conclusion="neutral")], ["build"]) == []


async def test_checks_of_another_commit_are_refused(stand_ins, github: GitHub) -> None:
    """A branch has the name of a short SHA, and GitHub answers for its newest commit."""
    stand_ins.vendors.github.checked("abc123", {"build": "success"})
    assert {one.name for one in await github.checks("abc123")} >= {"build"}
    with pytest.raises(Refused, match="answered with those of fedcba"):
        _check_of({"name": "build", "conclusion": "success", "head_sha": "fedcba" + "0" * 34}, "abc123")
