"""Slack: each message stands once in the channel of its audience."""

from typing import Any, ClassVar

from pydantic import Field, HttpUrl

from blocks.http import HttpBlock, HttpService, quoted
from blocks.secret_reference import SecretReference
from playbook.errors import Refused, ReleaseError, Transient
from playbook.messages.escape import slack_text
from playbook.messages.facts import Audience, Message
from playbook.text import clean

EVENT_TYPE = "release_fact"
"""Names our metadata on a message; its payload is the fact's key."""

AWAY = frozenset(
    {
        "fatal_error",
        "internal_error",
        "rate_limited",
        "ratelimited",
        "request_timeout",
        "service_unavailable",
        "team_added_to_org",
    }
)
WRONG_CHANNEL = frozenset({"channel_not_found", "not_in_channel", "is_archived", "restricted_action"})

TEXT_MAX = 8_000
"""Characters of a message. Slack refuses a text of more than 40,000, and escaping makes five of one at most."""
HISTORY = 200
"""How many messages of a channel are searched for one that may stand there already."""


class Slack(HttpBlock):
    """A Slack app that posts what a release has to say (chat:write, channels:history, metadata.message:read)."""

    _block_type_name: ClassVar[str | None] = "EthixAI Slack"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.slack.dev/reference/methods/chat.postMessage")

    name: str = Field("slack", title="Name", description="Tells it from the environment's other channels.")
    token: SecretReference = Field(title="Bot token", description="Where the token of the app (xoxb-…) is.")
    channels: dict[Audience, str] = Field(
        title="Channels", description="Id of the channel for each audience, for example C0…."
    )
    api_url: str = Field("https://slack.com/api", title="API URL", description="Where Slack's Web API is.")

    async def post(self, message: Message, *, repeat: bool = False) -> None:
        """The message stands in its channel. With ``repeat`` the channel is read first: it may stand there already.

        One call, two with ``repeat``. Raises: Transient (away, rate limit), Refused (token, channel).
        """
        channel = self._channel(message.audience)
        if repeat and await self._has(channel, message):
            return
        metadata = {"event_type": EVENT_TYPE, "event_payload": {"key": message.key}}
        body = slack_text(clean(message.text, TEXT_MAX))
        text = "\n".join(filter(None, (body, " ".join(map(_mention, message.mentions)))))
        said = {"channel": channel, "text": text, "metadata": metadata, "unfurl_links": False}
        await self._call(
            "POST", "/chat.postMessage", f"to post {message.key} in {message.audience}", message.audience, json=said
        )

    async def reachable(self) -> None:
        """Every channel can be read with our token. One call for each. Raises: Transient, Refused (token, channel)."""
        for audience, channel in self.channels.items():
            asked = f"for the newest message in {audience}"
            await self._call("GET", "/conversations.history", asked, audience, params={"channel": channel, "limit": 1})

    async def _has(self, channel: str, message: Message) -> bool:
        query = {"channel": channel, "limit": HISTORY, "include_all_metadata": "true"}
        asked = f"whether {message.key} stands in {message.audience}"
        found = await self._call("GET", "/conversations.history", asked, message.audience, params=query)
        return any(_key(said) == message.key for said in found["messages"])

    async def _call(self, method: str, path: str, asked: str, audience: Audience, **request: Any) -> dict[str, Any]:
        """Slack's answer, which says ``ok`` in its body whatever the status."""
        answer = await self._service().json(method, path, asked, _answer, **request)
        if answer["ok"] is True:
            return answer
        raise self._failure(quoted(str(answer["error"])), asked, audience)

    def _failure(self, error: str, asked: str, audience: Audience) -> ReleaseError:
        came = f"Slack, asked {asked}, answered {error}."
        if error in AWAY:
            return Transient(f"{came} Ask again.")
        if error in WRONG_CHANNEL:
            return Refused(
                f"{came} Check slack.channels.{audience} ({self.channels.get(audience)}) and invite the app there."
            )
        return Refused(f"{came} Check slack.token and its scopes.")

    def _channel(self, audience: Audience) -> str:
        if audience is Audience.PLATFORM and audience not in self.channels:
            audience = Audience.RELEASES
        if audience not in self.channels:
            raise Refused(
                f"Slack has no channel for {audience}. Add slack.channels.{audience} to the environment file."
            )
        return self.channels[audience]

    def _service(self) -> HttpService:
        headers = {"Authorization": self.token.within("Bearer {}")}
        return HttpService("Slack", "slack", self.api_url, "token", self.timeout_s, self._clients, headers)


def _mention(one: str) -> str:
    """What notifies a person, or a group of people, by their id."""
    return f"<!subteam^{one}>" if one.startswith("S") else f"<@{one}>"


def _answer(found: Any) -> dict[str, Any]:
    """An answer of the Web API. Raises KeyError or TypeError where it is none."""
    return {"ok": found["ok"], "error": found.get("error"), "messages": list(found.get("messages", ()))}


def _key(said: object) -> object:
    """The key of the fact that a message tells, if it is one of ours. Other apps' metadata may have any form."""
    metadata = said.get("metadata") if isinstance(said, dict) else None
    if not isinstance(metadata, dict) or metadata.get("event_type") != EVENT_TYPE:
        return None
    payload = metadata.get("event_payload")
    return payload.get("key") if isinstance(payload, dict) else None
