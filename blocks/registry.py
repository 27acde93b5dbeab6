"""A container registry: which digest a tag has."""

import re
from typing import ClassVar

import httpx
from pydantic import BaseModel, Field, HttpUrl, model_validator

from blocks.http import HttpBlock, HttpService, quoted
from blocks.secret_reference import SecretReference
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
PARAMETER = re.compile(r'(\w{1,40})="([^"]{0,500})"')
CHALLENGE_MAX = 2000
SIGN_IN_HOSTS = {"registry-1.docker.io": "auth.docker.io", "registry.gitlab.com": "gitlab.com"}
"""Where well-known registries hand out their passes, if that is not the registry's own host."""
MAYBE = frozenset({httpx.codes.NOT_FOUND, httpx.codes.UNAUTHORIZED})


class Registry(HttpBlock):
    """A container registry that speaks the OCI distribution protocol, such as ghcr.io."""

    _block_type_name: ClassVar[str | None] = "EthixAI Registry"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://github.com/opencontainers/distribution-spec/blob/main/spec.md"
    )

    base_url: str = Field("https://ghcr.io", title="URL", description="Where the registry is.")
    username: str = Field("", title="User name", description="Who signs in. Empty: no sign-in, for public images.")
    token: SecretReference | None = Field(
        None, title="Token", description="Where it is: that user's token (read:packages)."
    )
    sign_in_host: str = Field(
        "",
        title="Sign-in host",
        description="Host (and port) that hands out passes for this registry. Empty: the registry's own.",
    )

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
                f"The registry, asked {asked}, gave no sha256 digest but {quoted(digest)!r}. Check registry.base_url."
            )
        return Image(repository=repository, digest=digest)

    async def _pass(self, refusal: httpx.Response, asked: str) -> str:
        """A pass for what was refused, from the place that the refusal names (WWW-Authenticate: Bearer realm=…)."""
        challenge = dict(PARAMETER.findall(refusal.headers.get("WWW-Authenticate", "")[:CHALLENGE_MAX]))
        realm = challenge.pop("realm", "")
        if not self._may_sign_in_at(realm):
            raise Refused(
                f"The registry, asked {asked}, wants a sign-in at {quoted(realm)!r}, which is not its own host. Check "
                "registry.base_url; if that host is right, name it in registry.sign_in_host."
            )
        sign_in = {}
        if self.token is not None:
            sign_in = {"auth": (self.username, (await self.token.read()).get_secret_value())}
        params = {name: challenge[name] for name in ("service", "scope") if name in challenge}
        return await self._service().json("GET", realm, f"for a pass, {asked}", _pass, params=params, **sign_in)

    def _may_sign_in_at(self, realm: str) -> bool:
        """Whether our token may be sent there: the registry's own scheme and host, or its sign-in host over TLS."""
        try:
            url = httpx.URL(realm)
        except (httpx.InvalidURL, ValueError):
            return False
        if url.userinfo:
            return False
        ours = httpx.URL(self.base_url)
        if (url.scheme, url.netloc) == (ours.scheme, ours.netloc):
            return True
        named = self.sign_in_host or SIGN_IN_HOSTS.get(ours.host, "")
        return url.scheme == "https" and bool(named) and url.netloc.decode("ascii", "replace") == named

    def _service(self) -> HttpService:
        return HttpService(
            "The registry", "registry", self.base_url, "token", self.timeout_s, self._clients, url_field="base_url"
        )


class _Pass(BaseModel):
    """The answer of a token server, which may call the pass by either name."""

    token: str = Field("", max_length=16_384, pattern=r"^[\x21-\x7e]*$")
    access_token: str = Field("", max_length=16_384, pattern=r"^[\x21-\x7e]*$")

    @model_validator(mode="after")
    def _holds_one(self) -> "_Pass":
        if not self.token and not self.access_token:
            raise ValueError("no pass")
        return self


def _pass(answer: object) -> str:
    found = _Pass.model_validate(answer)
    return found.token or found.access_token


def _name(repository: str) -> str:
    """``ghcr.io/geoaziz/ethixai-backend`` -> ``geoaziz/ethixai-backend``. A host is told by its dot or its port."""
    host, _, name = repository.partition("/")
    return name if name and (set(host) & {".", ":"} or host == "localhost") else repository
