"""Canaries that too few users see: what each service's policy does about it. Never a silent pass, never a silent
fail."""

from collections.abc import Mapping

import pytest
from driver import Run, TestEnvironment, play
from fixture import NEW, OLD, QUICK, SERVICES

from playbook.analysis.policy import LowTraffic

ALL = dict.fromkeys(SERVICES, NEW)
PROBED = dict.fromkeys(SERVICES, LowTraffic.PROBE)
AI_CORE, BACKEND, FRONTEND = SERVICES
LONG = QUICK.model_copy(update={"gate_deadline_s": 600})
"""A gate as long as the playbook's, nearly: as many requests as a further look wants fit into half of it."""


def last_page(test_env: TestEnvironment) -> str:
    """The release's newest page."""
    return next((pages[-1] for key, pages in test_env.server.artifacts.items() if "production" in key), "")


def quiet(
    low_traffic: Mapping[str, LowTraffic], *answers: dict[str, str], users_per_s: float = 0, later_per_s: float = 0
) -> tuple[TestEnvironment, Run]:
    """A healthy release that few users see, ``later_per_s`` from the end of the bake on; people answer so, in turn."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW)
        test_env.fixture.telemetry["production"].users_per_s = users_per_s
        test_env.server.answers = [{"approver": "Ada", "reason": "a quiet night"} | answer for answer in answers]
        run = test_env.start_release()
        await test_env.until(lambda: "held for requests" in last_page(test_env) or run.task.done())
        test_env.fixture.telemetry["production"].users_per_s = later_per_s or users_per_s
        await test_env.ended(run)
        return test_env, run

    return play(scenario, LONG.model_copy(update={"low_traffic": dict(low_traffic)}))


def test_probes_are_enough_where_the_policy_says_so() -> None:
    """As many requests of our own as a further look wants; it sees them all, and nobody is asked."""
    test_env, run = quiet(PROBED)
    assert run.end == "Promoted"
    assert test_env.fixture.versions_served() == ALL
    assert test_env.server.forms == []


def test_a_person_reads_what_the_probes_showed() -> None:
    """Where one service is to be asked about, the form asks about that one alone, and the page shows the verdicts after
    the probes."""
    test_env, run = quiet(PROBED | {FRONTEND: LowTraffic.ASK}, {"choice": "promote"})
    assert run.end == "Promoted"
    (form,) = test_env.server.forms
    assert f"{FRONTEND}:" in form
    assert not [name for name in (AI_CORE, BACKEND) if f"{name}:" in form]
    key = next(key for key in test_env.server.artifacts if key.startswith("production-") and not key.endswith("-bake"))
    page = next(page for page in test_env.server.artifacts[key] if "a person is asked" in page)
    assert "requests of our own to ethixai-backend-abc123" in page
    assert all(f"| {name} | errors, whole bake | ✓ pass |" in page for name in (AI_CORE, BACKEND))
    assert f"| {FRONTEND} | errors, whole bake | ? undecided |" in page


@pytest.mark.parametrize(("later_per_s", "served"), [(1000.0, NEW), (0.0, OLD)], ids=["they come", "nobody comes"])
def test_requests_are_waited_for(later_per_s: float, served: str) -> None:
    """A held release goes on when users come; when none do until the gate's deadline, it is reverted."""
    test_env, run = quiet(dict.fromkeys(SERVICES, LowTraffic.HOLD), users_per_s=5, later_per_s=later_per_s)
    assert set(test_env.fixture.versions_served().values()) == {served}
    assert run.end == ("Promoted" if served == NEW else "Reverted")
    assert "RELEASE HELD for requests, until" in test_env.fixture.slack.text
    assert not [key for key in test_env.fixture.slack.keys if "asking" in key], "nobody can answer any more"
    assert served == NEW or "No decision by the deadline" in run.message
