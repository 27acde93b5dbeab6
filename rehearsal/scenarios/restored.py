"""Prefect's database is restored to before a release that is under way: the server has never heard of its run."""

import asyncio
import dataclasses
import time

from rehearsal import checks
from rehearsal.prefect_api import Run
from rehearsal.scenario import Scenario
from rehearsal.server import Backup
from rehearsal.test_environment import SERVICES, TestEnvironment

LEASE = (f"{checks.OURS}claim", f"{checks.OURS}member")
GOOD = "Promoted"


async def given(test_env: TestEnvironment) -> None:
    """The backup is made before the release is started, by the command of docs/operations.md."""
    await Backup(test_env.server).dump()


async def meanwhile(test_env: TestEnvironment, run: Run) -> Run:
    """Restore it while the canary bakes. The release ends all the same; what it left in the world is what counts."""
    await test_env.until(run, "monitor")
    await asyncio.sleep(5)
    began_s = time.monotonic()
    await test_env.server.stop_api()
    await Backup(test_env.server).restore()
    await test_env.server.start_api()
    test_env.event(f"The database is the backup; the server was away for {time.monotonic() - began_s:.1f} s.")
    try:
        await test_env.prefect.run(run.id)
    except RuntimeError:
        test_env.event("The server does not know the run of the release.")
    else:
        raise AssertionError("the server still knows the run: the backup was made after its start")
    await until_over(test_env)
    taken = await test_env.prefect.take_overs("production")
    test_env.event(f"It was ended by {'a recovery' if taken else 'its own process'}.")
    return dataclasses.replace(run, state=GOOD, state_type="COMPLETED", ended_at_s=time.time())


async def until_over(test_env: TestEnvironment) -> None:
    """Return once no service carries a lease. Raises TimeoutError."""
    async with asyncio.timeout(SCENARIO.timeout_s):
        while True:
            found = [await test_env.world.service(service) for service in SERVICES]
            if not any(key in one["annotations"] for one in found for key in LEASE):
                return
            await asyncio.sleep(1)


SCENARIO = Scenario(
    name="restored",
    description="Prefect's database is restored to before a release that is under way; it ends as if nothing happened.",
    ends=GOOD,
    given=given,
    meanwhile=meanwhile,
    then=checks.promoted,
    is_forgotten=True,
)
