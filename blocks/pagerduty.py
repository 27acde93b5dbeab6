"""PagerDuty: page the on-call engineer, resolve the incident, and say who is on call."""

from typing import Any, ClassVar

from pydantic import Field, HttpUrl

from blocks.http import HttpBlock, HttpService
from blocks.secret_reference import Credential, SecretReference
from playbook.errors import Refused
from playbook.incident.decision_matrix import Severity
from playbook.messages.facts import Page

SEVERITIES = {
    Severity.P0: "critical",
    Severity.P1: "critical",
    Severity.P2: "error",
    Severity.P3: "warning",
}
SUMMARY_MAX = 1024


class PagerDuty(HttpBlock):
    """One PagerDuty service (Events API v2), and the escalation policy that answers for it (REST API)."""

    _block_type_name: ClassVar[str | None] = "EthixAI PagerDuty"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://developer.pagerduty.com/docs/events-api-v2/overview/"
    )

    name: str = Field("pagerduty", title="Name", description="Tells it from the environment's other pagers.")
    routing_key: SecretReference = Field(
        title="Routing key", description="Where the integration key (Events API v2) is."
    )
    api_token: SecretReference | None = Field(
        None, title="API token", description="Where a read-only REST token is, to see who is on call."
    )
    escalation_policy: str = Field(
        "", title="Escalation policy", description="Whose people count as on call, by id. Empty: every policy's."
    )
    source: str = Field("ethixai-playbook", title="Source", description="Who pages, as PagerDuty shows it.")
    events_url: str = Field("https://events.pagerduty.com", title="Events URL", description="Where events are sent.")
    api_url: str = Field("https://api.pagerduty.com", title="API URL", description="Where the REST API is.")

    async def page(self, page: Page) -> None:
        """The on-call engineer is paged; a second page with the same key joins the first. One call.

        Raises: Transient, Refused.
        """
        payload = {
            "summary": page.summary[:SUMMARY_MAX],
            "source": self.source,
            "severity": SEVERITIES[page.severity],
            "custom_details": page.details,
        }
        await self._event("trigger", page.key, {"payload": payload})

    async def resolve(self, key: str) -> None:
        """The incident with this key is over. One call. Raises: Transient, Refused."""
        await self._event("resolve", key, {})

    async def on_call(self) -> tuple[str, ...]:
        """Who is on call now, first responder first, each once. One call. Raises: Transient, Refused."""
        if self.api_token is None:
            raise Refused("PagerDuty, asked who is on call, needs pagerduty.api_token. Add it to the environment file.")
        headers: dict[str, str | Credential] = {
            "Authorization": self.api_token.within("Token token={}"),
            "Accept": "application/vnd.pagerduty+json;version=2",
        }
        api = HttpService("PagerDuty", "pagerduty", self.api_url, "api_token", self.timeout_s, self._clients, headers)
        query = {"earliest": "true"}
        if self.escalation_policy:
            query["escalation_policy_ids[]"] = self.escalation_policy
        asked = f"who is on call for {self.escalation_policy or 'any escalation policy'}"
        return await api.json("GET", "/oncalls", asked, _people, params=query)

    async def _event(self, action: str, key: str, rest: dict[str, object]) -> None:
        events = HttpService(
            "PagerDuty",
            "pagerduty",
            self.events_url,
            "routing_key",
            self.timeout_s,
            self._clients,
            url_field="events_url",
        )
        routing_key = (await self.routing_key.read()).get_secret_value()
        event = {"routing_key": routing_key, "event_action": action, "dedup_key": key, **rest}
        await events.json("POST", "/v2/enqueue", f"to {action} {key}", _acceptance, json=event)


def _acceptance(answer: dict[str, Any]) -> str:
    """The key under which an event was taken in. Raises KeyError where it was not: a gateway may answer 200 too."""
    return str(answer["dedup_key"])


def _people(answer: dict[str, Any]) -> tuple[str, ...]:
    """Everybody who is on call, each once, by level of escalation."""
    by_level = sorted(answer["oncalls"], key=lambda one: int(one["escalation_level"]))
    return tuple(dict.fromkeys(str(one["user"]["summary"]) for one in by_level))
