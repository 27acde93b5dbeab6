"""What all vendor stand-ins share: they log accepted calls, fail as ordered, and answer 501 to unknown requests."""

import asyncio
import fnmatch
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import Message, Receive, Scope, Send

GARBAGE = b"<html><head><title>Welcome</title></head><body>This network wants you to sign in.</body></html>"
RETRY_AFTER_S = 1
PATH = "vendor.path"
"""Where a request's scope holds its path as the vendor would see it."""

Json = dict[str, Any]
Said = Callable[[str, str, str, Any], None]
"""Takes (vendor, method, path, body) of an accepted call that changed something."""


@dataclass
class Fault:
    """An order: requests to a vendor fail in this way. Raises ValueError when it orders nothing.

    ``status``: the answer has this status and the vendor's error body. ``delay_s``: the answer is late, and otherwise
    normal if nothing else is ordered. ``hang``: no answer before the client gives up. ``garbage``: 200 and an HTML page
    that is not the vendor's. ``applied``: the request takes effect first (alone: and is then answered 503). ``count``
    ends the order after so many requests (None: never); ``every`` = k hits each k-th matching request. ``method`` and
    ``path`` (below the mount point) are shell patterns. ``message`` goes into the error body; for Slack it is the error
    itself, as in ``status=200, message="is_archived"``. ``met`` is set once a request hangs or was answered as ordered.
    """

    status: int | None = None
    count: int | None = 1
    delay_s: float = 0.0
    hang: bool = False
    garbage: bool = False
    applied: bool = False
    method: str = "*"
    path: str = "*"
    message: str = ""
    every: int = 1
    seen: int = field(default=0, init=False)
    hit: int = field(default=0, init=False)
    met: asyncio.Event = field(default_factory=asyncio.Event, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.applied and self.status is None and not self.hang and not self.garbage:
            self.status = 503
        if not (self.is_an_answer or self.delay_s > 0):
            raise ValueError("a fault needs one of status, delay_s, hang, garbage or applied")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"status: {self.status} is not an HTTP status")
        if self.every < 1:
            raise ValueError(f"every: must be 1 or more, not {self.every}")

    @property
    def is_an_answer(self) -> bool:
        """Whether the order replaces the vendor's own answer."""
        return self.status is not None or self.hang or self.garbage

    def takes(self, method: str, path: str) -> bool:
        """Whether this request is hit. Counts the requests it matches."""
        if self.count is not None and self.hit >= self.count:
            return False
        if not (fnmatch.fnmatchcase(method, self.method) and fnmatch.fnmatchcase(path, self.path)):
            return False
        self.seen += 1
        if self.seen % self.every:
            return False
        self.hit += 1
        return True


class Refused(Exception):
    """The vendor would refuse this request: its status and body, and headers where they matter."""

    def __init__(self, status: int, body: Json, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, body)
        self.answer = JSONResponse(body, status, headers)


class Vendor:
    """One vendor, as an ASGI application. A subclass gives `routes`, `error` and `forget`."""

    name = ""

    def __init__(self, said: Said) -> None:
        self._said = said
        self._faults: list[Fault] = []
        handlers: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
            404: self._not_taught,
            405: self._not_taught,
            Refused: _refused,
        }
        self._app = Starlette(routes=self.routes(), exception_handlers=handlers)
        self._app.router.redirect_slashes = False

    def routes(self) -> Sequence[BaseRoute]:
        """The implemented routes."""
        raise NotImplementedError

    def error(self, status: int, message: str) -> Json:
        """The body with which this vendor says that something failed; ``message`` may be empty."""
        raise NotImplementedError

    def forget(self) -> None:
        """Return to the initial state."""
        raise NotImplementedError

    def order(self, fault: Fault) -> Fault:
        """Order ``fault``, after those that stand."""
        self._faults.append(fault)
        return fault

    def clear_faults(self) -> None:
        """Cancel all faults."""
        self._faults.clear()

    def keep(self, request: Request, body: Any) -> None:
        """Log an accepted call that changed something."""
        self._said(self.name, request.method, request.scope[PATH], body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or fail as ordered."""
        assert scope["type"] == "http"
        path = scope[PATH] = str(scope["path"]).removeprefix(str(scope.get("root_path", "")))
        fault = next((one for one in self._faults if one.takes(scope["method"], path)), None)
        if fault is None:
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(fault.delay_s)
        if fault.applied:
            await self._app(scope, receive, _unheard)
        if fault.hang:
            fault.met.set()
            await _client_gone(receive)
            return
        await (self._failure(fault) if fault.is_an_answer else self._app)(scope, receive, send)
        fault.met.set()

    def _failure(self, fault: Fault) -> Response:
        if fault.garbage:
            return Response(GARBAGE, fault.status or 200, media_type="text/html")
        assert fault.status is not None
        headers = {"Retry-After": str(RETRY_AFTER_S)} if fault.status == 429 else None
        return JSONResponse(self.error(fault.status, fault.message), fault.status, headers)

    async def _not_taught(self, request: Request, _: Any) -> Response:
        message = f"not taught: {request.method} {request.scope[PATH]}"
        return JSONResponse(self.error(501, message), 501)


def bearer(headers: Headers, scheme: str = "bearer") -> str:
    """The token after ``scheme`` in the Authorization header, or an empty string."""
    given, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if given.lower() == scheme else ""


def is_wrong(token: str) -> bool:
    """Whether a token is invalid. Any token is valid unless it starts with ``wrong``."""
    return token.startswith("wrong")


def may_only_read(token: str) -> bool:
    """A token that begins with ``readonly`` may change nothing."""
    return token.startswith("readonly")


async def json_object(request: Request, malformed: Refused) -> Json:
    """The body as an object. Raises ``malformed``."""
    try:
        body = json.loads(await request.body())
    except ValueError:
        raise malformed from None
    if not isinstance(body, dict):
        raise malformed
    return body


def stamp(at_s: float | None = None) -> str:
    """An instant (unix seconds, default now) in RFC 3339, UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() if at_s is None else at_s))


async def _refused(_: Request, refused: Any) -> Response:
    return refused.answer  # type: ignore[no-any-return]


async def _unheard(_: Message) -> None:
    """Drop the answer."""


async def _client_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
