"""Which death starts which recovery: the triggers of prefect.yaml, asked as Prefect's server asks them."""

import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent

DEPLOYMENTS = yaml.safe_load((Path(__file__).resolve().parents[2] / "prefect.yaml").read_text())["deployments"]


def recoveries_after(flow: str, environment: str, state: str) -> set[str]:
    """The environments whose recovery starts when a run of ``flow/environment`` ends so."""
    role = "prefect.resource.role"
    event = ReceivedEvent.model_validate(
        {
            "id": uuid.uuid4(),
            "occurred": datetime.now(UTC),
            "event": f"prefect.flow-run.{state}",
            "resource": {"prefect.resource.id": "prefect.flow-run.1"},
            "related": [
                {
                    "prefect.resource.id": "prefect.flow.1",
                    role: "flow",
                    "prefect.resource.name": flow,
                },
                {"prefect.resource.id": f"prefect.tag.{environment}", role: "tag"},
            ],
        }
    )
    started = set()
    for deployment in DEPLOYMENTS:
        if deployment["entrypoint"] == "flows.recovery.recovery":
            triggers = [{k: v for k, v in trigger.items() if k != "name"} for trigger in deployment["triggers"]]
            if any(EventTrigger.model_validate(trigger).covers(event) for trigger in triggers):
                started.add(deployment["name"])
    return started


@pytest.mark.parametrize("state", ["Crashed", "Failed", "Cancelled"])
def test_a_release_to_production_that_dies_is_looked_for_in_staging_too(state: str) -> None:
    """It begins there: one that dies between its claim of staging and its first beat would hold it for minutes."""
    assert recoveries_after("release", "production", state) == {"production", "staging"}
    assert recoveries_after("hotfix", "production", state) == {"production", "staging"}


def test_a_release_to_staging_holds_nothing_of_production() -> None:
    """So its death is no reason to look there."""
    assert recoveries_after("release", "staging", "Crashed") == {"staging"}


@pytest.mark.parametrize("environment", ["production", "staging"])
def test_a_killed_recovery_is_followed_by_another_of_the_same(environment: str) -> None:
    """One that ended in any other way is not: it has said why."""
    assert recoveries_after("recovery", environment, "Crashed") == {environment}
    assert recoveries_after("recovery", environment, "Failed") == set()


def test_what_holds_no_claim_starts_no_recovery() -> None:
    """A validation, a watch or an announcement that dies leaves nothing behind."""
    assert recoveries_after("validation", "production", "Crashed") == set()
