"""The boundary of every HTTP call: a total deadline, a size limit, no redirects, and only this project's errors."""

import asyncio
import email.utils
import functools
import os
import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
from pydantic import Field, PrivateAttr
from pydantic_core import from_json

from blocks.base import OutsideBlock, PerLoop
from blocks.secret_reference import Credential, known_values, resolved
from playbook.errors import Conflict, Refused, ReleaseError, Transient
from playbook.text import QUOTE_MAX, clean, mask

Parsed = TypeVar("Parsed")


ANSWER_MAX_BYTES = 16 * 1024 * 1024
ERROR_MAX_BYTES = 16 * 1024
"""Of an answer that is an error only the beginning is read: its text is for a message."""

NO_HOST = "an address without a host"
PATH_MIN = 8
"""A shorter path is no secret."""

UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What parsing raises when an answer does not have the expected shape."""


class TooLargeError(Exception):
    """An answer has more bytes than are read."""


class CodedError(Exception):
    """An answer is compressed although that was not asked for."""


@dataclass(frozen=True)
class HttpService:
    """One HTTP service. ``name`` is for messages; ``block`` is its table in the environment file.

    ``credential`` is the field that holds the token, ``url_field`` the one that holds ``base_url``. A value of
    ``headers`` may be a Credential: it is read when a request is sent.
    """

    name: str
    block: str
    base_url: str
    credential: str
    timeout_s: float
    clients: PerLoop[httpx.AsyncClient] = field(repr=False)
    headers: Mapping[str, str | Credential] = field(default_factory=dict, repr=False)
    url_field: str = "api_url"
    max_bytes: int = ANSWER_MAX_BYTES

    @property
    def at(self) -> str:
        """Where it is, for a message: scheme and host. A path may be a secret, as that of a webhook is."""
        return host_of(self.base_url)

    async def send(
        self, method: str, path: str, asked: str, also_ok: frozenset[int] = frozenset(), **request: Any
    ) -> httpx.Response:
        """The whole answer to one request, if its status is 2xx or one of ``also_ok``.

        It takes at most ``timeout_s`` seconds, from the first byte sent to the last byte received. Nothing is tried
        twice, except what the service did not take because there were too many requests: it is asked again when its
        Retry-After is over, where that is within these seconds. Redirects are not followed. ``path`` is added to
        ``base_url``, or is a URL itself. ``asked`` completes "Slack, asked …". ``request`` is what httpx takes: json,
        params, headers, files.

        Raises: Transient (transport, deadline, 429, 5xx, larger than ``max_bytes``, compressed), Conflict (409, 412),
        Refused (401, 403, any other status, a wrong URL, a secret that cannot be read).
        """
        url = path if _ADDRESS.match(path) else self.base_url + path
        try:
            async with asyncio.timeout(self.timeout_s) as deadline:
                # Compressed answers are not asked for: a few kilobytes may be hundreds of megabytes.
                headers = {"Accept-Encoding": "identity"}
                headers |= await resolved({**self.headers, **request.pop("headers", {})})
                answer = await self._read(method, url, also_ok, headers, request)
                while (wait_s := retry_after_s(answer)) is not None and answer.status_code not in also_ok:
                    if asyncio.get_running_loop().time() + wait_s >= (deadline.when() or 0.0):
                        break
                    await asyncio.sleep(wait_s)
                    answer = await self._read(method, url, also_ok, headers, request)
        except TimeoutError as error:
            fields = dict.fromkeys((self.url_field, "timeout_s"))  # a service of ours has no address in the block
            check = " and ".join(f"{self.block}.{name}" for name in fields)
            raise Transient(
                f"{self.name}, asked {asked}, at {self.at}: no complete answer within {self.timeout_s:g} s. "
                f"Ask again; if it stays so, check {check}."
            ) from error
        except (TooLargeError, CodedError) as error:
            raise Transient(
                f"{self.name}, asked {asked}, at {self.at}: {error}. "
                f"Ask again; if it stays so, check {self.block}.{self.url_field}."
            ) from error
        except httpx.InvalidURL as error:
            # Its words quote the address, whose path may be a secret, and a chained error would show them.
            raise self.translate(error, asked) from None
        except (httpx.HTTPError, httpx.StreamError, httpx.CookieConflict, *UNREADABLE) as error:
            raise self.translate(error, asked) from error
        if answer.is_success or answer.status_code in also_ok:
            return answer
        raise self.unexpected(answer, asked)

    async def _read(
        self, method: str, url: str, also_ok: frozenset[int], headers: dict[str, str], request: dict[str, Any]
    ) -> httpx.Response:
        """The answer with its body. Of an error only the beginning is read."""
        client = self.clients.get(_client)
        async with client.stream(
            method, url, headers=headers, timeout=self.timeout_s, follow_redirects=False, **request
        ) as answer:
            is_wanted = answer.is_success or answer.status_code in also_ok
            body = await self._body(answer, is_wanted)
        # Built anew: the text of an answer is UTF-8 whatever charset it claims, and nothing is decompressed.
        kept = [(name, value) for name, value in answer.headers.multi_items() if name.lower() not in _OF_THE_BODY]
        found = httpx.Response(answer.status_code, headers=kept, content=body, default_encoding="utf-8")
        found.encoding = "utf-8"
        found.request = answer.request
        return found

    async def _body(self, answer: httpx.Response, is_wanted: bool) -> bytes:
        """The bytes of the body. Raises: TooLargeError, CodedError; of an error the beginning is enough."""
        limit = self.max_bytes if is_wanted else min(ERROR_MAX_BYTES, self.max_bytes)
        coding = answer.headers.get("content-encoding", "identity").strip().lower() or "identity"
        if coding != "identity":
            if is_wanted:
                raise CodedError(f"the answer is compressed ({clean(coding, 30)}), which was not asked for")
            return b"(a compressed text)"
        body = bytearray()
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) > limit:
                if not is_wanted:
                    break
                raise TooLargeError(f"the answer is larger than {limit:,} bytes")
        return bytes(body[:limit])

    async def json(self, method: str, path: str, asked: str, parse: Callable[[Any], Parsed], **request: Any) -> Parsed:
        """What ``parse`` makes of the JSON of a 2xx answer. NaN and Infinity are not JSON.

        Raises as ``send``, and Transient if the answer is not JSON or not of that shape: something else,
        such as a gateway, has answered.
        """
        return self.parsed(await self.send(method, path, asked, **request), asked, parse)

    def parsed(self, answer: httpx.Response, asked: str, parse: Callable[[Any], Parsed]) -> Parsed:
        """What ``parse`` makes of the JSON of ``answer``. Raises: Transient, where something else has answered."""
        try:
            return parse(json_of(answer))
        except UNREADABLE as error:
            # The body itself is not quoted: where a pass was asked for, it may be one.
            kind = clean(answer.headers.get("content-type", "no content type"), 60)
            raise Transient(
                f"{self.name}, asked {asked}, answered {kind} without it ({type(error).__name__}). "
                f"Ask again; if it stays so, check {self.block}.{self.url_field} ({self.at})."
            ) from error

    def unexpected(self, answer: httpx.Response, asked: str) -> ReleaseError:
        """What a status that was not expected means."""
        status = answer.status_code
        came = f"{self.name}, asked {asked}, answered {status}: {quoted(_without_path(answer))}"
        if (wait_s := retry_after_s(answer)) is not None:
            return Transient(f"{came} It takes no request for another {min(wait_s, 86_400):.0f} s. Ask again then.")
        # GitHub says "too many" with 403 and one of these headers.
        is_limited = "retry-after" in answer.headers or answer.headers.get("x-ratelimit-remaining") == "0"
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500 or (is_limited and status == httpx.codes.FORBIDDEN):
            return Transient(f"{came} Ask again.")
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return Refused(f"{came} Check {self.block}.{self.credential} and what it may do.")
        if status in (httpx.codes.CONFLICT, httpx.codes.PRECONDITION_FAILED):
            return Conflict(f"{came} Read it again.")
        if answer.is_redirect:
            host = host_of(answer.headers.get("location", "nowhere"))
            check = f"Check {self.block}.{self.url_field} ({self.at})."
            is_here = "location" in answer.headers and host in (self.at, NO_HOST)
            if is_here:  # as GitHub and Sentry say of what was renamed
                check = f"Was what it names renamed there? Check [{self.block}] in the environment file."
            return Refused(
                f"{self.name}, asked {asked}, answered {status}, a redirect to {host}. Redirects are not followed. "
                f"{check}"
            )
        return Refused(f"{came} Check [{self.block}] in the environment file.")

    def translate(self, error: Exception, asked: str) -> ReleaseError:
        """What an error of httpx means. Total."""
        came = f"{self.name}, asked {asked}, at {self.at}: {type(error).__name__}: {self._without_paths(error)}"
        wrong = httpx.InvalidURL | httpx.UnsupportedProtocol | httpx.LocalProtocolError | httpx.TooManyRedirects
        if isinstance(
            error, httpx.TransportError | httpx.DecodingError | httpx.StreamError | LookupError | UnicodeError
        ) and not isinstance(error, wrong):
            return Transient(f"{came} Ask again; if it stays so, check {self.block}.{self.url_field}.")
        return Refused(f"{came} Check {self.block}.{self.url_field}.")

    def _without_paths(self, error: Exception) -> str:
        """The words of an error without what follows the host of our address: httpx quotes an address that it cannot
        use. Of one that cannot be read nothing is quoted."""
        if isinstance(error, httpx.InvalidURL):
            return "it cannot be read."
        text = str(error).replace(self.base_url, self.at) if self.base_url else str(error)
        return quoted(text)


def host_of(url: str) -> str:
    """Scheme and host of an address, for a message."""
    try:
        found = httpx.URL(url[:2000])
    except (httpx.InvalidURL, ValueError):
        return "an address that is none"
    netloc = found.netloc.decode("ascii", "replace")
    return quoted(f"{found.scheme}://{netloc}") if netloc else NO_HOST


def _without_path(answer: httpx.Response) -> str:
    """The text of an answer without the path of its request, which some servers repeat and which may be a secret."""
    url, text = answer.request.url, answer.text
    for path in (url.raw_path.decode("ascii", "replace").partition("?")[0], url.path):
        text = text.replace(path, "…") if len(path) >= PATH_MIN else text
    return text


def retry_after_s(answer: httpx.Response) -> float | None:
    """How many seconds a service that takes no more requests asks to wait, at least one; None where it does not say so.

    429, and GitHub's 403 with the same header, were not carried out, whatever was asked. Retry-After is a number of
    seconds or a date (RFC 9110, 10.2.3).
    """
    text = answer.headers.get("retry-after", "")
    if answer.status_code not in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.FORBIDDEN) or not text:
        return None
    if text.isascii() and text.isdigit():
        return max(1.0, float(text[:12]))
    try:
        return max(1.0, email.utils.parsedate_to_datetime(text[:100]).timestamp() - time.time())
    except UNREADABLE:
        return None


_ADDRESS = re.compile("[a-z]{1,10}://")
"""How a whole address begins. A path may hold one: ``/fetch?url=http://…``."""
_OF_THE_BODY = frozenset({"content-length", "content-encoding", "transfer-encoding"})


def _client() -> httpx.AsyncClient:
    """A client that follows no redirect."""
    return httpx.AsyncClient(
        follow_redirects=False, verify=_tls(*map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR")))
    )


@functools.cache
def _tls(*authorities: str | None) -> ssl.SSLContext:
    """The roots that this process trusts, read once: that takes longer than most calls."""
    return httpx.create_ssl_context()


def json_of(answer: httpx.Response) -> Any:
    """The JSON of an answer, as strictly as the standard has it: no NaN, bounded nesting. Raises ValueError."""
    return from_json(answer.content, allow_inf_nan=False, cache_strings="none")


def quoted(text: str) -> str:
    """A vendor's text as a message quotes it: cut, clean, on one line and without secrets."""
    return mask(clean(" ".join(clean(text, 4 * QUOTE_MAX).split()), QUOTE_MAX), known_values())


class HttpBlock(OutsideBlock):
    """A block that speaks HTTP."""

    timeout_s: float = Field(10, gt=0, title="Timeout", description="Seconds that one call may take.")
    _clients: PerLoop[httpx.AsyncClient] = PrivateAttr(default_factory=PerLoop)
