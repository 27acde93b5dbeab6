"""What may go wrong with one call, as the blocks themselves would understand it.

The errors are made by the blocks' own translations, from what the vendor's library raises: no second opinion here.
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
_PROMETHEUS = Prometheus(url="http://prometheus")


class Fault(StrEnum):
    """What becomes of a call."""

    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE = "DEADLINE_EXCEEDED"  # applied; the caller waited for as long as it waits, and heard nothing
    REPLY_LOST = "reply lost"  # applied; the connection broke
    ABORTED = "ABORTED"
    EXHAUSTED = "RESOURCE_EXHAUSTED"
    DENIED = "PERMISSION_DENIED"
    TOO_MANY = "429"
    SERVER_ERROR = "500"
    BUSY = "503"
    HUNG = "hung"  # not applied; the socket stays open and silent
    GARBAGE = "garbage"  # applied; what comes back is not the vendor's

    @property
    def is_applied(self) -> bool:
        """Whether the other side did what it was asked."""
        return self in (Fault.DEADLINE, Fault.REPLY_LOST, Fault.GARBAGE)

    @property
    def is_refusal(self) -> bool:
        """Whether asking again is no use: somebody must look, or recovery."""
        return self is Fault.DENIED

    @property
    def takes_all_time(self) -> bool:
        """Whether the caller waits for as long as it ever does."""
        return self in (Fault.DEADLINE, Fault.HUNG)

    def error(self, call: "Call") -> Exception:
        """What the caller meets."""
        if call.system in GOOGLE:
            asked = f"{call.system}, asked for {call.subject}"
            return google_api.translate(_GOOGLE[self], asked, "the permission", is_write=call.method == "write")
        if call.system == "prometheus":
            return _prometheus(self, call.subject)
        if call.system == "prefect":
            return _prefect(self)
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


def _prometheus(fault: Fault, query: str) -> Exception:
    service = _PROMETHEUS._service({})
    if fault in _STATUS:
        return service.unexpected(httpx.Response(_STATUS[fault], text="no"), query)
    if fault is Fault.GARBAGE:
        return Transient(f"Prometheus, asked {query}, answered text/html in which it is not found.")
    return service.translate(
        httpx.ReadError("reset") if fault is Fault.REPLY_LOST else httpx.ReadTimeout("none"), query
    )


def _prefect(fault: Fault) -> Exception:
    """What Prefect's client raises after its own tries."""
    request = httpx.Request("POST", "http://prefect/api")
    if fault in _STATUS:
        answer = httpx.Response(_STATUS[fault], request=request)
        return PrefectHTTPStatusError(f"{fault}", request=request, response=answer)
    return httpx.ReadTimeout("no answer") if fault.takes_all_time else httpx.RemoteProtocolError("disconnected")


def _http(fault: Fault, call: "Call") -> Exception:
    status = _STATUS.get(fault, 200)
    if call.system == "ethixai" and (status not in (200, *NOT_THERE_YET) or fault is Fault.GARBAGE):
        return SmokeFailed(f"{call.subject} answered {fault}. Read the service's logs.")
    service = HttpService(call.system, call.system, "http://desk", "token", 10, PerLoop())
    if fault in _STATUS:
        return service.unexpected(httpx.Response(_STATUS[fault], text="no"), call.subject)
    if fault is Fault.GARBAGE:
        return Transient(f"{call.system}, asked {call.subject}, answered text/html in which it is not found.")
    error = httpx.ReadTimeout("no answer") if fault.takes_all_time else httpx.RemoteProtocolError("disconnected")
    return service.translate(error, call.subject)
