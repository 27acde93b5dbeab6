"""Slack: say a thing once in the room it is meant for."""

from typing import Any, ClassVar

from pydantic import Field, HttpUrl

from blocks.http import HttpBlock, HttpService
from blocks.secret_reference import SecretReference
from playbook.errors import Refused, ReleaseError, Transient
from playbook.messages.chat import Channel, Message

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
WRONG_ROOM = frozenset({"channel_not_found", "not_in_channel", "is_archived", "restricted_action"})

HISTORY = 200
"""How many messages of a room are looked through for a fact that may have been told already."""


class Slack(HttpBlock):
    """A Slack app that posts what a release has to say (chat:write, channels:history, metadata.message:read)."""

    _block_type_name: ClassVar[str | None] = "EthixAI Slack"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.slack.dev/reference/methods/chat.postMessage")

    token: SecretReference = Field(title="Bot token", description="Where the token of the app (xoxb-…) is.")
    channels: dict[Channel, str] = Field(
        title="Channels", description="Id of the channel for each room, for example C0…."
    )
    api_url: str = Field("https://slack.com/api", title="API URL", description="Where Slack's Web API is.")

    async def post(self, message: Message, *, repeat: bool = False) -> None:
        """The room has been told. With ``repeat``, the room is read first, and not told what it already knows.

        One call, two with ``repeat``. Raises: Transient (away, rate limit), Refused (token, channel).
        """
        channel = self._channel(message.channel)
        if repeat and await self._was_told(channel, message):
            return
        metadata = {"event_type": EVENT_TYPE, "event_payload": {"key": message.key}}
        said = {"channel": channel, "text": message.text, "metadata": metadata, "unfurl_links": False}
        await self._call(
            "POST", "/chat.postMessage", f"to post {message.key} in {message.channel}", message.channel, json=said
        )

    async def _was_told(self, channel: str, message: Message) -> bool:
        query = {"channel": channel, "limit": HISTORY, "include_all_metadata": "true"}
        asked = f"whether {message.channel} knows {message.key}"
        found = await self._call("GET", "/conversations.history", asked, message.channel, params=query)
        return any(_key(said) == message.key for said in found["messages"])

    async def _call(self, method: str, path: str, asked: str, channel: Channel, **request: Any) -> dict[str, Any]:
        """Slack's answer, which says ``ok`` in its body whatever the status."""
        answer = await self._service().json(method, path, asked, _answer, **request)
        if answer["ok"] is True:
            return answer
        raise self._failure(str(answer["error"]), asked, channel)

    def _failure(self, error: str, asked: str, channel: Channel) -> ReleaseError:
        came = f"Slack, asked {asked}, answered {error}."
        if error in AWAY:
            return Transient(f"{came} Ask again.")
        if error in WRONG_ROOM:
            return Refused(
                f"{came} Check slack.channels.{channel} ({self.channels.get(channel)}) and invite the app there."
            )
        return Refused(f"{came} Check slack.token and its scopes.")

    def _channel(self, channel: Channel) -> str:
        if channel not in self.channels:
            raise Refused(
                f"Slack: no channel is known for {channel}. Add slack.channels.{channel} to the environment file."
            )
        return self.channels[channel]

    def _service(self) -> HttpService:
        headers = {"Authorization": self.token.within("Bearer {}")}
        return HttpService("Slack", "slack", self.api_url, "token", self.timeout_s, self._clients, headers)


def _answer(found: Any) -> dict[str, Any]:
    """An answer of the Web API. Raises KeyError or TypeError where it is none."""
    return {"ok": found["ok"], "error": found.get("error"), "messages": list(found.get("messages", ()))}


def _key(said: dict[str, Any]) -> object:
    """The key of the fact that a message tells, where it is one of ours."""
    metadata = said.get("metadata") or {}
    return metadata.get("event_payload", {}).get("key") if metadata.get("event_type") == EVENT_TYPE else None
