"""Whole stories with real processes.

`make stories` tells all of them; here are those that no smaller test can replace.
"""

import pytest

from rehearsal.scenarios import STORIES
from rehearsal.test_environment import TestEnvironment

TOLD = ("healthy", "breach", "killed", "cancelled", "hotfix", "migration_killed")


@pytest.mark.parametrize("name", TOLD)
async def test_the_story_ends_as_it_must(test_env: TestEnvironment, name: str) -> None:
    """The end state, the writes that the world saw and the words that were sent are those of the story."""
    result = await test_env.notify(STORIES[name])
    assert result.passed, "\n".join([*result.wrong, *result.logs[-20:]])
