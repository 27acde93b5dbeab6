"""The notices that Prefect's own server sends: its notification blocks and its automations."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple
from uuid import UUID

from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import PrefectClient, get_client
from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger
from prefect.types import SecretDict
from pydantic import Field, HttpUrl, field_validator

from blocks.base import OutsideBlock
from blocks.pagerduty import SEVERITIES
from blocks.secret_reference import SecretReference
from playbook.incident.decision_matrix import Severity
from playbook.messages.facts import Audience
from playbook.messages.server_notices import FIELDS, Notice, server_notices

TAG = "playbook-notice"


def _plain(field: str) -> str:
    return f"{{{{ {FIELDS[field]} }}}}"


def _escaped(field: str) -> str:
    """As Slack wants text: ``<!channel>`` in the name of a run calls no one."""
    pairs = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"))
    return f"{{{{ ({FIELDS[field]}) | string{''.join(f' | replace({a!r}, {b!r})' for a, b in pairs)} }}}}"


class WebhookFormat(NamedTuple):
    """What an incoming webhook of one chat takes: JSON with ``{{body}}`` for the text, and how a field is written in
    it, so that what stands in the name of a run calls no one and links nowhere."""

    json: dict[str, Any]
    write: Callable[[str], str]


_RUN = {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": "{{body}}"}]}
_CARD = {"type": "AdaptiveCard", "version": "1.4", "body": [_RUN]}
FORMATS = {
    "slack": WebhookFormat({"text": "{{body}}"}, _escaped),
    # Microsoft Teams, through a workflow: a text run of a card is shown as it is, without Markdown.
    "teams": WebhookFormat(
        {
            "type": "message",
            "attachments": [{"contentType": "application/vnd.microsoft.card.adaptive", "content": _CARD}],
        },
        _plain,
    ),
}
"""The chats that the server can tell. Another one is another entry: the server itself fills it in, so it is data."""


class ServerNotices(OutsideBlock):
    """Where Prefect's server tells people what no worker of ours can tell: incoming webhooks of a chat, and PagerDuty.

    These secrets alone are stored on the Prefect server, encrypted, when the file is applied. Each can do nothing but
    post in one channel, or open an incident of one service.
    """

    _block_type_name: ClassVar[str | None] = "EthixAI Server Notices"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://docs.prefect.io/v3/concepts/automations#sending-notifications-with-automations"
    )

    format: str = Field("slack", title="Format", description=f"What the webhooks take: {' or '.join(FORMATS)}.")
    releases: SecretReference = Field(
        title="Releases", description="Where the URL of the incoming webhook of #releases is."
    )
    incidents: SecretReference = Field(
        title="Incidents", description="Where the URL of the incoming webhook of #incident-response is."
    )
    platform: SecretReference | None = Field(
        None, title="Platform", description="That of #platform-engineering. Empty: #incident-response gets its notices."
    )
    routing_key: SecretReference | None = Field(
        None, title="Routing key", description="Where PagerDuty's integration key is. Empty: no one is paged."
    )
    events_url: str = Field("https://events.pagerduty.com", title="Events URL", description="Where events are sent.")

    @field_validator("format")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in FORMATS:
            raise ValueError(f"there is no format {name[:40]!r}; use {' or '.join(FORMATS)}")
        return name

    async def publish(self, environment: str, *, is_production: bool) -> list[str]:
        """Every notice of ``environment`` is on the Prefect server, and no other of ours. Returns their names.

        Raises: Refused, Transient (a secret cannot be read), PREFECT_AWAY.
        """
        wanted = server_notices(environment, is_production=is_production)
        documents = _Documents(self, environment)
        made = [await _automation(one, documents, environment) for one in wanted]
        async with get_client() as client:
            await _replace(client, environment, made)
        return [one.name for one in made]


async def remove_notices(environment: str) -> None:
    """No notice of ``environment`` is on the Prefect server. Raises: PREFECT_AWAY."""
    async with get_client() as client:
        await _replace(client, environment, [])


class _Documents:
    """The notification blocks of one environment, each saved once."""

    def __init__(self, secrets: ServerNotices, environment: str) -> None:
        self._secrets, self._environment = secrets, environment
        self._ids: dict[str, UUID] = {}
        self.format = FORMATS[secrets.format]

    async def channel(self, audience: Audience) -> UUID:
        """The id of the block that posts to ``audience``."""
        secrets = self._secrets
        kept = {Audience.RELEASES: secrets.releases, Audience.PLATFORM: secrets.platform}
        reference = kept.get(audience) or secrets.incidents
        return await self._save(audience.value, "{{webhook}}", self.format.json, {"webhook": reference})

    async def pager(self, severity: Severity, *, resolves: bool = False) -> UUID | None:
        """The id of the block that pages, or that resolves the page; None where no one is paged.

        The subject of what it sends is the page's dedup key.
        """
        if self._secrets.routing_key is None:
            return None
        event: dict[str, Any] = {
            "routing_key": "{{routing_key}}",
            "event_action": "resolve" if resolves else "trigger",
            "dedup_key": "{{subject}}",
        }
        if not resolves:
            level = SEVERITIES[severity]
            event["payload"] = {"summary": "{{body}}", "source": "prefect-server", "severity": level}
        name = "resolve" if resolves else f"page-{severity.value.lower()}"
        url = f"{self._secrets.events_url}/v2/enqueue"
        return await self._save(name, url, event, {"routing_key": self._secrets.routing_key})

    async def _save(self, name: str, url: str, body: dict[str, Any], secrets: dict[str, SecretReference]) -> UUID:
        name = f"notices-{self._environment}-{name}"
        if name not in self._ids:
            values = {key: (await one.read()).get_secret_value() for key, one in secrets.items()}
            block = CustomWebhookNotificationBlock(name=name, url=url, json_data=body, secrets=SecretDict(values))
            self._ids[name] = await block.asave(name, overwrite=True)
        return self._ids[name]


async def _automation(one: Notice, documents: _Documents, environment: str) -> AutomationCore:
    channel = await documents.channel(one.audience)
    actions = [SendNotification(block_document_id=channel, subject=one.name, body=one.said(documents.format.write))]
    key, resolves = one.page or one.resolves, not one.page
    if key and (pager := await documents.pager(one.severity, resolves=resolves)) is not None:
        actions.append(SendNotification(block_document_id=pager, subject=key, body=one.said(_plain)))
    return AutomationCore(
        name=f"notice: {one.name}",
        description="Made by `python -m blocks apply` from playbook/messages/server_notices.py.",
        tags=[TAG, environment],
        trigger=EventTrigger.model_validate(one.trigger),
        actions=list(actions),
    )


async def _replace(client: PrefectClient, environment: str, wanted: list[AutomationCore]) -> None:
    """The automations of this environment are the ``wanted`` ones: a changed one keeps its id and whether it is on."""
    known = {one.name: one for one in await client.read_automations() if {TAG, environment} <= set(one.tags)}
    for one in wanted:
        if (old := known.pop(one.name, None)) is None:
            await client.create_automation(one)
        else:
            await client.update_automation(old.id, one.model_copy(update={"enabled": old.enabled}))
    for gone in known.values():
        await client.delete_automation(gone.id)
