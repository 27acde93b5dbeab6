"""The v1 calls of Cloud Run over HTTP: one request each, and only this project's errors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from urllib.parse import quote

import httpx

from blocks.cloud_run_v1 import Json
from blocks.google_token import GoogleToken
from blocks.http import UNREADABLE, HttpService, json_of, quoted
from playbook.errors import Conflict, Gone, Refused, ReleaseError, Transient

EVERY_ERROR = frozenset(range(300, 600))
READ = "run.services.get"
WRITE = "run.services.update, and iam.serviceAccounts.actAs on the service's own account,"
NOT_KNOWN = "What became of the write is not known: read the service before repeating it."


def object_of(found: Json, name: str) -> Json:
    """``found``, if it is the v1 object ``name``: what is decided on it is written under that name.

    Raises ValueError, LookupError, TypeError or AttributeError if not.
    """
    metadata, spec = found["metadata"], found["spec"]
    annotations = metadata.get("annotations") or {}
    if metadata["name"] != name:
        raise ValueError("it is another object")
    if not isinstance(spec, dict) or not all(isinstance(value, str) for value in annotations.values()):
        raise TypeError("a part of it has another type")
    return found


def operation_of(found: Json) -> Json:
    """``found``, if it can be an operation. Raises ValueError, TypeError or AttributeError if not."""
    int((found.get("error") or {}).get("code") or 0)
    return found


@dataclass(frozen=True)
class CloudRunRest:
    """Cloud Run's v1 API of one project and region."""

    http: HttpService
    token: GoogleToken
    project: str
    region: str

    async def service(self, name: str) -> Json:
        """One service. Raises: Transient, Refused."""
        path = f"{self._namespace}/services/{_part(name)}"
        return await self._call("GET", path, f"for {self._named(name)}", READ, partial(object_of, name=name))

    async def revision(self, service: str, name: str) -> Json:
        """One revision of ``service``. Raises: Transient, Refused."""
        asked = f"for revision {name} of {self._named(service)}"
        path = f"{self._namespace}/revisions/{_part(name)}"
        return await self._call("GET", path, asked, "run.revisions.get", partial(object_of, name=name))

    async def replace(self, name: str, body: Json, asked: str) -> Json:
        """The service is ``body``, if its version is still the one in it. The answer is the service as written.

        Raises: Conflict (it changed since it was read), Refused, Transient (what became of it is not known).
        """
        path, parse = f"{self._namespace}/services/{_part(name)}", partial(object_of, name=name)
        try:
            return await self._call("PUT", path, f"{asked} {self._named(name)}", WRITE, parse, body)
        except Transient as away:
            raise Transient(f"{away} {NOT_KNOWN}") from away

    async def wait(self, operation: str, chunk_s: float) -> Json:
        """The operation when it is done, or as it is after ``chunk_s`` seconds. Raises: Transient, Refused."""
        path = f"/v1/projects/{self.project}/locations/{self.region}/operations/{_part(operation)}:wait"
        patient = replace(self, http=replace(self.http, timeout_s=self.http.timeout_s + chunk_s))
        timeout = {"timeout": f"{max(1, round(chunk_s))}s"}
        asked = f"about operation {quoted(operation)}"
        return await patient._call("POST", path, asked, "run.operations.get", operation_of, timeout)

    async def _call(
        self,
        method: str,
        path: str,
        asked: str,
        permission: str,
        parse: Callable[[Json], Json],
        body: Json | None = None,
    ) -> Json:
        who = f"{self.http.name}, asked {asked}"
        headers = await self.token.header(who, self.http.timeout_s)
        content = {} if body is None else {"json": body}
        answer = await self.http.send(method, path, asked, EVERY_ERROR, headers=headers, **content)
        if not answer.is_success:
            raise error_of(answer, who, permission, is_write=method == "PUT")
        try:
            return parse(json_of(answer))
        except UNREADABLE as error:
            raise Transient(
                f"{who}, answered JSON that cannot be read as that ({type(error).__name__}). "
                f"Ask again; if it stays so, check cloud_run.api_url ({self.http.at})."
            ) from error

    def _named(self, service: str) -> str:
        """The service with everything that may have to be corrected in the environment file."""
        return f"projects/{self.project}/locations/{self.region}/services/{service}"

    @property
    def _namespace(self) -> str:
        return f"/apis/serving.knative.dev/v1/namespaces/{self.project}"


def _part(name: str) -> str:
    """A name as one part of a path: some names come from answers."""
    return quote(name, safe="")


def error_of(answer: httpx.Response, asked: str, permission: str, *, is_write: bool) -> ReleaseError:
    """The error that says what to do about an answer that is none of 2xx, with Google's own words. Total.

    After a conflict a read is asked again: it writes nothing.
    """
    status, (code, words) = answer.status_code, _words(answer)
    came = f"{asked}: {status} {code}: {words}".replace(" :", ":")
    if status in (httpx.codes.CONFLICT, httpx.codes.PRECONDITION_FAILED):
        if is_write:
            return Conflict(f"{came} It changed since it was read; read it again.")
        return Transient(f"{came} Ask again.")
    if status == httpx.codes.UNAUTHORIZED:
        return Refused(f"{came} The credentials of this worker are not valid; renew GOOGLE_APPLICATION_CREDENTIALS.")
    if status == httpx.codes.FORBIDDEN:
        return Refused(f"{came} Grant {permission} to the account of this worker.")
    if status == httpx.codes.NOT_FOUND:
        kind = Gone if "NOT_FOUND" in code else Refused
        return kind(f"{came} Check the project, the region and the name in the environment file.")
    if status == httpx.codes.NOT_IMPLEMENTED:
        return Refused(f"{came} This endpoint does not do that; check cloud_run.api_url in the environment file.")
    if status >= 500 or status in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.REQUEST_TIMEOUT, 499):
        return Transient(f"{came} It was away, slow or busy; ask again.")
    return Refused(f"{came} Correct what was asked.")


def _words(answer: httpx.Response) -> tuple[str, str]:
    """(Google's code, its sentence with a full stop): from the JSON error, or the text of what answered instead."""
    code, text = "", answer.text
    try:
        error = json_of(answer)["error"]
        if isinstance(error, Mapping):
            code, text = str(error.get("status") or ""), str(error["message"]) + _violations(error)
    except UNREADABLE:
        pass
    text = quoted(text)
    return quoted(code), text if text.endswith(".") else f"{text}."


def _violations(error: Mapping[str, Any]) -> str:
    """The fields that are wrong, where Google lists them and does not name them in its sentence."""
    wrong = [one for detail in error.get("details") or [] for one in detail.get("fieldViolations") or []]
    said = [f"{one.get('field')}: {one.get('description')}" for one in wrong]
    return "".join(f" ({text})" for text in said if text not in str(error["message"]))
