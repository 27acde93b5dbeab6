"""The form of a held release, as Prefect shows it."""

from typing import Any

import pytest
from prefect.input import RunInput

from tasks import gate


async def test_an_answer_is_not_taken_before_the_state_has_its_question(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect takes an answer once the form is saved. A state written after that would pause an answered run again."""
    done: list[str] = []

    async def say(message: str) -> None:
        done.append(message)

    async def save(*_: Any) -> None:
        done.append("the form is saved")

    monkeypatch.setattr(gate, "_say_in_state", say)
    monkeypatch.setattr(RunInput, "asave", save)
    form = gate.decide_form(10)
    form._message = "promote or revert?"
    await form.asave({})  # type: ignore[typeddict-item]  # no key is looked at here
    assert done == ["promote or revert?", "the form is saved"]
