"""What people need not see: a look that found nothing, and Prefect's line for each step that went well."""

import asyncio
import logging
from typing import Any

from prefect import Flow
from prefect.client import orchestration
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import ObjectNotFound

from blocks.prefect_api import PREFECT_AWAY

NOTHING_FOUND = "Nothing is lost"
"""Begins the message of a recovery that had nothing to do."""
SETTLES_S = 5.0
"""Prefect records the steps of a run a moment after they happened; it logs an error for one whose run is gone."""


async def forget_quiet_run(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Delete the run of a recovery that found nothing: 288 of them a day hide the releases.

    It is a hook, so the run is over, its automations have seen how it ended, and it holds nothing. Should the process
    die first, the run stays, and does no harm.
    """
    if not (state.message or "").startswith(NOTHING_FOUND):
        return
    await asyncio.sleep(SETTLES_S)
    try:
        async with orchestration.get_client() as client:
            await client.delete_flow_run(flow_run.id)
    except (ObjectNotFound, *PREFECT_AWAY) as away:
        logging.getLogger("prefect.flow_runs").debug("the run stays: %r", away)


class FinishedAtDebug(logging.Filter):
    """Prefect's "Finished in state Completed()" is at level debug: each decision has a line of its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged. One that says that something failed keeps its level."""
        if record.levelno == logging.INFO and str(record.msg).startswith("Finished in state"):
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
            return logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
        return True


def quiet_steps() -> None:
    """Steps that go well leave no line at level info in this process. Doing it twice is doing it once."""
    for name in ("prefect.task_runs", "prefect.flow_runs"):
        logger = logging.getLogger(name)
        if not any(isinstance(one, FinishedAtDebug) for one in logger.filters):
            logger.addFilter(FinishedAtDebug())
