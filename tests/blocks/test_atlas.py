"""Atlas: snapshots, and a restore that is followed to its end, over HTTP with digest authentication."""

import asyncio
import time
from unittest.mock import patch

import pytest
from pydantic import SecretStr, ValidationError

from blocks import Atlas
from blocks.atlas import PAGE
from blocks.secret_reference import SecretReference
from playbook.errors import Refused, ReleaseError, Transient
from playbook.migration.plan import RestoreJob, backup_before

GROUP = "32b6e34b3d91647abb20e7b8"
USERS = {"ethixai": {"users": [{"_id": 1}]}}


@pytest.fixture
def atlas(stand_ins) -> Atlas:
    """The stand-in's project."""
    return Atlas(
        public_key="rehearsal",
        private_key=SecretStr("rehearsal-token"),
        group=GROUP,
        cluster="ethixai-production",
        restore_cluster="ethixai-production-restore",
        api_url=f"{stand_ins.url}/atlas",
    )


async def ended(atlas: Atlas, job: str) -> RestoreJob:
    """The restore once it is over."""
    for _ in range(200):
        found = await atlas.restore_job(job)
        if found.is_over:
            return found
        await asyncio.sleep(0.1)
    raise TimeoutError(job)


async def test_a_backup_is_found_by_time(atlas: Atlas, stand_ins) -> None:
    """The newest one from before the migration."""
    wanted = [stand_ins.vendors.atlas.keep_snapshot(USERS, float(at)) for at in (1000, 2000, 3000)][1]
    found = backup_before(await atlas.backups(), 2500)
    assert found is not None
    assert (found.id, found.at_s) == (wanted, 2000)
    assert backup_before(await atlas.backups(), 500) is None


async def test_a_backup_beyond_the_first_page_is_found(atlas: Atlas, stand_ins) -> None:
    """Hourly ones fill a page in four days; a full last page is not taken for more."""
    for at_s in range(2 * PAGE):
        stand_ins.vendors.atlas.keep_snapshot(USERS, float(at_s))
    assert [one.at_s for one in await atlas.backups()] == list(range(2 * PAGE))


async def test_a_list_of_backups_without_an_end_is_refused(atlas: Atlas, stand_ins) -> None:
    """A list without an end is not followed for ever."""
    for _ in range(PAGE):
        stand_ins.vendors.atlas.keep_snapshot(USERS, 1000.0)
    with patch("blocks.atlas.PAGES_MAX", 1), pytest.raises(Refused, match="more than 100"):
        await atlas.backups()


async def test_a_restore_is_started_and_ends(atlas: Atlas, stand_ins) -> None:
    """Automated, to the separate cluster, whose data is removed first and is then the snapshot's."""
    put: list[object] = []
    stand_ins.vendors.atlas._restore = put.append
    job = await atlas.restore(stand_ins.vendors.atlas.keep_snapshot(USERS, 1000.0), time.time())
    over = await ended(atlas, job)
    assert over == RestoreJob(id=job, is_over=True, ended_at_s=over.ended_at_s)
    assert over.serves_since(1)
    assert put == [{}, USERS]
    (asked,) = stand_ins.told("atlas")
    assert (asked["deliveryType"], asked["targetClusterName"]) == ("automated", "ethixai-production-restore")


async def test_a_restore_whose_reply_was_lost_is_not_started_twice(atlas: Atlas, stand_ins) -> None:
    """The one under way is found, and is this one."""
    backup = stand_ins.vendors.atlas.keep_snapshot(USERS, 1000.0)
    stand_ins.vendors.fault("atlas", applied=True, method="POST", count=1, path="*restoreJobs")
    agreed_s = time.time()
    with pytest.raises(ReleaseError):
        await atlas.restore(backup, agreed_s)
    await atlas.restore(backup, agreed_s)
    assert len(stand_ins.told("atlas")) == 1


async def test_a_restore_that_has_ended_since_people_agreed_is_not_started_again(atlas: Atlas, stand_ins) -> None:
    """The process that started it died, and it was over before the next one looked. One from before the yes is
    another one: what it restored may have been changed."""
    backup = stand_ins.vendors.atlas.keep_snapshot(USERS, 1000.0)
    agreed_s = float(int(time.time()))  # Atlas writes whole seconds
    job = await atlas.restore(backup, agreed_s)
    await ended(atlas, job)
    assert await atlas.restore(backup, agreed_s) == job
    assert await atlas.restore(backup, time.time() + 60) != job
    assert len(stand_ins.told("atlas")) == 2


async def test_a_restore_that_ended_badly_is_started_again(atlas: Atlas, stand_ins) -> None:
    """It has restored nothing."""
    backup = stand_ins.vendors.atlas.keep_snapshot(USERS, 1000.0)
    stand_ins.vendors.atlas.restores_fail("failed")
    await ended(atlas, job := await atlas.restore(backup, 1))
    assert await atlas.restore(backup, 1) != job


@pytest.mark.parametrize("word", ["failed", "cancelled", "expired"])
async def test_a_restore_may_end_badly(atlas: Atlas, stand_ins, word: str) -> None:
    """It is over, and the problem is said in Atlas's word."""
    backup = stand_ins.vendors.atlas.keep_snapshot(USERS, 1000.0)
    stand_ins.vendors.atlas.restores_fail(word)
    job = await ended(atlas, await atlas.restore(backup, time.time()))
    assert word in job.problem


async def test_a_snapshot_that_does_not_exist_is_refused(atlas: Atlas) -> None:
    """In Atlas's own words, with the snapshot named."""
    with pytest.raises(Refused, match="No snapshot with ID abc exists"):
        await atlas.restore("abc", 0)


async def test_wrong_credentials_are_refused_and_not_shown(atlas: Atlas) -> None:
    """The field to correct is named; the key is not repeated."""
    wrong = atlas.model_copy(update={"private_key": SecretReference.given(SecretStr("hunter2"))})
    with pytest.raises(Refused, match=r"atlas\.private_key") as raised:
        await wrong.backups()
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("fault", [{"status": 503}, {"garbage": True}, {"status": 429, "count": None}], ids=str)
async def test_what_passes_is_asked_again(atlas: Atlas, stand_ins, fault) -> None:
    """Away, busy, or another server that answers."""
    stand_ins.vendors.fault("atlas", **{"count": 2, **fault})
    with pytest.raises(Transient):
        await atlas.backups()


def test_a_restore_over_production_cannot_be_configured() -> None:
    """An automated restore removes all data on its target first."""
    with pytest.raises(ValidationError, match="must not be the one that users are on"):
        Atlas(public_key="p", private_key=SecretStr("s"), group=GROUP, cluster="a", restore_cluster="a")
