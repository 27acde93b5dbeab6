"""What stands in for the blocks here has the blocks' own methods, to the letter."""

import inspect

import cloud
import database
import pytest
import telemetry
import vendors

import blocks

PAIRS = [
    (cloud.Cloud, blocks.CloudRun, ("snapshot", "revision", "revisions", "write")),
    (telemetry.Telemetry, blocks.Prometheus, ("clock", "series", "value")),
    (telemetry.Logs, blocks.CloudLogging, ("errors", "oom_kills")),
    (vendors.SecretManager, blocks.SecretManager, ("state", "put")),
    (vendors.EthixAI, blocks.EthixAI, ("run", "probe", "refuses_writes")),
    (database.Database, blocks.MongoDB, ("_do",)),
    (database.Backups, blocks.Atlas, ("_call",)),
]


@pytest.mark.parametrize(("here", "block", "methods"), PAIRS, ids=lambda thing: getattr(thing, "__name__", None))
def test_a_stand_in_is_called_as_its_block_is(here: type, block: type, methods: tuple[str, ...]) -> None:
    """A block that changes its parameters breaks this, and not silently the proof."""
    for method in methods:
        assert str(inspect.signature(getattr(here, method))) == str(inspect.signature(getattr(block, method)))
