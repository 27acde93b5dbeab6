"""What the checklist makes of the answers that it gets."""

import pytest

from playbook.checklist.checks import Check, SecretState, ci_findings, secret_problem
from playbook.checklist.items import Item, Topic, open_items


def checks(**conclusions: str) -> list[Check]:
    """Runs by name; several of one name are separated by a space."""
    return [Check(name=name, conclusion=one) for name, ones in conclusions.items() for one in ones.split()]


@pytest.mark.parametrize(
    ("found", "problems"),
    [
        ({"test": "success", "trivy": "success"}, []),
        ({"test": "success", "trivy": "skipped neutral"}, []),
        ({"test": "success", "trivy": "success", "lint": "failure"}, []),
        ({"test": "failure success", "trivy": "success"}, ["test is failure"]),
        ({"test": "success failure", "trivy": "success"}, ["test is failure"]),
        ({"test": "success", "trivy": "pending"}, ["trivy is pending"]),
        ({"test": "success"}, ["trivy has not run"]),
        ({}, ["test has not run", "trivy has not run"]),
        ({"test": "cancelled cancelled timed_out", "trivy": "success"}, ["test is cancelled, timed_out"]),
    ],
)
def test_a_required_check_has_passed_when_every_run_of_its_name_has(found: dict[str, str], problems: list[str]) -> None:
    """A success does not outweigh a failure, whichever came last; checks that are not required do not count."""
    assert ci_findings(checks(**found), ("test", "trivy")) == problems


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        (SecretState(name="s", exists=True, is_enabled=True), None),
        (SecretState(name="s", exists=True, is_enabled=True, expires_at_s=100), None),
        (SecretState(name="s", exists=True, is_enabled=True, expires_at_s=99), "s expires within two hours"),
        (SecretState(name="s", exists=True, is_enabled=False), "s has no enabled version"),
        (SecretState(name="s", exists=False, is_enabled=False), "s does not exist"),
    ],
)
def test_a_secret_must_last_as_long_as_the_release_is_watched(state: SecretState, problem: str | None) -> None:
    """Until 100 here."""
    assert secret_problem(state, 100) == problem


@pytest.mark.parametrize(("is_met", "stops"), [(True, False), (False, True), (None, True)])
def test_what_cannot_be_told_stops_a_release_as_a_failure_does(is_met: bool | None, stops: bool) -> None:
    """Only a tick lets a release pass; the notes never stop one."""
    items = tuple(Item(topic=topic, is_met=is_met, seen="x") for topic in Topic)
    assert [item.topic for item in open_items(items)] == ([Topic.CI, Topic.SECRETS, Topic.ON_CALL] if stops else [])


def test_each_answer_looks_different() -> None:
    """In words too, where the answer could not be had."""
    signs = [str(Item(topic=Topic.CI, is_met=is_met, seen="x")).split()[0] for is_met in (True, False, None)]
    assert len(set(signs)) == 3
    assert "CANNOT TELL" in str(Item(topic=Topic.CI, is_met=None, seen="x"))
