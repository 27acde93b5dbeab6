"""What Prefect's server tells by itself: each notice asked for events as the server asks it."""

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.server.utilities.user_templates import validate_user_template

from playbook.messages.facts import Audience
from playbook.messages.server_notices import FIELDS, POOL, Notice, server_notices

ROOT = Path(__file__).resolve().parents[3]
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
PRODUCTION = server_notices("production", is_production=True)


def event_of(name: str, resource: dict[str, str], *related: dict[str, str]) -> ReceivedEvent:
    """An event as the server keeps it."""
    found = {"id": uuid.uuid4(), "occurred": datetime.now(UTC), "event": name, "resource": resource}
    return ReceivedEvent.model_validate(found | {"related": list(related)})


def of_run(flow: str, environment: str, state: str) -> ReceivedEvent:
    """A run of ``flow/environment`` came to ``state``."""
    role = "prefect.resource.role"
    return event_of(
        f"prefect.flow-run.{state}",
        {"prefect.resource.id": "prefect.flow-run.1"},
        {"prefect.resource.id": "prefect.flow.1", role: "flow", "prefect.resource.name": flow},
        {"prefect.resource.id": f"prefect.tag.{environment}", role: "tag"},
    )


def trigger(one: Notice) -> EventTrigger:
    """As the server reads it."""
    return EventTrigger.model_validate({"type": "event", **one.trigger})


def told(event: ReceivedEvent, notices: tuple[Notice, ...] = PRODUCTION) -> list[Notice]:
    """The notices that ``event`` fires, or begins to wait for; not those that wait for it to stay away."""
    found = []
    for one in notices:
        asked = trigger(one)
        begins = asked.starts_after(event.event) if asked.after else asked.posture.value == "Reactive"
        if begins and asked.covers(event):
            found.append(one)
    return found


@pytest.mark.parametrize("state", ["Late", "Pending"])
@pytest.mark.parametrize("flow", ["release", "hotfix", "rollback", "recovery", "migration-rollback", "mitigate"])
def test_a_run_that_does_not_begin_is_told_and_users_wait_for_some(flow: str, state: str) -> None:
    """A late one, and one that a worker took and never started. The release waits in its own channel; the rest page."""
    (one,) = told(of_run(flow, "production", state))
    assert (one.audience, bool(one.page)) == (
        (Audience.RELEASES, False) if flow == "release" else (Audience.INCIDENTS, True)
    )
    assert trigger(one).expects("prefect.flow-run.Running")


@pytest.mark.parametrize("state", ["Failed", "Crashed", "Cancelled"])
@pytest.mark.parametrize("flow", ["release", "hotfix", "rollback", "migration-rollback"])
def test_a_run_that_dies_is_told_once(flow: str, state: str) -> None:
    """It cannot say so itself."""
    assert len(told(of_run(flow, "production", state))) == 1


@pytest.mark.parametrize("state", ["Promoted", "Reverted", "Refused", "NothingToRelease", "Duplicate", "Planned"])
def test_what_a_release_tells_itself_the_server_does_not_repeat(state: str) -> None:
    """Each end of ours has its own message."""
    assert told(of_run("release", "production", state)) == []


def test_every_deployment_is_looked_after() -> None:
    """A new one, too: a run of it that does not begin, or that crashes, is told in both environments."""
    for deployment in DEPLOYMENTS:
        flow = deployment["entrypoint"].rsplit(".", 1)[-1].replace("_", "-")
        notices = server_notices(deployment["name"], is_production=deployment["name"] == "production")
        for state in ("Late", "Crashed"):
            assert told(of_run(flow, deployment["name"], state), notices), (flow, state)


@pytest.mark.parametrize("kind", ["work-queue", "work-pool"])
def test_a_worker_that_is_gone_pages_and_its_return_resolves(kind: str) -> None:
    """In #platform-engineering; another team's pool is none of ours."""

    def event(state: str, pool: str) -> ReceivedEvent:
        resource = {"prefect.resource.id": f"prefect.{kind}.1", "prefect.resource.name": "emergency"}
        of_pool = {"prefect.resource.id": "prefect.work-pool.1", "prefect.resource.name": pool}
        if kind == "work-pool":
            return event_of(f"prefect.work-pool.{state}", of_pool)
        related = of_pool | {"prefect.resource.role": "work-pool"}
        return event_of(f"prefect.work-queue.{state}", resource, related)

    (gone,), (back,) = told(event("not-ready", POOL)), told(event("ready", POOL))
    assert gone.page
    assert gone.page == back.resolves
    assert {gone.audience, back.audience} == {Audience.PLATFORM}
    assert told(event("not-ready", "another")) == []


def test_staging_pages_nobody() -> None:
    """Its channel is told."""
    notices = server_notices("staging", is_production=False)
    assert notices
    assert not [one for one in notices if one.page or one.resolves]


def test_the_weekly_release_and_the_net_are_missed() -> None:
    """A schedule that is switched off begins no run that could be late: its absence is what is told."""
    absent: list[dict[str, Any]] = [one.trigger for one in PRODUCTION if "after" not in one.trigger]
    waits = {trigger["within"] for trigger in absent if trigger["posture"] == "Proactive"}
    assert waits == {1800, 8 * 86400}


@pytest.mark.parametrize("one", PRODUCTION, ids=lambda one: one.name)
def test_a_text_has_only_fields_that_the_server_knows(one: Notice) -> None:
    """And says what users have, or that something is over."""
    said = one.said(lambda field: f"{{{{ {FIELDS[field]} }}}}")
    validate_user_template(said)
    assert "Users" in said or one.resolves or one.audience in (Audience.PLATFORM, Audience.INCIDENTS)
