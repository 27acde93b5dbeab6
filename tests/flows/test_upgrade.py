"""What the first edition left on the services is read, and recovery goes on with it.

`first_edition.json` was written by the first edition's own code in its chaos driver: the state of every service when
the process of a release, a hotfix, a rollback or a migration rollback was killed.
"""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cloud import RevisionState
from driver import Run, TestEnvironment, play
from emergencies import BACKEND, FIX, PATCHED
from fixture import NEW, OLD, SERVICES
from invariants import services_wrong
from migration_rollbacks import MIGRATION_ROLLBACKS

from playbook.lease.lease import Kind
from playbook.lease.record import PREFIX, Record
from playbook.release.traffic import Scaling, TrafficSplit

STORED: list[dict[str, Any]] = json.loads((Path(__file__).parent / "first_edition.json").read_text(encoding="utf-8"))
ENDS = {
    "release, DEPLOY": NEW,
    "release, BAKE baking": NEW,
    "release, PROMOTE baking": NEW,
    "release, REVERT baking": OLD,
    "hotfix, DEPLOY": FIX,
    "hotfix, PROMOTE": FIX,
    "rollback, REVERT": OLD,
}


async def upgraded(test_env: TestEnvironment, stored: dict[str, Any]) -> list[Run]:
    """The services are as the first edition left them, its process is gone, and recovery runs."""
    if stored["name"].startswith("migration"):
        await MIGRATION_ROLLBACKS[0].prepare(test_env)
    cloud = test_env.fixture.production
    test_env.fixture.publish(NEW)
    test_env.fixture.publish(FIX, {BACKEND: PATCHED})
    stored = _with_published_digests(test_env, stored)
    for name, kept in stored["services"].items():
        state = cloud.services[name]
        state.split, state.served = TrafficSplit(**kept["split"]), TrafficSplit(**kept["served"])
        state.latest_ready, state.latest_created = kept["latest_ready"], kept["latest_created"]
        state.annotations, state.scaling = kept["annotations"], Scaling(**kept["scaling"])
        state.revisions = {
            revision: RevisionState(behaviour=cloud._behaviour(one["image"]), **one | {"shares": _pairs(one)})
            for revision, one in kept["revisions"].items()
        }
    await asyncio.sleep(max(0.0, stored["now_s"] - test_env.fixture.now()))
    followers = await test_env.recover()
    await test_env.catch_up()
    return followers


def _with_published_digests(test_env: TestEnvironment, stored: dict[str, Any]) -> dict[str, Any]:
    """``stored`` with the registry's digests: the first edition's driver made its own from service and version."""
    text = json.dumps(stored)
    for service in SERVICES:
        for version in test_env.fixture.published:
            first = hashlib.sha256(f"{service} {version}".encode()).hexdigest()
            text = text.replace(f"sha256:{first}", test_env.fixture.image(service, version).digest)
    return dict(json.loads(text))


def _pairs(revision: dict[str, Any]) -> list[tuple[float, float]]:
    return [(at_s, share) for at_s, share in revision["shares"]]


@pytest.mark.parametrize("stored", STORED, ids=[one["name"] for one in STORED])
def test_a_lease_of_the_first_edition_is_recovered(stored: dict[str, Any]) -> None:
    """It ends as it would have ended: no service is held, and all users are on one good revision."""

    async def recovered(test_env: TestEnvironment) -> tuple[list[str], set[str]]:
        followers = await upgraded(test_env, stored)
        assert followers
        return list(services_wrong(test_env, "production")), set(test_env.fixture.versions_served().values())

    wrong, served = play(recovered)
    if stored["name"] in ENDS:
        assert (wrong, served) == ([], {ENDS[stored["name"]]})
    else:
        assert not [sentence for sentence in wrong if "still carries" in sentence or "is asked for" in sentence]


@pytest.mark.parametrize("stored", STORED, ids=[one["name"] for one in STORED])
def test_what_the_first_edition_stored_means_the_same(stored: dict[str, Any]) -> None:
    """The kind, the way, and for each service what it was and what it becomes; written again, it reads the same."""
    found = {}
    for name, kept in stored["services"].items():
        annotations = {key: value for key, value in kept["annotations"].items() if key.startswith(PREFIX)}
        record = Record.parse(name, annotations)
        assert Record.parse(name, record.annotations()) == record
        found[name] = record
    lease = next(record.lease for record in found.values() if record.lease is not None)
    part = json.loads(stored["services"][lease.coordinator]["annotations"][PREFIX + "claim"])["parts"][0]
    rollout = lease.rollouts[0]
    assert lease.kind == Kind(stored["name"].split(",")[0])
    is_forward = lease.kind in (Kind.RELEASE, Kind.HOTFIX)
    assert part["canary"] == (rollout.to_revision if is_forward else rollout.from_revision)
    assert lease.fallback(rollout).percent == part["stable"]["percent"]
