"""A container registry: which digest a tag has, and which commit an image was built from."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import httpx
from pydantic import BaseModel, Field, HttpUrl, model_validator

from blocks.http import ANSWER_MAX_BYTES, HttpBlock, HttpService, json_of, quoted
from blocks.secret_reference import SecretReference
from playbook.errors import Refused, Transient
from playbook.release.version import Image
from playbook.text import clean

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
REVISION = "org.opencontainers.image.revision"
REDIRECTS = (301, 302, 303, 307, 308)
OBJECT_MAX_BYTES = 4 * 1024 * 1024
"""Of a manifest or an image's configuration. Registries take no larger manifest."""
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

    async def revision_of(self, image: Image) -> str:
        """The commit that ``image`` says it was built from: ``org.opencontainers.image.revision``, an annotation of its
        manifest or index, or a label of its configuration. Empty where it says none.

        Of an index the first image for a platform is read. Each object is read by its digest and checked against it.
        Raises: Transient (also: other bytes than the digest's), Refused.
        """
        manifest = await self._json(image, "manifests", image.digest)
        for _ in range(2):
            if commit := _text(_table(manifest, "annotations").get(REVISION)):
                return commit
            children = [one for one in manifest.get("manifests") or () if _is_of_a_platform(one)]
            if not children:
                break
            manifest = await self._json(image, "manifests", str(children[0].get("digest")))
        digest = str(_table(manifest, "config").get("digest"))
        if DIGEST.fullmatch(digest) is None:
            return ""
        config = _table(await self._json(image, "blobs", digest), "config")
        return _text(_table(config, "Labels").get(REVISION))

    async def _json(self, image: Image, kind: str, digest: str) -> dict[str, Any]:
        """One object of the image's repository, by its digest. A blob may be kept elsewhere: one redirect is followed,
        without our pass."""
        path, asked = (
            f"/v2/{_name(image.repository)}/{kind}/{digest}",
            f"for {kind} {digest[:19]} of {image.repository}",
        )
        if DIGEST.fullmatch(digest) is None:
            raise Transient(f"The registry, asked {asked}, was given no digest. Ask again.")
        service, accept = self._service(OBJECT_MAX_BYTES), {"Accept": f"{MANIFESTS}, application/json, */*"}
        maybe = frozenset({httpx.codes.UNAUTHORIZED, *REDIRECTS})
        answer = await service.send("GET", path, asked, maybe, headers=accept)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            headers = {**accept, "Authorization": f"Bearer {await self._pass(answer, asked)}"}
            answer = await service.send("GET", path, asked, frozenset(REDIRECTS), headers=headers)
        if answer.status_code in REDIRECTS:
            answer = await service.send("GET", self._elsewhere(answer, asked), asked, headers=accept)
        if hashlib.sha256(answer.content).hexdigest() != digest.removeprefix("sha256:"):
            raise Transient(f"The registry, asked {asked}, answered other bytes than that digest's. Ask again.")
        try:
            found = json_of(answer)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Refused(f"The registry, asked {asked}, gave no JSON object. Is {image} an image?")
        return found

    def _elsewhere(self, answer: httpx.Response, asked: str) -> str:
        """Where a redirect leads: over TLS, or to the registry's own scheme and host."""
        try:
            url = httpx.URL(self.base_url).join(answer.headers.get("location", ""))
        except (httpx.InvalidURL, ValueError):
            url = httpx.URL("")
        ours = httpx.URL(self.base_url)
        if url.userinfo or not (url.scheme == "https" or (url.scheme, url.netloc) == (ours.scheme, ours.netloc)):
            raise Refused(f"The registry, asked {asked}, sends us to {quoted(str(url))!r}. Check registry.base_url.")
        return str(url)

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

    def _service(self, max_bytes: int = ANSWER_MAX_BYTES) -> HttpService:
        return HttpService(
            "The registry",
            "registry",
            self.base_url,
            "token",
            self.timeout_s,
            self._clients,
            url_field="base_url",
            max_bytes=max_bytes,
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


def _table(found: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object at ``key``; an empty one where there is none."""
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return clean(value, 100) if isinstance(value, str) else ""


def _is_of_a_platform(entry: object) -> bool:
    """Whether an entry of an index is an image; builders also put attestations there, for an unknown platform."""
    return isinstance(entry, dict) and _table(entry, "platform").get("os") not in ("unknown", None)


def _name(repository: str) -> str:
    """``ghcr.io/geoaziz/ethixai-backend`` -> ``geoaziz/ethixai-backend``. A host is told by its dot or its port."""
    host, _, name = repository.partition("/")
    return name if name and (set(host) & {".", ":"} or host == "localhost") else repository
