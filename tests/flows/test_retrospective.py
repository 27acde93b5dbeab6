"""The retrospective of one run on demand: of a run without a bake, and of one that is not known."""

import pytest
from driver import Run, TestEnvironment, play

from flows import retrospective as flow
from playbook.history import record

REFUSED = record.Run(
    run_id="0c9e1f2e",
    flow=record.Flow.RELEASE,
    environment="production",
    outcome="Refused",
    message="Nothing was touched. Checklist: ❌ No freeze window.",
    version="v20251116-abc123",
    asked_s=1_000.0,
    started_s=1_001.0,
    ended_s=1_010.0,
    worked_s=9.0,
)


def looked_back(run: str, monkeypatch: pytest.MonkeyPatch) -> tuple[TestEnvironment, Run]:
    """The retrospective of ``run``, where Prefect remembers `REFUSED` alone."""

    async def remembered(environment: str, from_s: float, to_s: float) -> tuple[record.Run, ...]:
        return (REFUSED,)

    async def as_it_is(runs: list[record.Run]) -> list[record.Run]:
        return runs

    async def kept(environment: str, runs: object) -> None:
        """Prefect's blocks are not there."""

    monkeypatch.setattr(flow, "runs_between", remembered)
    monkeypatch.setattr(flow, "with_steps", as_it_is)
    monkeypatch.setattr(flow, "keep_records", kept)

    async def scenario(test_env: TestEnvironment) -> tuple[TestEnvironment, Run]:
        return test_env, await test_env.follow(flow.retrospective, environment="production", run=run)

    return play(scenario)


@pytest.mark.parametrize("run", ["0c9e1f2e", "https://prefect.example.com/v2/runs/flow-run/0c9e1f2e/"])
def test_a_run_that_was_refused_can_be_looked_back_at(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its id or its address. It had no bake, no step and no error ratio, and the page says so."""
    test_env, ended = looked_back(run, monkeypatch)
    assert (ended.end, ended.message) == ("Passed", "Looked back at v20251116-abc123.")
    page = test_env.server.artifacts["retrospective-0c9e1f2e"][-1]
    assert "No steps are recorded." in page
    assert "No freeze window" in page


def test_a_run_that_is_not_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not say that no release has ended."""
    _, ended = looked_back("1f2e3d", monkeypatch)
    assert ended.end == "Refused"
    assert (
        "run: 1f2e3d is no release, hotfix or rollback of production that ended in the last 200 days" in ended.message
    )
