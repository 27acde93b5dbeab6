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
from driver import Run, TestEnvironment, flow_of, play
from emergencies import BACKEND, FIX, PATCHED
from fixture import NEW, OLD, SERVICES
from invariants import services_wrong
from migration_rollbacks import MIGRATION_ROLLBACKS
from wire import PROCESS, Process

from blocks.adopt import adopt
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
    """The services are as the first edition left them, its process is gone, a person adopts them, and recovery runs."""
    await left_behind(test_env, stored)
    assert (await adopted(test_env))[0] == 0
    followers = await test_env.recover()
    await test_env.catch_up()
    return followers


async def adopted(test_env: TestEnvironment, answer: str = "production") -> tuple[int, list[str]]:
    """The exit status of the command that adopts production's records, and what it said. A person answers so."""
    said: list[str] = []

    def ask(question: str) -> str:
        said.append(question)
        return answer

    PROCESS.set(Process("the command", "", {}))
    return await adopt(test_env.fixture.environments["production"], (), said.append, ask), said


async def left_behind(test_env: TestEnvironment, stored: dict[str, Any]) -> None:
    """The services are as the first edition left them, and its process is gone."""
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


BAKING = next(one for one in STORED if one["name"] == "release, BAKE baking")


def test_what_the_first_edition_left_is_set_aside_until_a_person_adopts_it() -> None:
    """It is not signed: recovery moves no user and pages for each service. A person who says no changes nothing."""

    async def scenario(test_env: TestEnvironment) -> None:
        await left_behind(test_env, BAKING)
        cloud = test_env.fixture.production
        before = {name: (dict(state.annotations), state.split) for name, state in cloud.services.items()}
        run = await test_env.follow(flow_of("recovery"), environment="production")
        assert run.end == "Unfit"
        assert (await adopted(test_env, answer="no"))[0] == 1
        assert {name: (state.annotations, state.split) for name, state in cloud.services.items()} == before
        pages = test_env.fixture.pagerduty.incidents.values()
        assert {page.key for page in pages} == {f"production/set-aside/{name}" for name in SERVICES}

    play(scenario)


def test_adopting_shows_what_it_signs_and_twice_is_harmless() -> None:
    """The lease in flight, with each way back; the second time there is nothing to sign, and nobody is asked."""

    async def scenario(test_env: TestEnvironment) -> None:
        await left_behind(test_env, BAKING)
        status, said = await adopted(test_env)
        text = "\n".join(said)
        assert status == 0
        assert "is in flight: decision BAKE" in text
        assert all(f"{name}: would be signed (they are not signed)" in text for name in SERVICES)
        assert "the way back is" in text
        assert "NOTE" not in text
        writes = len(test_env.fixture.production.writes)
        status, said = await adopted(test_env)
        assert (status, len(test_env.fixture.production.writes)) == (0, writes)
        assert said == [f"{name}: nothing to sign" for name in SERVICES]

    play(scenario)
