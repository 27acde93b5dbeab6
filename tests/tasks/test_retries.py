"""How often a step asks again, and that Prefect takes it so."""

import pytest
from prefect import task

from tasks import retries
from tasks.notify import STEPS

OPTIONS = {name: getattr(retries, name) for name in ("READ", "WRITE", "REVERT", "TELL", "LATER")}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_prefect_takes_every_set_of_options(options: retries.Options) -> None:
    """Prefect refuses more than 50 delays, and says so only when the task is made."""

    @task(**options)
    async def step() -> None:
        """Nothing."""

    assert step.retries == options["retries"]


@pytest.mark.parametrize("step", STEPS.values(), ids=lambda step: step.name)
def test_everything_that_can_be_said_can_be_said_later(step: object) -> None:
    """Each way of telling can be repeated with the patience of an announce run."""
    assert step.with_options(**retries.LATER).retries == retries.LATER["retries"]  # type: ignore[attr-defined]


def test_a_revert_is_the_most_patient() -> None:
    """Production waits for it: no other step of a release asks for longer."""
    patience = {name: sum(options["retry_delay_seconds"]) for name, options in OPTIONS.items() if name != "LATER"}
    assert max(patience, key=patience.__getitem__) == "REVERT"
