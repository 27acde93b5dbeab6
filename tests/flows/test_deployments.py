"""What GitHub and Sentry show of a release: under way, live, taken back, replaced; and what its ticket says."""

from typing import Any

import pytest
from cloud import Behaviour
from driver import Run, TestEnvironment, play
from fixture import NEW, SERVICES

from flows.hotfix import hotfix
from flows.rollback import rollback
from playbook.incident.decision_matrix import Symptom
from playbook.incident.response import Call, Contact
from playbook.release.request import HotfixRequest, RollbackRequest
from playbook.release.version import Version

LEAD, BACKEND, FRONTEND = SERVICES
NEXT = "v20251123-def456"
FIX = "v20251117-hotfix1-fed987"
ROLLBACK = RollbackRequest(symptom=Symptom.ERRORS_IN_BAND, reason="reports are empty", requested_by="ada")


def shown(test_env: TestEnvironment, environment: str = "production") -> list[tuple[str, list[str]]]:
    """Commit and states of each deployment, oldest first."""
    return test_env.fixture.vendors["production"].github.deployed(environment)


def with_deployments(test_env: TestEnvironment) -> None:
    """Both environments show their releases on GitHub."""
    for name, environment in test_env.fixture.environments.items():
        github = environment.code_host.model_copy(update={"deployments": True})
        github._clients = environment.code_host._clients
        test_env.fixture.environments[name] = environment.model_copy(update={"code_host": github})


def released(*versions: str, errors: float = 0.0, by: str = "ada", back: bool = False) -> TestEnvironment:
    """These releases to their end, the last with ``errors``; then a rollback if ``back``."""

    async def scenario(test_env: TestEnvironment) -> TestEnvironment:
        with_deployments(test_env)
        for version in versions:
            behaviour = Behaviour(errors=errors if version == versions[-1] else 0.0)
            test_env.fixture.publish(version, {BACKEND: behaviour})
            await test_env.release(version, requested_by=by)
        if back:
            await test_env.ended(test_env.start(rollback, request=ROLLBACK, environment="production"))
        return test_env

    return play(scenario)


def commit(version: str) -> str:
    return Version.parse(version).commit


def test_a_release_from_the_ui_is_a_deployment_with_its_states() -> None:
    """In staging and in production; the one that it replaces is active no longer."""
    test_env = released(NEW, NEXT)
    assert shown(test_env) == [
        (commit(NEW), ["in_progress", "success", "inactive"]),
        (commit(NEXT), ["in_progress", "success"]),
    ]
    assert [states[-1] for _, states in shown(test_env, "staging")] == ["inactive", "success"]


def test_a_release_that_was_taken_back_failed_and_the_one_before_stays() -> None:
    """Users never left it."""
    test_env = released(NEW, NEXT, errors=0.05)
    assert shown(test_env) == [(commit(NEW), ["in_progress", "success"]), (commit(NEXT), ["in_progress", "failure"])]


def test_a_rollback_deploys_what_users_go_back_to() -> None:
    """What it took back is inactive."""
    test_env = released(NEW, NEXT, back=True)
    assert shown(test_env)[1:] == [
        (commit(NEXT), ["in_progress", "success", "inactive"]),
        (commit(NEW), ["success"]),
    ]


def test_what_a_workflow_shows_already_is_not_shown_twice() -> None:
    """Its job has an environment, so GitHub makes the deployment."""
    assert shown(released(NEW, by="ada (GitHub Actions)")) == []


def test_a_hotfix_is_a_deployment_too() -> None:
    """Of its own commit."""

    async def scenario(test_env: TestEnvironment) -> TestEnvironment:
        with_deployments(test_env)
        for where in ("staging", "production"):
            test_env.fixture.publish(FIX, where=where)
        request = HotfixRequest(version=FIX, reason="r", incident="CVE-1", approver="Grace", requested_by="Ada")
        await test_env.ended(test_env.start(hotfix, request=request, environment="production"))
        return test_env

    assert shown(play(scenario)) == [(commit(FIX), ["in_progress", "success"])]


@pytest.mark.parametrize("fault", [{"hang": True}, {"status": 403}, {"status": 503}], ids=["hangs", "403", "503"])
def test_a_dead_github_delays_no_release(fault: dict[str, Any]) -> None:
    """The canary gets its users as soon as without it; what was not shown is shown later by a run of its own."""

    async def scenario(test_env: TestEnvironment, **fault: Any) -> tuple[float, Run, list[str]]:
        with_deployments(test_env)
        test_env.fixture.publish(NEW)
        if fault:
            test_env.fixture.vendors["production"].fault("github", path="*/deployments*", count=None, **fault)
        began_s = test_env.fixture.now()
        run = await test_env.release(NEW, requested_by="ada")
        moves = [write.at_s for write in test_env.fixture.production.writes if write.moved]
        later = [one.deployment for one in test_env.server.started.values() if "recorded" in one.parameters]
        return moves[-1] - began_s, run, later

    well_s, _, none = play(scenario)
    dead_s, run, later = play(lambda test_env: scenario(test_env, **fault))
    assert run.end == "Promoted"
    assert dead_s - well_s < 1
    assert (none, "announce/production" in later) == ([], True)


def test_sentry_shows_what_was_taken_back_and_what_users_have() -> None:
    """The release taken back has a deploy that says why and how long; the newest deploy is of what users have now."""
    test_env = released(NEW, NEXT, back=True)
    calls = test_env.fixture.vendors["production"].calls
    deploys = [one for one in calls if one["vendor"] == "sentry" and one["path"].endswith("/deploys/")]
    taken, back = deploys[-2:]
    assert f"/releases/{NEXT}/deploys/" in taken["path"]
    assert taken["body"]["name"].startswith("taken back (")
    assert "reports are empty" in taken["body"]["name"]
    assert taken["body"]["dateStarted"] <= taken["body"]["dateFinished"]
    assert f"/releases/{NEW}/deploys/" in back["path"]
    assert back["body"]["name"].endswith(f"from {NEXT}")


def test_a_canary_that_was_taken_back_is_known_to_sentry() -> None:
    """Its errors are there, and nobody had told Sentry of the release."""
    test_env = released(NEXT, errors=0.05)
    assert test_env.fixture.sentries["production"].releases == {NEXT: ["production"]}


def test_the_ticket_has_an_assignee_and_says_where_to_look() -> None:
    """Playbook 4, scenario 1: the release engineer; Sentry's traces, the secrets' state, the code changes."""

    async def scenario(test_env: TestEnvironment) -> TestEnvironment:
        fixture = test_env.fixture
        contacts = {"Platform Lead": Contact(slack="@p", github="grace", called_for=(Call.P0, Call.P1, Call.P2))}
        fixture.environments["production"] = fixture.environments["production"].model_copy(
            update={"contacts": contacts}
        )
        fixture.publish(NEW)
        await test_env.release(NEW)
        fixture.vendors["production"].github.commits(("a" * 40, "Cache SHAP values"), ("b" * 40, "Fix `analyze`"))
        fixture.publish(NEXT, {BACKEND: Behaviour(errors=0.05)})
        await test_env.release(NEXT, requested_by="ada")
        return test_env

    test_env = play(scenario)
    (ticket,) = [one["body"] for one in test_env.fixture.vendors["production"].calls if "assignees" in str(one["body"])]
    assert ticket["assignees"] == ["grace"]
    for words in (
        f"/organizations/ethixai/releases/{NEXT}/?environment=production",
        "Secrets when this was written:",
        "exist and are enabled",
        f"compare/{commit(NEW)}...{commit(NEXT)}",
        "- aaaaaaa Cache SHAP values (Ada)",
    ):
        assert words in ticket["body"]


def test_the_ticket_of_a_rollback_shows_what_is_taken_back() -> None:
    """The commits from what users went back to up to what they had."""
    calls = released(NEW, NEXT, back=True).fixture.vendors["production"].calls
    (ticket,) = [one["body"] for one in calls if one["vendor"] == "github" and one["path"].endswith("/issues")]
    assert f"compare/{commit(NEW)}...{commit(NEXT)}" in ticket["body"]


def test_a_workflow_names_its_own_assignee() -> None:
    """The person who started it; a login that GitHub cannot assign leaves the ticket without one."""
    for by, assignees in (("ada (GitHub Actions)", ["ada"]), ("stranger (GitHub Actions)", None)):
        calls = released(NEXT, errors=0.05, by=by).fixture.vendors["production"].calls
        (ticket,) = [one["body"] for one in calls if one["vendor"] == "github" and one["path"].endswith("/issues")]
        assert ticket.get("assignees") == assignees
