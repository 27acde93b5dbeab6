"""google.longrunning.Operations: what was asked for and is on its way."""

import asyncio
import uuid
from typing import Any

from google.longrunning import operations_pb2

from rehearsal.world.rpc import Call, Code, Method, RefusalError

SERVICE = "google.longrunning.Operations"
DEFAULT_PAGE = 100


class Operations:
    """Every operation since the world began or was reset. Waiters wake when one ends."""

    def __init__(self) -> None:
        self._operations: dict[str, Any] = {}
        self._ended: dict[str, asyncio.Event] = {}

    def methods(self) -> list[Method]:
        """What the gRPC service answers. Cancelling and deleting are not taught."""
        return [
            Method("GetOperation", operations_pb2.GetOperationRequest, self.get, lambda r: r.name),
            Method("WaitOperation", operations_pb2.WaitOperationRequest, self.wait, lambda r: r.name),
            Method("ListOperations", operations_pb2.ListOperationsRequest, self.list, lambda r: r.name),
        ]

    def begin(self, parent: str, metadata: Any) -> Any:
        """A new operation under ``projects/…/locations/…``, not done."""
        operation = operations_pb2.Operation(name=f"{parent}/operations/{uuid.uuid4()}")
        operation.metadata.Pack(metadata, "type.googleapis.com/")
        self._operations[operation.name] = operation
        self._ended[operation.name] = asyncio.Event()
        return operation

    def succeed(self, operation: Any, response: Any) -> None:
        """The operation is done; its metadata and response are ``response``."""
        operation.metadata.Pack(response)
        operation.response.Pack(response)
        self._end(operation)

    def fail(self, operation: Any, code: int, message: str, metadata: Any) -> None:
        """The operation is done with an error."""
        operation.metadata.Pack(metadata)
        operation.error.code, operation.error.message = code, message
        self._end(operation)

    def clear(self) -> None:
        """Forget them all; a client that waits gets NOT_FOUND."""
        self._operations.clear()
        for ended in self._ended.values():
            ended.set()
        self._ended.clear()

    def _end(self, operation: Any) -> None:
        operation.done = True
        if operation.name in self._ended:
            self._ended[operation.name].set()

    def _find(self, name: str) -> Any:
        if name not in self._operations:
            raise RefusalError(Code.NOT_FOUND, f"Resource '{name}' was not found")
        return self._operations[name]

    async def get(self, request: Any, call: Call) -> Any:
        """The operation as it is now."""
        return self._find(request.name)

    async def wait(self, request: Any, call: Call) -> Any:
        """The operation once it is done, or as it is when ``timeout`` (or the call's own deadline) is near."""
        operation = self._find(request.name)
        limits = [request.timeout.ToTimedelta().total_seconds()] if request.HasField("timeout") else []
        if call.time_remaining_s is not None:
            # A little before the deadline, so that the caller gets the operation and no DEADLINE_EXCEEDED.
            limits.append(max(0.0, call.time_remaining_s - 0.2))
        if not operation.done:
            try:
                await asyncio.wait_for(self._ended[request.name].wait(), min(limits, default=None))
            except TimeoutError:
                return operation
        return self._find(request.name)

    async def list(self, request: Any, call: Call) -> Any:
        """The operations under ``projects/…/locations/…``, newest first. Filters are not taught."""
        if request.filter:
            raise RefusalError(Code.UNIMPLEMENTED, "ListOperationsRequest.filter is not taught")
        found = [o for name, o in self._operations.items() if name.startswith(f"{request.name}/operations/")]
        page, token = paged(found[::-1], request.page_size or DEFAULT_PAGE, request.page_token)
        return operations_pb2.ListOperationsResponse(operations=page, next_page_token=token)


def paged(items: list[Any], size: int, token: str) -> tuple[list[Any], str]:
    """One page of ``items`` and the token of the next. Raises RefusalError for a token of another list."""
    if size < 0 or (token and not token.isdigit()):
        raise RefusalError(
            Code.INVALID_ARGUMENT, "page_size must not be negative, page_token must be one of this server's"
        )
    start = int(token or 0)
    end = start + size
    return items[start:end], str(end) if end < len(items) else ""
