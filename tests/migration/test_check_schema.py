"""What a release, a hotfix and a rollback are asked before they touch anything: can this code read the database?"""

import pytest

from playbook.errors import Refused

BACKEND = "ethixai-backend"


async def check(production, release: str, service: str = BACKEND) -> None:
    """The look itself, at a database of schema 2."""
    from tasks.migration.schema import check_schema

    await check_schema(production.env, {service: release})


@pytest.mark.parametrize("release", ["v20251030-abcdef", "v20251113-abcdef", "v20251113-hotfix1-abcdef"])
async def test_code_that_reads_the_schema_goes_on(production, release: str) -> None:
    """By the day of its version."""
    await check(production, release)


async def test_code_that_cannot_is_refused_with_both_named(production) -> None:
    """The schema is the ledger's: without its one line the database is older than the release can read."""
    production.database.changelog.delete_many({})
    with pytest.raises(
        Refused, match=f"{BACKEND}: v20251113-abcdef can read schemas 2 to 3; the database has schema 1"
    ):
        await check(production, "v20251113-abcdef")


async def test_code_of_which_nothing_is_said_is_refused(production) -> None:
    """And what to add where."""
    with pytest.raises(Refused, match="READS of the newest migration"):
        await check(production, "v20240101-abcdef")


async def test_a_revision_that_no_release_made_is_only_warned_of(production, caplog: pytest.LogCaptureFixture) -> None:
    """Users may be waiting to be taken back to it."""
    await check(production, "")
    assert "a revision that no release made" in caplog.text


async def test_a_service_that_does_not_use_the_database_is_not_asked_about(production) -> None:
    """The frontend may be of any day."""
    await check(production, "v20240101-abcdef", "ethixai-frontend")


async def test_without_migrations_nothing_is_asked(production) -> None:
    """An environment that keeps none is released to as before."""
    production.env = production.env.model_copy(update={"migrations": None})
    await check(production, "v20240101-abcdef")
