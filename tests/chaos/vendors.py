"""The desks in memory: what was said to whom, and as much de-duplication as each vendor really does, no more."""

import asyncio
from collections.abc import Callable, Mapping

from cloud import Cloud, RevisionState
from pydantic import SecretStr
from wire import Wire

from playbook.checklist.checks import Check, SecretState
from playbook.errors import SmokeFailed
from playbook.messages.chat import Channel, Message, Page, Ticket
from playbook.release.request import ExploitCheck
from playbook.release.version import Image, SmokeTest


class Slack:
    """As `Slack`: it takes whatever it is given, and a channel's history shows what that channel was given."""

    def __init__(self, wire: Wire, channels: Mapping[Channel, str]) -> None:
        self._wire, self._channels = wire, channels
        self.said: list[Message] = []

    async def post(self, message: Message, *, repeat: bool = False) -> None:
        """As the block's."""
        channel = self._channels[message.channel]
        if repeat and await self._wire.carry("slack", "history", message.key, lambda: self._knows(channel, message)):
            return
        await self._wire.carry("slack", "post", message.key, lambda: self.said.append(message))

    def _knows(self, channel: str, message: Message) -> bool:
        return any(self._channels[one.channel] == channel and one.key == message.key for one in self.said)

    @property
    def keys(self) -> list[str]:
        """The facts that were told, in order, without the environment and the release."""
        return [message.key.split("/", 2)[-1] for message in self.said]

    @property
    def text(self) -> str:
        """Everything that was said."""
        return "\n\n".join(message.text for message in self.said)


class PagerDuty:
    """As `PagerDuty`: the same key joins the first incident."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.incidents: dict[str, Page] = {}
        self.paged: set[str] = set()
        """the keys of all incidents, those that are over too"""
        self.people: tuple[str, ...] = ("Grace",)

    async def page(self, page: Page) -> None:
        """As the block's."""

        def take() -> None:
            self.paged.add(page.key)
            self.incidents.setdefault(page.key, page)

        await self._wire.carry("pagerduty", "page", page.key, take)

    async def resolve(self, key: str) -> None:
        """As the block's."""
        await self._wire.carry("pagerduty", "resolve", key, lambda: self.incidents.pop(key, None))

    async def on_call(self) -> tuple[str, ...]:
        """As the block's."""
        return await self._wire.carry("pagerduty", "on_call", "", lambda: self.people)


class GitHub:
    """As `GitHub`: it opens whatever it is asked to open; a search finds what was opened."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.tickets: list[Ticket] = []
        self.conclusions: dict[str, str] = {}
        """of every commit's checks; one that is not named has passed"""
        self.missing: set[str] = set()
        self.required: tuple[str, ...] = ()
        self.notes: str | None = None

    async def checks(self, commit: str) -> tuple[Check, ...]:
        """As the block's."""
        names = [name for name in self.required if name not in self.missing]
        found = tuple(Check(name=name, conclusion=self.conclusions.get(name, "success")) for name in names)
        return await self._wire.carry("github", "checks", commit, lambda: found)

    async def release_notes(self, version: str) -> str | None:
        """As the block's."""
        return await self._wire.carry("github", "release_notes", version, lambda: self.notes)

    async def ticket(self, ticket: Ticket) -> str:
        """As the block's: looked for first, then opened."""
        keys = await self._wire.carry("github", "search", ticket.key, lambda: [one.key for one in self.tickets])
        if ticket.key in keys:
            return f"https://github.com/geoaziz/ethixai/issues/{1 + keys.index(ticket.key)}"
        await self._wire.carry("github", "open", ticket.key, lambda: self.tickets.append(ticket))
        return f"https://github.com/geoaziz/ethixai/issues/{len(self.tickets)}"


class Sentry:
    """As `Sentry`: a version is created once, and its deploys are listed."""

    def __init__(self, wire: Wire, environment: str) -> None:
        self._wire, self._environment = wire, environment
        self.releases: dict[str, list[str]] = {}

    async def release(self, version: str, commit: str) -> None:
        """As the block's."""
        deploys = await self._wire.carry("sentry", "create", version, lambda: self.releases.setdefault(version, []))
        known = await self._wire.carry("sentry", "deploys", version, lambda: list(deploys))
        if self._environment not in known:
            await self._wire.carry("sentry", "deploy", version, lambda: deploys.append(self._environment))


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


class Registry:
    """As `Registry`. ``images`` maps repository:tag to an image."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.images: dict[str, Image] = {}

    async def image(self, repository: str, tag: str) -> Image | None:
        """As the block's."""
        name = f"{repository}:{tag}"
        return await self._wire.carry("registry", "image", name, lambda: self.images.get(name))


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

    async def unreachable(self, url: str) -> str:
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
