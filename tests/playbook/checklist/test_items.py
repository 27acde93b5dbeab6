"""What the checks before a release make of the answers that they get."""

import pytest

from playbook.checklist.checks import Check, SecretState, Shift, ci_findings, secret_problem, uncovered
from playbook.checklist.gates import Gates
from playbook.checklist.items import (
    Answer,
    Item,
    Override,
    Topic,
    open_items,
    override_problems,
    overrides_in_use,
    refusal,
)


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
        (SecretState(name="s", exists=True, is_enabled=True, expires_at_s=99), "s expires on 1970-01-01 at 00:01 UTC"),
        (SecretState(name="s", exists=True, is_enabled=False), "s has no enabled version"),
        (SecretState(name="s", exists=False, is_enabled=False), "s does not exist"),
    ],
)
def test_a_secret_must_last_as_long_as_the_policy_asks(state: SecretState, problem: str | None) -> None:
    """Until 100 here."""
    assert secret_problem(state, 100) == problem


@pytest.mark.parametrize(
    ("shifts", "gap"),
    [
        ([], (0, 100)),
        ([Shift(person="a")], None),
        ([Shift(person="a", from_s=0, until_s=100)], None),
        ([Shift(person="a", until_s=60)], (60, 100)),
        ([Shift(person="a", until_s=60), Shift(person="b", from_s=60)], None),
        ([Shift(person="b", from_s=60), Shift(person="a", until_s=70)], None),
        ([Shift(person="a", until_s=40), Shift(person="b", from_s=60, until_s=200)], (40, 60)),
        ([Shift(person="a", from_s=10)], (0, 10)),
        ([Shift(person="a", until_s=60), Shift(person="b", from_s=60, until_s=60)], (60, 100)),
    ],
)
def test_on_call_is_covered_when_every_minute_of_the_window_is(
    shifts: list[Shift], gap: tuple[float, float] | None
) -> None:
    """From 0 to 100 here: a person who is on call now may go off duty within the hour."""
    assert uncovered(shifts, 0, 100) == gap


def item(answer: Answer, topic: Topic = Topic.CI, *, blocks: bool = True, override: Override | None = None) -> Item:
    """An item with this answer."""
    return Item(topic=topic, answer=answer, seen="x", blocks=blocks, override=override)


@pytest.mark.parametrize("answer", Answer)
@pytest.mark.parametrize("blocks", [True, False])
def test_what_cannot_be_told_stops_a_release_as_a_failure_does(answer: Answer, blocks: bool) -> None:
    """Only a tick or an acknowledgement lets a release pass; what the policy does not block on never stops one."""
    stops = blocks and answer in (Answer.FAIL, Answer.CANNOT_TELL)
    one = item(answer, blocks=blocks)
    assert (open_items([one]) == (one,)) is stops
    assert bool(refusal([one])) is stops


def test_an_override_opens_its_own_item_and_no_other() -> None:
    """The refusal names what is still open; an override that was not needed is not told."""
    override = Override(item=Topic.CI, by="Ada", reason="looked at by hand")
    found = [item(Answer.FAIL, override=override), item(Answer.CANNOT_TELL, Topic.SCAN), item(Answer.PASS, Topic.BUILD)]
    assert [one.topic for one in open_items(found)] == [Topic.SCAN]
    assert overrides_in_use(found) == (override,)
    assert overrides_in_use([item(Answer.PASS, override=override)]) == ()
    assert refusal(found).endswith("override each item with a name and a reason: scan.")


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        (Override(item=Topic.CI, by="Ada", reason="x"), None),
        (Override(item=Topic.CI, by=" ", reason="x"), "overrides: ci: by: say who decides"),
        (Override(item=Topic.CI, by="Ada", reason=""), "overrides: ci: reason: say why the release may go on"),
    ],
)
def test_an_override_has_a_name_and_a_reason(override: Override, problem: str | None) -> None:
    """Each is named where it is missing."""
    assert override_problems([override]) == ([problem] if problem else [])


def test_an_item_is_overridden_once() -> None:
    """Two people may not give two reasons for one item."""
    twice = [Override(item=Topic.CI, by=by, reason="x") for by in ("Ada", "Bob")]
    assert override_problems(twice) == ["overrides: ci is overridden twice"]


def test_each_answer_looks_different() -> None:
    """In words too, where the answer could not be had."""
    assert len({str(item(answer)).split()[0] for answer in Answer}) == len(Answer)
    assert "CANNOT TELL" in str(item(Answer.CANNOT_TELL))


def test_an_override_is_read_beside_the_item_that_needed_it() -> None:
    """An item that passed all the same needs no excuse."""
    override = Override(item=Topic.CI, by="Ada", reason="looked at by hand")
    assert str(item(Answer.FAIL, override=override)).endswith(": x (overridden by Ada: looked at by hand)")
    assert str(item(Answer.PASS, override=override)).endswith(": x")
    assert str(item(Answer.FAIL)).endswith(": x")


def test_everything_but_the_notes_stops_a_release_by_default() -> None:
    """A hotfix is stopped by a wrong build and by the emergency stop."""
    gates = Gates()
    assert [topic for topic in Topic if not gates.stops(topic)] == [Topic.NOTES]
    assert [topic for topic in Topic if gates.stops(topic, is_hotfix=True)] == [Topic.BUILD, Topic.LINE]
