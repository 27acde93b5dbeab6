"""google.cloud.run.v2.Revisions: get, list, delete."""

import re
from typing import Any

from google.cloud import run_v2

from rehearsal.world.cloud_run.operations import Operations, paged
from rehearsal.world.cloud_run.services import Services, missing
from rehearsal.world.cloud_run.state import Knobs, RevisionState, ServiceState, stamp
from rehearsal.world.rpc import Call, Code, Method, RefusalError, invalid

SERVICE = "google.cloud.run.v2.Revisions"
DEFAULT_PAGE = 100
_PARENT = re.compile(r"(projects/[^/]+/locations/[^/]+)/services/[^/]+")


class Revisions:
    """The revisions of the services in ``services``."""

    def __init__(self, services: Services, operations: Operations, knobs: Knobs) -> None:
        self._services, self._operations, self._knobs = services, operations, knobs

    def methods(self) -> list[Method]:
        """What the gRPC service answers."""
        v2 = run_v2
        return [
            Method("GetRevision", v2.GetRevisionRequest.pb(), self.get, lambda r: r.name),
            Method("ListRevisions", v2.ListRevisionsRequest.pb(), self.list, lambda r: r.parent),
            Method("DeleteRevision", v2.DeleteRevisionRequest.pb(), self.delete, lambda r: r.name, writes=True),
        ]

    async def get(self, request: Any, call: Call) -> Any:
        """The revision as it is now."""
        return self.find(request.name)[1].message

    async def list(self, request: Any, call: Call) -> Any:
        """The revisions of a service (``services/-``: of all in that location), newest first."""
        found = _PARENT.fullmatch(request.parent)
        if not found:
            raise invalid("ListRevisionsRequest.parent", "must be projects/PROJECT/locations/LOCATION/services/SERVICE")
        if request.parent.endswith("/services/-"):
            states = [s for name, s in self._services.states.items() if name.startswith(f"{found[1]}/services/")]
        else:
            states = [self._services.find(request.parent)]
        messages = [revision.message for state in states for revision in state.revisions.values()]
        messages.sort(key=lambda message: message.create_time.ToNanoseconds(), reverse=True)
        page, token = paged(messages, request.page_size or DEFAULT_PAGE, request.page_token)
        return run_v2.ListRevisionsResponse.pb()(revisions=page, next_page_token=token)

    async def delete(self, request: Any, call: Call) -> Any:
        """A revision that neither percent nor tag reaches is gone."""
        state, revision = self.find(request.name)
        if self._knobs.enforce_etag and request.etag and request.etag != revision.message.etag:
            raise RefusalError(
                Code.ABORTED, f"Conflict for resource '{request.name}': the etag is not the current one."
            )
        wanted = {target.revision for target in state.message.traffic}
        served = {name for name, _, _ in state.plan.targets}
        if revision.name in wanted | served:
            raise RefusalError(
                Code.FAILED_PRECONDITION, f"Revision '{revision.name}' is active: only retired ones can be deleted."
            )
        operation = self._operations.begin(state.name.parent, revision.message)
        if not request.validate_only:
            del state.revisions[revision.name]
            stamp(revision.message.delete_time)
            call.write.applied, call.write.result = True, "OK"
        self._operations.succeed(operation, revision.message)
        return operation

    def find(self, full_name: str) -> tuple[ServiceState, RevisionState]:
        """The revision of that full name, and its service. Raises RefusalError (NOT_FOUND)."""
        service, _, name = full_name.partition("/revisions/")
        state = self._services.find(service)
        if name not in state.revisions:
            raise RefusalError(Code.NOT_FOUND, missing(full_name, "REVISION"))
        return state, state.revisions[name]
