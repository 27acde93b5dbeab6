"""A request that is wrong is refused before any write, and told which field to correct."""

from collections.abc import Callable
from typing import Any

import pytest
from driver import Run, TestEnvironment, play
from faults import Fault
from fixture import NEW

NOTHING: Callable[[TestEnvironment], None] = lambda test_env: None  # noqa: E731


def without_prometheus(test_env: TestEnvironment) -> None:
    """Its URL leads nowhere."""
    test_env.fixture.wire.faults.append(lambda _, call: Fault.REPLY_LOST if call.system == "prometheus" else None)


def with_a_red_check(test_env: TestEnvironment) -> None:
    """CI did not pass on the commit."""
    test_env.fixture.ci(trivy="failure")


BAD: dict[str, tuple[dict[str, Any], Callable[[TestEnvironment], None], str]] = {
    "a service nobody knows": ({"services": ["ethixai-bakend"]}, NOTHING, "services: 'ethixai-bakend'"),
    "a service twice": ({"services": ["ethixai-backend"] * 2}, NOTHING, "services: a service is named twice"),
    "an image that does not exist": ({"version": "v20251116-fedcba"}, NOTHING, "version: image "),
    "a version of another form": ({"version": "1.2.3"}, NOTHING, "version: '1.2.3' is not vYYYYMMDD-<commit>"),
    "0 percent": ({"canary_percent": 0}, NOTHING, "canary_percent: 0 is not between 1 and 99"),
    "101 percent": ({"canary_percent": 101}, NOTHING, "canary_percent: 101 is not between 1 and 99"),
    "an environment nobody made": ({"environment": "prod"}, NOTHING, "environment: there is no 'prod'"),
    "a Prometheus that is not there": ({}, without_prometheus, "telemetry: Prometheus at "),
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
    """Refused, in words that say what to correct; no service of any environment was written, nobody was told."""
    test_env, run = asked(request_, given)
    assert run.end == "Refused"
    assert says in run.message
    assert not any(cloud.writes for cloud in test_env.fixture.clouds.values())
    assert not any(channel.said for channel in test_env.fixture.rooms.values())


def test_every_wrong_field_is_named_at_once() -> None:
    """Nobody corrects a form one field at a time."""
    _, run = asked({"version": "1.2.3", "services": ["x"], "canary_percent": 0}, NOTHING)
    assert all(field in run.message for field in ("version:", "services:", "canary_percent:"))


def test_an_open_checklist_is_overridden_with_a_reason() -> None:
    """A person may go on, and says why."""
    test_env, run = asked({"override": "trivy is down, scanned by hand"}, with_a_red_check)
    assert run.end == "Promoted"
    assert "scanned by hand" in test_env.fixture.slack.text
