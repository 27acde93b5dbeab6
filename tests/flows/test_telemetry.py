"""Telemetry that makes no sense is found before any user is sent to a new revision, and never blamed on the code."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cloud import Behaviour
from driver import Run, TestEnvironment, play
from fixture import NEW, OLD, SERVICES
from telemetry import Telemetry

from flows.flight_check import flight_check
from flows.validation import validation
from playbook.analysis.samples import CounterSeries

_, BACKEND, _ = SERVICES
ALL_OLD, ALL_NEW = dict.fromkeys(SERVICES, OLD), dict.fromkeys(SERVICES, NEW)
Shown = Callable[[str, CounterSeries], CounterSeries]


def renamed(label: str, words: dict[str, str], *, where: str = "abc123") -> Shown:
    """Requests of revisions named so are counted under another label, in other words."""

    def shown(revision: str, one: CounterSeries) -> CounterSeries:
        if where not in revision or BACKEND not in revision or "status" not in one.labels:
            return one
        rest = {name: value for name, value in one.labels.items() if name != "status"}
        return replace(one, labels={**rest, label: words.get(one.labels["status"], one.labels["status"])})

    return shown


def edges(*wanted: str) -> Shown:
    """The latency histogram of the backend has these edges alone."""
    names = dict(zip(("0.5", "2", "5"), wanted, strict=True))

    def shown(revision: str, one: CounterSeries) -> CounterSeries:
        le = one.labels.get("le", "")
        return replace(one, labels={**one.labels, "le": names.get(le, le)}) if BACKEND in revision and le else one

    return shown


def released(shown: Shown | None = None, *, warnings: tuple[str, ...] = ()) -> tuple[TestEnvironment, Run]:
    """A release to production whose backend fails every request, and whose metrics are shown so."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        telemetry = test_env.fixture.telemetry["production"]
        telemetry.shown, telemetry.warnings = shown or telemetry.shown, warnings
        test_env.fixture.publish(NEW, {BACKEND: Behaviour(errors=1.0)})
        run = await test_env.release()
        await test_env.catch_up()
        return test_env, run

    return play(scenario)


def sent_users(test_env: TestEnvironment) -> bool:
    """Whether any user was sent to a new revision."""
    splits = [write.change.split for write in test_env.fixture.production.writes if write.change.split is not None]
    return any(percent for split in splits for name, percent in split.percent.items() if "abc123" in name)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("code", {}),
        ("status_code", {}),
        ("grpc_code", {"503": "Unavailable", "200": "OK"}),
        ("outcome", {"503": "ServerError", "200": "Success"}),
    ],
    ids=["T1", "T2", "T3", "words"],
)
def test_another_label_is_found_before_users(label: str, words: dict[str, str]) -> None:
    """T1 to T3: everything fails and nothing says so. Reverted before the shift, with the line that mends it."""
    test_env, run = released(renamed(label, words))
    assert (run.end, test_env.fixture.versions_served(), sent_users(test_env)) == ("Reverted", ALL_OLD, False)
    assert f'Set telemetry.status_label = "{label}".' in run.message
    assert f'telemetry.status_label = "{label}"' in test_env.fixture.slack.text
    (ticket,) = test_env.fixture.github.tickets
    assert ticket.title == "Production release stopped: its metrics cannot be judged"
    assert "The telemetry is at fault and not the code." in ticket.text


def test_missing_edges_are_found_before_users() -> None:
    """T9: an answer that takes 30 s would be in no bucket that matters."""
    test_env, run = released(edges(".1", ".5", "1"))
    assert (run.end, sent_users(test_env)) == ("Reverted", False)
    assert "edges at 2 and 5 s are missing; its edges are 0.1, 0.5, 1." in run.message


def test_a_partial_answer_is_found_before_users() -> None:
    """T8: its warning is told."""
    test_env, run = released(warnings=("store 10.0.0.2:10901 unavailable",))
    assert (run.end, sent_users(test_env)) == ("Reverted", False)
    assert "store 10.0.0.2:10901 unavailable" in run.message


def test_what_is_wrong_with_stable_alone_stops_nothing() -> None:
    """The canary's own errors are seen, and it is rolled back."""
    test_env, run = released(renamed("code", {}, where="old"))
    assert (run.end, test_env.fixture.versions_served()) == ("Reverted", ALL_OLD)
    assert sent_users(test_env)
    assert "Error rate 100 %" in run.message


@pytest.mark.parametrize("flow", [flight_check, validation])
def test_flight_check_and_validation_say_it_too(flow, monkeypatch: pytest.MonkeyPatch) -> None:
    """They look at what serves now."""
    monkeypatch.setattr("flows.flight_check.dependencies", lambda env: {})  # the stand-ins in memory have none to try

    async def scenario(test_env: TestEnvironment) -> tuple[Run, Run]:
        good = await test_env.follow(flow, environment="production")
        test_env.fixture.telemetry["production"].shown = renamed("code", {}, where="")
        return good, await test_env.follow(flow, environment="production")

    good, bad = play(scenario)
    assert good.end == "Passed", good.message
    assert bad.end == "Unfit"
    assert f"{BACKEND}-00001-old: the request counters have no label status" in bad.message


def as_health_checks(revision: str, one: CounterSeries) -> CounterSeries:
    """Every request that the backend has counted was a health check."""
    is_counted = BACKEND in revision and bool({"status", "le"} & one.labels.keys())
    return replace(one, labels={**one.labels, "handler": "/health/readiness"}) if is_counted else one


def test_health_checks_alone_promote_nothing() -> None:
    """200 a second of them, all well: the release waits for a person, and no answer reverts."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.telemetry["production"].shown = as_health_checks
        test_env.fixture.publish(NEW)
        run = await test_env.release()
        await test_env.catch_up()
        return test_env, run

    test_env, run = play(scenario)
    assert (run.end, test_env.fixture.versions_served()) == ("Reverted", ALL_OLD), run.message
    assert "but for health checks and scrapes, if any." in test_env.fixture.slack.text


@pytest.mark.parametrize("flow", [flight_check, validation])
def test_health_checks_alone_are_told_before_a_release(flow, monkeypatch: pytest.MonkeyPatch) -> None:
    """A canary beside that stable would be judged by no request."""
    monkeypatch.setattr("flows.flight_check.dependencies", lambda env: {})

    async def scenario(test_env: TestEnvironment) -> Run:
        test_env.fixture.telemetry["production"].shown = as_health_checks
        return await test_env.follow(flow, environment="production")

    run = play(scenario)
    assert run.end == "Unfit"
    assert "requests were health checks or scrapes (/health/readiness) and none was a user's" in run.message


def baked(change: Callable[[Telemetry], None], *, errors: float = 0.0) -> tuple[TestEnvironment, Run]:
    """A release whose telemetry changes once the canary has users; no person answers."""

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        test_env.fixture.publish(NEW, {BACKEND: Behaviour(errors=errors)})
        run = test_env.start_release()
        await test_env.until(test_env.baking(BACKEND))
        change(test_env.fixture.telemetry["production"])
        await test_env.ended(run)
        await test_env.catch_up()
        return test_env, run

    return play(scenario)


def test_a_partial_answer_in_the_bake_is_held_with_its_text() -> None:
    """T8, from the first look after the shift on: a person is asked, with the warning, and no answer reverts."""

    def change(telemetry: Telemetry) -> None:
        telemetry.warnings = ("store 10.0.0.2:10901 unavailable",)

    test_env, run = baked(change)
    assert (run.end, test_env.fixture.versions_served()) == ("Reverted", ALL_OLD)
    assert "store 10.0.0.2:10901 unavailable" in run.message
    assert "store 10.0.0.2:10901 unavailable" in test_env.fixture.slack.text


def test_a_label_that_changes_in_the_bake_is_held() -> None:
    """From then on no status is known, and everything fails."""

    def change(telemetry: Telemetry) -> None:
        telemetry.shown = renamed("code", {})

    test_env, run = baked(change, errors=1.0)
    assert (run.end, test_env.fixture.versions_served()) == ("Reverted", ALL_OLD)


def test_what_is_wrong_with_stable_in_the_bake_does_not_hold() -> None:
    """The canary is promoted by what is known of itself."""

    def change(telemetry: Telemetry) -> None:
        telemetry.shown = renamed("code", {}, where="old")

    _, run = baked(change)
    assert run.end == "Promoted", run.message
