"""What stands in for the blocks here has the blocks' own methods, to the letter."""

import inspect

import cloud
import database
import desks
import pytest
import telemetry

import blocks

PAIRS = [
    (cloud.Cloud, blocks.CloudRun, ("snapshot", "revision", "revisions", "write")),
    (telemetry.Telemetry, blocks.Prometheus, ("clock", "series", "value")),
    (telemetry.Logs, blocks.CloudLogging, ("errors", "oom_kills")),
    (desks.Slack, blocks.Slack, ("post",)),
    (desks.PagerDuty, blocks.PagerDuty, ("page", "resolve", "on_call")),
    (desks.GitHub, blocks.GitHub, ("checks", "release_notes", "ticket")),
    (desks.Sentry, blocks.Sentry, ("release",)),
    (desks.SecretManager, blocks.SecretManager, ("state", "put")),
    (desks.Registry, blocks.Registry, ("image",)),
    (desks.EthixAI, blocks.EthixAI, ("run", "probe", "refuses_writes")),
    (database.Database, blocks.MongoDB, ("_do",)),
    (database.Backups, blocks.Atlas, ("_call",)),
]


@pytest.mark.parametrize(("here", "block", "methods"), PAIRS, ids=lambda thing: getattr(thing, "__name__", None))
def test_a_stand_in_is_called_as_its_block_is(here: type, block: type, methods: tuple[str, ...]) -> None:
    """A block that changes its parameters breaks this, and not silently the proof."""
    for method in methods:
        assert str(inspect.signature(getattr(here, method))) == str(inspect.signature(getattr(block, method)))
