"""The container registry: OCI distribution spec 1.1, pull side, with the token authentication that ghcr.io uses."""

import hashlib
import json
import secrets
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from rehearsal.world.ethixai.behaviour import BadBehaviour, parse
from rehearsal.world.vendors.vendor import Json, Refused, Said, Vendor, bearer, is_wrong

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER = "sha256:" + hashlib.sha256(b"").hexdigest()
SERVICE = "registry"
REVISION_LABEL = "org.opencontainers.image.revision"
VERSION_LABEL = "org.opencontainers.image.version"
TOKEN_LIFE_S = 300


@dataclass(frozen=True)
class _Image:
    manifest: bytes
    config: bytes
    env: Mapping[str, str]

    @property
    def digest(self) -> str:
        return _digest(self.manifest)


class Registry(Vendor):
    """Images that hold nothing but their environment, which says how they behave.

    A tag that *is* a behaviour exists in every repository without being published: ``healthy``, ``errors-0.05``,
    ``errors_after-30-0.05``, ``slow-6.0``, ``slow-6.0-0.2``; several are joined by two underscores.
    """

    name = "registry"

    def __init__(self, said: Said) -> None:
        self.forget()
        super().__init__(said)

    def forget(self) -> None:
        """Forget all images."""
        self._images: dict[tuple[str, str], _Image] = {}
        self._tokens: dict[str, str] = {}

    def publish(self, repository: str, tag: str, env: Mapping[str, str]) -> str:
        """An image with ``env`` is in ``repository`` under ``tag``. Returns its digest.

        The tag is in the image as its version label, so that two releases are never the same image.
        """
        image = _image(tag, env)
        name = _name(repository)
        self._images[name, tag] = self._images[name, image.digest] = image
        return image.digest

    def config(self, reference: str) -> dict[str, str] | None:
        """The environment in the image ``repo:tag`` or ``repo@sha256:…``. None where there is no such image."""
        repository, _, digest = reference.partition("@")
        if digest:
            found = self._find(_name(repository), digest)
        else:
            repository, colon, tag = reference.rpartition(":")
            found = self._find(_name(repository), tag) if colon and "/" not in tag else None
        return dict(found.env) if found else None

    def has_commit(self, commit: str) -> bool:
        """Whether CI has published an image of this commit (a SHA, short or long)."""
        tags = [tag.removeprefix("sha-") for _, tag in self._images if tag.startswith("sha-")]
        return any(commit.startswith(tag) or tag.startswith(commit) for tag in tags)

    def digests(self, commit: str) -> list[str]:
        """The digests of the images that CI has published of this commit."""
        tags = {key: tag.removeprefix("sha-") for key in self._images if (tag := key[1]).startswith("sha-")}
        return [
            self._images[key].digest for key, tag in tags.items() if commit.startswith(tag) or tag.startswith(commit)
        ]

    def built_from(self, repository: str, tag: str, revision: str | None) -> str:
        """The image under ``tag`` says that it was built from ``revision``, None: nothing. Returns its new digest."""
        image = _image(tag, self._images[_name(repository), tag].env, revision)
        self._images[_name(repository), tag] = self._images[_name(repository), image.digest] = image
        return image.digest

    def routes(self) -> Sequence[BaseRoute]:
        """The pull side."""
        return [
            Route("/v2/", self._ping),
            Route("/token", self._token),
            Route("/v2/{name:path}/manifests/{reference}", self._manifest),
            Route("/v2/{name:path}/blobs/{reference}", self._blob),
        ]

    def error(self, status: int, message: str) -> Json:
        """An error in the specification's format."""
        codes = {401: "UNAUTHORIZED", 403: "DENIED", 404: "NAME_UNKNOWN", 429: "TOOMANYREQUESTS"}
        code = codes.get(status, "UNSUPPORTED" if status == 501 else "UNKNOWN")
        return _errors(code, message or code.lower())

    async def _ping(self, request: Request) -> Response:
        self._check(request, "")
        return JSONResponse({})

    async def _token(self, request: Request) -> Response:
        """A token for the requested scope. The images are public: only a wrong password is refused."""
        if _password_is_wrong(request):
            raise Refused(401, _errors("UNAUTHORIZED", "authentication required"))
        if request.query_params.get("service") != SERVICE:
            raise Refused(400, _errors("UNSUPPORTED", "service: not known here"))
        token = secrets.token_urlsafe(16)
        self._tokens[token] = request.query_params.get("scope", "")
        return JSONResponse({"token": token, "expires_in": TOKEN_LIFE_S})

    async def _manifest(self, request: Request) -> Response:
        name, reference = request.path_params["name"], request.path_params["reference"]
        self._check(request, name)
        image = self._find(name, reference)
        if image is None:
            raise Refused(404, _errors("MANIFEST_UNKNOWN", "manifest unknown"))
        accepted = request.headers.get("accept", "*/*")
        if MANIFEST_TYPE not in accepted and "*/*" not in accepted:
            message = "OCI manifest found, but accept header does not support OCI manifests"
            raise Refused(404, _errors("MANIFEST_UNKNOWN", message))
        return Response(image.manifest, media_type=MANIFEST_TYPE, headers={"Docker-Content-Digest": image.digest})

    async def _blob(self, request: Request) -> Response:
        name, digest = request.path_params["name"], request.path_params["reference"]
        self._check(request, name)
        blobs = {_digest(image.config): image.config for (owner, _), image in self._images.items() if owner == name}
        content = {**blobs, LAYER: b""}.get(digest)
        if content is None:
            raise Refused(404, _errors("BLOB_UNKNOWN", "blob unknown to registry"))
        headers = {"Docker-Content-Digest": digest}
        return Response(content, media_type="application/octet-stream", headers=headers)

    def _check(self, request: Request, name: str) -> None:
        """Raises Refused with the challenge for a token, unless the request has a token for ``name``."""
        scope = f"repository:{name}:pull" if name else ""
        if self._tokens.get(bearer(request.headers)) in ([scope] if name else self._tokens.values()):
            return
        realm = f"{request.url.scheme}://{request.url.netloc}{request.scope['root_path']}/token"
        challenge = f'Bearer realm="{realm}",service="{SERVICE}"' + (f',scope="{scope}"' if name else "")
        body = _errors("UNAUTHORIZED", "authentication required")
        raise Refused(401, body, {"WWW-Authenticate": challenge, "Docker-Distribution-Api-Version": "registry/2.0"})

    def _find(self, name: str, reference: str) -> _Image | None:
        found = self._images.get((name, reference))
        if found is None and (behaviour := _behaviour_of(reference)):
            self.publish(name, reference, {"BEHAVIOUR": behaviour})
            found = self._images[name, reference]
        return found


def _behaviour_of(tag: str) -> str:
    """``errors-0.05__leak-8`` -> ``errors=0.05,leak=8``; empty for a tag that is no behaviour."""
    items = []
    for rollout in tag.split("__"):
        name, *values = rollout.split("-")
        separator = ":" if name == "errors_after" else "@"
        items.append(f"{name}={separator.join(values)}" if values else name)
    behaviour = ",".join(items)
    try:
        parse(behaviour)
    except BadBehaviour:
        return ""
    return behaviour


def _image(tag: str, env: Mapping[str, str], revision: str | None = "") -> _Image:
    """``revision`` is the commit in its label; by default that of a tag ``sha-<commit>``, None: it has no label."""
    revision = tag.removeprefix("sha-") if revision == "" else revision
    labels = {VERSION_LABEL: tag, **({REVISION_LABEL: revision} if revision else {})}
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": [f"{key}={value}" for key, value in env.items()], "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [LAYER]},
    }
    config_bytes = json.dumps(config, sort_keys=True).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": CONFIG_TYPE, "digest": _digest(config_bytes), "size": len(config_bytes)},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": LAYER, "size": 0}],
    }
    return _Image(json.dumps(manifest).encode(), config_bytes, dict(env))


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _name(repository: str) -> str:
    """``ghcr.io/geoaziz/ethixai-backend`` -> ``geoaziz/ethixai-backend``: the host is not part of a name."""
    host, _, name = repository.partition("/")
    return name if name and (set(host) & {".", ":"} or host == "localhost") else repository


def _errors(code: str, message: str) -> Json:
    return {"errors": [{"code": code, "message": message}]}


def _password_is_wrong(request: Request) -> bool:
    try:
        _, _, password = b64decode(bearer(request.headers, "basic")).decode().partition(":")
    except (Base64Error, UnicodeDecodeError):
        return True
    return is_wrong(password)
