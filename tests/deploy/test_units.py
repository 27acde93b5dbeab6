"""The systemd units and the image give every process what it writes to, and settings that are known.

They were run under Debian's systemd once, by hand (docs/production.md, 2); these are the two faults that it found.
"""

import re
from pathlib import Path

import pytest

from tests.deploy.test_settings import known

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
STATE = "/var/lib/playbook"
"""What ``StateDirectory=playbook`` makes, and the home of the image's user: the only place that can be written."""
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
UI = "PREFECT_SERVER_UI_STATIC_DIRECTORY"


def environment(text: str) -> dict[str, str]:
    """What a unit or a Dockerfile sets."""
    return dict(re.findall(r"^(?:Environment=|ENV |    )(\w+)=(\S+)", text, flags=re.MULTILINE))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_has_its_home_where_it_may_look(unit: Path) -> None:
    """With ``ProtectHome`` PostgreSQL's client ends the server: it looks for a key below the home of the account."""
    text = unit.read_text()
    assert "\nProtectHome=yes\n" in text
    assert "\nStateDirectory=playbook\n" in text
    found = environment(text)
    assert found["HOME"] == STATE
    assert found["PREFECT_HOME"].startswith(f"{STATE}/")


@pytest.mark.parametrize("name", ["Dockerfile", "systemd/playbook-server.service"])
def test_the_server_copies_its_ui_to_where_it_may_write(name: str) -> None:
    """Its code is read-only, in a container too: without a folder of its own the UI answers 404 to every page."""
    assert environment((DEPLOY / name).read_text())[UI].startswith(f"{STATE}/")


@pytest.mark.parametrize("path", [*UNITS, DEPLOY / "Dockerfile"], ids=lambda path: path.name)
def test_every_setting_exists(path: Path) -> None:
    """A name that an upgrade has dropped would be ignored without a word."""
    named = {name for name in environment(path.read_text()) if name.startswith("PREFECT_")}
    assert named <= known() | {"PREFECT_HOME"}
