"""What every call passes, over gRPC or REST: authentication, permissions, ordered faults, and the log of writes."""

import fnmatch
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from rehearsal.world.faults import Fault, Faults, Write, Writes
from rehearsal.world.identity import BadTokenError, Identities

Code = grpc.StatusCode
PERMISSIONS = {
    "Services.GetService": "run.services.get",
    "Services.ListServices": "run.services.list",
    "Services.CreateService": "run.services.create",
    "Services.UpdateService": "run.services.update",
    "Services.ReplaceService": "run.services.update",
    "Services.DeleteService": "run.services.delete",
    "Revisions.GetRevision": "run.revisions.get",
    "Revisions.ListRevisions": "run.revisions.list",
    "Revisions.DeleteRevision": "run.revisions.delete",
    "Operations.GetOperation": "run.operations.get",
    "Operations.WaitOperation": "run.operations.get",
    "Operations.ListOperations": "run.operations.list",
    "LoggingServiceV2.ListLogEntries": "logging.logEntries.list",
    "LoggingServiceV2.TailLogEntries": "logging.logEntries.list",
    "LoggingServiceV2.WriteLogEntries": "logging.logEntries.create",
    "SecretManagerService.AccessSecretVersion": "secretmanager.versions.access",
}
"""What a call needs; v1 and v2 of one call need the same."""


class RefusalError(Exception):
    """A call is answered with an error: a gRPC status, a sentence, and for a wrong field which one."""

    def __init__(self, code: grpc.StatusCode, message: str, violations: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.violations = code, message, violations or {}

    def details(self) -> bytes:
        """``google.rpc.Status`` for the trailing metadata, with BadRequest when fields are wrong."""
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        if self.violations:
            wrong = error_details_pb2.BadRequest()
            for name, sentence in self.violations.items():
                wrong.field_violations.add(field=name, description=sentence)
            status.details.add().Pack(wrong)
        return bytes(status.SerializeToString())


def invalid(name: str, sentence: str) -> RefusalError:
    """INVALID_ARGUMENT in the words of the real service, naming the field."""
    return RefusalError(Code.INVALID_ARGUMENT, f"Violation in {name}: {sentence}", {name: sentence})


@dataclass
class Call:
    """One call on its way: who asks, until when, and the write it makes (a read's goes nowhere)."""

    caller: str
    write: Write
    time_remaining_s: float | None = None
    fault: Fault | None = None
    """What was ordered for this call; a write looks there for what is to become of its operation."""


Handler = Callable[[Any, Call], Any]


@dataclass(frozen=True)
class Method:
    """One method of a service. ``resource`` reads the name it is about from the request."""

    name: str
    request: Any
    handle: Handler
    resource: Callable[[Any], str]
    writes: bool = False
    streams: bool = False
    """The request is a stream, ``handle`` takes its first message and is an async generator of replies."""


@dataclass
class Gate:
    """What comes before the handlers: identities, denials, ordered faults, the log of writes."""

    identities: Identities
    faults: Faults = field(default_factory=Faults)
    writes: Writes = field(default_factory=Writes)
    denied: list[tuple[str, str, str]] = field(default_factory=list)
    """(email pattern, method prefix or permission, resource pattern): these calls get PERMISSION_DENIED."""
    taught: set[str] = field(default_factory=set)
    """Every method that is answered, as ``Services.UpdateService``."""

    def order(self, fault: Fault) -> Fault:
        """Order ``fault``. Raises ValueError where its pattern matches no method that is taught: it would never hit."""
        if not fnmatch.filter(self.taught, fault.method):
            raise ValueError(f"method: {fault.method!r} is none of {', '.join(sorted(self.taught))}")
        return self.faults.add(fault)

    def caller(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
        """The email of who calls. Raises RefusalError (UNAUTHENTICATED)."""
        try:
            return self.identities.email_of(dict(metadata or ()).get("authorization"))
        except BadTokenError as error:
            raise RefusalError(Code.UNAUTHENTICATED, str(error)) from error

    def check(self, email: str, method: str, resource: str) -> None:
        """Raise RefusalError (PERMISSION_DENIED) when ``email`` is on the list for this method."""
        for pattern, prefix, where in self.denied:
            if not (fnmatch.fnmatchcase(email, pattern) and fnmatch.fnmatchcase(resource, where)):
                continue
            if method.startswith(prefix) or PERMISSIONS.get(method) == prefix:
                raise RefusalError(Code.PERMISSION_DENIED, denial(method, resource))


def handler_for(service: str, methods: Iterable[Method], gate: Gate) -> grpc.GenericRpcHandler:
    """One gRPC service. Methods that are not named here answer UNIMPLEMENTED."""
    handlers = {}
    for method in methods:
        name = f"{service.rpartition('.')[2]}.{method.name}"
        gate.taught.add(name)
        if method.streams:
            handlers[method.name] = grpc.stream_stream_rpc_method_handler(
                _stream(name, method, gate),
                request_deserializer=method.request.FromString,
                response_serializer=lambda reply: reply.SerializeToString(),
            )
            continue
        handlers[method.name] = grpc.unary_unary_rpc_method_handler(
            _answer(name, method, gate),
            request_deserializer=method.request.FromString,
            response_serializer=lambda reply: reply.SerializeToString(),
        )
    return grpc.method_handlers_generic_handler(service, handlers)


def _answer(name: str, method: Method, gate: Gate) -> Callable[[Message, Any], Awaitable[Message]]:
    async def answer(request: Message, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
        is_write = method.writes and not getattr(request, "validate_only", False)
        try:
            caller = gate.caller(context.invocation_metadata())
            reply = await perform(
                name, method, request, caller, gate, time_remaining_s=context.time_remaining(), is_write=is_write
            )
        except RefusalError as refusal:
            context.set_trailing_metadata((("grpc-status-details-bin", refusal.details()),))
            await context.abort(refusal.code, refusal.message)
        assert isinstance(reply, Message)
        return reply

    return answer


def _stream(name: str, method: Method, gate: Gate) -> Callable[[Any, Any], AsyncIterator[Message]]:
    async def stream(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            caller = gate.caller(context.invocation_metadata())
            request = await anext(aiter(requests))
            resource = method.resource(request)
            gate.check(caller, name, resource)
            replies = method.handle(request, Call(caller, Write(method=name, resource=resource, caller=caller)))
            async for reply in replies:  # type: ignore[attr-defined]
                yield reply
        except RefusalError as refusal:
            context.set_trailing_metadata((("grpc-status-details-bin", refusal.details()),))
            await context.abort(refusal.code, refusal.message)

    return stream


async def perform(
    name: str,
    method: Method,
    request: Any,
    caller: str,
    gate: Gate,
    *,
    time_remaining_s: float | None = None,
    is_write: bool,
) -> Any:
    """Handle one call whose caller is known, under what was ordered for it. Raises RefusalError.

    A write is noted, whatever becomes of it.
    """
    resource = method.resource(request)
    write = Write(method=name, resource=resource, caller=caller)
    try:
        fault = gate.faults.take(name, resource)
        call = Call(caller, write, time_remaining_s, fault)
        reply, refused = await _under(fault, method, request, call, gate, name), ""
        if isinstance(reply, RefusalError):
            refused = reply.message
        if is_write:
            gate.writes.add(write, fault.code if fault and fault.code else "OK", refused)
        if fault:
            await fault.after()
            if fault.status:
                raise _lost(fault, name, resource)
        return reply
    except RefusalError as refusal:
        if is_write and not write.seq:
            gate.writes.add(write, refusal.code.name, refusal.message)
        raise


async def _under(
    fault: Fault | None, method: Method, request: Any, call: Call, gate: Gate, name: str
) -> Message | RefusalError:
    """Handle the call; under a fault that lets nothing through, raise what was ordered instead.

    Returns a refusal whose reply is to be lost like any other: the caller must not learn of it.
    """
    if fault:
        await fault.before()
        if fault.status and not fault.applied:
            raise _lost(fault, name, call.write.resource)
    try:
        gate.check(call.caller, name, call.write.resource)
        return await method.handle(request, call)
    except RefusalError as refusal:
        if fault and fault.applied:
            return refusal
        raise


def _lost(fault: Fault, method: str, resource: str) -> RefusalError:
    assert fault.status is not None
    plain = f"{fault.status.name.replace('_', ' ').lower()} (ordered)"
    if fault.status is Code.PERMISSION_DENIED:
        plain = denial(method, resource)
    return RefusalError(fault.status, fault.message or plain)


def denial(method: str, resource: str) -> str:
    """What Google says to a caller that lacks the permission for ``method``."""
    permission = PERMISSIONS.get(method, method)
    return f"Permission '{permission}' denied on resource '{resource}' (or resource may not exist)."
