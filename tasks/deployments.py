"""The code host shows how a release stands, where a workflow of its own does not show that already.

Nothing here can delay or fail a release: it is told beside it, and only the end of the run waits for it.
"""

import asyncio

from blocks.environment import Environment
from playbook.incident.response import BY_WORKFLOW
from playbook.lease.lease import Decision, Kind, Lease
from playbook.messages.facts import DeploymentState, Recorded
from playbook.messages.words import stable_names
from playbook.release.outcome import ReleaseOutcome
from playbook.release.version import VERSION
from tasks.notify import notify

_telling: dict[tuple[str, str], asyncio.Task[None]] = {}
"""Environment and release -> what is being told of it now."""


def record_beginning(env: Environment, lease: Lease) -> None:
    """The code host is being told that the release is under way; nothing waits for it."""
    _record(env, lease, _recorded(env, lease, DeploymentState.IN_PROGRESS, "Under way"))


def record_end(env: Environment, lease: Lease, end: ReleaseOutcome) -> None:
    """The code host is being told how the release ended, after its beginning; `all_recorded` waits for it."""
    if end is ReleaseOutcome.PROMOTED:
        recorded = _recorded(env, lease, DeploymentState.SUCCESS, f"{lease.version} serves all users")
    elif lease.kind is Kind.ROLLBACK:
        recorded = _recorded(env, lease, DeploymentState.SUCCESS, f"Rolled back from {lease.version}: {lease.reason}")
    else:
        recorded = _recorded(env, lease, DeploymentState.FAILURE, f"{end}: {lease.reason}")
    _record(env, lease, recorded)


async def all_recorded() -> None:
    """Everything that this loop's runs are telling the code host has been told, or is left to a run of its own."""
    loop = asyncio.get_running_loop()
    mine = {key: telling for key, telling in _telling.items() if telling.get_loop() is loop}
    if mine:
        await asyncio.wait(mine.values())
    for key in mine:
        _telling.pop(key, None)


def _record(env: Environment, lease: Lease, recorded: Recorded | None) -> None:
    key = env.name, lease.release_id
    if recorded is not None:
        _telling[key] = asyncio.ensure_future(_in_turn(env, recorded, _telling.get(key)))


async def _in_turn(env: Environment, recorded: Recorded, before: "asyncio.Task[None] | None") -> None:
    if before is not None and before.get_loop() is asyncio.get_running_loop():
        await asyncio.wait({before})
    await notify(env, recorded)


def _recorded(env: Environment, lease: Lease, state: DeploymentState, description: str) -> Recorded | None:
    """What the code host is to show; None where it shows nothing of this release.

    A rollback deploys what users go back to.
    """
    is_back = lease.kind is Kind.ROLLBACK and lease.decision is Decision.REVERT
    version = VERSION.fullmatch(stable_names(lease) if is_back else lease.version)
    if env.code_host is None or not env.code_host.deployments or version is None:
        return None
    if lease.requested_by.endswith(BY_WORKFLOW):  # its job has an environment, so GitHub makes a deployment for it
        return None
    return Recorded(
        key=f"{lease.release_id}/deployment/{state.value}",
        release_id=lease.release_id,
        environment=env.name,
        is_production=env.is_production,
        commit=version["commit"],
        state=state,
        description=description,
        url=env.run_url(lease.flow_run_id),
    )
