"""The stories: what happens to a release on its good and on its worst days. One file each: given, when, then."""

from rehearsal.stories import (
    breach,
    broken_start,
    failed_smoke,
    healthy,
    no_traffic,
    slow,
    staging_fails,
    total_outage,
)

STORIES = {
    module.STORY.name: module.STORY
    for module in (healthy, breach, total_outage, slow, broken_start, failed_smoke, staging_fails, no_traffic)
}
