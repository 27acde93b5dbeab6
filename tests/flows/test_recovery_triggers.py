"""Which death starts which recovery: the triggers of prefect.yaml, asked as Prefect's server asks them."""

import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent

DEPLOYMENTS = yaml.safe_load((Path(__file__).resolve().parents[2] / "prefect.yaml").read_text())["deployments"]


def recoveries_after(flow: str, environment: str, state: str, posture: str = "Reactive") -> set[str]:
    """The environments whose recovery starts when a run of ``flow/environment`` ends so: at once, or a while after."""
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
            asked = [EventTrigger.model_validate(one) for one in triggers if one["posture"] == posture]
            if any(one.covers(event) and (one.starts_after(event.event) or not one.after) for one in asked):
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
    """At once."""
    assert recoveries_after("recovery", environment, "Crashed") == {environment}


@pytest.mark.parametrize("environment", ["production", "staging"])
@pytest.mark.parametrize("state", ["Failed", "Refused"])
def test_a_failed_recovery_is_followed_by_another_a_while_after(environment: str, state: str) -> None:
    """Never at once: what it failed of may last. One that was refused has looked at nothing either."""
    assert recoveries_after("recovery", environment, state) == set()
    assert recoveries_after("recovery", environment, state, "Proactive") == {environment}


@pytest.mark.parametrize("environment", ["production", "staging"])
def test_a_recovery_that_did_its_work_is_followed_by_none(environment: str) -> None:
    """It has said what it did, or that another one does it."""
    for state in ("Passed", "Reverted", "Promoted", "Fenced"):
        assert recoveries_after("recovery", environment, state, "Proactive") == set()


def test_recoveries_that_fail_side_by_side_are_followed_by_one() -> None:
    """The alarm and the schedule both start some: they must not become more and more."""
    triggers = [trigger for deployment in DEPLOYMENTS for trigger in deployment.get("triggers", ())]
    after = [trigger for trigger in triggers if "prefect.flow-run.Failed" in trigger.get("after", ())]
    assert [trigger["for_each"] for trigger in after] == [["related:flow:prefect.resource.id"]] * 2


@pytest.mark.parametrize("environment", ["production", "staging"])
@pytest.mark.parametrize("state", ["Crashed", "Failed", "Cancelled"])
def test_a_migration_rollback_that_dies_is_looked_for(environment: str, state: str) -> None:
    """Writes may be off: nobody waits for the silence to be noticed."""
    assert recoveries_after("migration-rollback", environment, state) == {environment}


def test_what_holds_no_claim_starts_no_recovery() -> None:
    """A validation, a watch or an announcement that dies leaves nothing behind."""
    assert recoveries_after("validation", "production", "Crashed") == set()
