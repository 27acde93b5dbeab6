"""A release day in Prefect's default UI, as a person sees it: the form, the outcome, the status page."""

from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from playbook.messages.status import Ended, Link, Serving, Status, key_of, link_to
from playbook.messages.status import page as status_page
from rehearsal.server import Server

WAITS_MS = 60_000
NO_DAY = "v20259999-abc123"
"""The form takes it, since it has the right form. The run refuses it, since there is no such day."""


async def deployment_id(server: Server, name: str) -> str:
    """The id of a deployment, for its address."""
    async with server.client as api:
        return str((await api.get(f"/deployments/name/{name}")).raise_for_status().json()["id"])


async def open_form(page: Page, server: Server, name: str) -> None:
    """The form of a deployment, ready to be filled in."""
    await page.goto(f"{server.ui_url}/v2/deployments/deployment/{await deployment_id(server, name)}/run")
    await expect(box(page, "Environment")).to_be_visible(timeout=WAITS_MS)


def box(page: Page, title: str) -> Locator:
    """The box of a field, by its title; a field that may stay empty says so."""
    return page.get_by_label(title, exact=True).or_(page.get_by_label(f"{title} (Optional)", exact=True))


async def submit(page: Page) -> None:
    """Ask for the run."""
    await page.get_by_role("button", name="Submit").click()


async def ended(server: Server, deployment: str, **state: Any) -> str:
    """A run of ``deployment`` as a release leaves it behind: its name, its tags and its state. Returns its id."""
    version, outcome = "v20251115-def456", state["name"]
    body = {
        "name": f"release {version} to production: {outcome}",
        "parameters": {"request": {"version": version, "requested_by": "Aziz"}},
        "tags": [version, outcome],
        "state": {
            "type": "SCHEDULED",
            "name": "Scheduled",
            "state_details": {"scheduled_time": "2030-01-01T00:00:00Z"},
        },
    }
    async with server.client as api:
        path = f"/deployments/{await deployment_id(server, deployment)}/create_flow_run"
        run = (await api.post(path, json=body)).raise_for_status().json()
        for one in ({"type": "RUNNING", "name": "Running"}, state):
            forced = {"state": one, "force": True}
            (await api.post(f"/flow_runs/{run['id']}/set_state", json=forced)).raise_for_status()
    return str(run["id"])


async def test_a_release_is_started_by_filling_the_form(page: Page, server: Server) -> None:
    """The run has a name that says what it is, and refuses what the form cannot know in one sentence."""
    await open_form(page, server, "release/production")
    await box(page, "Version").fill(NO_DAY)
    await box(page, "Requested by").fill("Aziz")
    await box(page, "Canary percent").fill("20")
    await submit(page)
    await page.goto(f"{server.ui_url}/v2/runs")
    link = page.get_by_role("link", name=f"release {NO_DAY} to production: Refused")
    await expect(link.first).to_be_visible(timeout=2 * WAITS_MS)
    await link.first.click()
    sentence = f"Nothing was touched. version: '{NO_DAY}' says 20259999, which is no day of the calendar"
    await expect(page.get_by_text(sentence).first).to_be_visible(timeout=WAITS_MS)


WRONG = [
    ("release/production", "Version", "1.2.3", "vYYYYMMDD-<commit>, for example v20251116-abc123"),
    ("hotfix/production", "Version", "v20251116-abc123", "vYYYYMMDD-hotfixN-<commit>, for example"),
    ("rollback/production", "Reason", "   ", "'at least one word' was expected"),
]


@pytest.mark.parametrize(("name", "field", "value", "says"), WRONG)
async def test_wrong_input_is_refused_in_the_form(
    page: Page, server: Server, name: str, field: str, value: str, says: str
) -> None:
    """The sentence stands below its field, and no run is created."""
    await open_form(page, server, name)
    await box(page, field).fill(value)
    await submit(page)
    await expect(page.get_by_text(says).first).to_be_visible(timeout=WAITS_MS)
    assert page.url.endswith("/run")


async def test_a_percentage_that_cannot_be_is_not_sent(page: Page, server: Server) -> None:
    """0, 101 and 5.5 are stopped by the browser, at the box."""
    await open_form(page, server, "release/production")
    percent = box(page, "Canary percent")
    for value, says in (("0", "greater than or equal to 1"), ("101", "less than or equal to 99"), ("5.5", "5 and 6")):
        await percent.fill(value)
        await submit(page)
        assert says in await percent.evaluate("box => box.validationMessage")
    assert page.url.endswith("/run")


async def test_required_fields_are_marked_and_named(page: Page, server: Server) -> None:
    """An empty rollback form: three fields are needed, and none of them is called optional."""
    await open_form(page, server, "rollback/production")
    await submit(page)
    for key, title in (("symptom", "Symptom"), ("reason", "Reason"), ("requested_by", "Requested by")):
        await expect(page.get_by_text(f"'{key}' is a required property").first).to_be_visible(timeout=WAITS_MS)
        await expect(page.get_by_text(f"{title} (Optional)", exact=True)).to_have_count(0)
    await expect(page.get_by_text("Roll back to (Optional)", exact=True)).to_be_visible()


async def test_a_service_is_chosen_from_those_of_the_environment(page: Page, server: Server) -> None:
    """People type no name of a service."""
    await open_form(page, server, "mitigate/production")
    await box(page, "Service").click()
    for name in ("ethixai-ai-core", "ethixai-backend", "ethixai-frontend"):
        await expect(page.get_by_role("option", name=name)).to_be_visible(timeout=WAITS_MS)


async def test_a_reverted_release_is_found_under_the_default_filter(page: Page, server: Server) -> None:
    """On the page of its deployment, and by name among all runs."""
    reason = "Error rate 4.8 % (18 of 376 requests, last 20 s) is above 0.5 %."
    await ended(server, "release/production", type="FAILED", name="Reverted", message=reason)
    name = "release v20251115-def456 to production: Reverted"
    await page.goto(f"{server.ui_url}/v2/deployments/deployment/{await deployment_id(server, 'release/production')}")
    await expect(page.get_by_role("link", name=name).first).to_be_visible(timeout=WAITS_MS)
    await page.goto(f"{server.ui_url}/v2/runs")
    await expect(page.get_by_role("link", name=name).first).to_be_visible(timeout=WAITS_MS)
    await page.get_by_placeholder("Search by flow run name").fill("v20251115-def456")
    await expect(page.get_by_role("link", name=name).first).to_be_visible(timeout=WAITS_MS)


async def test_the_status_page_says_what_serves(page: Page, server: Server) -> None:
    """The deployment's description leads there; the page says what serves, and its link opens a filled-in form."""
    rollback = await deployment_id(server, "rollback/production")
    form = f"{server.ui_url}/v2/deployments/deployment/{rollback}/run?parameters="
    form += "%7B%22request%22%3A%7B%22to%22%3A%22v20251114-abc123%22%7D%7D"
    status = Status(
        environment="production",
        serving=(Serving(service="ethixai-backend", users_on="100 % on v20251115-def456", release="v20251115-def456"),),
        ended=(Ended(name="release", url=server.ui_url, outcome="Reverted", reason="Error rate 4.8 %", at_s=0),),
        forms=(Link(title="a rollback to v20251114-abc123", url=form),),
        ui_url=server.ui_url,
    )
    artifact = {"key": key_of("production"), "type": "markdown", "data": status_page(status)}
    async with server.client as api:
        (await api.post("/artifacts/", json=artifact)).raise_for_status()
    await page.goto(f"{server.ui_url}/v2/deployments/deployment/{await deployment_id(server, 'release/production')}")
    await page.get_by_role("tab", name="Description").or_(page.get_by_text("Description", exact=True)).first.click()
    link = page.get_by_role("link", name="production", exact=True).last
    assert await link.get_attribute("href") == link_to("production", server.ui_url)
    await page.goto(link_to("production", server.ui_url))
    await expect(page.get_by_role("heading", name="production serves v20251115-def456")).to_be_visible(timeout=WAITS_MS)
    await expect(page.get_by_text("Error rate 4.8 %").first).to_be_visible()
    await page.get_by_role("link", name="a rollback to v20251114-abc123").click()
    await expect(box(page, "Roll back to")).to_have_value("v20251114-abc123", timeout=WAITS_MS)
