"""Services that few users see: what the forecast changes beforehand, and the policy's steps at the end of the bake, in
their order and within their bounds. Never a silent pass, never a silent fail."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from cloud import Behaviour
from driver import Run, TestEnvironment, play
from emergencies import Hotfix
from fixture import NEW, OLD, QUICK, SERVICES

from playbook.analysis.policy import LowTraffic
from playbook.lease.lease import Lease
from playbook.lease.record import Record

ALL = dict.fromkeys(SERVICES, NEW)
ASK = {"*": (LowTraffic.ASK,)}
PROBE = {"*": (LowTraffic.PROBE,)}
AI_CORE, BACKEND, FRONTEND = SERVICES
LONG = QUICK.model_copy(update={"gate_deadline_s": 600, "bake_max_s": 24})
"""A bake of 12 seconds that may be twice as long, and a gate as long as the playbook's, nearly: as many requests as a
further look wants fit into half of it."""
SMALL, TINY = 70.0, 20.0
"""Users per second: at 30 % for 24 s SMALL brings 504 requests, too few to rule out 0.5 %. Of TINY's past too little is
known, so each scrape counts once, and there are twelve of them: too few for 5 %."""


def pages(test_env: TestEnvironment) -> str:
    """Every page of the release to production so far, the newest last."""
    return "\n".join(
        page for key, all_of in test_env.server.artifacts.items() if "production" in key for page in all_of
    )


def last_page(test_env: TestEnvironment) -> str:
    """The release's newest page."""
    return next((pages[-1] for key, pages in test_env.server.artifacts.items() if "production" in key), "")


def canary_shares(test_env: TestEnvironment) -> dict[str, int]:
    """Service -> the share that its canary had in the bake."""
    writes = [one for one in test_env.fixture.production.writes if one.moved and one.change.split]
    return {one.service: share for one in writes if (share := _canary_share(one.change.split)) is not None}


def _canary_share(split: Any) -> int | None:
    news = [share for name, share in split.percent.items() if not name.endswith("-old")]
    return news[0] if len(split.percent) == 2 and news else None


def quiet(
    users_per_s: float,
    *answers: dict[str, str],
    low_traffic: Mapping[str, tuple[LowTraffic, ...]] | None = None,
    later_per_s: float = 0,
    backend: Behaviour | None = None,
    users_of: Mapping[str, float] | None = None,
    has_history: bool = True,
    **request: Any,
) -> tuple[TestEnvironment, Run]:
    """A release that few users see, ``later_per_s`` from the end of the bake on; people answer so, in turn."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW, {BACKEND: backend} if backend else None)
        telemetry = test_env.fixture.telemetry["production"]
        telemetry.users_per_s, telemetry.users_of = users_per_s, dict(users_of or {})
        if not has_history:
            for state in test_env.fixture.production.services.values():
                state.revisions[state.latest_ready].ready_at_s = test_env.fixture.now() + 600
        test_env.server.answers = [{"approver": "Ada", "reason": "a quiet night"} | answer for answer in answers]
        run = test_env.start_release(**request)
        await test_env.until(lambda: "held for requests" in last_page(test_env) or run.task.done())
        telemetry.users_per_s = later_per_s or users_per_s
        await test_env.ended(run)
        return test_env, run

    return play(scenario, LONG.model_copy(update={"low_traffic": dict(low_traffic)} if low_traffic else {}))


def test_a_service_with_enough_requests_keeps_the_playbooks_share_and_bake() -> None:
    """10 % and the planned bake; the page says what it will show, and #releases is not bothered with it."""
    test_env, run = quiet(1000)
    assert run.end == "Promoted"
    assert set(canary_shares(test_env).values()) == {10}
    assert f"About 1,200 requests will reach {BACKEND}'s canary in 12 seconds; a fault of 1 % would be found" in (
        last_page(test_env)
    )
    assert "Forecast" not in test_env.fixture.slack.text


def test_a_larger_share_is_chosen_before_the_canary_has_a_user() -> None:
    """360 requests are too few; 18 % of the users bring enough, and the bake stays as it is."""
    test_env, run = quiet(300)
    assert run.end == "Promoted"
    assert set(canary_shares(test_env).values()) == {18}
    assert "The share is raised to 18 %: about 648 requests" in test_env.fixture.slack.text
    assert test_env.server.forms == []


def test_the_share_stays_within_its_bound_and_the_bake_becomes_longer() -> None:
    """30 % are not enough in 12 seconds; in 22 they are, and the release is promoted on evidence."""
    test_env, run = quiet(100)
    assert run.end == "Promoted"
    assert set(canary_shares(test_env).values()) == {30}
    assert "The share is raised to 30 % and the bake to 22 seconds" in test_env.fixture.slack.text
    assert "0.5 % or more is ruled out" not in test_env.fixture.slack.text
    assert "is below 0.5 %" in test_env.fixture.slack.text
    assert "ETA: 22 seconds (canary)" in test_env.fixture.slack.text


def test_what_so_few_requests_rule_out_is_said_where_they_promote() -> None:
    """At both bounds 0.5 % cannot be ruled out, but 5 % can: promoted, with what is and is not known."""
    test_env, run = quiet(SMALL)
    assert (run.end, test_env.fixture.versions_served()) == ("Promoted", ALL)
    assert set(canary_shares(test_env).values()) == {30}
    said = re.compile(r"0 of 5\d\d requests failed: a fault of 1 % is ruled out, one of 0.5 % is not\.")
    assert said.search(test_env.fixture.slack.text)
    assert said.search(last_page(test_env))
    assert test_env.server.forms == []
    assert "HELD" not in test_env.fixture.slack.text


def test_without_5_percent_ruled_out_a_person_decides() -> None:
    """The step is not taken: the gate opens, and silence reverts."""
    test_env, run = quiet(TINY)
    assert (run.end, set(test_env.fixture.versions_served().values())) == ("Reverted", {OLD})
    assert len(test_env.server.forms) == 1
    assert "No approval within" in run.message
    assert "a person will be asked" in test_env.fixture.slack.text


def test_a_small_service_that_errs_is_never_promoted_by_that_step() -> None:
    """5 % on one of three services: rolled back, or at least a person's to decide."""
    test_env, run = quiet(SMALL, backend=Behaviour(errors=0.05))
    assert (run.end, set(test_env.fixture.versions_served().values())) == ("Reverted", {OLD})


def test_a_service_may_want_a_person_instead() -> None:
    """`ask` for one service: what the others rule out does not decide for it."""
    test_env, run = quiet(SMALL, {"choice": "promote"}, low_traffic={FRONTEND: (LowTraffic.ASK,)})
    assert run.end == "Promoted"
    (form,) = test_env.server.forms
    assert f"**{FRONTEND}:** Error rate" in form
    assert f"**{BACKEND}:**" not in form


def test_a_large_service_keeps_its_share_beside_a_small_one() -> None:
    """Each canary has its own share; the bake is the longest that one of them needs."""
    test_env, run = quiet(1000, users_of={FRONTEND: 100.0})
    assert run.end == "Promoted"
    assert canary_shares(test_env) == {AI_CORE: 10, BACKEND: 10, FRONTEND: 30}
    assert "10 to 30 % have been on the new revisions" in pages(test_env)
    assert "the canary serves 10 to 30 % of the users" in last_page(test_env)


def test_a_share_that_a_person_asks_for_is_not_raised() -> None:
    """They said 5 %; only the bake may become longer."""
    test_env, run = quiet(300, canary_percent=5)
    assert run.end == "Promoted"
    assert set(canary_shares(test_env).values()) == {5}
    assert "The bake is 24 seconds" in test_env.fixture.slack.text


def test_a_forecast_without_history_changes_nothing() -> None:
    """Prometheus has nothing of the services yet: 10 % and the planned bake, and the page says that it is not known."""
    test_env, run = quiet(1000, has_history=False)
    assert set(canary_shares(test_env).values()) == {10}
    assert "How many requests will reach ethixai-backend's canary is not known" in last_page(test_env)
    assert "the bake 12 seconds" in test_env.fixture.slack.text
    assert run.end in ("Promoted", "Reverted")


def test_a_service_without_traffic_goes_to_a_person() -> None:
    """No share and no bake would help: both stay, and nothing is promoted by silence."""
    test_env, run = quiet(0)
    assert (run.end, set(test_env.fixture.versions_served().values())) == ("Reverted", {OLD})
    assert set(canary_shares(test_env).values()) == {10}
    assert f"No request is expected at {BACKEND}'s canary: its users sent none. A person will be asked." in (
        test_env.fixture.slack.text
    )


def test_probes_alone_promote_nothing() -> None:
    """No user reached the canary: requests of our own would prove only the path that they ask for. A person decides."""
    test_env, run = quiet(0, {"choice": "revert"}, low_traffic=PROBE)
    assert run.end == "Reverted"
    assert set(test_env.fixture.versions_served().values()) == {OLD}
    assert "requests of our own" not in last_page(test_env)
    assert len(test_env.server.forms) == 1


def test_probes_fill_what_users_left_open() -> None:
    """As many requests of our own as a further look wants; it sees them all, and nobody is asked."""
    test_env, run = quiet(SMALL, low_traffic=PROBE)
    assert run.end == "Promoted"
    assert test_env.fixture.versions_served() == ALL
    assert test_env.server.forms == []


def test_steps_are_taken_in_their_order() -> None:
    """`promote` comes after `probe`: 5 % is ruled out already, and requests of our own are sent all the same."""
    test_env, run = quiet(SMALL, low_traffic={"*": (LowTraffic.PROBE, LowTraffic.PROMOTE)})
    assert run.end == "Promoted"
    assert "requests of our own to ethixai-backend-abc123" in last_page(test_env)
    assert "is ruled out, one of" not in last_page(test_env), "the probes were enough for evidence"


def test_a_person_reads_what_the_probes_showed() -> None:
    """Where one service is to be asked about, the form shows the verdicts after the probes, not those before."""
    steps = PROBE | {FRONTEND: (LowTraffic.ASK,)}
    test_env, run = quiet(SMALL, {"choice": "promote"}, low_traffic=steps, users_of={FRONTEND: 0})
    assert run.end == "Promoted"
    (form,) = test_env.server.forms
    assert "requests of our own to ethixai-backend-abc123" in last_page(test_env)
    assert f"**{FRONTEND}:** No evidence" in form
    assert not any(f"**{name}:**" in form for name in (AI_CORE, BACKEND)), "the probes have decided them"


@pytest.mark.parametrize(("later_per_s", "served"), [(1000.0, NEW), (0.0, OLD)], ids=["they come", "nobody comes"])
def test_requests_are_waited_for(later_per_s: float, served: str) -> None:
    """A held release goes on when users come; when none do until the gate's deadline, it is reverted."""
    test_env, run = quiet(5, low_traffic={"*": (LowTraffic.HOLD,)}, later_per_s=later_per_s)
    assert set(test_env.fixture.versions_served().values()) == {served}
    assert run.end == ("Promoted" if served == NEW else "Reverted")
    assert "RELEASE HELD for requests, until" in test_env.fixture.slack.text
    assert not [key for key in test_env.fixture.slack.keys if "asking" in key], "nobody can answer any more"
    assert served == NEW or "No decision by the deadline" in run.message


def test_a_process_that_takes_over_bakes_as_the_forecast_chose() -> None:
    """Share and bake are in the lease: recovery asks for no other forecast, and decides on the same requests."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Lease, list[Run]]:
        test_env.fixture.publish(NEW)
        test_env.fixture.telemetry["production"].users_per_s = SMALL
        run = test_env.start_release()
        await test_env.until(test_env.baking(FRONTEND))
        lease = Record.read(test_env.fixture.production.read(AI_CORE)).lease
        run.process.die()
        test_env.fixture.telemetry["production"].users_per_s = 2 * SMALL
        assert lease is not None
        return test_env, lease, await test_env.recover()

    test_env, lease, runs = play(scenario, LONG)
    assert (lease.bake_s, lease.shares) == (24, (30,))
    assert [run.end for run in runs] == ["Promoted"]
    assert test_env.fixture.versions_served() == ALL
    assert set(canary_shares(test_env).values()) == {30}


def test_a_hotfix_has_no_forecast() -> None:
    """It has no canary: every user gets it at once."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.telemetry["production"].users_per_s = SMALL
        flow, asked = Hotfix("hotfix").asked()
        await Hotfix("hotfix").prepare(test_env)
        run = test_env.start(flow, request=asked, environment="production")
        await test_env.ended(run)
        return test_env, run

    test_env, run = play(scenario, LONG)
    assert run.end == "Promoted"
    assert "Forecast" not in pages(test_env)
    assert canary_shares(test_env) == {}
