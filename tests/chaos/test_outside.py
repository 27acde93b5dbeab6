"""The stand-ins for blocks have the signatures of the blocks."""

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
def test_a_stand_in_has_the_signatures_of_its_block(here: type, block: type, methods: tuple[str, ...]) -> None:
    """A block whose parameters change fails here."""
    for method in methods:
        assert str(inspect.signature(getattr(here, method))) == str(inspect.signature(getattr(block, method)))
