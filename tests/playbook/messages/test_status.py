"""The status page: what serves, what is under way, and how the last runs ended, in words and links."""

from typing import Any

import pytest

from playbook.incident.decision_matrix import Symptom
from playbook.lease.lease import Decision, ReleaseLease, RollbackLease, ServiceRollout
from playbook.lease.record import EPOCH, LAST_GOOD, LEASE, MITIGATION
from playbook.messages.status import (
    Ended,
    Link,
    Serving,
    Start,
    Status,
    described,
    key_of,
    link_to,
    newest_release,
    page,
    serving_of,
    standing,
    started,
    ways_back,
)
from playbook.release.request import RollbackRequest
from playbook.release.traffic import ServiceSnapshot, TrafficSplit
from playbook.rollback.plan import preview

AT_S = 1_763_647_200.0  # Thu 20 Nov 2025, 14:00 UTC
DIGEST = "sha256:" + "a" * 64
ROLLOUT = ServiceRollout(
    service="ethixai-backend",
    from_revision="ethixai-backend-00041-old",
    to_revision="ethixai-backend-00042-new",
    found=TrafficSplit.all_to("ethixai-backend-00041-old"),
    image=f"ghcr.io/geoaziz/ethixai-backend@{DIGEST}",
)
COMMON: dict[str, Any] = {
    "release_id": "v20251116-abc123-1f2e3d",
    "version": "v20251116-abc123",
    "flow_run_id": "0a1b2c3d-0000-4000-8000-000000000000",
    "epoch": 7,
    "rollouts": (ROLLOUT,),
    "canary_percent": 10,
    "deadline_s": AT_S + 7200,
    "requested_by": "Aziz",
}
RELEASE = ReleaseLease(**COMMON)


def good(release: str, revision: str, at_s: float) -> str:
    """One entry of the annotation."""
    return (
        f'{{"release": "{release}", "revision": "{revision}", "digest": "{DIGEST}", "promoted_at_s": {at_s}, '
        '"is_return": false}'
    )


def snapshot(split: dict[str, int], **annotations: str) -> ServiceSnapshot:
    """A service that gives its users ``split``."""
    return ServiceSnapshot(
        service="ethixai-backend",
        etag="1",
        uri="https://backend",
        split=TrafficSplit(percent=split),
        served=TrafficSplit(percent=split),
        annotations=annotations,
    )


GOODS = (
    f"[{good('v20251115-def456', 'backend-3', AT_S)}, {good('v20251114-aaaaaa', 'backend-2', AT_S - 86400)}, "
    f"{good('v20251113-bbbbbb', 'backend-1', AT_S - 172800)}]"
)


def status(**changes: Any) -> Status:
    """Production at rest."""
    serving = Serving(
        service="ethixai-backend", users_on="100 % on v20251115-def456", release="v20251115-def456", since_s=AT_S
    )
    known: dict[str, Any] = {"environment": "production", "serving": (serving,), "ui_url": "https://prefect"}
    return Status(**{**known, **changes})


def test_what_serves_is_the_first_line() -> None:
    """With since when, and who released it."""
    text = page(status(released_by="Aziz"))
    assert text.startswith("## production serves v20251115-def456\n\nSince Thu 20 Nov 14:00 UTC, released by Aziz.  \n")
    assert "**Under way:** nothing." in text
    assert "**Next scheduled release:** none." in text


def test_the_same_status_gives_the_same_page() -> None:
    """It is written again only when it says something else."""
    assert page(status()) == page(status())


def test_services_on_different_releases_are_said_to_be() -> None:
    """No release is named as if it were everywhere, and what is not recorded is no release."""
    other = Serving(service="ethixai-frontend", users_on="100 % on v2", release="v20251114-aaaaaa", since_s=AT_S)
    before = Serving(service="ethixai-frontend", users_on="100 % on frontend-1", release="frontend-1")
    (mine,) = status().serving
    heads = [page(status(serving=found)).splitlines()[0] for found in ((mine, other), (mine, before), (before,))]
    assert heads == [
        "## production serves v20251115-def456 and v20251114-aaaaaa",
        "## production serves v20251115-def456",
        "## production serves what was there before the first release of this playbook",
    ]
    assert "UTC. What was there before still serves on ethixai-frontend." in page(status(serving=(mine, before)))


def test_who_released_it_is_asked_of_the_newest_recorded_release() -> None:
    """A revision that no release of this playbook brought is none, wherever it stands in the list."""
    before = Serving(service="ethixai-ai-core", users_on="100 % on core-1", release="core-1")
    older = Serving(service="ethixai-frontend", release="v20251114-aaaaaa", since_s=AT_S - 1)
    (mine,) = status().serving
    assert newest_release((before, older, mine)) == "v20251115-def456"
    assert newest_release((before,)) == ""


def test_nothing_that_can_be_read_is_said_to_be_not_known() -> None:
    """The problem stands beside its service."""
    lost = Serving(service="ethixai-backend", problem="could not be read: 403")
    text = page(status(serving=(lost,)))
    assert text.startswith("## production: what serves is not known\n")
    assert "| ethixai-backend | not known | not recorded | could not be read: 403 |" in text


def test_a_service_says_which_release_its_users_have() -> None:
    """By its traffic and its own record."""
    found = serving_of(snapshot({"backend-3": 90, "backend-4": 10}, **{LAST_GOOD: GOODS}))
    assert (found.users_on, found.release, found.since_s) == (
        "90 % on v20251115-def456, 10 % on backend-4",
        "v20251115-def456",
        AT_S,
    )


def test_a_record_that_cannot_be_read_hides_no_traffic() -> None:
    """What users have is read from the traffic."""
    found = serving_of(snapshot({"backend-3": 100}, **{LEASE: "{"}))
    assert found.users_on == "100 % on backend-3"
    assert "cannot be used" in found.problem


def test_a_mitigation_is_shown_with_its_reason() -> None:
    """A service that is scaled by hand is no service at rest."""
    measure = (
        '{"measure": "scale", "by": "Aziz", "reason": "the queue grows", "at_s": 1, '
        '"split": {"percent": {"backend-3": 100}}, "scaling": {}}'
    )
    found = serving_of(snapshot({"backend-3": 100}, **{LAST_GOOD: GOODS, MITIGATION: measure}))
    assert "scale by Aziz: the queue grows" in page(status(serving=(found,)))


def test_the_ways_back_are_the_last_good_releases_that_do_not_serve() -> None:
    """The newest first."""
    assert ways_back([snapshot({"backend-3": 100}, **{LAST_GOOD: GOODS})]) == ("v20251114-aaaaaa", "v20251113-bbbbbb")
    assert ways_back([snapshot({"backend-3": 100}, **{LEASE: "{"})]) == ()


STANDING = [
    (RELEASE, "all users are on the old revisions; the new ones are being started."),
    (RELEASE.decided(Decision.BAKE), "10 % of the users are being moved to the canary."),
    (
        RELEASE.decided(Decision.BAKE).baking_from(AT_S),
        "10 % of the users are on the canary since Thu 20 Nov 14:00 UTC.",
    ),
    (
        RELEASE.decided(Decision.BAKE).baking_from(AT_S).gated(AT_S, 900),
        "held: a person decides until Thu 20 Nov 14:15 UTC; without an answer it is reverted.",
    ),
    (RELEASE.decided(Decision.PROMOTE), "all users are being moved to the new revisions."),
    (RELEASE.decided(Decision.REVERT, "Errors."), "all users are being moved back. Errors."),
]


@pytest.mark.parametrize(("lease", "says"), STANDING)
def test_a_release_under_way_says_where_its_users_are(lease: ReleaseLease, says: str) -> None:
    """With a link to its run, and who asked for it."""
    assert standing(lease) == says
    text = page(status(under_way=(lease,), last_words="smoke tests passed"))
    run = "https://prefect/v2/runs/flow-run/0a1b2c3d-0000-4000-8000-000000000000"
    assert f"**Under way:** [release v20251116-abc123]({run}): {says} Asked for by Aziz. Last step: smoke" in text


def test_a_rollback_under_way_is_called_one() -> None:
    """Also for what a person sees that the matrix has no row for."""
    asked = RollbackRequest(symptom=Symptom.SOMETHING_ELSE, reason="sales have stopped", requested_by="Aziz")
    text = page(status(under_way=(RollbackLease(**COMMON, request=asked),)))
    assert "[rollback of v20251116-abc123](" in text


@pytest.mark.parametrize(
    ("annotations", "says"),
    [
        ({LAST_GOOD: GOODS}, "takes all users of ethixai-backend back to v20251114-aaaaaa."),
        ({}, "is refused. There is nothing to roll back to: "),
        ({LEASE: "no JSON"}, "is not possible: no service can be read."),
        ({LEASE: RELEASE.stored(), EPOCH: "7"}, "takes back what is under way; without a target nothing else moves."),
    ],
    ids=["one back", "nothing recorded", "unreadable", "under way"],
)
def test_what_a_rollback_would_do_is_said_before_it_is_asked_for(annotations: dict[str, str], says: str) -> None:
    """On the status page, in a sentence."""
    said = preview([snapshot({"backend-3": 100}, **annotations)])
    assert said.startswith(says)
    assert f"**A rollback now** {says[:20]}" in page(status(rollback=said))


def test_each_end_has_its_reason_and_a_link() -> None:
    """At most ten; the outcome is not said twice; what people wrote is no markup."""
    one = Ended(
        name="release v1 to production: Reverted",
        url="https://prefect/run",
        outcome="Reverted",
        reason="Error rate 4.8 % | <b>above</b> 0.5 %",
        at_s=AT_S,
        by="Ada, approved by Grace (CVE-1)",
        flow="release",
    )
    text = page(status(ended=(one,) * 12))
    why = r"Error rate 4.8 % \| &lt;b&gt;above&lt;/b&gt; 0.5 %"
    run = "[release v1 to production](https://prefect/run)"
    assert f"| Thu 20 Nov 14:00 UTC | {run}, by Ada, approved by Grace (CVE-1) | **Reverted** | {why} |" in text
    assert text.count("**Reverted**") == 10
    assert f"**Last reverted:** [release v1](https://prefect/run), Thu 20 Nov 14:00 UTC. {why}." in text


CANCELLED = Ended(
    name="release v1 to production",
    url="https://prefect/1",
    outcome="Cancelled",
    reason="",
    at_s=AT_S,
    flow="release",
    release="v1",
)
TOOK_BACK = CANCELLED.model_copy(
    update={"name": "recover v1-1f2e3d in production: Reverted", "url": "https://prefect/2", "outcome": "Reverted"}
    | {"reason": "Ada cancelled it.", "flow": "recovery", "release": "", "took_back": "v1"}
)
REVERTED = CANCELLED.model_copy(update={"outcome": "Reverted", "reason": "Errors."})


@pytest.mark.parametrize(
    ("ended", "says"),
    [
        ((TOOK_BACK, CANCELLED), "[release v1](https://prefect/1), by [recovery](https://prefect/2), Thu"),
        ((TOOK_BACK,), "release v1, by [recovery](https://prefect/2), Thu"),
        (
            (TOOK_BACK.model_copy(update={"flow": "rollback", "outcome": "RolledBack"}), CANCELLED),
            "[release v1](https://prefect/1), by [rollback](https://prefect/2), Thu",
        ),
        ((TOOK_BACK.model_copy(update={"outcome": "Interrupted", "took_back": ""}), REVERTED), "[release v1](h"),
    ],
    ids=["by recovery", "its own run is not listed any more", "a rollback of what was under way", "of a rollback"],
)
def test_the_last_revert_is_that_of_a_release_whichever_run_did_it(ended: tuple[Ended, ...], says: str) -> None:
    """The release is named, with a link to its own run, and what took it back where that was another run."""
    assert f"**Last reverted:** {says}" in page(status(ended=ended))


def test_the_first_screen_says_who_approved_the_last_hotfix() -> None:
    """Also where ten runs have ended since; a hotfix that was refused reached no user."""
    other = Ended(name="release v1 to production", url="https://prefect/1", outcome="Promoted", reason="", at_s=AT_S)
    refused = other.model_copy(update={"outcome": "Refused", "flow": "hotfix", "by": "Eve"})
    fix = other.model_copy(
        update={"name": "hotfix v2 to production", "flow": "hotfix", "by": "Ada, approved by Grace (CVE-1)"}
    )
    text = page(status(ended=(*(other,) * 10, refused, fix)))
    assert "**Last hotfix:** [hotfix v2](https://prefect/1), by Ada, approved by Grace (CVE-1)." in text
    assert "Last reverted" not in text


DESCRIBED = {
    "**Roll production back** to the release before, in seconds.\n\nWhat serves now: [production](https://prefect)": (
        "Roll production back",
        "to the release before, in seconds.",
    ),
    "**Check the set-up:** permissions, metrics.": ("Check the set-up", "permissions, metrics."),
    "Looks back at each release.": ("Quarterly review", "Looks back at each release."),
    "": ("Quarterly review", ""),
}


@pytest.mark.parametrize("description", DESCRIBED)
def test_what_can_be_started_is_named_in_the_words_of_its_description(description: str) -> None:
    """Prefect's list of deployments shows a dozen rows called production; the page says what each is for."""
    title, what = started(description, "quarterly-review")
    assert (title, what) == DESCRIBED[description]
    assert f"**[{title}](https://form)** {what}".rstrip() in page(
        status(starts=(Start(title=title, url="https://form", what=what),))
    )


def test_forms_and_places_are_links() -> None:
    """Filled-in forms first."""
    links = (Link(title="a rollback to v1", url="https://prefect/form?parameters=%7B%7D"),)
    places = (Link(title="logs", url="https://logs"),)
    text = page(status(forms=links, places=places, notices=("The line is stopped: by Aziz",), next_start_s=AT_S))
    assert "**Start** [a rollback to v1](https://prefect/form?parameters=%7B%7D)" in text
    assert "**Look at** [logs](https://logs)" in text
    assert "**The line is stopped: by Aziz**" in text
    assert "**Next scheduled release:** Thu 20 Nov 14:00 UTC." in text


def test_a_deployments_description_has_one_link_to_the_page() -> None:
    """However often it is deployed; none where the UI's address is not known."""
    url = link_to("production", "https://prefect")
    once = described("Releases a version.", "production", url)
    assert once == f"Releases a version.\n\nWhat serves now: [production]({link_to('production', 'https://prefect')})"
    assert described(once, "production", url) == once
    assert described("Releases a version.", "production", "") == "Releases a version."
    assert key_of("production") == "production-now"
