"""What an unmodified gcloud needs in its environment to work on a world."""

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from rehearsal.world.identity import RELEASER, Identities

TOKEN_LIFETIME_S = 7 * 24 * 3600.0
UNWANTED = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that would make gcloud overlook the world's authority: to be unset."""


def environ(
    folder: Path, identities: Identities, ca_file: Path, gateway_port: int, project: str, region: str
) -> Mapping[str, str]:
    """The variables. gcloud's own settings and log-in stay as they are: it gets a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    token = folder / "access-token"
    token.touch(mode=0o600)
    token.write_text(identities.access_token(RELEASER, TOKEN_LIFETIME_S))
    return {
        "CLOUDSDK_CONFIG": str(folder / "config"),
        "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(token),
        "CLOUDSDK_PROXY_TYPE": "http",
        "CLOUDSDK_PROXY_ADDRESS": "127.0.0.1",
        "CLOUDSDK_PROXY_PORT": str(gateway_port),
        "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE": str(ca_file),
        "CLOUDSDK_CORE_PROJECT": project,
        "CLOUDSDK_RUN_REGION": region,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        "CLOUDSDK_SURVEY_DISABLE_PROMPTS": "1",
    }


COMMAND_TIMEOUT_S = 90.0


def commands_in(text: str) -> list[str]:
    """The gcloud commands in a text that people read, each with its continued lines, ready for a shell."""
    found: list[str] = []
    lines = iter(text.splitlines())
    for line in lines:
        if not line.startswith("gcloud "):
            continue
        command = line
        while command.endswith("\\"):
            command = f"{command}\n{next(lines, '')}"
        found.append(command)
    return found


async def run_text(command: str, environ: Mapping[str, str]) -> tuple[int, str]:
    """What a person gets who pastes ``command`` into a shell with the variables ``environ``: exit status and output.

    Raises TimeoutError.
    """
    ours = {key: value for key, value in os.environ.items() if not key.startswith("CLOUDSDK_") and key not in UNWANTED}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", command),
        env={**ours, **environ},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), COMMAND_TIMEOUT_S)
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode or 0, said.decode(errors="replace")
