"""What people read of a run that wrote nothing, where they read it, and for which of them a person is paged."""

import pytest

from playbook.checklist.items import Override, Topic
from playbook.incident.decision_matrix import Severity, Symptom
from playbook.messages.facts import Audience, Message
from playbook.messages.not_started import (
    Asked,
    approval,
    asked_hotfix,
    asked_migration,
    asked_mitigation,
    asked_release,
    asked_rollback,
    late,
    not_started,
    not_started_page,
    refused_page,
)
from playbook.release.outcome import FlowResult, ReleaseOutcome
from playbook.release.request import HotfixRequest, Measure, MitigateRequest, RollbackRequest
from playbook.release.version import ReleaseRequest

RUN = "https://prefect.example.com/runs/flow-run/1f2e3d"
RELEASE = asked_release(ReleaseRequest(requested_by="Ada"))
HOTFIX = asked_hotfix(HotfixRequest(version="v20251116-hotfix1-abc123", reason="login bypass", incident="CVE-1"))
ROLLBACK = asked_rollback(RollbackRequest(symptom=Symptom.ERRORS_ABOVE_MAX, reason="500s", requested_by="Ada"))
MITIGATION = asked_mitigation(
    MitigateRequest(service="ethixai-backend", measure=Measure.SCALE, instances=3, reason="slow", requested_by="Ada")
)
MIGRATION = asked_migration("0007-rename", "reports are empty", "Ada")
REFUSED = FlowResult(end=ReleaseOutcome.REFUSED, message="Nothing was touched. No permission.")


@pytest.mark.parametrize(
    ("end", "title"),
    [
        (ReleaseOutcome.PLANNED, "📝 PRODUCTION RELEASE PLANNED, NOT STARTED"),
        (ReleaseOutcome.REFUSED, "⏹ PRODUCTION RELEASE DID NOT START (Refused)"),
        (ReleaseOutcome.NOTHING_TO_RELEASE, "⏹ PRODUCTION RELEASE DID NOT START (NothingToRelease)"),
        (ReleaseOutcome.DUPLICATE, "⏹ PRODUCTION RELEASE DID NOT START (Duplicate)"),
    ],
)
def test_a_release_that_wrote_nothing_says_whether_that_was_asked_for(end: ReleaseOutcome, title: str) -> None:
    """A plan is no failure; braces in the reason stay as they are."""
    said = not_started(FlowResult(end=end, message="Checks: {all} pass."), "production", RELEASE, RUN)
    assert said.text.splitlines()[0] == title
    assert "Checks: {all} pass." in said.text
    assert "Users: nothing changed for them in production" in said.text


@pytest.mark.parametrize(
    ("asked", "audience", "severity"),
    [
        (RELEASE, Audience.RELEASES, None),
        (HOTFIX, Audience.RELEASES, Severity.P0),
        (ROLLBACK, Audience.INCIDENTS, Severity.P1),
        (MITIGATION, Audience.INCIDENTS, None),
        (MIGRATION, Audience.INCIDENTS, Severity.P1),
    ],
    ids=lambda one: one.what if isinstance(one, Asked) else "",
)
def test_a_refusal_is_told_where_people_wait_and_paged_where_users_wait(
    asked: Asked, audience: Audience, severity: Severity | None
) -> None:
    """A release can wait until a person has looked; a rollback cannot."""
    said = not_started(REFUSED, "production", asked, RUN)
    assert (said.audience, asked.subject in said.text) == (audience, True)
    page = not_started_page(REFUSED, "production", asked, RUN)
    assert (page.severity if page else None) == severity


def test_a_refusal_says_once_that_nothing_was_touched() -> None:
    """The line about users says it; reason and page give the reason at once."""
    said = not_started(REFUSED, "production", ROLLBACK, RUN)
    assert "Reason: No permission." in said.text.splitlines()
    page = not_started_page(REFUSED, "production", ROLLBACK, RUN)
    assert page is not None
    assert page.summary == "Production rollback was refused: No permission."


@pytest.mark.parametrize(
    "said",
    [
        late("production", "v20251116-abc123", 5400, (), 1_763_733_600, RUN),
        approval("production", "v20251116-abc123", (), 1_763_733_600, RUN),
    ],
    ids=["late", "approval"],
)
def test_a_question_says_until_when_and_what_silence_does(said: Message) -> None:
    """Who reads it later knows that it is over."""
    assert f"Decide until 14:00 UTC whether it goes on; without an answer it ends Refused: {RUN}" in said.text
    assert "Users: nothing changed for them in production" in said.text


@pytest.mark.parametrize(
    "outcome",
    [
        REFUSED.model_copy(update={"is_request_wrong": True}),
        REFUSED.model_copy(update={"end": ReleaseOutcome.DUPLICATE}),
        REFUSED.model_copy(update={"end": ReleaseOutcome.PLANNED}),
    ],
    ids=["a form to correct", "the same run already", "a plan"],
)
def test_what_needs_no_second_person_pages_nobody(outcome: FlowResult) -> None:
    """The person who asked sees it, or wanted it."""
    assert not_started_page(outcome, "production", ROLLBACK, RUN) is None


def test_what_was_overridden_is_told_of_a_run_that_did_not_start_either() -> None:
    """In the message and on the page, and where it asks because it is late."""
    override = Override(item=Topic.CI, by="Ada", reason="flaky test")
    told = "⚠️ All CI tests passing on main: overridden by Ada: flaky test"
    release = asked_release(ReleaseRequest(overrides=(override,)))
    fix = asked_hotfix(HotfixRequest(version="v20251116-hotfix1-abc123", overrides=(override,)))
    for asked in (release, fix):
        assert told in not_started(REFUSED, "production", asked, RUN).text.splitlines()
    page = not_started_page(REFUSED, "production", fix, RUN)
    assert page is not None
    assert page.details["overridden"] == str(override)
    assert told in late("production", "v20251116-abc123", 5400, (override,), 0, RUN).text.splitlines()


def test_a_refusal_after_something_gave_way_does_not_say_that_nothing_changed() -> None:
    """The reason says what was done before."""
    done = "v1-a gave way in production: its users are back on stable."
    outcome = REFUSED.model_copy(update={"done_before": done, "message": f"{done} No permission."})
    assert "nothing changed" not in not_started(outcome, "production", HOTFIX, RUN).text
    staged = outcome.model_copy(update={"done_before": "staging has v1; production was not touched."})
    assert "nothing changed" in not_started(staged, "production", RELEASE, RUN).text


def test_a_run_that_was_refused_early_has_a_page() -> None:
    """What was touched, a line for each problem, as text; and the form."""
    wrong = FlowResult(end=ReleaseOutcome.REFUSED, message="Nothing was touched. version: no; services: [x](y)")
    text = refused_page("release 1.2 to production: Refused", wrong, ("version: no", "services: [x](y)"), "/v2/form")
    assert text.splitlines()[::2] == [
        "## release 1.2 to production: Refused",
        "**Nothing was touched.**",
        "- version: no",
        "",
    ]
    assert "- services: \\[x\\](y)" in text
    assert text.endswith("[the form, filled in as it was](</v2/form>).")
    done = wrong.model_copy(update={"done_before": "staging has v1; production was not touched."})
    assert "**staging has v1; production was not touched.**\n\n- version: no" in refused_page("n", done, (), "")
