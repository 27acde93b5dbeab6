"""The forms in Prefect's default UI, as a person fills them in: what is wrong is refused there, in words."""

from typing import Any

import pytest
from playwright.async_api import expect

from rehearsal.browser import PATIENCE_MS, Ui

WRONG = [
    ("release/production", "Version", "1.2.3", "vYYYYMMDD-<commit>, for example v20251116-abc123"),
    ("hotfix/production", "Version", "v20251116-abc123", "vYYYYMMDD-hotfixN-<commit>, for example"),
    ("rollback/production", "Reason", "   ", "'at least one word, at most 500 characters' was expected"),
]
SERVICES = ("ethixai-ai-core", "ethixai-backend", "ethixai-frontend")


@pytest.mark.parametrize(("name", "field", "value", "says"), WRONG)
async def test_wrong_input_is_refused_in_the_form(
    ui: Ui, ground: Any, name: str, field: str, value: str, says: str
) -> None:
    """The sentence stands below its field, and no run is created."""
    await ui.form(await ground.deployment(name))
    await ui.box(field).fill(value)
    await ui.submit()
    await ui.sees(says)
    assert ui.page.url.endswith("/run")


async def test_a_percentage_that_cannot_be_is_not_sent(ui: Ui, ground: Any) -> None:
    """0, 101 and 5.5 are stopped by the browser, at the box."""
    await ui.form(await ground.deployment("release/production"))
    percent = ui.box("Canary percent")
    for value, says in (("0", "greater than or equal to 1"), ("101", "less than or equal to 99"), ("5.5", "5 and 6")):
        await percent.fill(value)
        await ui.submit()
        assert says in await percent.evaluate("box => box.validationMessage")
    assert ui.page.url.endswith("/run")


async def test_required_fields_are_marked_and_services_are_chosen(ui: Ui, ground: Any) -> None:
    """An empty rollback form names what it needs; people type no name of a service."""
    await ui.form(await ground.deployment("rollback/production"))
    await ui.submit()
    for key, title in (("symptom", "Symptom"), ("reason", "Reason"), ("requested_by", "Requested by")):
        await ui.sees(f"'{key}' is a required property")
        await expect(ui.page.get_by_text(f"{title} (Optional)", exact=True)).to_have_count(0)
    await ui.form(await ground.deployment("mitigate/production"))
    await ui.box("Service").click()
    for name in SERVICES:
        await expect(ui.page.get_by_role("option", name=name)).to_be_visible(timeout=PATIENCE_MS)
