"""A container registry: which digest a tag has."""

import re
from typing import ClassVar

import httpx
from pydantic import Field, HttpUrl, SecretStr

from blocks.http import HttpBlock, HttpService
from playbook.errors import Refused
from playbook.release.version import Image

MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
PARAMETER = re.compile(r'(\w+)="([^"]*)"')
MAYBE = frozenset({httpx.codes.NOT_FOUND, httpx.codes.UNAUTHORIZED})


class Registry(HttpBlock):
    """A container registry that speaks the OCI distribution protocol, such as ghcr.io."""

    _block_type_name: ClassVar[str | None] = "EthixAI Registry"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://github.com/opencontainers/distribution-spec/blob/main/spec.md"
    )

    base_url: str = Field("https://ghcr.io", title="URL", description="Where the registry is.")
    username: str = Field("", title="User name", description="Who signs in. Empty: nobody, for public images.")
    token: SecretStr | None = Field(None, title="Token", description="That user's token (read:packages).")

    async def image(self, repository: str, tag: str) -> Image | None:
        """The image that ``tag`` points to now, by digest. None where there is no such tag.

        ``repository`` is written as in a pull, ``ghcr.io/geoaziz/ethixai-backend``. Two or three calls.
        Raises: Transient, Refused (sign-in, an answer without digest).
        """
        path = f"/v2/{_name(repository)}/manifests/{tag}"
        asked = f"for the digest of {repository}:{tag}"
        answer = await self._service().send("HEAD", path, asked, MAYBE, headers={"Accept": MANIFESTS})
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            headers = {"Accept": MANIFESTS, "Authorization": f"Bearer {await self._pass(answer, asked)}"}
            also_ok = frozenset({httpx.codes.NOT_FOUND})
            answer = await self._service().send("HEAD", path, asked, also_ok, headers=headers)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        digest = answer.headers.get("Docker-Content-Digest", "")
        if DIGEST.fullmatch(digest) is None:
            raise Refused(
                f"The registry, asked {asked}, gave no sha256 digest but {digest!r}. Check registry.base_url."
            )
        return Image(repository=repository, digest=digest)

    async def _pass(self, refusal: httpx.Response, asked: str) -> str:
        """A pass for what was refused, from the place that the refusal names (WWW-Authenticate: Bearer realm=…)."""
        challenge = dict(PARAMETER.findall(refusal.headers.get("WWW-Authenticate", "")))
        realm = challenge.pop("realm", "")
        if not self._may_be_told(realm):
            raise Refused(f"The registry, asked {asked}, wants a sign-in at {realm!r}. Check registry.base_url.")
        sign_in = {"auth": (self.username, self.token.get_secret_value())} if self.token else {}
        # What is left of the challenge is what the place wants to hear: service and scope.
        return await self._service().json("GET", realm, f"for a pass, {asked}", _pass, params=challenge, **sign_in)

    def _may_be_told(self, realm: str) -> bool:
        """Whether our token may be sent there: over TLS, or to the registry itself."""
        try:
            url = httpx.URL(realm)
        except httpx.InvalidURL:
            return False
        return url.scheme == "https" or url.netloc == httpx.URL(self.base_url).netloc

    def _service(self) -> HttpService:
        return HttpService(
            "The registry", "registry", self.base_url, "token", self.timeout_s, self._clients, url_field="base_url"
        )


def _pass(answer: dict[str, str]) -> str:
    """The pass in the answer of a token server, which may call it by either name."""
    return str(answer["token"] if "token" in answer else answer["access_token"])


def _name(repository: str) -> str:
    """``ghcr.io/geoaziz/ethixai-backend`` -> ``geoaziz/ethixai-backend``. A host is told by its dot or its port."""
    host, _, name = repository.partition("/")
    return name if name and (set(host) & {".", ":"} or host == "localhost") else repository
