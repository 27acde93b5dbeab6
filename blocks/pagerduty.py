"""PagerDuty: page the on-call engineer, resolve the incident, and say who is on call."""

import datetime
from typing import Any, ClassVar, Literal

from pydantic import AwareDatetime, BaseModel, Field, HttpUrl

from blocks.http import HttpBlock, HttpService
from blocks.secret_reference import Credential, SecretReference
from playbook.checklist.checks import Shift
from playbook.errors import Refused
from playbook.incident.decision_matrix import Severity
from playbook.messages.facts import Page
from playbook.text import CleanName

SEVERITIES = {
    Severity.P0: "critical",
    Severity.P1: "critical",
    Severity.P2: "error",
    Severity.P3: "warning",
}
SUMMARY_MAX = 1024
PAGE, PAGES_MAX = 100, 10


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
    severities: dict[Severity, Literal["critical", "error", "warning", "info"]] = Field(
        default_factory=dict,
        title="Severities",
        description="PagerDuty's severity for one of ours. Its service makes the urgency of it.",
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
            "severity": self.severities.get(page.severity, SEVERITIES[page.severity]),
            "custom_details": page.details,
        }
        await self._event("trigger", page.key, {"payload": payload})

    async def resolve(self, key: str) -> None:
        """The incident with this key is over. One call. Raises: Transient, Refused."""
        await self._event("resolve", key, {})

    async def shifts(self, from_s: float, until_s: float) -> tuple[Shift, ...]:
        """Who is on call between two times (unix seconds), first responder first: one entry for each person's shift.

        One call for each hundred. Raises: Transient, Refused.
        """
        query: dict[str, str | int] = {"since": _utc(from_s), "until": _utc(until_s), "limit": PAGE}
        if self.escalation_policy:
            query["escalation_policy_ids[]"] = self.escalation_policy
        asked = f"who is on call for {self.escalation_policy or 'any escalation policy'}"
        found: list[_OnCall] = []
        for page in range(PAGES_MAX):
            answer = await self._api(asked).json(
                "GET", "/oncalls", asked, _OnCalls.model_validate, params={**query, "offset": page * PAGE}
            )
            found += answer.oncalls
            if not answer.more:
                break
        found.sort(key=lambda one: one.escalation_level)
        return tuple(one.shift() for one in found)

    async def is_open(self, key: str) -> bool:
        """Whether the incident with this key is triggered or acknowledged. One call. Raises: Transient, Refused."""
        asked = f"whether incident {key} is open"
        query = {"incident_key": key, "statuses[]": ["triggered", "acknowledged"]}
        return bool(await self._api(asked).json("GET", "/incidents", asked, _incidents, params=query))

    def _api(self, asked: str) -> HttpService:
        if self.api_token is None:
            raise Refused(f"PagerDuty, asked {asked}, needs pagerduty.api_token. Add it to the environment file.")
        headers: dict[str, str | Credential] = {
            "Authorization": self.api_token.within("Token token={}"),
            "Accept": "application/vnd.pagerduty+json;version=2",
        }
        return HttpService("PagerDuty", "pagerduty", self.api_url, "api_token", self.timeout_s, self._clients, headers)

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


def _incidents(answer: dict[str, Any]) -> list[str]:
    """The statuses of the incidents that are open; a gateway's answer has none of this shape."""
    return [str(one["status"]) for one in answer["incidents"] if str(one["status"]) != "resolved"]


def _utc(at_s: float) -> str:
    return datetime.datetime.fromtimestamp(at_s, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _User(BaseModel):
    summary: CleanName


class _OnCall(BaseModel):
    user: _User
    escalation_level: int
    start: AwareDatetime | None = None
    end: AwareDatetime | None = None

    def shift(self) -> Shift:
        """As the checklist reads it."""
        return Shift(
            person=self.user.summary,
            from_s=self.start.timestamp() if self.start else None,
            until_s=self.end.timestamp() if self.end else None,
        )


class _OnCalls(BaseModel):
    oncalls: list[_OnCall]
    more: bool = False
