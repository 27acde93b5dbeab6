"""The team has added a signal of its own, and one canary is beyond its limit."""

from functools import partial

from rehearsal import checks
from rehearsal.scenario import Scenario
from rehearsal.test_environment import TestEnvironment

SIGNALS = """\
[[signals]]
name = "refused logins"
kind = "ratio"
total = '''
http_requests_total{project="ethixai-production",job="{job}",revision="{revision}",handler!~"{health_checks}"}'''
bad_where = {status = "401"}
limit = 0.02
breach = "rollback"
services = ["ethixai-backend"]

"""
"""Configuration alone: no code knows of it."""


async def given(test_env: TestEnvironment) -> None:
    """Production's environment file has one more row."""
    await test_env.policy(signals=SIGNALS)


SCENARIO = Scenario(
    name="custom_signal",
    description="The team's own signal, refused logins, rolls back a canary that has no 5xx.",
    ends="Reverted",
    given=given,
    behaviours={"ethixai-backend": "client_errors=0.2"},
    then=partial(checks.reverted, because="Refused logins: .* the limit is 2 %"),
)
