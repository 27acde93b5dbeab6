"""What a release without a version means, and how a try at a version is named."""

import pytest

from playbook.lease.build import Holder
from playbook.lease.record import Record
from playbook.release.plan import version_due
from playbook.release.promotion import Promotion

A, B = "v20251109-aaaaaa", "v20251116-bbbbbb"


def good(version: str, *, is_return: bool = False) -> Promotion:
    return Promotion(release=version, revision=f"r-{version}", digest="", promoted_at_s=1.0, is_return=is_return)


DUE = {
    "nothing has passed staging": (Record(), Record(), ""),
    "what passed staging and production never had": (Record(last_good=(good(B), good(A))), Record(), B),
    "what production serves": (Record(last_good=(good(B),)), Record(last_good=(good(B), good(A))), ""),
    "what production had before, whatever staging came to": (
        Record(last_good=(good(A),)),
        Record(last_good=(good(B), good(A))),
        "",
    ),
    "what staging was taken back to": (Record(last_good=(good(A, is_return=True),)), Record(), ""),
    "what was reverted in production": (Record(last_good=(good(B),)), Record(incidents=(f"{B}-1f2e3d",)), ""),
    "what a person took back": (Record(last_good=(good(B),)), Record(incidents=(f"rollback-of-{B}-1f2e3d",)), ""),
    "what came after one that was taken back": (Record(last_good=(good(B),)), Record(incidents=(f"{A}-1f2e3d",)), B),
}


@pytest.mark.parametrize(("staging", "production", "due"), DUE.values(), ids=DUE)
def test_the_schedule_only_goes_forward(staging: Record, production: Record, due: str) -> None:
    """What users had, or were taken back from, is not given to them again by a release that nobody attends."""
    assert version_due([staging], [production]) == due


def test_runs_that_were_scheduled_together_are_different_releases() -> None:
    """Their ids are UUIDs of version 7: only the end is random, so what is said of one is said of the other too."""
    ids = "0198c0ff-ee00-7abc-8000-0123456789ab", "0198c0ff-ee00-7abc-8000-ba9876543210"
    one, other = (Holder(flow_run_id=run, now_s=1.0, deadline_s=2.0).short_id for run in ids)
    assert one != other
