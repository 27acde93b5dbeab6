"""Scheduled runs that have not begun say what they are, where and when.

Prefect's scheduler gives each a random name (`_generate_scheduled_flow_runs`, 3.9.1); a flow's own name for its run is
set when it begins.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import Flow
from prefect.client import orchestration
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterNextScheduledStartTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound

from blocks.prefect_api import PREFECT_AWAY
from playbook.messages.times import moment

BY_SCHEDULE = "auto-scheduled"
"""Prefect's own tag of what a schedule has made."""
NAMES = {
    "release": "release to {environment}",
    "flight-check": "flight check of {environment}",
    "retrospective": "retrospective of {environment}",
    "quarterly-review": "review of {environment}",
    "recovery": "recovery of {environment}",
}
"""Flow -> what its scheduled run is called, before its time."""
AHEAD = timedelta(minutes=2)
"""A run that begins sooner names itself."""
PAGE = 200
WITHIN_S = 20.0


async def name_scheduled_runs(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Every scheduled run of the environment has its name: a hook of the recovery that ends every ten minutes.

    The recovery is over and holds nothing. Where the server is away, the next one does it.
    """
    environment = str((flow_run.parameters or {}).get("environment", "production"))
    try:
        async with asyncio.timeout(WITHIN_S), orchestration.get_client() as client:
            await _name_all(client, environment)
    except (ObjectNotFound, TimeoutError, *PREFECT_AWAY) as away:
        logging.getLogger("prefect.flow_runs").debug("scheduled runs keep their names: %r", away)


async def _name_all(client: PrefectClient, environment: str) -> None:
    ours = FlowFilter(name=FlowFilterName(any_=list(NAMES)))
    flows = {one.id: one.name for one in await client.read_flows(flow_filter=ours)}
    later = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[BY_SCHEDULE, environment]),
        state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Scheduled"])),
        next_scheduled_start_time=FlowRunFilterNextScheduledStartTime(after_=datetime.now(UTC) + AHEAD),
    )
    offset = 0
    while page := await client.read_flow_runs(
        flow_filter=ours,
        flow_run_filter=later,
        sort=FlowRunSort.NEXT_SCHEDULED_START_TIME_ASC,
        limit=PAGE,
        offset=offset,
    ):
        for run in page:
            if (due := run.next_scheduled_start_time) is None:
                continue
            name = f"{NAMES[flows[run.flow_id]].format(environment=environment)}, {moment(due.timestamp())}"
            if run.name != name:
                await client.update_flow_run(run.id, name=name)
        offset += PAGE
