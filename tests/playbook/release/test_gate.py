"""What a person's answer must have before it is carried out."""

from typing import Any

import pytest

from playbook.release.gate import DEADLINE, JUDGE, Answer, Choice, Consent

NO_NAME = ["", " ", "⁠", "​ ­", "ᅠㅤ", "-", "…", "🙂", "None", "null", "nobody", DEADLINE, "The Judge"]
"""Empty, invisible (word joiner, zero width, soft hyphen, Hangul fillers), signs alone, words for no one, our own."""


@pytest.mark.parametrize("name", NO_NAME)
@pytest.mark.parametrize("choice", [Choice.PROMOTE, Choice.EXTEND, Choice.RAISE])
def test_only_a_person_takes_a_release_further(choice: Choice, name: str) -> None:
    """The form is shown again, and says what is missing."""
    answer = Answer(choice=choice, approver=name, reason="a known bug", minutes=5, percent=20)
    assert answer.problems(10) == ["approver: say who decides"]


@pytest.mark.parametrize("name", NO_NAME)
def test_only_a_person_lets_a_release_begin(name: str) -> None:
    """The same before production is written."""
    assert Consent(goes_on=True, by=name).problems() == ["by: say who decides"]
    assert Consent(goes_on=True, by="李").problems() == []


def test_silence_stops_and_reverts() -> None:
    """Its words are the engine's own."""
    assert Answer(choice=Choice.REVERT, approver=DEADLINE, reason="No approval within 15 minutes").problems(10) == []
    assert Answer(choice=Choice.REVERT, approver=JUDGE, reason="5 of 9 failed").problems(10) == []
    assert Consent(goes_on=False, by=DEADLINE).problems() == []


@pytest.mark.parametrize("reason", ["", "⁠", ".", "—"])
def test_a_decision_has_a_reason(reason: str) -> None:
    """Signs that no one can read are none."""
    assert Answer(choice=Choice.PROMOTE, approver="Ada", reason=reason).problems(10) == ["reason: say why"]


def test_a_reason_has_an_end() -> None:
    """It is written on the service and told in every message."""
    (problem,) = Answer(choice=Choice.PROMOTE, approver="Ada", reason="x" * 501).problems(10)
    assert problem == "reason: it has 501 characters; at most 500 are taken"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"choice": Choice.PROMOTE}, "Ada decided to promote: a known bug"),
        ({"choice": Choice.EXTEND, "minutes": 5}, "Ada decided to extend by 5 minutes: a known bug"),
        ({"choice": Choice.RAISE, "percent": 20}, "Ada decided to raise to 20 %: a known bug"),
        ({"choice": Choice.REVERT, "approver": DEADLINE}, "a known bug"),
    ],
)
def test_what_was_decided_is_said_in_a_sentence(answer: dict[str, Any], says: str) -> None:
    """Where no person answered, the reason says so."""
    assert str(Answer.model_validate({"approver": "Ada", "reason": "a known bug"} | answer)) == says


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"choice": Choice.EXTEND, "minutes": 1}, ""),
        ({"choice": Choice.EXTEND, "minutes": 60}, ""),
        ({"choice": Choice.EXTEND, "minutes": 0}, "minutes: 0 is not between 1 and 60"),
        ({"choice": Choice.EXTEND, "minutes": 61}, "minutes: 61 is not between 1 and 60"),
        ({"choice": Choice.RAISE, "percent": 11}, ""),
        ({"choice": Choice.RAISE, "percent": 50}, ""),
        ({"choice": Choice.RAISE, "percent": 10}, "percent: 10 is not above the canary's 10 and at most 50"),
        ({"choice": Choice.RAISE, "percent": 51}, "percent: 51 is not above the canary's 10 and at most 50"),
        ({"choice": Choice.PROMOTE, "minutes": 99, "percent": 99}, ""),
    ],
)
def test_a_bake_is_lengthened_and_a_share_raised_within_limits(answer: dict[str, Any], problem: str) -> None:
    """What another choice does not use is not looked at."""
    found = Answer.model_validate({"approver": "Ada", "reason": "a known bug"} | answer).problems(10)
    assert found == ([problem] if problem else [])
