"""`python -m blocks adopt` on the world: records are shown, a person agrees, and they are signed over real sockets."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import SecretStr

from blocks import CloudRun, files
from blocks.adopt import adopt
from blocks.environment import Environment
from blocks.secret_reference import SecretReference
from blocks.signing import Signer
from playbook.lease.change import Change
from playbook.lease.record import LAST_GOOD, SIGNATURE, Mitigation, Record
from playbook.release.promotion import Promotion
from playbook.release.request import Measure
from rehearsal.world.remote import RemoteWorld

PRODUCTION = Path(__file__).resolve().parents[2] / "environments/production.toml"
BACKEND, FRONTEND = "ethixai-backend", "ethixai-frontend"
KEY, NEXT_KEY = "a" * 64, "b" * 64
EVIL = "v1\x1b[31m\u202e<!channel>"


def given(*keys: str) -> tuple[SecretReference, ...]:
    """Signing keys, the first of which signs."""
    return tuple(SecretReference.given(SecretStr(key)) for key in keys)


@pytest.fixture
async def production(env: SimpleNamespace) -> Environment:
    """Production's file with the two services of the world, and a signing key."""
    written = await files.read(PRODUCTION, with_secrets=False)
    services = [one for one in written.services if one.name in (BACKEND, FRONTEND)]
    found = written.model_copy(update={"services": services, "cloud_run": env.cloud_run.model_copy()})
    found.sign_with(Signer("production", given(KEY)))
    return found


async def left(env: SimpleNamespace, service: str, epoch: int = 7, by: str = "") -> None:
    """The record that an earlier edition has left on ``service``, with a measure by ``by``: nothing signed it."""
    unsigned: CloudRun = env.cloud_run
    found = await unsigned.snapshot(service)
    way_back = {"split": found.pinned, "scaling": found.scaling}
    measure = Mitigation(measure=Measure.READ_ONLY, by=by, reason="a flood", at_s=1.0, **way_back) if by else None
    revision, digest = found.pinned.main, "sha256:" + "1" * 64
    good = Promotion(release="v20251115-abc122", revision=revision, digest=digest, promoted_at_s=1.0)
    await unsigned.write(found, Change(record=Record(epoch=epoch, last_good=(good,), mitigation=measure)))


async def adopted(env: Environment, *remove: str, answer: str = "production") -> tuple[int, list[str]]:
    """The exit status, and what was said to the person who answers so."""
    said: list[str] = []

    def ask(question: str) -> str:
        said.append(question)
        return answer

    return await adopt(env, remove, said.append, ask), said


async def trusted(env: Environment) -> list[bool]:
    """Whether the engine believes what stands on each service."""
    return [not (await env.cloud_run.snapshot(name)).distrust for name in env.service_names]


async def writes(world: RemoteWorld) -> Sequence[object]:
    """The writes that took effect."""
    return [write for write in await world.writes() if write["applied"]]


async def test_records_of_an_earlier_edition_are_shown_and_signed(
    world: RemoteWorld, env: SimpleNamespace, production: Environment
) -> None:
    """Both are set aside before, and are believed afterwards with all that they say; no user is moved."""
    await left(env, BACKEND)
    await left(env, FRONTEND)
    before = [(await env.cloud_run.snapshot(name)).served for name in production.service_names]
    assert await trusted(production) == [False, False]
    status, said = await adopted(production)
    assert status == 0
    assert f"{BACKEND}: would be signed (they are not signed)" in said
    assert "    epoch 7" in said
    assert any(line.startswith("    good release v20251115-abc122: revision ethixai-backend-") for line in said)
    assert said[-2:] == [f"{BACKEND}: signed", f"{FRONTEND}: signed"]
    assert await trusted(production) == [True, True]
    found = [await production.cloud_run.snapshot(name) for name in production.service_names]
    assert [one.served for one in found] == before
    assert [Record.read(one).last_good[0].release for one in found] == ["v20251115-abc122"] * 2
    assert await adopted(production) == (0, [f"{BACKEND}: nothing to sign", f"{FRONTEND}: nothing to sign"])


@pytest.mark.parametrize("answer", ["", "y", "yes", "staging", "PRODUCTION"])
async def test_nothing_is_signed_without_the_environments_name(
    world: RemoteWorld, env: SimpleNamespace, production: Environment, answer: str
) -> None:
    """A person who presses the key of habit signs nothing."""
    await left(env, BACKEND)
    before = len(await writes(world))
    status, said = await adopted(production, answer=answer)
    assert (status, said[-1]) == (1, "Nothing was written.")
    assert len(await writes(world)) == before
    assert await trusted(production) == [False, True]


async def test_what_another_person_wrote_is_shown_as_text(
    world: RemoteWorld, env: SimpleNamespace, production: Environment
) -> None:
    """Terminal codes and characters that turn the line around are not sent to the terminal."""
    await left(env, BACKEND, by=EVIL)
    _, said = await adopted(production, answer="no")
    assert any("<!channel>" in line for line in said)
    assert all(line.isprintable() for line in said)


async def test_annotations_that_cannot_be_read_are_removed_only_by_name(
    world: RemoteWorld, env: SimpleNamespace, production: Environment
) -> None:
    """The other service is signed; for this one the command says how to start from nothing."""
    await left(env, BACKEND)
    await left(env, FRONTEND)
    found = await env.cloud_run.snapshot(FRONTEND)
    await world.out_of_band(world.find(FRONTEND), annotations={**found.annotations, LAST_GOOD: "[" * 5_000})
    status, said = await adopted(production)
    assert status == 1
    assert any(line.startswith(f"{FRONTEND}: cannot be signed: ") and "--remove" in line for line in said)
    assert await trusted(production) == [True, False]
    status, said = await adopted(production, FRONTEND)
    assert status == 0
    assert f"{FRONTEND}: what its annotations say would be REMOVED; users stay where they are" in said
    assert await trusted(production) == [True, True]
    left_over = Record.read(await production.cloud_run.snapshot(FRONTEND))
    assert (left_over.last_good, left_over.lease) == ((), None)


async def test_a_key_that_is_about_to_go_is_replaced(
    world: RemoteWorld, env: SimpleNamespace, production: Environment
) -> None:
    """Signed with the old key, believed while both count; afterwards the new one alone is enough."""
    await left(env, BACKEND)
    await adopted(production)
    production.sign_with(Signer("production", given(NEXT_KEY, KEY)))
    assert await trusted(production) == [True, True]
    status, said = await adopted(production)
    assert status == 0
    assert any("which is no longer the first" in line for line in said)
    production.sign_with(Signer("production", given(NEXT_KEY)))
    assert await trusted(production) == [True, True]


async def test_a_service_that_changes_meanwhile_is_not_signed(
    world: RemoteWorld, env: SimpleNamespace, production: Environment
) -> None:
    """What a person has seen is what is signed: another write in between is refused, and the command says so."""
    await left(env, BACKEND)

    async def meddle() -> None:
        found = await env.cloud_run.snapshot(BACKEND)
        await world.out_of_band(world.find(BACKEND), annotations={**found.annotations, "team": "theirs"})

    await world.fault("Services.ReplaceService", "ABORTED", message="Conflict for resource: version moved")
    status, said = await adopted(production)
    assert status == 1
    assert any(line.startswith(f"{BACKEND}: not signed: ") and line.endswith("Run this again.") for line in said)
    await meddle()
    assert (await adopted(production))[0] == 0
    assert (await production.cloud_run.snapshot(BACKEND)).annotations["team"] == "theirs"


async def test_an_unknown_service_and_a_missing_key_end_it(
    world: RemoteWorld, env: SimpleNamespace, production: Environment
) -> None:
    """Before anything is read or asked."""
    assert (await adopted(production, "backend"))[0] == 2
    production.sign_with(Signer("production", (SecretReference("env:NO_SUCH_SIGNING_KEY"),)))
    status, (said,) = await adopted(production)
    assert status == 1
    assert "NO_SUCH_SIGNING_KEY" in said
    assert SIGNATURE not in (await env.cloud_run.snapshot(BACKEND)).annotations
