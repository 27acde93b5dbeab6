"""Google's REST: Cloud Run v1, Logging v2 and a token server, on the world's state, with Google's JSON errors.

The region is in the host's name, as in ``us-east1-run.googleapis.com``; a caller that comes straight to the port is
in the world's own region.
"""

import json
import re
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from rehearsal.world.cloud_logging import CloudLogging, ListRequest
from rehearsal.world.cloud_run.v1.namespaces import Asked, Namespaces
from rehearsal.world.identity import BadTokenError
from rehearsal.world.rpc import Call, Code, Gate, Method, RefusalError, invalid, perform

HTTP = {
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ABORTED: 409,
    Code.ALREADY_EXISTS: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.CANCELLED: 499,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}
"""The HTTP status of a gRPC code; of any other: 500."""
KNATIVE = "/apis/serving.knative.dev/v1/namespaces/{project}"
QUERY = {"alt", "prettyPrint", "labelSelector", "limit", "continue", "$alt"}
LIST_ENTRIES = "LoggingServiceV2.ListLogEntries"
_REGIONAL = re.compile(r"([a-z]+-[a-z]+\d+)-run\.googleapis\.com")
_RUN, _LOGGING = "run.googleapis.com", "logging.googleapis.com"

Answer = Callable[[Request], Awaitable[Any]]


def refusal_json(refusal: RefusalError) -> JSONResponse:
    """The refusal in Google's JSON form."""
    status = HTTP.get(refusal.code, 500)
    error: dict[str, Any] = {"code": status, "message": refusal.message, "status": refusal.code.name}
    if refusal.violations:
        wrong = [{"field": name, "description": text} for name, text in refusal.violations.items()]
        error["details"] = [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": wrong}]
    return JSONResponse({"error": error}, status_code=status)


class Rest:
    """The REST side of a world."""

    def __init__(self, namespaces: Namespaces, log: CloudLogging, gate: Gate, region: str) -> None:
        self._gate, self._region, self._log = gate, region, log
        listing = Method("ListLogEntries", None, self._list_entries, lambda asked: asked.resource)
        self._methods = {**namespaces.methods(), LIST_ENTRIES: listing}
        gate.taught.update(self._methods)

    @property
    def app(self) -> Starlette:
        """Every path that is taught; any other is answered 501, or 404 on a host that the world does not have."""
        get, put, post, delete = (["GET"], ["PUT"], ["POST"], ["DELETE"])
        paths = (
            (f"{KNATIVE}/services", get, "Services.ListServices", "{parent}/services"),
            (f"{KNATIVE}/services/{{name}}", get, "Services.GetService", "{parent}/services/{name}"),
            (f"{KNATIVE}/services/{{name}}", put, "Services.ReplaceService", "{parent}/services/{name}"),
            (f"{KNATIVE}/revisions", get, "Revisions.ListRevisions", "{parent}/services"),
            (f"{KNATIVE}/revisions/{{name}}", get, "Revisions.GetRevision", "{parent}/revisions/{name}"),
            (f"{KNATIVE}/revisions/{{name}}", delete, "Revisions.DeleteRevision", "{parent}/revisions/{name}"),
        )
        operation = "/v1/projects/{project}/locations/{location}/operations/{name}"
        where = "{parent}/operations/{name}"
        routes = [Route(p, self._endpoint(method, name), methods=verbs) for p, verbs, method, name in paths]
        routes += [
            Route(f"{operation}:wait", self._endpoint("Operations.WaitOperation", where), methods=post),
            Route(operation, self._endpoint("Operations.GetOperation", where), methods=get),
            Route("/v2/entries:list", self._endpoint(LIST_ENTRIES, ""), methods=post),
            Route("/token", self._token, methods=post),
            Route("/{rest:path}", self._untaught, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]
        return Starlette(routes=routes)

    def _endpoint(self, name: str, resource: str) -> Answer:
        method = self._methods[name]

        async def endpoint(request: Request) -> JSONResponse:
            if ":" in request.path_params.get("name", ""):  # a custom verb, such as :getIamPolicy
                return await self._untaught(request)
            try:
                asked = await self._asked(request, resource, is_logging=name == LIST_ENTRIES)
                caller = self._caller(request)
                return JSONResponse(await perform(name, method, asked, caller, self._gate, is_write=method.writes))
            except RefusalError as refusal:
                return refusal_json(refusal)

        return endpoint

    def _caller(self, request: Request) -> str:
        try:
            return self._gate.identities.email_of(request.headers.get("authorization"))
        except BadTokenError as error:
            raise RefusalError(Code.UNAUTHENTICATED, str(error)) from error

    async def _asked(self, request: Request, resource: str, *, is_logging: bool) -> Asked:
        """What is asked, with the v2 name of what it is about. Raises RefusalError."""
        self._check_host(request, _LOGGING if is_logging else _RUN)
        query = dict(request.query_params)
        if strange := query.keys() - QUERY:
            raise RefusalError(Code.UNIMPLEMENTED, f"The query parameter {sorted(strange)[0]} is not taught.")
        raw = await request.body()
        try:
            body = json.loads(raw) if raw else {}
        except ValueError as error:
            raise RefusalError(Code.INVALID_ARGUMENT, f"Invalid JSON payload received. {error}") from error
        if not isinstance(body, dict):
            raise RefusalError(Code.INVALID_ARGUMENT, "Invalid JSON payload received. An object is expected.")
        if is_logging:
            return Asked(",".join(map(str, body.get("resourceNames", []))), query, body)
        parts = request.path_params
        location = parts.get("location") or self._location(request)
        parent = f"projects/{parts['project']}/locations/{location}"
        return Asked(resource.format(parent=parent, name=parts.get("name", "")), query, body)

    @staticmethod
    def _host(request: Request) -> str:
        return request.headers.get("host", "").partition(":")[0].lower()

    def _check_host(self, request: Request, wanted: str) -> None:
        """Raise RefusalError (NOT_FOUND) on a host of Google's that does not answer such calls."""
        host = self._host(request)
        if host.endswith(".googleapis.com") and host != wanted and not (wanted == _RUN and _REGIONAL.fullmatch(host)):
            raise RefusalError(Code.NOT_FOUND, f"{request.url.path} is not found on {host}.")

    def _location(self, request: Request) -> str:
        found = _REGIONAL.fullmatch(self._host(request))
        return found[1] if found else self._region

    async def _untaught(self, request: Request) -> JSONResponse:
        """501 where the world has the host, 404 where it does not: serviceusage and the rest."""
        host = self._host(request)
        if host.endswith(".googleapis.com") and host != _LOGGING and not host.endswith(_RUN):
            return refusal_json(RefusalError(Code.NOT_FOUND, f"{host} is not part of this world."))
        return refusal_json(
            RefusalError(Code.UNIMPLEMENTED, f"{request.method} {request.url.path} is not taught to the stand-in.")
        )

    async def _list_entries(self, asked: Asked, call: Call) -> Any:
        request = ListRequest()
        try:
            json_format.ParseDict(asked.body, request)
        except json_format.ParseError as error:
            raise invalid("ListLogEntriesRequest", str(error)) from error
        return json_format.MessageToDict(await self._log.list_log_entries(request, call))

    async def _token(self, request: Request) -> JSONResponse:
        """A service account's signed assertion for an access token, or for an ID token where it names an audience."""
        form = urllib.parse.parse_qs((await request.body()).decode("ascii", "replace"))
        try:
            return JSONResponse(self._gate.identities.exchange(form.get("assertion", [""])[0]))
        except BadTokenError as error:
            return JSONResponse({"error": "invalid_grant", "error_description": str(error)}, status_code=400)
