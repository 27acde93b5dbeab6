"""One HTTP service, called with a timeout; whatever goes wrong comes out as one of this project's errors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from pydantic import Field, PrivateAttr

from blocks.base import OutsideBlock, PerLoop
from playbook.errors import Conflict, Refused, ReleaseError, Transient

Parsed = TypeVar("Parsed")

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
            url = path if "://" in path else self.base_url + path
            headers = {**self.headers, **request.pop("headers", {})}
            client = self.clients.get(httpx.AsyncClient)
            answer = await client.request(method, url, timeout=self.timeout_s, headers=headers, **request)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict) as error:
            raise self.translate(error, asked) from error
        if answer.is_success or answer.status_code in also_ok:
            return answer
        raise self.unexpected(answer, asked)

    async def json(self, method: str, path: str, asked: str, parse: Callable[[Any], Parsed], **request: Any) -> Parsed:
        """What ``parse`` makes of the JSON of a 2xx answer.

        Raises as ``send``, and Transient where the answer is not JSON or not of that shape: something else,
        such as a gateway, has answered.
        """
        answer = await self.send(method, path, asked, **request)
        try:
            return parse(answer.json())
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            # The body itself is not quoted: where a pass was asked for, it may be one.
            kind = answer.headers.get("content-type", "nothing")
            raise Transient(
                f"{self.name}, asked {asked}, answered {kind} in which it is not found ({error!r}). "
                f"Ask again; if it stays so, check {self.block}.{self.url_field} ({self.base_url})."
            ) from error

    def unexpected(self, answer: httpx.Response, asked: str) -> ReleaseError:
        """What a status that was not expected means."""
        status = answer.status_code
        came = f"{self.name}, asked {asked}, answered {status}: {answer.text[:EXCERPT]}"
        # GitHub says "too many" with 403 and one of these headers.
        is_limited = "retry-after" in answer.headers or answer.headers.get("x-ratelimit-remaining") == "0"
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500 or (is_limited and status == httpx.codes.FORBIDDEN):
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
