"""What deploy/ sets is known to what is installed, and the rehearsal on several machines uses the same."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prefect.settings import Settings
from prefect_redis.cleanup_queue import RedisWorkerCleanupQueueSettings
from prefect_redis.client import RedisMessagingSettings

from rehearsal.scale import proxy_configuration, settings

EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "production.env.example"
SHARED_BY_SERVERS = (
    "PREFECT_SERVER_EVENTS_MESSAGING_BROKER",
    "PREFECT_SERVER_EVENTS_MESSAGING_CACHE",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE",
    "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE",
    "PREFECT_SERVER_DOCKET_URL",
)
"""What one server process keeps in its memory. Two of them need one place for it."""


READ_BY_ITSELF = "PREFECT_SERVER_ENCRYPTION_KEY"
"""No setting: `prefect/server/utilities/encryption.py` reads the environment."""


def known() -> set[str]:
    """Every environment variable that the installed Prefect reads."""
    redis = {f"PREFECT_REDIS_MESSAGING_{name.upper()}" for name in RedisMessagingSettings.model_fields}
    redis |= {
        f"PREFECT_REDIS_WORKER_CLEANUP_QUEUE_{name.upper()}" for name in RedisWorkerCleanupQueueSettings.model_fields
    }
    set_now = set(map(str, Settings().to_environment_variables(exclude_unset=False)))
    return {*set_now, *redis, *aliases(), READ_BY_ITSELF}


def aliases() -> set[str]:
    """Settings without a value of their own stand in the schema alone."""
    return set(re.findall(r"PREFECT_[A-Z_]+", str(Settings.model_json_schema())))


def test_every_setting_of_the_example_exists() -> None:
    """A name that an upgrade has dropped would be ignored without a word."""
    named = re.findall(r"^(PREFECT_\w+)=", EXAMPLE.read_text(), flags=re.MULTILINE)
    assert named
    assert not set(named) - known()


def test_the_rehearsal_on_several_machines_takes_its_settings_from_the_example() -> None:
    """What the servers must share is set, and the client asks again where a server's database is away."""
    found = settings(redis_port=6380)
    assert not [name for name in SHARED_BY_SERVERS if name not in found]
    assert found["PREFECT_REDIS_MESSAGING_PORT"] == "6380"
    assert not [name for name, value in found.items() if "redis:6379" in value]
    assert found["PREFECT_CLIENT_RETRY_EXTRA_CODES"] == "500,504"


def test_the_proxy_of_the_rehearsal_is_the_shipped_one(tmp_path: Path) -> None:
    """haproxy takes it; the rule about settings and both servers are still in it."""
    haproxy = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if haproxy is None:
        pytest.skip("haproxy is not installed")
    hosts, configuration = tmp_path / "hosts", tmp_path / "haproxy.cfg"
    hosts.write_text("127.0.0.1\n")
    text = proxy_configuration(18080, [18081, 18082], hosts)
    configuration.write_text(text)
    subprocess.run([haproxy, "-c", "-f", str(configuration)], check=True, capture_output=True)
    assert "is_setting" in text
    assert all(f"server api-{number} 127.0.0.1:{18080 + number}" in text for number in (1, 2))
