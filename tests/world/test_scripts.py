"""What `python -m rehearsal up` prints is enough for a script that is not ours and knows Google's client only."""

import asyncio
import os
import sys
from typing import Any

from rehearsal.command_line import for_gcloud, for_scripts

SCRIPT = """
from google.cloud import run_v2
client = run_v2.ServicesClient(client_options={"api_endpoint": ENDPOINT})
service = client.get_service(name=NAME)
print(service.name, [status.percent for status in service.traffic_statuses])
"""


async def test_a_script_of_anybodys_asks_the_stand_in_with_what_is_printed(cloud: Any) -> None:
    """The two exports go into a shell, the endpoint and the name into the script; nothing else is needed."""
    *exports, endpoint, name = for_scripts(cloud.world).splitlines()
    assert len(exports) == 2
    named = f"ENDPOINT, NAME = {endpoint.split()[-1]!r}, {name.split()[-1]!r}"
    shell = "\n".join([*exports, 'exec "$0" -c "$1"'])
    process = await asyncio.create_subprocess_exec(
        "bash", "-ec", shell, sys.executable, named + SCRIPT,
        env={"PATH": os.environ["PATH"]}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, wrong = await process.communicate()
    assert said.decode().strip() == f"{cloud.name} [100]", wrong.decode()[-500:]


async def test_the_lines_for_gcloud_are_a_shells(cloud: Any) -> None:
    """Pasted into a shell they set what the world says, and unset what would defeat the world's authority."""
    _, *lines = for_gcloud(cloud.world).splitlines()
    shell = "\n".join(["export REQUESTS_CA_BUNDLE=/elsewhere", *lines, "env"])
    process = await asyncio.create_subprocess_exec(
        "bash", "-ec", shell, env={"PATH": os.environ["PATH"]}, stdout=asyncio.subprocess.PIPE
    )
    said = (await process.communicate())[0].decode().splitlines()
    assert {f"{key}={value}" for key, value in cloud.world.gcloud_environ.items()} <= set(said)
    assert not any(line.startswith("REQUESTS_CA_BUNDLE") for line in said)
