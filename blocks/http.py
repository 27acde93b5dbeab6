"""One HTTP service, called with a timeout; whatever goes wrong comes out as one of this project's errors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from pydantic import Field, PrivateAttr

from blocks.base import OutsideBlock, PerLoop
from playbook.errors import Conflict, Refused, ReleaseError, Transient

EXCERPT = 200
"""How much of an answer a message quotes."""


@dataclass(frozen=True)
class HttpService:
    """``name`` is the service's, for messages; ``block`` is its table in the environment file, to say what to correct.

    ``credential`` is the field that holds the token, ``url_field`` the one that holds ``base_url``.
    """

    name: str
    block: str
    base_url: str
    credential: str
    timeout_s: float
    clients: PerLoop[httpx.AsyncClient] = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    url_field: str = "api_url"

    async def send(
        self, method: str, path: str, asked: str, also_ok: frozenset[int] = frozenset(), **request: Any
    ) -> httpx.Response:
        """The answer to one request, when its status is 2xx or one of ``also_ok``. Nothing is tried twice.

        ``path`` is added to ``base_url``, or is a URL itself. ``asked`` completes "Slack, asked …". ``request`` is what
        httpx takes: json, params, headers, files.

        Raises: Transient (transport, 429, 5xx), Conflict (409, 412), Refused (401, 403, any other status, a wrong URL).
        """
        try:
            url = path if "://" in path else self.base_url.rstrip("/") + path
            headers = {**self.headers, **request.pop("headers", {})}
            client = self.clients.get(httpx.AsyncClient)
            answer = await client.request(method, url, timeout=self.timeout_s, headers=headers, **request)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict) as error:
            raise self.translate(error, asked) from error
        if answer.is_success or answer.status_code in also_ok:
            return answer
        raise self.unexpected(answer, asked)

    async def json(self, method: str, path: str, asked: str, **request: Any) -> Any:
        """The JSON of a 2xx answer. Raises as ``send``, and Refused where the answer is not JSON."""
        return self.parsed(await self.send(method, path, asked, **request), asked)

    def parsed(self, answer: httpx.Response, asked: str) -> Any:
        """The JSON of an answer. Raises Refused where it is none: something else lives at that address."""
        try:
            return answer.json()
        except ValueError as error:
            raise Refused(
                f"{self.name}, asked {asked}, did not answer JSON but {answer.text[:EXCERPT]!r}. "
                f"Check {self.block}.{self.url_field} ({self.base_url})."
            ) from error

    def unexpected(self, answer: httpx.Response, asked: str) -> ReleaseError:
        """What a status that was not expected means."""
        status = answer.status_code
        came = f"{self.name}, asked {asked}, answered {status}: {answer.text[:EXCERPT]}"
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:
            return Transient(f"{came} Ask again.")
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return Refused(f"{came} Check {self.block}.{self.credential} and what it may do.")
        if status in (httpx.codes.CONFLICT, httpx.codes.PRECONDITION_FAILED):
            return Conflict(f"{came} Read it again.")
        return Refused(f"{came} Check [{self.block}] in the environment file.")

    def translate(self, error: Exception, asked: str) -> ReleaseError:
        """What an error of httpx means. Total."""
        came = f"{self.name}, asked {asked}, at {self.base_url}: {type(error).__name__}: {error}"
        wrong = httpx.InvalidURL | httpx.UnsupportedProtocol | httpx.LocalProtocolError | httpx.TooManyRedirects
        if isinstance(error, httpx.TransportError | httpx.DecodingError | httpx.StreamError) and not isinstance(
            error, wrong
        ):
            return Transient(f"{came} Ask again; if it stays so, check {self.block}.{self.url_field}.")
        return Refused(f"{came} Check {self.block}.{self.url_field}.")


class HttpBlock(OutsideBlock):
    """A block that speaks HTTP."""

    timeout_s: float = Field(10, gt=0, title="Timeout", description="Seconds that one call may take.")
    _clients: PerLoop[httpx.AsyncClient] = PrivateAttr(default_factory=PerLoop)
