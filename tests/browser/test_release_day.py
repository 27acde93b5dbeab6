"""A release day in Prefect's default UI, as a person sees it. The tests are the hours of one day, in this order."""

import asyncio
import os
import re
import time
from typing import Any

import pytest
from playwright.async_api import expect

from rehearsal.browser import PATIENCE_MS, SMALL, WIDE, Ui

BACKEND, FRONTEND = "ethixai-backend", "ethixai-frontend"
RUN_S = 120.0

whole_day = pytest.mark.skipif(not os.environ.get("RELEASE_DAY"), reason="takes eight minutes more: set RELEASE_DAY=1")


async def test_a_release_is_started_by_filling_the_form(ui: Ui, ground: Any, picture: Any) -> None:
    """Two fields and a button. The run's name says what it releases and where to."""
    await ui.open("/deployments")
    await ui.sees(re.compile(r"\d+ Deployments"))
    await picture(ui, "deployments")
    await ui.form(await ground.deployment("release/production"))
    await ui.box("Version").fill(ground.bad.version)
    await ui.box("Requested by").fill("Aziz")
    await picture(ui, "form")
    await ui.submit()
    name = f"release {ground.bad.version} to production"
    await ui.sees(name)
    ground.runs["bad"] = await ground.newest("release/production")
    assert ground.runs["bad"].name.startswith(name)


async def test_a_bad_release_is_watched_until_it_is_reverted(ui: Ui, ground: Any, picture: Any) -> None:
    """The run's page shows its state without being loaded again; its message is the reason."""
    await ui.run(ground.runs["bad"].id, "Details")
    assert (await ground.ended("bad")).state == "Reverted"
    await ui.sees("Reverted")
    await ui.sees("is above 0.5 %")
    await picture(ui, "reverted")


async def test_an_incident_is_resolved_where_people_received_it(ui: Ui, ground: Any, picture: Any) -> None:
    """The inbox shows what each vendor got. Until the incident is resolved the next release is refused."""
    await ui.open(ground.inbox_url)
    await ui.sees("PRODUCTION ROLLBACK EXECUTED")
    await picture(ui, "inbox")
    await ui.page.get_by_role("button", name="Resolve").first.click()
    await ui.sees("The incident is over.")
    assert await ui.page.get_by_role("button", name="Resolve").count() == 0


@whole_day
async def test_a_bake_says_how_long_it_lasts_and_how_near_the_limits_are(ui: Ui, ground: Any, picture: Any) -> None:
    """The countdown, and a row for each signal with how much of its limit is used."""
    run = await ground.start("held", ground.slow, BACKEND)
    await ground.test_env.until(run, "monitor", RUN_S)
    await ui.open(f"/artifacts/artifact/{await _progress(ground, run.id)}")
    await ui.sees(re.compile(r"\d+ s left\."))
    await expect(ui.page.get_by_role("cell", name=re.compile("slower than 2 s")).first).to_be_visible()
    await picture(ui, "bake")


async def _progress(ground: Any, run_id: str) -> str:
    """The id of the run's progress artifact, once there is one."""
    wanted = {"artifacts": {"flow_run_id": {"any_": [run_id]}, "type": {"any_": ["progress"]}}}
    async with ground.test_env.server.client as api:
        for _ in range(int(2 * RUN_S)):
            if found := (await api.post("/artifacts/filter", json=wanted)).raise_for_status().json():
                return str(found[0]["id"])
            await asyncio.sleep(0.5)
    raise AssertionError("the bake has no progress artifact")


@whole_day
async def test_the_releases_page_says_everything_on_its_first_screen(ui: Ui, ground: Any, picture: Any) -> None:
    """One click from the run's artifacts: phases, outcome, users affected, who asked, what was done when, links."""
    await ui.run(ground.runs["bad"].id, "Artifacts")
    await ui.page.get_by_role("link", name=re.compile(rf"MARKDOWN\s+production-{ground.bad.version}")).first.click()
    heading = ui.page.get_by_role("heading", name=f"{ground.bad.version} to production: Reverted")
    await expect(heading).to_be_visible(timeout=PATIENCE_MS)
    for words in ("Users: all are back", "Affected:", "Asked by:", "Aziz", "ended: Reverted"):
        await expect(ui.text(words)).to_be_in_viewport(timeout=PATIENCE_MS)
    for link in ("run", "logs", "ticket"):
        await expect(ui.page.get_by_role("link", name=link, exact=True)).to_be_in_viewport()
    await ui.size(SMALL)
    for words in (f"{ground.bad.version} to production: Reverted", "Users: all are back", "ended: Reverted"):
        await expect(ui.text(words)).to_be_in_viewport(ratio=1)
    await ui.size(WIDE)
    await picture(ui, "report")


async def test_retry_of_a_release_that_has_ended_is_refused(ui: Ui, ground: Any) -> None:
    """The run says what to do; no user is put on the version again."""
    await ui.run(ground.runs["bad"].id, "Details")
    await ui.menu("Retry", "Retry")
    await ui.sees("This run has ended already as Reverted, and a run is not retried.", RUN_S)
    await ui.sees(f"release {ground.bad.version} to production: Reverted")
    served = await ground.test_env.world.served()
    commit = ground.bad.version.rpartition("-")[2]
    assert not [name for split in served.values() for name, share in split.items() if commit in name and share]


@whole_day
async def test_a_refused_release_says_what_to_correct(ui: Ui, ground: Any, picture: Any) -> None:
    """The only page of its run: that nothing was touched, each reason, and the form to start it again with."""
    asked = {"request": {"version": "v20990101-0badc0", "requested_by": "a newcomer"}}
    ground.runs["refused"] = await ground.test_env.prefect.start("release/production", asked)
    assert (await ground.ended("refused")).state == "Refused"
    await ui.run(ground.runs["refused"].id, "Artifacts")
    await ui.page.get_by_role("link", name=re.compile(r"MARKDOWN\s+refused-")).first.click()
    await ui.sees("Nothing was touched.")
    await picture(ui, "refused")
    await ui.page.get_by_role("link", name="the form, filled in as it was", exact=True).click()
    await expect(ui.box("Version")).to_have_value("v20990101-0badc0", timeout=PATIENCE_MS)


@whole_day
async def test_an_earlier_reverted_release_is_found_under_the_default_filter(ui: Ui, ground: Any, picture: Any) -> None:
    """On the page of its deployment, among all runs, and by its version."""
    name = "release v20251115-def456 to production: Reverted"
    await _ended_before(ground, name)
    await ui.open(f"/deployments/deployment/{await ground.deployment('release/production')}")
    await expect(ui.page.get_by_role("link", name=name).first).to_be_visible(timeout=PATIENCE_MS)
    await ui.open("/runs")
    await ui.page.get_by_placeholder("Search by flow run name").fill("Reverted")
    await expect(ui.page.get_by_role("link", name=name).first).to_be_visible(timeout=PATIENCE_MS)
    await picture(ui, "runs")


async def _ended_before(ground: Any, name: str) -> None:
    """A run as a reverted release has left it behind. The API takes no time of another day, and no worker takes a run
    without a work queue."""
    ended = {"type": "FAILED", "name": "Reverted", "message": "Error rate 4.8 % is above 0.5 %."}
    deployment = await ground.deployment("release/production")
    async with ground.test_env.server.client as api:
        flow = (await api.get(f"/deployments/{deployment}")).raise_for_status().json()["flow_id"]
        body = {"name": name, "flow_id": flow, "deployment_id": deployment, "tags": ["v20251115-def456", "Reverted"]}
        run = (await api.post("/flow_runs/", json=body)).raise_for_status().json()
        for state in ({"type": "RUNNING", "name": "Running"}, ended):
            answer = await api.post(f"/flow_runs/{run['id']}/set_state", json={"state": state, "force": True})
            answer.raise_for_status()


@whole_day
async def test_the_menu_pauses_resumes_and_cancels(ui: Ui, ground: Any, picture: Any) -> None:
    """A pause holds the release and is told; it goes on when resumed; a cancelled run says what recovery did."""
    run = await ground.start("paused", ground.slow, FRONTEND)
    await ui.run(run.id, "Details")
    await ground.test_env.until(run, "monitor", RUN_S)
    await ui.menu("Pause", "Pause Flow Run")
    await ui.sees("Suspended")
    await told(ground, "PRODUCTION RELEASE PAUSED until")
    await ui.menu("Resume", "Resume")
    await told(ground, "PRODUCTION RELEASE RESUMED")
    await ui.menu("Cancel", "Cancel Flow Run")
    await ui.shows(ui.text("It was cancelled. Recovery ended release"), RUN_S)
    assert {100} <= set((await ground.test_env.world.served())[FRONTEND].values())


@whole_day
async def test_a_hold_is_answered_in_the_form(ui: Ui, ground: Any, picture: Any) -> None:
    """Ten lines say what is asked until when; an answer that is empty or names no person is refused in words, the
    dialog stays open, and the run stays held; the answer decides."""
    await ground.test_env.until_state(ground.runs["held"], "PAUSED", RUN_S)
    await ui.run(ground.runs["held"].id, "Details")
    await picture(ui, "held")
    await _open_answer(ui)
    await ui.sees("Fill in the first three fields: else it stays Paused.")
    await ui.size(SMALL)
    for field in ("Decision", "Who decides"):
        await expect(ui.box(field)).to_be_in_viewport(ratio=0.5)
    await ui.size(WIDE)
    await picture(ui, "hold")
    resume = ui.page.get_by_role("button", name="Resume", exact=True)
    await resume.click()
    await ui.sees("'choice' is a required property")
    await ui.box("Decision").click()
    await ui.page.get_by_role("option", name="promote").click()
    await ui.box("Why").fill("known and harmless")
    await ui.box("Who decides").fill(" ")
    await resume.click()
    await ui.sees("Validation failed for field 'approver'. Failure reason: 'at least one word' was expected")
    await expect(resume).to_be_visible()
    assert (await ground.test_env.prefect.run(ground.runs["held"].id)).state_type == "PAUSED"
    await ui.box("Who decides").fill("Ada")
    await resume.click()
    assert (await ground.ended("held")).state == "Promoted"
    await ui.sees("Promoted")
    await ui.sees("Ada decided to promote: known and harmless")


async def _open_answer(ui: Ui) -> None:
    await ui.page.get_by_role("button", name="Open menu").click()
    await ui.page.get_by_role("menuitem", name="Resume", exact=True).click()
    await expect(ui.box("Who decides")).to_be_visible(timeout=PATIENCE_MS)


@whole_day
async def test_the_status_page_says_what_serves(ui: Ui, ground: Any, picture: Any) -> None:
    """The deployment's description leads there; its link opens a filled-in rollback form."""
    await ui.open(f"/deployments/deployment/{await ground.deployment('release/production')}")
    await ui.page.get_by_text("Description", exact=True).last.click()
    link = ui.page.locator("a[href*='/v2/artifacts/artifact/']").first
    await expect(link).to_be_visible(timeout=PATIENCE_MS)
    await ui.open(await link.get_attribute("href"))
    await ui.sees(f"100 % on {ground.slow.version}")
    await ui.sees("Last reverted:")
    await ui.sees("What you can start")
    await picture(ui, "status")
    await ui.page.get_by_role("link", name="a rollback", exact=True).click()
    await expect(ui.box("Roll back to")).to_be_visible(timeout=PATIENCE_MS)


async def told(ground: Any, words: str) -> None:
    """Wait until Slack has received these words."""
    until_s = time.monotonic() + RUN_S
    while time.monotonic() < until_s:
        calls = await ground.test_env.world.vendor_calls("slack")
        if any(words in str(one["body"]) for one in calls):
            return
        await asyncio.sleep(0.5)
    raise AssertionError(f"Slack was not told: {words}")
