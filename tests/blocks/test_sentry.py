"""Sentry hears of a release once, and of its deploy once."""

import pytest
from pydantic import SecretStr

from blocks import Sentry
from blocks.secret_reference import SecretReference
from playbook.errors import Refused, Transient

VERSION = "v20251116-abc123"


@pytest.fixture
def sentry(stand_ins) -> Sentry:
    """The stand-in's organization."""
    projects = ["backend", "ai-core", "frontend"]
    return Sentry(
        organization="ethixai", projects=projects, token=SecretStr("token"), api_url=f"{stand_ins.url}/sentry"
    )


async def test_a_release_and_its_deploy_are_made_once(sentry: Sentry, stand_ins) -> None:
    """Saying it again changes nothing: a deploy that is known is not made twice, as Sentry itself would."""
    await sentry.release(VERSION, "abc123")
    await sentry.release(VERSION, "abc123")
    deploys = [said for said in stand_ins.told("sentry") if "environment" in said]
    assert [deploy["environment"] for deploy in deploys] == ["production"]
    assert stand_ins.told("sentry")[0] == {"version": VERSION, "ref": "abc123", "projects": sentry.projects}


async def test_a_lost_reply_makes_no_second_deploy(sentry: Sentry, stand_ins) -> None:
    """The deploy was made and nobody heard the answer."""
    stand_ins.vendors.fault("sentry", applied=True, method="POST", path="*/deploys/")
    with pytest.raises(Transient):
        await sentry.release(VERSION, "abc123")
    await sentry.release(VERSION, "abc123")
    assert len([said for said in stand_ins.told("sentry") if "environment" in said]) == 1


@pytest.mark.parametrize("token", ["wrong-token", "readonly-token"])
async def test_a_token_that_may_not_is_named(sentry: Sentry, token: str) -> None:
    """By its field."""
    with pytest.raises(Refused, match=r"sentry\.token"):
        await sentry.model_copy(update={"token": SecretReference.given(SecretStr(token))}).release(VERSION, "abc123")


async def test_an_unknown_project_is_refused_in_sentrys_words(sentry: Sentry) -> None:
    """What to correct is in the sentence."""
    with pytest.raises(Refused, match="Invalid project slugs"):
        await sentry.model_copy(update={"projects": ["nothing"]}).release(VERSION, "abc123")
