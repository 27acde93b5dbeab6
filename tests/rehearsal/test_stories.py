"""Whole stories with real processes.

`make stories` tells all of them; here are those that no smaller test can replace.
"""

import pytest

from rehearsal.stage import Stage
from rehearsal.stories import STORIES

TOLD = ("healthy", "breach", "killed", "cancelled", "hotfix", "migration_killed")


@pytest.mark.parametrize("name", TOLD)
async def test_the_story_ends_as_it_must(stage: Stage, name: str) -> None:
    """The end state, the writes that the world saw and the words that were sent are those of the story."""
    tale = await stage.tell(STORIES[name])
    assert tale.passed, "\n".join([*tale.wrong, *tale.logs[-20:]])
