"""Properties of the machine: an HTTP proxy in the environment, a PATH without /usr/sbin."""

import subprocess
from pathlib import Path

import pytest

from rehearsal.world import child
from rehearsal.world.loopback import reach_directly

CASES = {
    "nothing named": ({}, "127.0.0.1,localhost"),
    "hosts of the machine's own": ({"NO_PROXY": "corp, 10.0.0.1"}, "corp,10.0.0.1,127.0.0.1,localhost"),
    "one in each spelling": ({"no_proxy": "a", "NO_PROXY": "b"}, "a,b,127.0.0.1,localhost"),
    "named already": ({"no_proxy": "localhost,127.0.0.1"}, "localhost,127.0.0.1"),
}


@pytest.mark.parametrize(("environ", "hosts"), CASES.values(), ids=CASES)
def test_loopback_bypasses_the_proxy(environ: dict[str, str], hosts: str) -> None:
    """Loopback is added to what is there, once, in both spellings."""
    found = dict(environ)
    for _ in range(2):
        reach_directly(found)
        assert found == {"no_proxy": hosts, "NO_PROXY": hosts}


def test_programs_in_usr_sbin_are_found(tmp_path: Path) -> None:
    """haproxy is in /usr/sbin, which a user's PATH does not name; a child looks there too."""
    answer = subprocess.run(
        child.command("sh", "-c", 'echo "$PATH"'),
        env={"PATH": "/usr/bin:/bin"}, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert answer.stdout.strip() == "/usr/bin:/bin:/usr/sbin:/sbin"
