"""Sentry: which release is deployed, so that errors are shown with the release they came with."""

import datetime
from textwrap import shorten
from typing import ClassVar
from urllib.parse import quote

from pydantic import Field, HttpUrl

from blocks.http import HttpBlock, HttpService
from blocks.secret_reference import SecretReference
from playbook.messages.facts import TakenBack

NAME_MAX = 64


class Sentry(HttpBlock):
    """One Sentry organization (project:releases)."""

    _block_type_name: ClassVar[str | None] = "EthixAI Sentry"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.sentry.io/api/releases/")

    organization: str = Field(title="Organization", description="Its slug.")
    projects: list[str] = Field(title="Projects", min_length=1, description="Slugs of the projects that are released.")
    environment: str = Field("production", title="Environment", description="Where the release is deployed to.")
    token: SecretReference = Field(title="Token", description="Where the organization's or integration's token is.")
    api_url: str = Field("https://sentry.io", title="API URL", description="Where Sentry is, without /api.")

    async def release(self, version: str, commit: str) -> None:
        """Sentry knows the release, and that it is deployed to this environment; each is said once.

        Two or three calls. Raises: Transient, Refused.
        """
        releases = self._releases
        said = {"version": version, "ref": commit, "projects": self.projects}
        # Answered 201 when new and 208 when known already.
        await self._service().send("POST", releases, f"to create release {version}", json=said)
        deploys = f"{releases}{quote(version, safe='')}/deploys/"
        name, asked = version[:NAME_MAX], f"for the deploys of {version}"
        places = await self._service().json("GET", deploys, asked, _places)
        if next((one for place, one in places if place == self.environment), None) != name:
            deploy = {"environment": self.environment, "name": name}
            await self._service().send("POST", deploys, f"to note the deploy of {version}", json=deploy)

    async def reachable(self) -> None:
        """The organization's releases can be read with our token. One call. Raises: Transient, Refused."""
        await self._service().json("GET", self._releases, "for the newest release", list, params={"per_page": 1})

    @property
    def _releases(self) -> str:
        return f"/api/0/organizations/{quote(self.organization, safe='')}/releases/"

    async def take_back(self, taken: TakenBack, commit: str) -> None:
        """Sentry knows the release, for how long it was deployed here and why it was taken back, and which release is
        deployed here since; each is said once. Sentry has no state for that: a deploy with a name says it.

        Three to five calls. Raises: Transient, Refused.
        """
        mark = taken.release_id.rsplit("-", 1)[-1]
        took = {"dateStarted": _utc(taken.from_s), "dateFinished": _utc(taken.until_s), "url": taken.url}
        await self._noted(taken.version, commit, f"taken back ({mark}): {taken.reason}", took)
        if taken.back_on:
            since = {"dateFinished": _utc(taken.until_s), "url": taken.url}
            await self._noted(taken.back_on, "", f"back ({mark}) from {taken.version}", since)

    async def _noted(self, version: str, commit: str, name: str, more: dict[str, str]) -> None:
        """A deploy of ``version`` to this environment has this name, made now where there is none."""
        releases = f"/api/0/organizations/{quote(self.organization, safe='')}/releases/"
        said = {"version": version, "projects": self.projects, **({"ref": commit} if commit else {})}
        await self._service().send("POST", releases, f"to create release {version}", json=said)
        deploys, name = f"{releases}{quote(version, safe='')}/deploys/", shorten(name, NAME_MAX, placeholder="…")
        if name not in await self._service().json("GET", deploys, f"for the deploys of {version}", _names):
            deploy = {"environment": self.environment, "name": name, **{key: one for key, one in more.items() if one}}
            await self._service().send("POST", deploys, f"to note that {version} is {name}", json=deploy)

    def release_url(self, version: str) -> str:
        """The release on Sentry's site."""
        place = f"organizations/{quote(self.organization, safe='')}/releases/{quote(version, safe='')}"
        return f"{self.api_url}/{place}/?environment={quote(self.environment)}"

    def _service(self) -> HttpService:
        headers = {"Authorization": self.token.within("Bearer {}")}
        return HttpService("Sentry", "sentry", self.api_url, "token", self.timeout_s, self._clients, headers)


def _names(deploys: list[dict[str, str | None]]) -> set[str | None]:
    return {deploy["name"] for deploy in deploys}


def _utc(at_s: float) -> str:
    return datetime.datetime.fromtimestamp(at_s, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _places(deploys: list[dict[str, str | None]]) -> list[tuple[str | None, str | None]]:
    """Environment and name of each deploy, the newest first: one that was taken back may have been deployed again."""
    return [(deploy["environment"], deploy["name"]) for deploy in deploys]
