"""What stops a release before its first write to production, in whole flows: each gate, its override, and the plan."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from cloud import Behaviour
from driver import Run, TestEnvironment, play
from emergencies import configure
from fixture import NEW, OLD, SERVICES

from flows.hotfix import hotfix
from playbook.checklist.calendar import Freeze
from playbook.checklist.items import Answer, Override, Topic
from playbook.lease.record import Record
from playbook.release.request import HotfixRequest

NEXT, FIX = "v20251123-fed987", "v20251117-hotfix1-fed987"
BACKEND = SERVICES[1]
ALL_OLD, ALL_NEW = dict.fromkeys(SERVICES, OLD), dict.fromkeys(SERVICES, NEW)
Given = Callable[[TestEnvironment], None]


def gates(test_env: TestEnvironment, **changed: Any) -> None:
    """Production's policy has these gates."""
    production = test_env.fixture.environments["production"]
    changed_gates = production.gates.model_copy(update=changed)
    test_env.fixture.environments["production"] = production.model_copy(update={"gates": changed_gates})


def released(given: Given, **request: Any) -> tuple[TestEnvironment, Run]:
    """A healthy release to its end, and everything that it started."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        given(test_env)
        run = await test_env.release(**request)
        await test_env.catch_up()
        return test_env, run

    return play(scenario)


def thursday(test_env: TestEnvironment) -> None:
    """The time of every test: Thursday, 14:00 UTC."""
    freeze = Freeze(name="Thanksgiving", begins="thu 14:30", ends="mon 08:00", zone="Europe/Berlin")
    gates(test_env, freeze=(freeze,))


def soon(test_env: TestEnvironment) -> None:
    """A window begins after the planned bake, and before the end of the longest that the forecast may choose."""
    production = test_env.fixture.environments["production"]
    policy = production.policy.model_copy(update={"bake_max_s": 1800})
    test_env.fixture.environments["production"] = production.model_copy(update={"policy": policy})
    gates(test_env, freeze=(Freeze(name="Thanksgiving", begins="thu 14:25", ends="mon 08:00", zone="UTC"),))


def stopped(test_env: TestEnvironment) -> None:
    """A person has set the variable in the UI."""
    test_env.server.variables["stop_the_line_production"] = "the database is being moved; ask Grace"


def all_stopped(test_env: TestEnvironment) -> None:
    """The variable for every environment."""
    test_env.server.variables["stop_the_line"] = "no releases this week"


def stopped_with_dashes(test_env: TestEnvironment) -> None:
    """Prefect takes dashes in the name of a variable, and a hand in a hurry writes them."""
    test_env.server.variables["stop-the-line-production"] = "rolled back by hand; ask Grace"


def stopped_by_an_invisible_text(test_env: TestEnvironment) -> None:
    """A word joiner: the variable has a text, though no one sees it."""
    test_env.server.variables["stop_the_line"] = "\u2060"


def stopped_by_a_word(test_env: TestEnvironment) -> None:
    """A variable of Prefect may be any JSON, and true is no reason."""
    test_env.server.variables["stop_the_line"] = True


def stopped_by_an_object(test_env: TestEnvironment) -> None:
    """No text, but a person has set it."""
    test_env.server.variables["stop_the_line"] = {"why": "moving the database"}


def nobody_on_call(test_env: TestEnvironment) -> None:
    """The escalation policy is empty."""
    test_env.fixture.vendors["production"].pagerduty.on_call()


def unacknowledged(test_env: TestEnvironment) -> None:
    """No person has acknowledged a load test."""
    test_env.fixture.vendors["production"].github.unacknowledge()


def vulnerable(test_env: TestEnvironment) -> None:
    """The scan has found something."""
    digests = ", ".join(
        f'{{"digest": "{test_env.fixture.image(name, NEW).digest}", "vulnerabilities": '
        '[{"id": "CVE-2025-9", "severity": "CRITICAL"}]}'
        for name in SERVICES
    )
    test_env.fixture.vendors["production"].github.scanned("abc123", f'{{"scans": [{digests}]}}')


def expiring(test_env: TestEnvironment) -> None:
    """A secret ends within the week."""
    test_env.fixture.secrets.expires_at_s["mongodb-uri"] = test_env.fixture.now() + 86_400


STOPS: dict[str, tuple[Given, Topic, str]] = {
    "a freeze window": (thursday, Topic.FREEZE, "Thanksgiving (thu 14:30 to mon 08:00, Europe/Berlin)"),
    "a freeze window that a longer bake would reach": (soon, Topic.FREEZE, "begins at 14:25 UTC, before this would be"),
    "the emergency stop": (stopped, Topic.LINE, "the database is being moved; ask Grace"),
    "the emergency stop of everything": (all_stopped, Topic.LINE, "no releases this week"),
    "the emergency stop with dashes": (stopped_with_dashes, Topic.LINE, "rolled back by hand; ask Grace"),
    "the emergency stop without a reason": (stopped_by_an_invisible_text, Topic.LINE, "no reason is given"),
    "the emergency stop that is true": (stopped_by_a_word, Topic.LINE, "(stop_the_line): no reason is given"),
    "the emergency stop that is an object": (stopped_by_an_object, Topic.LINE, "moving the database"),
    "no person on call": (nobody_on_call, Topic.ON_CALL, "no person is on call"),
    "no load test": (unacknowledged, Topic.LOAD_TEST, "no person has acknowledged a load test"),
    "a vulnerability": (vulnerable, Topic.SCAN, "CVE-2025-9"),
    "a secret that expires": (expiring, Topic.SECRETS, "mongodb-uri expires on"),
}


@pytest.mark.parametrize(("given", "topic", "says"), STOPS.values(), ids=STOPS)
def test_an_open_item_stops_a_release_before_anything_is_written(given: Given, topic: Topic, says: str) -> None:
    """By what Cloud Run saw; #releases knows it. Its own override lets it go on, another item's does not."""
    test_env, run = released(given)
    assert (run.end, says in run.message) == ("Refused", True), run.message
    assert not any(cloud.writes for cloud in test_env.fixture.clouds.values())
    assert test_env.fixture.slack.keys == ["not-started"]
    override = Override(item=topic, by="Ada", reason="agreed with Grace")
    test_env, run = released(given, overrides=(override,))
    assert (run.end, test_env.fixture.versions_served()) == ("Promoted", ALL_NEW)
    assert sum("overridden by Ada: agreed with Grace" in one.text for one in test_env.fixture.slack.said) >= 2
    other = Topic.BUILD if topic is not Topic.BUILD else Topic.CI
    assert released(given, overrides=(override.model_copy(update={"item": other}),))[1].end == "Refused"


def test_what_the_policy_does_not_block_on_is_shown_and_stops_nothing() -> None:
    """Which item blocks is policy."""

    def given(test_env: TestEnvironment) -> None:
        unacknowledged(test_env)
        blocks = test_env.fixture.environments["production"].gates.blocks
        gates(test_env, blocks=tuple(topic for topic in blocks if topic is not Topic.LOAD_TEST))

    test_env, run = released(given)
    assert run.end == "Promoted"
    assert "❌ Load testing completed" in test_env.fixture.slack.said[0].text


def test_every_item_is_a_row_of_one_table() -> None:
    """All eight of the playbook and the gates of the policy, each with answer and fact."""
    test_env, run = released(lambda test_env: None, changes="Bug fixes")
    assert run.end == "Promoted"
    (table,) = (texts[-1] for key, texts in test_env.server.artifacts.items() if key.startswith("checklist-"))
    rows = [re.split(r"(?<!\\)\|", line)[1:3] for line in table.splitlines() if line.startswith("| ")][1:]
    assert [item.strip()[2:].partition(": ")[0] for item, _ in rows] == [topic.words for topic in Topic]
    assert all(fact.strip() for _, fact in rows)
    assert {item.split()[0] for item, _ in rows} == {Answer.PASS.mark}, rows
    page = test_env.server.artifacts[next(one for one in test_env.server.artifacts if one.startswith("production"))][-1]
    assert all(topic.words in page for topic in Topic)
    assert "Checklist: " in test_env.fixture.slack.said[0].text


def test_a_line_that_is_stopped_while_staging_runs_stops_production() -> None:
    """It is asked again before production is written; the message says what staging has now."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        run = test_env.start_release()
        await test_env.until(lambda: bool(test_env.fixture.clouds["staging"].writes))
        stopped(test_env)
        await test_env.ended(run)
        return test_env, run

    test_env, run = play(scenario)
    assert (run.end, "ask Grace" in run.message) == ("Refused", True)
    assert f"staging has {NEW}" in run.message
    assert test_env.fixture.production.writes == []


def test_an_incident_of_ours_that_is_open_stops_the_next_release() -> None:
    """Until a person resolves it in the pager, or goes on in so many words."""

    async def scenario(test_env: TestEnvironment) -> list[Run]:
        test_env.fixture.publish(NEW, {BACKEND: Behaviour(errors=0.05)})
        runs = [await test_env.release(), await test_env.release()]
        writes = len(test_env.fixture.production.writes)
        runs.append(await test_env.release())
        assert len(test_env.fixture.production.writes) == writes
        test_env.fixture.vendors["production"].pagerduty.resolve_all()
        runs.append(await test_env.release())
        return runs

    first, second, third, after = play(scenario)
    assert (first.end, second.end, third.end, after.end) == ("Reverted", "Refused", "Refused", "Reverted")
    assert "No open incident of a release: open:" in second.message


def test_a_plan_writes_nothing_and_shows_everything() -> None:
    """What would be changed and said, what has changed since, and what each check says."""
    test_env, run = released(lambda test_env: None, plan_only=True)
    assert run.end == "Planned"
    assert "It may start" in run.message
    assert not any(cloud.writes for cloud in test_env.fixture.clouds.values())
    assert test_env.fixture.slack.keys == ["not-started"]
    page = test_env.server.artifacts[f"plan-production-{NEW}"][-1]
    for words in (
        "What each check says",
        "What it would change",
        "What would be said",
        "🚀 Production release starting",
    ):
        assert words in page
    assert all(name in page for name in SERVICES)
    assert not test_env.is_held("production")


def planned(given: Given, **request: Any) -> tuple[TestEnvironment, Run, str, int]:
    """A plan of the next version after a release of ``NEW``: its run, its page, and the writes to Cloud Run."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run, str, int]:
        test_env.fixture.publish(NEW)
        assert (await test_env.release()).end == "Promoted"
        await test_env.catch_up()
        test_env.fixture.publish(NEXT)
        given(test_env)
        before = sum(len(cloud.writes) for cloud in test_env.fixture.clouds.values())
        version = request.pop("version", NEXT)
        run = await test_env.release(version, plan_only=True, **request)
        after = sum(len(cloud.writes) for cloud in test_env.fixture.clouds.values())
        return test_env, run, test_env.server.artifacts[f"plan-production-{version}"][-1], after - before

    return play(scenario)


def merged(test_env: TestEnvironment) -> None:
    """What was merged since ``NEW``."""
    test_env.fixture.vendors["production"].github.commits(
        ("fed987" + "0" * 34, "Cache SHAP values (#412)"), ("fed988" + "0" * 34, "Fix the analyze endpoint")
    )


def test_a_plan_shows_forecast_commits_and_what_would_be_said() -> None:
    """The same words and the same canary as the release would have."""
    test_env, run, page, writes = planned(merged)
    assert (run.end, writes) == ("Planned", 0)
    assert "## Forecast of the bake" in page
    assert all(f"requests will reach {name}'s canary" in page for name in SERVICES)
    assert "Cache SHAP values" in page
    assert "Fix the analyze endpoint" in page
    assert not any(test_env.is_held(name) for name in ("production", "staging"))


def test_a_plan_shows_drift_and_that_the_policy_refuses_it() -> None:
    """Which field of which service; the release itself would be refused, and a plan says so."""

    def given(test_env: TestEnvironment) -> None:
        configure(test_env, DB_POOL="50")

    _, run, page, writes = planned(given)
    assert (run.end, writes) == ("Planned", 0)
    assert "It would be refused." in run.message
    assert "env DB_POOL: 50 (serves: not set)" in run.message
    assert "its template, not yet served" in page


def test_a_plan_of_what_serves_says_that_nothing_would_be_released() -> None:
    """Every service has this image already."""
    _, run, _, writes = planned(lambda test_env: None, version=NEW)
    assert (run.end, writes) == ("Planned", 0)
    assert f"production already serves {NEW}: nothing would be released" in run.message


def test_a_plan_of_a_hotfix_writes_nothing() -> None:
    """It names what stops a hotfix, and has no forecast: there is no canary."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(FIX)
        nobody_on_call(test_env)
        asked = HotfixRequest(version=FIX, reason="a hole", incident="CVE-2025-1", approver="Ada", plan_only=True)
        run = test_env.start(hotfix, request=asked, environment="production")
        await test_env.ended(run)
        return test_env, run

    test_env, run = play(scenario)
    assert (run.end, "It may start" in run.message) == ("Planned", True), run.message
    assert not any(cloud.writes for cloud in test_env.fixture.clouds.values())
    page = test_env.server.artifacts[f"plan-production-{FIX}"][-1]
    assert "Forecast of the bake" not in page
    assert "HOTFIX DEPLOYED" in page
    assert "no person is on call" in page


def test_a_plan_says_what_would_stop_the_release() -> None:
    """It ends Planned all the same."""
    test_env, run = released(nobody_on_call, plan_only=True)
    assert (run.end, "It would be refused" in run.message) == ("Planned", True)
    assert "no person is on call" in test_env.server.artifacts[f"plan-production-{NEW}"][-1]


def test_a_plan_with_an_override_says_what_the_release_would_say() -> None:
    """It may start, and the override stands in the message, on the page and in what would be said."""
    override = Override(item=Topic.ON_CALL, by="Ada", reason="Ada stays")
    test_env, run = released(nobody_on_call, plan_only=True, overrides=(override,))
    assert (run.end, "It may start" in run.message) == ("Planned", True)
    assert not any(cloud.writes for cloud in test_env.fixture.clouds.values())
    assert str(override) in test_env.fixture.slack.text
    page = test_env.server.artifacts[f"plan-production-{NEW}"][-1]
    assert page.count("overridden by Ada: Ada stays") >= 2


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        ({"choice": "go on", "by": "Grace", "reason": "looks fine"}, "Promoted"),
        ({"choice": "stop", "by": "Grace", "reason": "not today"}, "Refused"),
        (None, "Refused"),
    ],
)
def test_approval_before_production(answer: dict[str, str] | None, end: str) -> None:
    """A person agrees before production is written; silence is a no, and production is untouched."""

    def given(test_env: TestEnvironment) -> None:
        gates(test_env, approval="production")
        test_env.server.answers = [answer] if answer else []

    test_env, run = released(given)
    assert run.end == end, run.message
    assert bool(test_env.fixture.production.writes) is (end == "Promoted")
    assert answer or "No person let v20251116-abc123 go on within 1 hour" in run.message
    assert any("WAITS FOR APPROVAL" in message.text for message in test_env.fixture.slack.said)


@pytest.mark.parametrize(
    ("answer", "end"),
    [
        ({"choice": "promote", "approver": "Grace", "reason": "fine"}, "Promoted"),
        ({"choice": "revert", "approver": "Grace", "reason": "not today"}, "Reverted"),
        (None, "Reverted"),
    ],
)
def test_approval_before_promotion(answer: dict[str, str] | None, end: str) -> None:
    """The canary is healthy; all users move once a person agrees, and silence reverts."""

    def given(test_env: TestEnvironment) -> None:
        gates(test_env, approval="promotion")
        test_env.server.answers = [answer] if answer else []

    test_env, run = released(given)
    assert run.end == end, run.message
    assert test_env.fixture.versions_served() == (ALL_NEW if end == "Promoted" else ALL_OLD)
    assert "The policy asks for approval before all users move; the judge would promote" in test_env.fixture.slack.text


@pytest.mark.parametrize(
    ("answer", "end"), [({"choice": "go on", "by": "Grace", "reason": "still wanted"}, "Promoted"), (None, "Refused")]
)
def test_a_run_that_starts_late_asks_first(
    answer: dict[str, str] | None, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour and a half after its time; #releases knows that it is late. Silence writes nothing."""
    from datetime import UTC, datetime

    from prefect import runtime

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        test_env.server.answers = [answer] if answer else []
        began_s = test_env.fixture.now()
        monkeypatch.setattr(
            runtime.flow_run, "get_scheduled_start_time", lambda: datetime.fromtimestamp(began_s - 5400, UTC)
        )
        return test_env, await test_env.release()

    test_env, run = play(scenario)
    assert run.end == end, run.message
    assert "RELEASE IS LATE: it starts 90 minutes after its time" in test_env.fixture.slack.text
    assert any(cloud.writes for cloud in test_env.fixture.clouds.values()) is (end == "Promoted")


def test_images_that_come_late_are_waited_for() -> None:
    """A merge starts staging before CI has pushed: the run waits while CI is at work, says so, and goes on."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        github = test_env.fixture.vendors["production"].github
        github.checked("abc123", {"ci / test-backend": ""})
        run = test_env.start_release(environment="staging")
        await test_env.until(lambda: any("is not pushed yet" in line for _, line in test_env.server.log))
        assert run.end == "Running"
        test_env.fixture.publish(NEW)
        await test_env.ended(run)
        return test_env, run

    test_env, run = play(scenario)
    assert (run.end, test_env.fixture.versions_served("staging")) == ("Promoted", ALL_NEW)


@pytest.mark.parametrize(("pending", "waited"), [("", True), ("failure", False)])
def test_images_that_never_come_are_refused(pending: str, waited: bool) -> None:
    """At the deadline; at once where CI has ended without pushing them."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run, float]:
        test_env.fixture.vendors["production"].github.checked("abc123", {"ci / test-backend": pending})
        began_s = test_env.fixture.now()
        run = await test_env.release(environment="staging")
        return test_env, run, test_env.fixture.now() - began_s

    test_env, run, took_s = play(scenario)
    assert (run.end, "does not exist; has CI built and pushed" in run.message) == ("Refused", True)
    deadline_s = test_env.fixture.environments["staging"].gates.build_deadline_s
    assert (deadline_s <= took_s < deadline_s + 30) if waited else took_s < 30


def test_an_override_outlives_a_crash() -> None:
    """It is in the lease: the run that takes the release over tells it too."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, tuple[Override, ...]]:
        test_env.fixture.publish(NEW)
        nobody_on_call(test_env)
        override = Override(item=Topic.ON_CALL, by="Ada", reason="Ada stays")
        run = test_env.start_release(overrides=(override,))
        await test_env.until(test_env.baking(SERVICES[0]))
        lease = Record.read(test_env.fixture.production.read(SERVICES[0])).lease
        run.process.die()
        await test_env.recover()
        await test_env.catch_up()
        return test_env, lease.overrides if lease else ()

    test_env, overrides = play(scenario)
    assert [one.by for one in overrides] == ["Ada"]
    assert test_env.fixture.versions_served() == ALL_NEW
    complete = next(one for one in test_env.fixture.slack.said if one.key.endswith("/complete"))
    assert "overridden by Ada: Ada stays" in complete.text
