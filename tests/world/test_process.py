"""The world as a process: it ends when it is told, and leaves nothing behind even when it is killed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rehearsal.world.remote import RemoteWorld, WorldError


def is_alive(pid: int) -> bool:
    """Whether the process runs (one that only waits to be reaped does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def children(pid: int) -> list[int]:
    """The children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def gone(pids: list[int]) -> None:
    """Return once none of them runs."""
    while True:
        if not any(is_alive(pid) for pid in pids):
            return
        await asyncio.sleep(0.05)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, and relies on what Linux's prctl gives")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_no_child_outlives_the_world(tmp_path, number):
    """Ended by SIGTERM or SIGINT (exit status 0), or killed: haproxy, Prometheus and the instances are gone too."""
    addresses = tmp_path / "addresses.json"
    command = [sys.executable, "-m", "rehearsal.world", "--small", "--folder", str(tmp_path), "--json", str(addresses)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout
    line = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
    assert line == json.loads(addresses.read_text())
    started = children(process.pid)
    assert len(started) == 4
    os.kill(process.pid, number)
    assert await asyncio.wait_for(process.wait(), 20) == (-9 if number == signal.SIGKILL else 0)
    await asyncio.wait_for(gone(started), 10)


async def test_a_reset_brings_the_beginning_back(cloud):
    """After a deploy, a fault, a denial, a turned knob and a message: nothing of it is left, and URLs stay."""
    url = cloud.world.url("ethixai-backend")
    await cloud.deploy("ethixai-backend-v2", traffic=[cloud.target("LATEST", 100)])
    await cloud.world.fault("Services.GetService", "INTERNAL", count=None)
    await cloud.world.deny("*")
    await cloud.world.turn(reconcile_delay_s=9.0)
    await cloud.world.put_secret("ethixai-production", "slack-token", "one")
    await cloud.world.reset()
    service = await cloud.get()
    assert service.uri == url
    assert list(service.annotations) == []
    assert await cloud.served() == {cloud.STABLE: 100}
    assert (await cloud.world.writes(), await cloud.world.vendor_calls()) == ([], [])
    assert (await cloud.world.turn())["reconcile_delay_s"] == 0.05


async def test_what_the_control_api_does_not_know_is_said(cloud):
    """An unknown knob, service or project is an error that names it."""
    with pytest.raises(WorldError, match="no such knob: colour"):
        await cloud.world.turn(colour="red")
    with pytest.raises(WorldError, match="does not exist"):
        await cloud.world.out_of_band("projects/p/locations/l/services/none", traffic=[])
    with pytest.raises(WorldError, match="ethixai-nothing"):
        cloud.world.find("ethixai-nothing")


async def test_a_world_that_cannot_start_says_why(tmp_path):
    """The end of its log is in the error."""
    (tmp_path / "haproxy").write_text("a file where a folder must be")
    with pytest.raises(WorldError, match="haproxy"):
        async with RemoteWorld.start(tmp_path, small=True):
            pass


async def test_prometheus_goes_away_and_comes_back(cloud):
    """Its port refuses connections, then it answers again at the same URL."""
    import httpx

    await cloud.world.prometheus_away()
    async with httpx.AsyncClient(trust_env=False, base_url=cloud.world.prometheus_url) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get("/-/ready")
        await cloud.world.prometheus_back()
        assert (await http.get("/-/ready")).status_code == 200
