"""A migration is taken back on a real small world: each branch, what users meet meanwhile, and where a failure leaves
it."""

import datetime
import hashlib
import os
import time
from pathlib import Path
from unittest.mock import patch

import httpx
import pytest

from blocks.mongodb import MongoDB
from playbook.errors import BadRequest, Fenced, Held, Refused
from playbook.lease.change import Change
from playbook.lease.record import Record
from playbook.lease.recovery import Owner
from playbook.migration.plan import MigrationRequest
from playbook.release.outcome import ReleaseOutcome
from playbook.release.traffic import Scaling, TrafficSplit

BACKEND = "ethixai-backend"
RENAME, DROP = "20251030093000-rename-full-name", "20251113101500-drop-raw-uploads"
OLD_CODE, NEW_CODE = "v20251030-bbbbbb", "v20251106-aaaaaa"
YES = {"answer": "yes", "approver": "Ada", "reason": "users wait"}
NO = {"answer": "no", "approver": "Ada", "reason": "too much would be lost"}

STAND_IN_ONLY = pytest.mark.skipif(
    "MONGODB_URI" in os.environ, reason="a real server cannot be told to fail, nor restored from the stand-in's backups"
)


class KilledError(BaseException):
    """The process ended here: nothing of it runs any more."""


async def registers(url: str) -> int:
    """The status that a user meets who registers."""
    async with httpx.AsyncClient(trust_env=False) as http:
        sign_in = {"email": "a@example.com", "password": "TestPass123"}
        return (await http.post(f"{url}/api/auth/register", json=sign_in)).status_code


async def test_a_rename_is_taken_back(production) -> None:
    """Every document, the ledger and the traffic are as before; nothing of ours is left but the epoch and that it was
    taken back, which a later release asks."""
    await production.seed(1000)
    outcome = await production.take_back()
    assert outcome.end is ReleaseOutcome.ROLLED_BACK, outcome.message
    assert (production.fields(), production.ledger()) == ((1000, 0), [])
    assert await production.serves() == {f"{BACKEND}-00041-xyz": 100}
    assert await registers(production.world.url(BACKEND)) == 201
    assert sorted(production.database.list_collection_names()) == ["playbook_taken_back", "users"]
    module = Path(production.env.migrations.folder) / f"{RENAME}.py"
    kept = {"_id": RENAME, "digest": hashlib.sha256(module.read_bytes()).hexdigest()}
    assert list(production.database.playbook_taken_back.find()) == [kept]
    assert await production.lease() is None
    assert (await production.world.service(BACKEND))["tags"] == {}


async def test_users_cannot_write_while_the_data_changes(production) -> None:
    """From before the first document changes until after the last one, a write meets 503."""
    await production.seed(600)
    met: list[int] = []
    change = MongoDB.change

    async def watched(block: MongoDB, *args: object) -> int:
        met.append(await registers(production.world.url(BACKEND)))
        return await change(block, *args)

    with patch.object(MongoDB, "change", watched):
        assert (await production.take_back()).end is ReleaseOutcome.ROLLED_BACK
    assert met == [503, 503, 503]


@pytest.mark.parametrize("method", ["keep", "change"])
async def test_killed_between_batches_it_goes_on(production, method: str) -> None:
    """Before a write and after it: the next run continues from the checkpoint and changes nothing twice."""
    await production.seed(1000)
    original, calls = getattr(MongoDB, method), []

    async def dies(block: MongoDB, *args: object) -> object:
        calls.append(args)
        answer = await original(block, *args)
        if len(calls) == 3:
            raise KilledError
        return answer

    with patch.object(MongoDB, method, dies), pytest.raises(KilledError):
        await production.take_back()
    old, new = production.fields()
    assert old + new == 1000
    assert 0 < old < 1000
    assert await registers(production.world.url(BACKEND)) == 503
    outcome = await production.take_back(MigrationRequest())
    assert outcome.end is ReleaseOutcome.ROLLED_BACK, outcome.message
    assert (production.fields(), production.ledger()) == ((1000, 0), [])


async def test_a_run_that_was_taken_over_writes_nothing_more(production) -> None:
    """The older epoch is fenced at its next batch, and the newer one finishes."""
    await production.seed(1000)
    change, calls = MongoDB.change, []

    async def overtaken(block: MongoDB, *args: object) -> int:
        calls.append(args)
        if len(calls) == 2:
            assert (await production.take_back()).end is ReleaseOutcome.ROLLED_BACK
        return await change(block, *args)

    with patch.object(MongoDB, "change", overtaken), pytest.raises(Fenced):
        await production.take_back()
    assert production.fields() == (1000, 0)


@STAND_IN_ONLY
async def test_a_server_that_goes_away_between_batches_is_waited_for(production) -> None:
    """The step is tried again from its checkpoint, and nobody notices."""
    await production.seed(1000)
    await production.world.mongodb_fault("update", after=5, count=2)
    assert (await production.take_back()).end is ReleaseOutcome.ROLLED_BACK
    assert production.fields() == (1000, 0)


@STAND_IN_ONLY
async def test_a_server_that_stays_away_halts_it_with_a_page(production) -> None:
    """Writes stay off, on-call is paged with the next step; and when it is back, it goes on."""
    await production.seed(1000)
    await production.world.mongodb_fault("update", after=5, count=100)
    outcome = await production.take_back()
    assert outcome.end is ReleaseOutcome.HALTED
    assert "are off" in outcome.message
    assert "Start migration-rollback/production again" in outcome.message
    assert await registers(production.world.url(BACKEND)) == 503
    paged = [one["body"] for one in await production.world.vendor_calls("pagerduty")]
    assert [one["event_action"] for one in paged] == ["trigger"]
    assert paged[0]["payload"]["severity"] == "critical"
    await production.world.mongodb_back()
    assert (await production.take_back()).end is ReleaseOutcome.ROLLED_BACK
    assert production.fields() == (1000, 0)
    assert [one["body"]["event_action"] for one in await production.world.vendor_calls("pagerduty")] == [
        "trigger",
        "resolve",
    ]


async def test_the_code_goes_back_to_what_can_read_the_schema(production) -> None:
    """The release that reads only the new field is left for the one before it, which is smoke-tested out of sight
    first; other people's tags and the scaling that was found are back, and the record says what is good now.
    """
    new, old = f"{BACKEND}-00042-new", f"{BACKEND}-00041-xyz"
    await production.deploy(new, split=TrafficSplit.all_to(new, {"theirs": old}))
    found = await production.env.cloud_run.snapshot(BACKEND)
    scaling = Scaling(min_instances=1, max_instances=4)
    await production.env.cloud_run.write(found, Change(record=Record.read(found), scaling=scaling))
    await production.seed(100, (NEW_CODE, new), (OLD_CODE, old))
    outcome = await production.take_back()
    assert outcome.end is ReleaseOutcome.ROLLED_BACK, outcome.message
    assert await production.serves() == {old: 100}
    now = await production.env.cloud_run.snapshot(BACKEND)
    assert (now.split.tags, now.scaling) == ({"theirs": old}, scaling)
    assert [good.revision for good in Record.read(now).last_good] == [old]
    assert await registers(now.uri) == 201


async def test_a_maintenance_revision_keeps_reads_alive(production) -> None:
    """While the data changes users read, and their writes are told when to come again."""
    closed = f"{BACKEND}-maintenance"
    await production.deploy(closed, "read_only")
    services = [one.model_copy(update={"maintenance_revision": closed}) for one in production.env.services]
    production.env = production.env.model_copy(update={"services": services})
    await production.seed(200)
    met: list[tuple[int, int]] = []
    change = MongoDB.change

    async def watched(block: MongoDB, *args: object) -> int:
        url = production.world.url(BACKEND)
        async with httpx.AsyncClient(trust_env=False) as http:
            met.append((await registers(url), (await http.get(f"{url}/api/ping")).status_code))
        return await change(block, *args)

    with patch.object(MongoDB, "change", watched):
        assert (await production.take_back()).end is ReleaseOutcome.ROLLED_BACK
    assert met == [(503, 200)]
    assert await production.serves() == {f"{BACKEND}-00041-xyz": 100}


async def test_a_maintenance_revision_that_is_not_there_is_found_out_first(production) -> None:
    """Writes could not be stopped as the environment says: refused before anything moves."""
    services = [one.model_copy(update={"maintenance_revision": "nobody"}) for one in production.env.services]
    production.env = production.env.model_copy(update={"services": services})
    await production.seed(10)
    with pytest.raises(Refused, match="maintenance revision nobody does not exist"):
        await production.take_back()


async def test_a_service_that_goes_on_taking_writes_stops_it(production) -> None:
    """The proof failed, so not one document is changed."""
    closed = f"{BACKEND}-open"
    await production.deploy(closed, "healthy")
    services = [one.model_copy(update={"maintenance_revision": closed}) for one in production.env.services]
    production.env = production.env.model_copy(update={"services": services})
    await production.seed(10)
    outcome = await production.take_back()
    assert outcome.end is ReleaseOutcome.HALTED
    assert "users can still write" in outcome.message
    assert production.fields() == (0, 10)


async def test_code_that_is_gone_is_found_out_before_anything_moves(production) -> None:
    """The only release that could read the schema was deleted: refused, and no write was made."""
    await production.seed(10, (NEW_CODE, f"{BACKEND}-00041-xyz"), (OLD_CODE, "nothing-like-this"))
    with pytest.raises(Refused, match=f"nothing-like-this.*{OLD_CODE}.*does not exist any more"):
        await production.take_back()
    assert await production.lease() is None
    writers = {one["caller"] for one in await production.world.writes()}
    assert len(writers) == 1  # only the test, which seeded this


@pytest.mark.parametrize("to_release", ["", NEW_CODE])
async def test_code_that_cannot_read_the_schema_is_refused_with_both_ranges(production, to_release: str) -> None:
    """Before anything is touched: what it reads and what the database would have."""
    await production.seed(10, (NEW_CODE, f"{BACKEND}-00041-xyz"))
    with pytest.raises(Refused, match=f"{NEW_CODE} can read schema 2; the database has schema 1"):
        await production.take_back(
            MigrationRequest(reason="r", requested_by="Ada", to_release=to_release),
        )
    assert production.fields() == (0, 10)
    assert await registers(production.world.url(BACKEND)) == 201


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (MigrationRequest(), "reason: say"),
        (MigrationRequest(migration="nonsense", reason="r", requested_by="Ada"), "there is no 'nonsense'"),
        (MigrationRequest(migration=DROP, reason="r", requested_by="Ada"), "is not applied"),
        (MigrationRequest(reason="r", requested_by="Ada", to_release="v1"), "no good release"),
    ],
    ids=["nothing said", "an unknown migration", "one that is not applied", "an unknown release"],
)
async def test_a_wrong_request_touches_nothing(production, request_: MigrationRequest, words: str) -> None:
    """It is refused with the field that is wrong."""
    await production.seed(10)
    with pytest.raises(BadRequest, match=words):
        await production.take_back(request_)
    assert await production.lease() is None


@STAND_IN_ONLY
async def test_only_one_runs_at_a_time(production) -> None:
    """While its process lives, a second one is told who is at it."""
    await production.seed(1000)
    await production.world.mongodb_fault("update", after=5, count=100)
    assert (await production.take_back()).end is ReleaseOutcome.HALTED
    production.owner = Owner.ALIVE
    with pytest.raises(Held, match="is under way in flow run"):
        await production.take_back()


async def with_the_irreversible_one(production, snapshot: bool = True) -> None:
    """The rows of data sets are gone since an hour; the backup is from before that, users came after it."""
    hour_ago = time.time() - 3600
    production.database.datasets.insert_many({"_id": n, "raw": [1, 2]} for n in range(20))
    if snapshot:
        await production.world.atlas_snapshot(hour_ago - 60)
    production.database.datasets.update_many({}, {"$unset": {"raw": ""}})
    at = time.gmtime(hour_ago)
    production.database.changelog.insert_one(
        {"fileName": f"{DROP}.js", "appliedAt": datetime.datetime(*at[:6], tzinfo=datetime.UTC)}
    )
    production.database.reports.insert_many([{}, {}])
    await production.seed(0, ("v20251113-cccccc", f"{BACKEND}-00041-xyz"))


@STAND_IN_ONLY
async def test_what_cannot_be_undone_is_restored_after_two_yeses(production) -> None:
    """Beside production first, verified there; then a new connection secret and a revision that reads it."""
    await with_the_irreversible_one(production)
    production.answers.left = [YES, YES]
    outcome = await production.take_back()
    assert outcome.end is ReleaseOutcome.ROLLED_BACK
    first, second = production.answers.asked
    assert "**2 in reports**" in first
    assert "ethixai-production-restore" in second
    assert production.restored.datasets.count_documents({"raw": {"$exists": True}}) == 20
    assert production.database.datasets.count_documents({"raw": {"$exists": True}}) == 0
    secret = await production.env.secret_manager.value(
        "projects/ethixai-production/secrets/mongodb-uri/versions/latest"
    )
    assert secret.get_secret_value() == production.world.restored_uri
    (serving,) = await production.serves()
    assert "-restored-" in serving


async def test_a_no_opens_everything_as_it_was_found(production) -> None:
    """Nothing was restored; the data was not touched; users can write again."""
    await with_the_irreversible_one(production)
    production.answers.left = [NO]
    outcome = await production.take_back()
    assert outcome.end is ReleaseOutcome.REFUSED
    assert "too much would be lost" in outcome.message
    assert not await production.world.vendor_calls("atlas")
    assert await registers(production.world.url(BACKEND)) == 201
    assert await production.lease() is None
    assert production.ledger() == [f"{RENAME}.js", f"{DROP}.js"]


@STAND_IN_ONLY
async def test_a_no_to_the_switch_leaves_writes_off(production) -> None:
    """Restored and verified, but production is not pointed at it; the next run asks again, and a yes finishes it."""
    await with_the_irreversible_one(production)
    production.answers.left = [YES, NO]
    outcome = await production.take_back()
    assert outcome.end is ReleaseOutcome.HALTED
    assert await registers(production.world.url(BACKEND)) == 503
    production.answers.left = [YES]
    assert (await production.take_back()).end is ReleaseOutcome.ROLLED_BACK
    assert len(await production.world.vendor_calls("atlas")) == 1


@STAND_IN_ONLY
async def test_a_restore_that_fails_halts(production) -> None:
    """In Atlas's word, with writes off; the next try is a new restore, and the yes still holds."""
    await with_the_irreversible_one(production)
    await production.world.atlas_restores_fail("failed")
    production.answers.left = [YES]
    outcome = await production.take_back()
    assert (outcome.end, "is failed" in outcome.message) == (ReleaseOutcome.HALTED, True)
    await production.world.atlas_restores_fail("")
    production.answers.left = [YES]
    assert (await production.take_back()).end is ReleaseOutcome.ROLLED_BACK


async def test_without_a_backup_from_before_nothing_is_touched(production) -> None:
    """Nobody is asked for what cannot be done, and users never notice."""
    await with_the_irreversible_one(production, snapshot=False)
    with pytest.raises(Refused, match="no backup"):
        await production.take_back()
    assert production.answers.asked == []
    assert await production.lease() is None


async def test_recovery_starts_a_lost_one_again(production) -> None:
    """In a run of its own, under a new epoch, so that of two recoveries one starts it, and a run that dies before it
    takes over is not the last; nothing is reverted meanwhile."""
    from flows.recovery import _recovery

    await production.seed(1000)

    async def dies(*_: object) -> int:
        raise KilledError

    with patch.object(MongoDB, "change", dies), pytest.raises(KilledError):
        await production.take_back()
    lost = await production.lease()
    assert (await _recovery("production")).end is ReleaseOutcome.PASSED
    lease = await production.lease()
    assert (lease.epoch > lost.epoch, lease.flow_run_id) == (True, lost.flow_run_id)
    key = f"migration-rollback/production/{lease.release_id}/{lease.epoch}"
    assert production.started == [("migration-rollback/production", key)]
    assert await registers(production.world.url(BACKEND)) == 503


async def test_recovery_pages_for_a_cancelled_one_and_leaves_a_halted_one(production) -> None:
    """Writes are off, and nobody has heard of it; the second look finds that it is a person's turn."""
    from flows.recovery import _recovery

    await production.seed(1000)

    async def dies(*_: object) -> int:
        raise KilledError

    with patch.object(MongoDB, "change", dies), pytest.raises(KilledError):
        await production.take_back()
    production.owner = Owner.CANCELLED
    for _ in range(2):
        await _recovery("production")
    assert len(await production.world.vendor_calls("pagerduty")) == 1
    assert production.started == []
    production.owner = Owner.ENDED
    assert (await production.take_back()).end is ReleaseOutcome.ROLLED_BACK
