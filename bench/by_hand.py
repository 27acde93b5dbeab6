"""The playbook by hand, as a person does it who has every name ready: `bench/by_hand.sh`, and when it reached what."""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path

from blocks.ethixai import SAMPLE
from rehearsal.test_environment import PRODUCTION, STAGING, TestEnvironment
from rehearsal.world.gcloud import UNWANTED

SCRIPT = Path(__file__).with_name("by_hand.sh")
TIMEOUT_S = 600.0


def _named(prefix: str, values: Mapping[str, str]) -> dict[str, str]:
    return {f"{prefix}_{name.replace('-', '_')}": value for name, value in values.items()}


async def by_hand(
    test_env: TestEnvironment,
    what: str,
    *,
    tag: str = "",
    old: Mapping[str, str] | None = None,
    percent: int,
    bake_s: float,
) -> dict[str, float]:
    """Run one part of the script. Returns when each mark was reached, in unix seconds; ``end`` is the last one.

    ``tag``: of the images; ``old``: service -> revision to go back to. Raises RuntimeError with the end of its output.
    """
    world, services = test_env.world, test_env.services
    sample = test_env.server.folder / "sample_10rows.csv"
    sample.write_text(SAMPLE)
    environ = {
        **{key: value for key, value in os.environ.items() if not key.startswith("CLOUDSDK_") and key not in UNWANTED},
        **world.gcloud_environ,
        **_named("URL", {service: world.url(service) for service in services}),
        **_named("STAGING_URL", {service: world.url(service, STAGING) for service in services}),
        **_named("OLD", old or {}),
        "SERVICES": " ".join(services),
        "PROJECT": PRODUCTION,
        "STAGING": STAGING,
        "REGION": "us-east1",
        "TAG": tag,
        "PERCENT": str(percent),
        "BAKE_S": f"{bake_s:g}",
        "PROMETHEUS": world.prometheus_url,
        "SLACK": f"{world.vendors_url}/slack/api",
        "SLACK_TOKEN": "rehearsal-token",
        "SAMPLE": str(sample),
    }
    pipe = asyncio.subprocess.PIPE
    marks = {"trigger": time.time()}
    process = await asyncio.create_subprocess_exec(
        *("bash", str(SCRIPT), what), env=environ, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
    )
    try:
        said, wrong = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise RuntimeError(f"by_hand.sh {what} ended with {process.returncode}: {wrong.decode()[-800:]}")
    for line in said.decode().splitlines():
        at_s, _, mark = line.partition(" ")
        marks[mark] = float(at_s)
    return marks
