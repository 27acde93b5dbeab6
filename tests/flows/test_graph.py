"""A run's graph tells its story: few steps, each with its environment in its name, and red where it went badly."""

import inspect
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import prefect_away
import pytest
from cloud import Behaviour
from driver import TestEnvironment, play
from fixture import NEW, SERVICES
from prefect import Task
from prefect.client.schemas.objects import State

BACKEND = SERVICES[1]
STEPS_MAX = 31
"""Of a release of three services through two environments, with its messages."""
Nodes = list[tuple[str, bool]]
"""A step's name as the UI shows it, and whether it is red."""


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """The steps of the runs that are played, in the order in which they ended; without those inside another step."""
    found: Nodes = []
    depth: ContextVar[int] = ContextVar("depth", default=0)
    carry_out = prefect_away.run_task

    async def recorded(task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        bound = inspect.signature(task.fn).bind(*args, **kwargs)
        bound.apply_defaults()
        name = str(task.task_run_name or task.name).format(**bound.arguments)
        is_inside = depth.get() > 0
        entered = depth.set(depth.get() + 1)
        try:
            result = await carry_out(task, args, kwargs)
        except BaseException:
            found.extend([] if is_inside else [(name, True)])
            raise
        finally:
            depth.reset(entered)
        found.extend([] if is_inside else [(name, isinstance(result, State) and result.is_failed())])
        return result

    monkeypatch.setattr(prefect_away, "run_task", recorded)
    return found


def released(behaviour: Behaviour | None = None, prepare: Callable[[TestEnvironment], None] | None = None) -> str:
    """How a release ended, whose backend behaves so."""

    async def scenario(test_env: TestEnvironment) -> str:
        test_env.fixture.publish(NEW, {BACKEND: behaviour} if behaviour else None)
        if prepare is not None:
            prepare(test_env)
        return (await test_env.release()).end

    return play(scenario)


def placeless(nodes: Nodes) -> list[str]:
    """The steps whose name does not say where they act."""
    return [name for name, _ in nodes if "staging" not in name and "production" not in name]


def test_a_healthy_release_is_a_short_story_and_every_step_names_its_place(nodes: Nodes) -> None:
    """Staging and production look different, and nothing is red."""
    assert released() == "Promoted"
    assert len(nodes) <= STEPS_MAX, nodes
    assert placeless(nodes) == []
    assert [name for name, is_red in nodes if is_red] == []
    assert f"promote {BACKEND} in production" in dict(nodes)


def test_a_bad_canary_makes_its_bake_red_and_nothing_else(nodes: Nodes) -> None:
    """The reverts and the messages are green: they did what they should."""
    assert released(Behaviour(errors=0.05)) == "Reverted"
    assert [name for name, is_red in nodes if is_red] == [f"monitor {NEW} in production"]
    assert placeless(nodes) == []


def test_an_open_checklist_item_makes_the_checklist_red(nodes: Nodes) -> None:
    """The release is refused there."""
    assert released(prepare=lambda test_env: test_env.server.variables.update(stop_the_line="a leak")) == "Refused"
    assert [name for name, is_red in nodes if is_red] == ["checklist in production"]
