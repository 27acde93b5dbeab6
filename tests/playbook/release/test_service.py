"""A service as it is read: what is served, what is under way, which tags are ours, and where it answers."""

from typing import Any

import pytest
from pydantic import ValidationError

from playbook.errors import Refused
from playbook.release.drift import LINES_MAX, Difference, Drift
from playbook.release.outcome import ReleaseOutcome
from playbook.release.plan import Order, commit_of, is_live, revision_name
from playbook.release.traffic import PREVIOUS_TAG, Scaling, ServiceSnapshot, TrafficSplit, is_our_tag
from playbook.release.version import Image, Version

OLD, NEW = TrafficSplit.all_to("r1"), TrafficSplit.all_to("r2")
BOTH = TrafficSplit(percent={"r1": 90, "r2": 10})


def snapshot(**fields: Any) -> ServiceSnapshot:
    made = {"service": "s", "etag": "1", "uri": "https://s", "split": OLD, "served": OLD}
    return ServiceSnapshot.model_validate(made | {"latest_ready": "r1", "latest_created": "r1"} | fields)


UNDER_WAY: dict[str, tuple[dict[str, Any], bool]] = {
    "nothing was asked for": ({}, False),
    "an operation does not end, and all is as it was asked for": ({"is_reconciling": True}, False),
    "another split is not served yet": ({"is_reconciling": True, "split": NEW}, True),
    "another tag is not served yet": ({"is_reconciling": True, "split": OLD.with_tag("t", "r1")}, True),
    "a new revision is starting": ({"is_reconciling": True, "latest_created": "r2"}, True),
    "nothing is served yet": ({"is_reconciling": True, "served": None}, True),
    "a new revision has failed": ({"latest_created": "r2"}, False),
}


@pytest.mark.parametrize(("fields", "is_under_way"), UNDER_WAY.values(), ids=UNDER_WAY)
def test_what_was_asked_for_and_may_still_come_is_under_way(fields: dict[str, Any], is_under_way: bool) -> None:
    """It is waited for; what has ended, well or badly, is not."""
    assert snapshot(**fields).is_under_way is is_under_way


TAGS = [
    ("canary", "backend-abc123-1f2e3d", True),
    ("canary", "backend-00041-xyz", False),
    ("canary-1f2e3d", "anything", True),
    ("canary-pr", "anything", False),
    ("c-1f2e3d", "backend-abc123-1f2e3d", True),
    ("c-1f2e3d", "backend-abc123-999999", False),
    (PREVIOUS_TAG, "anything", True),
    ("pr-12", "backend-abc123-1f2e3d", False),
]


@pytest.mark.parametrize(("tag", "revision", "ours"), TAGS)
def test_a_tag_is_ours_where_a_release_of_ours_has_set_it(tag: str, revision: str, ours: bool) -> None:
    """One like it on a revision of other people is theirs."""
    assert is_our_tag(tag, revision) is ours


def test_without_the_tags_of_tries_the_one_before_and_those_of_others_stay() -> None:
    """The tag of a try would make its revision reachable."""
    split = TrafficSplit.all_to("r1", {"c-1f2e3d": "b-1f2e3d", PREVIOUS_TAG: "r0", "pr-12": "r9"})
    assert split.without_canary_tags().tags == {PREVIOUS_TAG: "r0", "pr-12": "r9"}


def test_a_revision_that_has_a_share_already_gets_the_canarys() -> None:
    """It does not count twice, and the split stays whole; all users on it leave none for the rest."""
    with pytest.raises(ValidationError, match="sum to 100"):
        OLD.with_canary("r1", 50)
    assert BOTH.with_canary("r2", 50).percent == {"r1": 50, "r2": 50}
    assert OLD.with_canary("r2", 100).percent == {"r2": 100}


@pytest.mark.parametrize(
    ("scaling", "says"),
    [
        (Scaling(manual=0), "exactly 0 instances"),
        (Scaling(min_instances=1, max_instances=9), "1 to 9 instances"),
        (Scaling(), "0 to any number of instances"),
    ],
)
def test_scaling_is_said_in_words(scaling: Scaling, says: str) -> None:
    """No maximum is any number."""
    assert str(scaling) == says


def test_a_revision_answers_at_its_tags_url_and_the_service_at_its_own() -> None:
    """Where there is none, the next step is said."""
    found = snapshot(tag_urls={"c-1": "https://c-1---s"})
    assert (found.url_of("c-1"), found.url_of()) == ("https://c-1---s", "https://s")
    with pytest.raises(Refused, match="tag c-2 has no URL"):
        found.url_of("c-2")
    with pytest.raises(Refused, match="s: the service has no URL"):
        snapshot(uri="").url_of()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, ""),
        ({"is_url_disabled": True}, "--default-url"),
        ({"uri": ""}, "--default-url"),
        ({"ingress": "internal"}, "--ingress=all"),
    ],
)
def test_what_no_request_of_ours_can_reach_says_how_to_open_it(fields: dict[str, Any], says: str) -> None:
    """A new revision could not be tested before users reach it."""
    reason = snapshot(**fields).unreachable()
    assert bool(reason) is bool(says)
    assert says in reason


IMAGE = Image(repository="r/s", digest="sha256:1")
ORDER = Order(version=Version.parse("v20251116-abc123"), images={"s": IMAGE}, canary_percent=10)
SERVED = {"s": "mirror/s@sha256:1"}


@pytest.mark.parametrize(
    ("fields", "served", "live"),
    [
        pytest.param({}, SERVED, True, id="its image serves all users"),
        pytest.param({}, {"s": "mirror/s@sha256:2"}, False, id="another image does"),
        pytest.param({}, {}, False, id="which image does is not known"),
        pytest.param({"split": BOTH, "served": BOTH}, SERVED, False, id="only a share of them has it"),
        pytest.param({"served": NEW}, SERVED, False, id="it was asked for and is not served yet"),
    ],
)
def test_a_release_is_live_where_all_users_have_its_very_image(
    fields: dict[str, Any], served: dict[str, str], live: bool
) -> None:
    """Then there is nothing to release."""
    assert is_live(ORDER, {"s": snapshot(**fields)}, served) is live


def test_the_name_of_a_revision_says_its_commit() -> None:
    """One of another service, or of other people, says none."""
    name = revision_name("backend", ORDER.version, "v20251116-abc123-1f2e3d")
    assert (name, commit_of("backend", name)) == ("backend-abc123-1f2e3d", "abc123")
    assert commit_of("ai-core", name) == commit_of("backend", "backend-00041-xyz") == ""


def test_a_long_drift_is_cut_and_a_previews_is_left_to_it() -> None:
    """The message stays readable, and says how much more there is."""
    whole = tuple(Difference(field=f"env {n}", template="1") for n in range(LINES_MAX + 1))
    lines = Drift(service="s", revision="r2", differences=whole).lines
    assert (len(lines), lines[0], lines[-1]) == (LINES_MAX + 1, "env 0: 1 (serves: not set)", "and 1 more")
    assert len(Drift(service="s", revision="r2", differences=whole[1:]).lines) == LINES_MAX
    assert Drift(service="s", revision="r2", differences=whole[1:]).lines[-1] == f"env {LINES_MAX}: 1 (serves: not set)"
    assert Drift(service="s", revision="r2", differences=whole, previews=("pr-9",)).lines == ()


def test_ci_goes_on_where_nothing_is_left_to_do() -> None:
    """Every other end stops it."""
    good = {one.value for one in ReleaseOutcome if one.is_success}
    assert good == {"Promoted", "RolledBack", "Planned", "Passed", "NothingToRelease", "Duplicate", "Superseded"}
