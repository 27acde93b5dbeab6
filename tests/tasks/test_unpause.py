"""A question that Prefect did not take: the run is set going again, and only if it is paused."""

from contextlib import asynccontextmanager
from types import SimpleNamespace
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import State
from prefect.states import Cancelling, Crashed, Paused, Running

from tasks import gate


@pytest.mark.parametrize(
    ("found", "is_set_going"),
    [(Paused(), True), (Running(), False), (Cancelling(), False), (Crashed(message="it fell silent"), False)],
    ids=lambda value: value.name if isinstance(value, State) else "",
)
async def test_only_a_paused_run_is_set_going(monkeypatch, found: State, is_set_going: bool) -> None:
    """Who cancelled it meanwhile, or took it for lost, is not overruled."""
    given: list[State] = []

    async def read_flow_run(_: object) -> SimpleNamespace:
        return SimpleNamespace(state=found)

    async def set_flow_run_state(_: object, state: State, *, force: bool) -> None:
        assert force
        given.append(state)

    @asynccontextmanager
    async def client():
        yield SimpleNamespace(read_flow_run=read_flow_run, set_flow_run_state=set_flow_run_state)

    monkeypatch.setattr(gate.orchestration, "get_client", client)
    monkeypatch.setattr(gate, "runtime", SimpleNamespace(flow_run=SimpleNamespace(get_id=lambda: str(uuid4()))))
    await gate._unpause()
    assert [state.name for state in given] == (["Running"] if is_set_going else [])
