"""Sentry's releases and deploys. Making a release twice is answered 208; making a deploy twice makes two."""

import re
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from rehearsal.world.vendors.vendor import (
    Json,
    Refused,
    Said,
    Vendor,
    bearer,
    is_wrong,
    json_object,
    may_only_read,
    stamp,
)

ORGANIZATION = "ethixai"
PROJECTS = ("backend", "ai-core", "frontend")
VERSION = re.compile(r"(?!\.{1,2}$|latest$)[^\n\t\f\r/\\]{1,250}")
ENVIRONMENT_CHARS = 64
REQUIRED = ["This field is required."]


class Sentry(Vendor):
    """One organization with `PROJECTS`."""

    name = "sentry"

    def __init__(self, said: Said) -> None:
        self.forget()
        super().__init__(said)

    def forget(self) -> None:
        """Forget all releases."""
        self._releases: dict[str, Json] = {}
        self._deploys: dict[str, list[Json]] = {}

    def routes(self) -> Sequence[BaseRoute]:
        """Releases, one release, its deploys."""
        base = "/api/0/organizations/{organization}/releases/"
        return [
            Route(base, self._create, methods=["POST"]),
            Route(base, self._list, methods=["GET"]),
            Route(base + "{version}/", self._get, methods=["GET"]),
            Route(base + "{version}/deploys/", self._list_deploys, methods=["GET"]),
            Route(base + "{version}/deploys/", self._deploy, methods=["POST"]),
        ]

    def error(self, status: int, message: str) -> Json:
        """An error in Sentry's format."""
        words = {
            401: "Invalid token",
            403: "You do not have permission to perform this action.",
            404: "The requested resource does not exist",
            429: "You are attempting to use this endpoint too frequently.",
        }
        return {"detail": message or words.get(status, "Internal Error")}

    async def _create(self, request: Request) -> Response:
        self._check(request)
        said = await self._body(request)
        problems = {name: REQUIRED for name in ("version", "projects") if not said.get(name)}
        if problems:
            raise Refused(400, problems)
        version, projects = str(said["version"]), said["projects"]
        if VERSION.fullmatch(version) is None:
            raise Refused(400, {"version": [f"Release with name {version} is not allowed"]})
        if not isinstance(projects, list) or not set(map(str, projects)) <= set(PROJECTS):
            raise Refused(400, {"projects": ["Invalid project slugs"]})
        is_new = version not in self._releases
        release = self._releases.setdefault(version, _release(len(self._releases) + 1, said))
        known = {one["slug"] for one in release["projects"]}
        added = [{"name": slug, "slug": slug} for slug in projects if slug not in known]
        release["projects"] += added
        self.keep(request, said)
        return JSONResponse(release, 201 if is_new or added else 208)

    async def _list(self, request: Request) -> Response:
        """Newest first, one page of ``per_page``."""
        self._check(request)
        newest = list(reversed(self._releases.values()))
        return JSONResponse(newest[: int(request.query_params.get("per_page", "100"))])

    async def _get(self, request: Request) -> Response:
        self._check(request)
        return JSONResponse(self._release(request))

    async def _list_deploys(self, request: Request) -> Response:
        self._check(request)
        version = self._release(request)["version"]
        return JSONResponse(list(reversed(self._deploys.get(version, []))))

    async def _deploy(self, request: Request) -> Response:
        self._check(request)
        release = self._release(request)
        said = await self._body(request)
        if not said.get("environment"):
            raise Refused(400, {"environment": REQUIRED})
        too_long = [f"Ensure this field has no more than {ENVIRONMENT_CHARS} characters."]
        if problems := {
            name: too_long for name in ("environment", "name") if len(said.get(name) or "") > ENVIRONMENT_CHARS
        }:
            raise Refused(400, problems)
        deploys = self._deploys.setdefault(release["version"], [])
        deploy = {
            "id": str(sum(map(len, self._deploys.values())) + 1),
            "environment": said["environment"],
            "name": said.get("name"),
            "url": said.get("url"),
            "dateStarted": said.get("dateStarted"),
            "dateFinished": said.get("dateFinished") or stamp(),
        }
        deploys.append(deploy)
        release["deployCount"], release["lastDeploy"] = len(deploys), deploy
        self.keep(request, said)
        return JSONResponse(deploy, 201)

    async def _body(self, request: Request) -> Json:
        return await json_object(request, Refused(400, self.error(400, "JSON parse error")))

    def _check(self, request: Request) -> None:
        """Raises Refused as Sentry does."""
        token = bearer(request.headers)
        if not token:
            raise Refused(401, self.error(401, "Authentication credentials were not provided."))
        if is_wrong(token):
            raise Refused(401, self.error(401, ""))
        if may_only_read(token) and request.method != "GET":
            raise Refused(403, self.error(403, ""))
        if request.path_params["organization"] != ORGANIZATION:
            raise Refused(404, self.error(404, ""))

    def _release(self, request: Request) -> Json:
        found = self._releases.get(request.path_params["version"])
        if found is None:
            raise Refused(404, self.error(404, ""))
        return found


def _release(number: int, said: Json) -> Json:
    version = str(said["version"])
    return {
        "id": number,
        "version": version,
        "shortVersion": version,
        "ref": said.get("ref"),
        "url": said.get("url"),
        "dateCreated": stamp(),
        "dateReleased": said.get("dateReleased"),
        "commitCount": 0,
        "deployCount": 0,
        "newGroups": 0,
        "lastCommit": None,
        "lastDeploy": None,
        "authors": [],
        "projects": [],
        "data": {},
    }
