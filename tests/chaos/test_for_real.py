"""The checks after a real kill have teeth: a good world passes, and each thing that may be wrong with it is named."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from real_cases import CASES
from real_checks import PROJECTS, Seen, wrong
from wire import Moment

from rehearsal.checks import OURS
from rehearsal.test_environment import PRODUCTION, SERVICES

VERSION = "v20251116-abc1234"
LEAD = SERVICES[0]


def name(service: str) -> str:
    """A service of production as writes name it."""
    return f"projects/{PRODUCTION}/locations/us-east1/services/{service}"


def only(revision: str, tag: str = "") -> list[dict[str, Any]]:
    """All users on one revision."""
    return [{"revision": revision, "percent": 100, "tag": tag}]


def write(service: str, revision: str, mask: str = "traffic", **annotations: str) -> dict[str, Any]:
    """A write that took effect."""
    ours = {f"{OURS}{key}": value for key, value in annotations.items()}
    return {
        "resource": name(service),
        "applied": True,
        "mask": [mask],
        "traffic": only(revision),
        "annotations": ours,
    }


def word(key: str) -> dict[str, Any]:
    """A message to Slack."""
    return {"vendor": "slack", "path": "/api/chat.postMessage", "body": {"metadata": {"event_payload": {"key": key}}}}


def reverted() -> Seen:
    """A release that was claimed, moved a service, and was taken back."""
    services = [
        {
            "project": project,
            "service": service,
            "served": only("old"),
            "traffic": only("LATEST"),
            "revisions": {"old": {"is_ready": True}},
            "reconciling": False,
            "annotations": {f"{OURS}epoch": "1"},
            "tags": {},
        }
        for project in PROJECTS
        for service in SERVICES
    ]
    writes = [write(LEAD, "LATEST", claim="1"), write(LEAD, "new", claim="1"), write(LEAD, "old", claim="2")]
    told = [
        word("production/1/starting"),
        word("production/1/rolled-back"),
        {"vendor": "pagerduty", "path": "/v2/enqueue", "body": {"dedup_key": "1"}},
        {"vendor": "github", "path": "/repos/x/y/issues", "body": {"title": "taken back"}},
    ]
    before = {project: {service: {"old": 100} for service in SERVICES} for project in PROJECTS}
    return Seen(VERSION, before, services, writes, told, watches=0)


def test_a_release_that_was_taken_back_passes() -> None:
    """Nothing is found where nothing is wrong."""
    assert wrong(reverted()) == []
    assert reverted().outcome == "on stable"


BROKEN = {
    "split": ({"served": [*only("old"), {"revision": "new", "percent": 10, "tag": ""}]}, "serves"),
    "not ready": ({"revisions": {"old": {"is_ready": False}}}, "serves"),
    "another release": ({"served": only("other"), "revisions": {"other": {"is_ready": True}}}, "another release"),
    "asked, not served": ({"traffic": only("new")}, "is asked for"),
    "a claim": ({"annotations": {f"{OURS}claim": "1"}}, "still carries claim"),
    "a tag": ({"tags": {"canary": "http://canary"}}, "still has the tag canary"),
}


@pytest.mark.parametrize(("state", "words"), BROKEN.values(), ids=BROKEN)
def test_a_service_that_is_not_as_it_must_be_is_named(state: dict[str, Any], words: str) -> None:
    """By project and name, with what is wrong with it."""
    seen = reverted()
    services = deepcopy(seen.services)
    services[0] |= state
    assert any(LEAD in sentence and words in sentence for sentence in wrong(replace(seen, services=services)))


TWICE = {
    "a move": (write(LEAD, "new", claim="3"), "was given 2 times"),
    "the same write": (write(LEAD, "old", claim="2"), "written twice alike"),
}


@pytest.mark.parametrize(("again", "words"), TWICE.values(), ids=TWICE)
def test_an_act_that_was_done_twice_is_named(again: dict[str, Any], words: str) -> None:
    """A second move to the same place, and a write that changed nothing."""
    seen = reverted()
    assert any(words in sentence for sentence in wrong(replace(seen, writes=[*seen.writes, again])))


@pytest.mark.parametrize("at", range(4))
def test_a_fact_that_was_not_told_or_told_twice_is_named(at: int) -> None:
    """The start, the revert, the page, the ticket; a page says the same incident, so twice is as good as once."""
    seen = reverted()
    assert wrong(replace(seen, vendor_calls=[*seen.vendor_calls[:at], *seen.vendor_calls[at + 1 :]]))
    twice = wrong(replace(seen, vendor_calls=[*seen.vendor_calls, seen.vendor_calls[at]]))
    assert bool(twice) is (seen.vendor_calls[at]["vendor"] != "pagerduty")


def test_the_sample_holds_every_moment_and_both_kinds_of_end() -> None:
    """At least twenty kills, at each moment, with good and bad releases, and two of them kill the recovery too."""
    assert len(CASES) >= 20
    assert {case.moment for case in CASES} == set(Moment)
    assert {case.ends for case in CASES} == {"promoted", "on stable"}
    assert sum(case.then is not None for case in CASES) == 2
