"""The vendors: the real HTTP blocks with the rehearsal's stand-ins behind them, and two stand-ins without HTTP.

Each HTTP request is one call on the wire. The readers (`Slack`, `PagerDuty`, `GitHub`, `Sentry`) show what a stand-in
accepted.
"""

import asyncio
import html
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpx
from cloud import Cloud, RevisionState
from faults import Answered
from pydantic import SecretStr
from wire import Wire

from blocks.base import PerLoop
from blocks.http import HttpBlock
from playbook.checklist.checks import SecretState
from playbook.errors import SmokeFailed
from playbook.release.request import ExploitCheck
from playbook.release.version import SmokeTest
from rehearsal.world.vendors import Vendors

METHODS = {
    "POST chat.postMessage": "post",
    "GET conversations.history": "history",
    "POST enqueue": "page",
    "GET oncalls": "on_call",
    "GET check-runs": "checks",
    "GET releases": "release_notes",
    "GET issues": "search",
    "POST issues": "open",
    "POST releases": "create",
    "GET deploys": "deploys",
    "POST deploys": "deploy",
    "GET token": "token",
    "GET deployments": "deployments",
    "POST deployments": "record",
    "GET statuses": "states",
    "POST statuses": "state",
}
"""HTTP method and last segment of the path -> what a call is named; any other is a registry's manifest"""
SEVERITIES_OF = {"critical": "P1", "error": "P2", "warning": "P3"}
TICKET_KEY = re.compile(r"<!-- (.*) -->")


class Transport(httpx.AsyncBaseTransport):
    """Requests to ``http://HOST/VENDOR/…`` reach that vendor in ``worlds[HOST]``, over the wire."""

    def __init__(self, wire: Wire, worlds: Mapping[str, Vendors]) -> None:
        self._wire = wire
        self._apps = {host: httpx.ASGITransport(app=vendors.app) for host, vendors in worlds.items()}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The vendor's answer, unless a fault is ordered for this call."""
        _, vendor, path = request.url.path.rstrip("/").split("/", 2)
        body = json.loads(request.content) if request.content else {}
        method = METHODS.get(f"{request.method} {path.rsplit('/', 1)[-1]}", "image")
        if body.get("event_action") == "resolve":
            method = "resolve"
        send = partial(self._apps[request.url.host].handle_async_request, request)
        try:
            return await self._wire.carry(vendor, method, _subject(path, body), send)
        except Answered as fault:
            return fault.response


class Wired(PerLoop[httpx.AsyncClient]):
    """A block's clients: the one whose requests go over the wire."""

    def __init__(self, transport: Transport) -> None:
        super().__init__()
        self._transport = transport

    def get(self, make: Callable[[], httpx.AsyncClient]) -> httpx.AsyncClient:
        """A client as ``make`` configures it would be; only its transport differs."""
        return super().get(lambda: httpx.AsyncClient(transport=self._transport, trust_env=False))

    def __deepcopy__(self, memo: object) -> "Wired":
        return self


def wired(block: HttpBlock, transport: Transport, **fields: Any) -> HttpBlock:
    """The block with these fields, whose requests go over the wire."""
    copied = block.model_copy(update=fields)
    copied._clients = Wired(transport)
    return copied


def _subject(path: str, body: dict[str, Any]) -> str:
    """What a request is about: the key of its message, page or ticket, or the end of its path."""
    if "metadata" in body:
        return str(body["metadata"]["event_payload"]["key"])
    marker = TICKET_KEY.search(str(body.get("body", "")))
    return marker[1] if marker else str(body.get("dedup_key") or body.get("version") or path.rsplit("/", 2)[-1])


@dataclass(frozen=True)
class Sent:
    """One message or ticket, with the key of the fact."""

    key: str
    text: str
    title: str = ""


@dataclass(frozen=True)
class Paged:
    """One page. PagerDuty has one severity for P0 and P1: here it is P1."""

    key: str
    severity: str
    summary: str
    details: Mapping[str, str]


class Reader:
    """Reads what one vendor's stand-in accepted."""

    vendor = ""

    def __init__(self, vendors: Vendors) -> None:
        self._vendors = vendors

    def _bodies(self, end: str) -> list[dict[str, Any]]:
        """The bodies of the accepted calls to paths that end so."""
        calls = self._vendors.calls
        return [one["body"] for one in calls if one["vendor"] == self.vendor and one["path"].endswith(end)]


class Slack(Reader):
    """The messages in one environment's channels."""

    vendor = "slack"

    @property
    def said(self) -> list[Sent]:
        """Every message as people see it, in order."""
        return [Sent(_subject("", body), html.unescape(body["text"])) for body in self._bodies("/chat.postMessage")]

    @property
    def keys(self) -> list[str]:
        """The facts in the messages, in order, without the environment and the release."""
        return [message.key.split("/", 2)[-1] for message in self.said]

    @property
    def text(self) -> str:
        """The text of all messages."""
        return "\n\n".join(message.text for message in self.said)


class PagerDuty(Reader):
    """The incidents."""

    vendor = "pagerduty"

    @property
    def incidents(self) -> dict[str, Paged]:
        """The open incidents by key: the first page of each."""
        found: dict[str, Paged] = {}
        for event in self._bodies("/enqueue"):
            key, page = event["dedup_key"], event.get("payload")
            if page is None:
                found.pop(key, None)
            else:
                severity = SEVERITIES_OF[page["severity"]]
                found.setdefault(key, Paged(key, severity, page["summary"], page["custom_details"]))
        return found

    @property
    def paged(self) -> set[str]:
        """The keys of all incidents, resolved ones included."""
        return {event["dedup_key"] for event in self._bodies("/enqueue") if "payload" in event}


class GitHub(Reader):
    """The tickets."""

    vendor = "github"

    @property
    def tickets(self) -> list[Sent]:
        """Every issue that was opened, in order."""
        return [Sent(_subject("", body), body["body"], body["title"]) for body in self._bodies("/issues")]


class Sentry(Reader):
    """The releases of one environment."""

    vendor = "sentry"

    @property
    def releases(self) -> dict[str, list[str]]:
        """Version -> the environments that it was deployed to."""
        found: dict[str, list[str]] = {body["version"]: [] for body in self._bodies("/releases/")}
        for call in self._vendors.calls:
            if call["vendor"] == self.vendor and call["path"].endswith("/deploys/"):
                found[call["path"].split("/")[-3]].append(call["body"]["environment"])
        return found


class SecretManager:
    """As `SecretManager`."""

    names = ("mongodb-uri", "jwt-signing-key")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.expires_at_s: dict[str, float] = {}
        self.versions: dict[str, list[tuple[float, str]]] = {}
        """name -> (unix seconds, value) of each version that was put"""

    async def state(self, name: str) -> SecretState:
        """As the block's."""
        state = SecretState(name=name, exists=True, is_enabled=True, expires_at_s=self.expires_at_s.get(name))
        return await self._wire.carry("secret manager", "state", name, lambda: state)

    async def put(self, name: str, value: SecretStr) -> None:
        """As the block's: read first, then added."""
        versions, wanted = self.versions.setdefault(name, []), value.get_secret_value()
        if not await self.holds(name, value):
            at_s = asyncio.get_running_loop().time
            await self._wire.carry("secret manager", "put", name, lambda: versions.append((at_s(), wanted)))

    async def holds(self, name: str, value: SecretStr) -> bool:
        """As the block's."""
        versions = self.versions.setdefault(name, [])
        newest = await self._wire.carry("secret manager", "value", name, lambda: [one for _, one in versions[-1:]])
        return newest == [value.get_secret_value()]


class EthixAI:
    """As `EthixAI`: what a revision answers to the smoke tests, at its tag's URL or at the service's."""

    def __init__(self, wire: Wire, cloud: Cloud, now: Callable[[], float]) -> None:
        self._wire, self._cloud, self._now = wire, cloud, now

    async def run(self, test: SmokeTest, url: str, audience: str = "") -> str:
        """As the block's."""

        def answer() -> str:
            tag, revision = self._behind(url)
            passes = revision.behaviour.smoke if tag else revision.behaviour.smoke_serving
            if not passes:
                raise SmokeFailed(f"{url}: {test} answered 500: no. Read the service's logs.")
            return f"{test} passed."

        return await self._wire.carry("ethixai", test, url.removeprefix("https://"), answer)

    def sending(self, headers: Mapping[str, str]) -> "EthixAI":
        """As the block's; nothing here asks for a header."""
        return self

    async def unreachable(self, url: str, audience: str = "") -> str:
        """As the block's: nothing is private here."""
        return await self._wire.carry("ethixai", "unreachable", url.removeprefix("https://"), str)

    async def ask(self, check: ExploitCheck, url: str, audience: str = "") -> int:
        """As the block's: 200 while the hole is open."""

        def answer() -> int:
            return 403 if self._behind(url)[1].behaviour.is_patched else 200

        return await self._wire.carry("ethixai", "ask", url.removeprefix("https://"), answer)

    async def probe(self, url: str, count: int, seconds: float, audience: str = "") -> int:
        """As the block's; one call, whatever the count."""

        def begin() -> int:
            _, revision = self._behind(url)
            revision.probes.append((self._now(), self._now() + seconds, count))
            return count

        answered = await self._wire.carry("ethixai", "probe", url.removeprefix("https://"), begin)
        await asyncio.sleep(seconds)
        return answered

    async def refuses_writes(self, url: str, *, may_take_none: bool, audience: str = "") -> str:
        """As the block's."""
        host = url.removeprefix("https://")

        def answer() -> str:
            if self._cloud.takes_writes(host.split(".")[0]):
                raise SmokeFailed(f"{url}: a write was answered 201, not 503: users can still write.")
            return f"a write at {url} was refused with 503."

        return await self._wire.carry("ethixai", "refuses_writes", host, answer)

    def _behind(self, url: str) -> tuple[str, RevisionState]:
        host = url.removeprefix("https://").split(".")[0]
        tag, _, service = host.rpartition("---")
        state = self._cloud.services[service]
        name = state.served.tags[tag] if tag else state.served.main
        return tag, state.revisions[name]
