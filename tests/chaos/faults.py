"""The faults of one call.

The blocks' own functions translate what the vendor's library raises; nothing is translated here.
"""

from enum import StrEnum
from typing import TYPE_CHECKING

import httpx
from google.api_core import exceptions as google
from prefect.exceptions import PrefectHTTPStatusError

from blocks import Prometheus, google_api
from blocks.base import PerLoop
from blocks.ethixai import NOT_THERE_YET
from blocks.http import HttpService
from playbook.errors import SmokeFailed, Transient

if TYPE_CHECKING:
    from wire import Call

GOOGLE = ("cloud run", "cloud logging", "secret manager")
VENDORS = ("slack", "pagerduty", "github", "sentry", "registry")
"""Systems whose real blocks are used: a fault is an error of the connection or an answer of the server."""
_PROMETHEUS = Prometheus(url="http://prometheus")


class Answered(Exception):
    """Ordered for a request to a vendor: it gets this response."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response)
        self.response = response


class Fault(StrEnum):
    """What becomes of a call."""

    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE = "DEADLINE_EXCEEDED"  # applied; the caller waits until its timeout
    REPLY_LOST = "reply lost"  # applied; the connection broke
    ABORTED = "ABORTED"
    EXHAUSTED = "RESOURCE_EXHAUSTED"
    DENIED = "PERMISSION_DENIED"
    TOO_MANY = "429"
    SERVER_ERROR = "500"
    BUSY = "503"
    HUNG = "hung"  # not applied; the socket stays open and silent
    GARBAGE = "garbage"  # applied; the answer is not the vendor's

    @property
    def is_applied(self) -> bool:
        """Whether the call takes effect."""
        return self in (Fault.DEADLINE, Fault.REPLY_LOST, Fault.GARBAGE)

    @property
    def is_refusal(self) -> bool:
        """Whether a retry is useless, so that a person or recovery must act."""
        return self is Fault.DENIED

    @property
    def takes_all_time(self) -> bool:
        """Whether the caller waits until its timeout."""
        return self in (Fault.DEADLINE, Fault.HUNG)

    def effect(self, call: "Call") -> tuple[object, ...]:
        """Equal for two faults that differ in nothing but the text of the error: its class, what it carries, whether
        the call changes something, and when it ends."""
        error = self.error(call)
        carried = {
            name: value for name, value in vars(error).items() if name not in ("response", "_request", "request")
        }
        answer = getattr(error, "response", None)
        answered = (answer.status_code, answer.text) if answer is not None else None
        return type(error), repr(carried), answered, self.is_applied and not call.only_reads, self.takes_all_time

    def error(self, call: "Call") -> Exception:
        """The error that the caller gets."""
        if call.system in GOOGLE:
            asked = f"{call.system}, asked for {call.subject}"
            return google_api.translate(_GOOGLE[self], asked, "the permission", is_write=call.method == "write")
        if call.system == "prometheus":
            return _prometheus(self, call.subject)
        if call.system == "prefect":
            return _prefect(self)
        if call.system in VENDORS:
            return _vendor(self)
        return _http(self, call)


_GOOGLE: dict[Fault, Exception] = {
    Fault.UNAVAILABLE: google.ServiceUnavailable("The service is unavailable."),
    Fault.DEADLINE: google.DeadlineExceeded("Deadline exceeded."),
    Fault.REPLY_LOST: google.ServiceUnavailable("Connection reset by peer."),
    Fault.ABORTED: google.Aborted("Conflict for resource."),
    Fault.EXHAUSTED: google.ResourceExhausted("Quota exceeded."),
    Fault.DENIED: google.PermissionDenied("Permission denied."),
    Fault.TOO_MANY: google.TooManyRequests("Too many requests."),
    Fault.SERVER_ERROR: google.InternalServerError("Internal error."),
    Fault.BUSY: google.ServiceUnavailable("Busy."),
    Fault.HUNG: google.DeadlineExceeded("Deadline exceeded."),
    Fault.GARBAGE: google.Unknown("Stream removed."),
}
_STATUS = {
    Fault.UNAVAILABLE: 503,
    Fault.ABORTED: 409,
    Fault.EXHAUSTED: 429,
    Fault.DENIED: 403,
    Fault.TOO_MANY: 429,
    Fault.SERVER_ERROR: 500,
    Fault.BUSY: 503,
}


def _answer(fault: Fault) -> httpx.Response:
    return httpx.Response(_STATUS[fault], text="no", request=httpx.Request("GET", "http://vendor"))


def _prometheus(fault: Fault, query: str) -> Exception:
    service = _PROMETHEUS._service({})
    if fault in _STATUS:
        return service.unexpected(_answer(fault), query)
    if fault is Fault.GARBAGE:
        return Transient(f"Prometheus, asked {query}, answered text/html without it.")
    return service.translate(
        httpx.ReadError("reset") if fault is Fault.REPLY_LOST else httpx.ReadTimeout("none"), query
    )


def _prefect(fault: Fault) -> Exception:
    """What Prefect's client raises after its own retries."""
    request = httpx.Request("POST", "http://prefect/api")
    if fault in _STATUS:
        answer = httpx.Response(_STATUS[fault], request=request)
        return PrefectHTTPStatusError(f"{fault}", request=request, response=answer)
    return httpx.ReadTimeout("no answer") if fault.takes_all_time else httpx.RemoteProtocolError("disconnected")


def _vendor(fault: Fault) -> Exception:
    """What the client of a vendor meets: a response, or an error of the connection."""
    if fault in _STATUS:
        return Answered(_answer(fault))
    if fault is Fault.GARBAGE:
        return Answered(httpx.Response(200, html="<html>Please sign in</html>"))
    return httpx.ReadTimeout("no answer") if fault.takes_all_time else httpx.RemoteProtocolError("disconnected")


def _http(fault: Fault, call: "Call") -> Exception:
    status = _STATUS.get(fault, 200)
    if call.system == "ethixai" and (status not in (200, *NOT_THERE_YET) or fault is Fault.GARBAGE):
        return SmokeFailed(f"{call.subject} answered {fault}. Read the service's logs.")
    service = HttpService(call.system, call.system, "http://vendor", "token", 10, PerLoop())
    if fault in _STATUS:
        return service.unexpected(_answer(fault), call.subject)
    if fault is Fault.GARBAGE:
        return Transient(f"{call.system}, asked {call.subject}, answered text/html without it.")
    error = httpx.ReadTimeout("no answer") if fault.takes_all_time else httpx.RemoteProtocolError("disconnected")
    return service.translate(error, call.subject)
