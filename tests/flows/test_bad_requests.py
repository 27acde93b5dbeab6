"""A request that is wrong is refused before any write, and told which field to correct."""

from collections.abc import Callable
from typing import Any

import pytest
from driver import Run, TestEnvironment, play
from faults import Fault
from fixture import NEW

from playbook.checklist.items import Override, Topic

NOTHING: Callable[[TestEnvironment], None] = lambda test_env: None  # noqa: E731


def without_prometheus(test_env: TestEnvironment) -> None:
    """Its URL leads nowhere."""
    test_env.fixture.wire.faults.append(lambda _, call: Fault.REPLY_LOST if call.system == "prometheus" else None)


def with_a_red_check(test_env: TestEnvironment) -> None:
    """CI did not pass on the commit."""
    test_env.fixture.ci(**{"ci / test-backend": "failure"})


BAD: dict[str, tuple[dict[str, Any], Callable[[TestEnvironment], None], str]] = {
    "a service nobody knows": ({"services": ["ethixai-bakend"]}, NOTHING, "services: 'ethixai-bakend'"),
    "a service twice": ({"services": ["ethixai-backend"] * 2}, NOTHING, "services: a service is named twice"),
    "an image that does not exist": ({"version": "v20251116-fedcba"}, NOTHING, "version: image "),
    "a version of another form": ({"version": "1.2.3"}, NOTHING, "version: '1.2.3' is not vYYYYMMDD-<commit>"),
    "0 percent": ({"canary_percent": 0}, NOTHING, "canary_percent: 0 is not between 1 and 99"),
    "101 percent": ({"canary_percent": 101}, NOTHING, "canary_percent: 101 is not between 1 and 99"),
    "half a percent": ({"canary_percent": 5.5}, NOTHING, "canary_percent: 5.5 is not a whole number"),
    "an environment nobody made": ({"environment": "prod"}, NOTHING, "environment: there is no 'prod'"),
    "a Prometheus that is not there": ({}, without_prometheus, "telemetry: Prometheus, asked "),
    "an open checklist": ({}, with_a_red_check, "Checklist: ❌ All CI tests passing"),
}


def asked(request: dict[str, Any], given: Callable[[TestEnvironment], None]) -> tuple[TestEnvironment, Run]:
    """What becomes of a request."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        given(test_env)
        return test_env, await test_env.release(**request)

    return play(scenario)


@pytest.mark.parametrize(("request_", "given", "says"), BAD.values(), ids=BAD)
def test_a_bad_request_names_its_field_and_writes_nothing(
    request_: dict[str, Any], given: Callable[[TestEnvironment], None], says: str
) -> None:
    """Refused, in words that say what to correct; no service was written, and #releases knows that it did not start."""
    test_env, run = asked(request_, given)
    assert run.end == "Refused"
    assert says in run.message
    assert not any(cloud.writes for cloud in test_env.fixture.clouds.values())
    told = [] if "environment" in request_ else ["not-started"]
    assert test_env.fixture.slack.keys == told
    assert test_env.fixture.rooms["staging"].said == []
    reason = run.message.removeprefix("Nothing was touched. ")
    assert all(f"Reason: {reason}" in message.text for message in test_env.fixture.slack.said)


def test_every_wrong_field_is_named_at_once() -> None:
    """Nobody corrects a form one field at a time."""
    _, run = asked({"version": "1.2.3", "services": ["x"], "canary_percent": 0}, NOTHING)
    assert all(field in run.message for field in ("version:", "services:", "canary_percent:"))


def without_an_answer(test_env: TestEnvironment) -> None:
    """GitHub is away: neither does it say until when our token is good."""
    test_env.fixture.wire.faults.append(lambda _, call: Fault.REPLY_LOST if call.system == "github" else None)


def without_required_checks(test_env: TestEnvironment) -> None:
    """The environment names none."""
    production = test_env.fixture.environments["production"]
    test_env.fixture.environments["production"] = production.model_copy(update={"required_checks": ()})


def without_a_pager(test_env: TestEnvironment) -> None:
    """The environment names none, and does not say that there is none."""
    production = test_env.fixture.environments["production"]
    test_env.fixture.environments["production"] = production.model_copy(update={"pagers": []})


def overriding(*items: Topic) -> tuple[Override, ...]:
    """A person goes on although these items are open."""
    return tuple(Override(item=item, by="Ada", reason="looked at by hand") for item in items)


@pytest.mark.parametrize(
    ("given", "items"),
    [
        (without_an_answer, (Topic.CI, Topic.SCAN, Topic.LOAD_TEST, Topic.SECRETS)),
        (without_required_checks, (Topic.CI,)),
        (without_a_pager, (Topic.ON_CALL,)),
    ],
)
def test_what_cannot_be_told_stops_a_release_as_a_failure_does(
    given: Callable[[TestEnvironment], None], items: tuple[Topic, ...]
) -> None:
    """No service is written, and the message says so; with a name and a reason for each item a person may go on."""
    test_env, run = asked({}, given)
    assert run.end == "Refused"
    assert "CANNOT TELL" in run.message
    assert not any(cloud.writes for cloud in test_env.fixture.clouds.values())
    assert asked({"overrides": overriding(*items)}, given)[1].end == "Promoted"
    assert asked({"overrides": overriding(*items[1:])}, given)[1].end == "Refused"


def test_an_environment_without_a_pager_in_so_many_words_is_released_to() -> None:
    """`pager = "none"`: who is on call is not asked."""

    def given(test_env: TestEnvironment) -> None:
        production = test_env.fixture.environments["production"]
        changed = production.model_copy(update={"pagers": [], "pager": "none"})
        test_env.fixture.environments["production"] = changed

    assert asked({}, given)[1].end == "Promoted"


def test_an_environment_may_need_no_checks_in_so_many_words() -> None:
    """`required_checks = ["none"]`: a merge reaches staging while CI still runs on its commit."""

    def given(test_env: TestEnvironment) -> None:
        with_a_red_check(test_env)
        production = test_env.fixture.environments["production"]
        changed = production.model_copy(update={"required_checks": ("none",)})
        test_env.fixture.environments["production"] = changed

    assert asked({}, given)[1].end == "Promoted"


def test_an_open_checklist_is_overridden_with_a_reason() -> None:
    """A person may go on, and says why: at the start and at the end."""
    test_env, run = asked({"overrides": overriding(Topic.CI)}, with_a_red_check)
    assert run.end == "Promoted"
    told = [
        message.key.rsplit("/", 1)[-1] for message in test_env.fixture.slack.said if "by Ada: looked" in message.text
    ]
    assert told == ["starting", "complete"]
