"""The notification blocks of the Prefect server, sent as the server sends them, to a webhook over real HTTP."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.server.utilities.user_templates import render_user_template
from prefect.types import SecretDict
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from blocks.secret_reference import SecretReference
from blocks.server_notices import FORMATS, ServerNotices
from playbook.messages.server_notices import server_notices
from rehearsal.world.serving import serve

HOSTILE = '<!channel> [click](https://evil.example) "{{webhook}}" & more'
NOTICE = next(one for one in server_notices("production", is_production=True) if "{run}" in one.text)
REFERENCE = SecretReference("env:BLOCKS_NOTICES_HOOK")


@pytest.fixture(scope="module")
async def hook() -> AsyncIterator[tuple[str, list[Any]]]:
    """An incoming webhook, and what it was sent."""
    taken: list[Any] = []

    async def take(request: Request) -> Response:
        taken.append(json.loads(await request.body()))
        return PlainTextResponse("ok")

    async with serve(Starlette(routes=[Route("/hook", take, methods=["POST"])])) as served:
        yield f"{served.url}/hook", taken


def texts(found: Any) -> list[str]:
    """Every text in what was sent."""
    if isinstance(found, dict):
        return [text for one in found.values() for text in texts(one)]
    if isinstance(found, list):
        return [text for one in found for text in texts(one)]
    return [found] if isinstance(found, str) else []


class _Named:
    """An object with a name, as the server's templates see one."""

    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


@pytest.mark.parametrize("name", FORMATS)
async def test_each_chat_gets_the_notice_in_its_own_form(hook: tuple[str, list[Any]], name: str) -> None:
    """Whole, once, and with what stands in the name of a run as text."""
    url, taken = hook
    wanted = FORMATS[name]
    state = _Named(name="Failed", message="no reason")
    run = _Named(name=HOSTILE, state=state)
    context = {"flow": _Named(name="release"), "deployment": _Named(name="production"), "flow_run": run}
    template = NOTICE.said(wanted.write).replace("| ui_url ", "")
    body = await render_user_template(template, context)
    block = CustomWebhookNotificationBlock(
        name=name, url="{{webhook}}", json_data=wanted.json, secrets=SecretDict({"webhook": url})
    )
    before = len(taken)
    await block.anotify(body, NOTICE.name)
    assert len(taken) == before + 1
    (said,) = [text for text in texts(taken[-1]) if "PRODUCTION" in text]
    assert "release/production ENDED Failed" in said
    assert ("<!channel>" in said) is (name == "teams"), "Slack alone reads it as a mention"
    assert url not in said


def test_the_form_of_slack_is_taken_where_none_is_named() -> None:
    """A file of before names none; an unknown one is refused with those that there are."""
    told = ServerNotices(releases=REFERENCE, incidents=REFERENCE)
    assert told.format == "slack"
    with pytest.raises(ValidationError, match="there is no format 'discord'; use slack or teams"):
        ServerNotices(releases=REFERENCE, incidents=REFERENCE, format="discord")
