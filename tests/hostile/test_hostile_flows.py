"""A sample of every flow x every hostile annotation (`python tests/hostile/every_flow.py` runs all)."""

import inspect
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "chaos"))

import pytest
from every_flow import ASKED, LOOKS_BACK, flows, outcomes

import tasks.history
from flows import quarterly_review, retrospective

EVERY = 331
"""The sample takes every 331st case; a prime, so that it covers models, fields and values in turn."""


@pytest.mark.parametrize("flow", flows())
def test_a_flow_ends_whatever_stands_on_one_service(flow: str) -> None:
    """It ends in time, as a value or as our error; the other services are none the worse; no text of the annotation is
    told to people; and what recovery and rollback set aside is paged."""
    start = 11 * flows().index(flow)
    wrong = [f"{one.case} on {one.service}: {one.wrong}" for one in outcomes(flow, EVERY, start) if one.wrong]
    assert not wrong, "\n".join(wrong)


def test_what_looks_back_reads_no_service() -> None:
    """So they are left out; and what is asked is asked of a flow that there is."""
    for module in (retrospective, quarterly_review, tasks.history):
        assert "cloud_run" not in inspect.getsource(module)
    assert not ASKED.keys() - set(flows())
    assert not LOOKS_BACK & set(flows())
