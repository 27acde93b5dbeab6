"""Another kind of chat is plugged in without touching product code. CONTRIBUTING, "Add a chat channel", starts here."""

import asyncio
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from cloud import Behaviour
from driver import TestEnvironment, play
from fixture import NEW
from pydantic import Field, SecretStr
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from blocks import files
from blocks.http import HttpBlock, HttpService
from blocks.ports import Channel
from blocks.secret_reference import SecretReference
from playbook.errors import Transient
from playbook.messages.facts import Audience, Message

BACKEND = "ethixai-backend"
STAGING = Path(__file__).resolve().parents[2] / "environments" / "staging.toml"


class Teams(HttpBlock):
    """A channel of Microsoft Teams: a webhook that takes an Adaptive Card."""

    _block_type_name: ClassVar[str | None] = "EthixAI Teams"

    name: str = Field("teams", title="Name", description="Tells it from the environment's other channels.")
    webhook: SecretReference = Field(title="Webhook", description="Where the address of the channel's workflow is.")

    async def post(self, message: Message, *, repeat: bool = False) -> None:
        """The channel has the message. It cannot be read, so a repeat may stand there twice."""
        # A text run is shown as it is, without Markdown; a text block would be read as some of it.
        run = {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": message.text}]}
        card = {"type": "AdaptiveCard", "version": "1.4", "body": [run]}
        attachment = {"contentType": "application/vnd.microsoft.card.adaptive", "content": card}
        said = {"type": "message", "attachments": [attachment]}
        url = (await self.webhook.read()).get_secret_value()
        # Errors quote the base URL, and this URL is the secret: it is given as the path, which they do not quote.
        teams = HttpService(
            "Teams", "channels", "its webhook", "webhook", self.timeout_s, self._clients, url_field="webhook"
        )
        await teams.send("POST", url, f"to post {message.key}", json=said)


class TeamsStandIn:
    """Microsoft's side: it keeps each card; ``hangs`` is how many requests it takes and never answers."""

    def __init__(self) -> None:
        self.cards: list[str] = []
        self.hangs = 0
        self.asked = 0

    async def _take(self, request: Request) -> Response:
        self.asked += 1
        if self.asked <= self.hangs:
            await asyncio.Event().wait()
        body: dict[str, Any] = await request.json()
        if body["type"] != "message":  # what a workflow's trigger asks for
            return Response(status_code=400)
        self.cards.append(body["attachments"][0]["content"]["body"][0]["inlines"][0]["text"])
        return Response(status_code=202)

    def plug_into(self, test_env: TestEnvironment) -> Teams:
        """Production has a channel here, beside its Slack."""
        teams = Teams(webhook=SecretReference.given(SecretStr("http://teams.example/hook")))
        app = Starlette(routes=[Route("/hook", self._take, methods=["POST"])])
        teams._clients.get(lambda: httpx.AsyncClient(transport=httpx.ASGITransport(app)))
        fixture = test_env.fixture
        production = fixture.environments["production"]
        fixture.environments["production"] = production.model_copy(update={"channels": [teams, *production.channels]})
        return teams


def test_a_releases_messages_arrive_in_every_channel() -> None:
    """Nothing of the product was touched for it, and Slack has what it always had."""
    stand_in = TeamsStandIn()

    async def scenario(test_env: TestEnvironment) -> TestEnvironment:
        stand_in.plug_into(test_env)
        test_env.fixture.publish(NEW)
        await test_env.release(changes="<b>SHAP</b> [caching](https://evil.example)")
        return test_env

    test_env = play(scenario)
    assert test_env.fixture.slack.keys == ["starting", "complete"]
    assert [card.splitlines()[0].split(" at ")[0] for card in stand_in.cards] == [
        "🚀 Production release starting",
        "✅ Production release complete",
    ]
    assert "Changes: <b>SHAP</b> [caching](https://evil.example)" in stand_in.cards[0].splitlines()


@pytest.mark.parametrize("errors", [0.0, 0.05], ids=["promoted", "reverted"])
def test_a_channel_that_hangs_delays_no_other_and_no_revert(errors: float) -> None:
    """It is tried for seconds; then `announce` runs deliver to it. Users and Slack notice nothing."""

    def told(hangs: int) -> tuple[TeamsStandIn, TestEnvironment, float]:
        stand_in = TeamsStandIn()
        stand_in.hangs = hangs

        async def scenario(test_env: TestEnvironment) -> float:
            stand_in.plug_into(test_env)
            test_env.fixture.publish(NEW, {BACKEND: Behaviour(errors=errors)})
            await test_env.release()
            envs.append(test_env)
            moves = [write.at_s for write in test_env.fixture.production.writes if write.moved]
            shown = [write.at_s for write in test_env.fixture.production.writes if "10 %" in str(write.change.split)]
            await test_env.catch_up()
            return max(moves) - min(shown)

        envs: list[TestEnvironment] = []
        took_s = play(scenario)
        return stand_in, envs[0], took_s

    well, hung = told(0), told(100)
    assert hung[2] == pytest.approx(well[2], abs=0.5), "from the canary's first user to the last move of users"
    assert hung[1].fixture.slack.keys == well[1].fixture.slack.keys
    announced = [one for one in hung[1].server.started.values() if one.deployment == "announce/production"]
    assert announced
    assert {one.parameters["to"] for one in announced} == {"teams"}
    assert not [one for one in well[1].server.started.values() if one.deployment == "announce/production"]


def test_what_a_channel_missed_is_sent_when_it_is_back() -> None:
    """Once, and the other channel does not get it again."""
    stand_in = TeamsStandIn()
    stand_in.hangs = 3

    async def scenario(test_env: TestEnvironment) -> TestEnvironment:
        stand_in.plug_into(test_env)
        test_env.fixture.publish(NEW)
        await test_env.release()
        await test_env.catch_up()
        return test_env

    test_env = play(scenario)
    assert sorted(card.split(" at ")[0].splitlines()[0] for card in stand_in.cards) == [
        "✅ Production release complete",
        "👍 Production watch is over",
        "🚀 Production release starting",
    ]
    assert test_env.fixture.slack.keys == ["starting", "complete", "watched"]


async def test_an_environment_file_names_it_by_its_block_type(tmp_path: Path) -> None:
    """A table, and its secret is looked up as any other."""
    file = tmp_path / "staging.toml"
    file.write_text(STAGING.read_text() + '\n[[channels]]\ntype = "teams"\nwebhook = {env = "TEAMS_WEBHOOK"}\n')
    environment = await files.read(file, with_secrets=False)
    assert [channel.name for channel in environment.channels] == ["slack", "teams"]
    assert isinstance(environment.channels[1], Teams)
    assert isinstance(environment.channels[1], Channel)


async def test_an_error_shows_no_address_that_is_a_secret() -> None:
    """Who has the address of a webhook can post there."""
    teams = Teams(webhook=SecretReference.given(SecretStr("http://127.0.0.1:1/hook?sig=very-secret")), timeout_s=5)
    with pytest.raises(Transient, match=r"check channels\.webhook") as raised:
        await teams.post(Message(key="v1/complete", audience=Audience.RELEASES, text="complete"))
    assert "very-secret" not in str(raised.value)
