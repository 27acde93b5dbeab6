"""Sentry: a release that its errors can be traced to."""

from typing import ClassVar
from urllib.parse import quote

from pydantic import Field, HttpUrl

from blocks.http import HttpBlock, HttpService
from blocks.secret_reference import SecretReference

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
        if self.environment not in await self._service().json("GET", deploys, f"for the deploys of {version}", _places):
            deploy = {"environment": self.environment, "name": version[:NAME_MAX]}
            await self._service().send("POST", deploys, f"to note the deploy of {version}", json=deploy)

    async def reachable(self) -> None:
        """The organization's releases can be read with our token. One call. Raises: Transient, Refused."""
        await self._service().json("GET", self._releases, "for the newest release", list, params={"per_page": 1})

    @property
    def _releases(self) -> str:
        return f"/api/0/organizations/{quote(self.organization, safe='')}/releases/"

    def _service(self) -> HttpService:
        headers = {"Authorization": self.token.within("Bearer {}")}
        return HttpService("Sentry", "sentry", self.api_url, "token", self.timeout_s, self._clients, headers)


def _places(deploys: list[dict[str, str]]) -> set[str]:
    """The environments that a release is deployed to."""
    return {deploy["environment"] for deploy in deploys}
