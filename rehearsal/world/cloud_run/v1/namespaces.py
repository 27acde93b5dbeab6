"""The calls of v1: services and revisions of a namespace (a project), and operations of a location."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.longrunning import operations_pb2

from rehearsal.world.cloud_run.operations import Operations, paged
from rehearsal.world.cloud_run.revisions import Revisions
from rehearsal.world.cloud_run.services import Services
from rehearsal.world.cloud_run.state import Json, Knobs, Service, ServiceState
from rehearsal.world.cloud_run.v1.parse import parsed
from rehearsal.world.cloud_run.v1.render import API_VERSION, operation_object, revision_object, service_object
from rehearsal.world.cloud_run.v1.words import version_number, version_text
from rehearsal.world.cloud_run.validation import check_settings, settle_scaling
from rehearsal.world.rpc import Call, Code, Method, RefusalError, invalid

DEFAULT_PAGE = 100
SERVICE_LABELS = ("serving.knative.dev/service", "serving.knative.dev/configuration")
_EQUALS = re.compile(r"\s*([^\s=!]+)\s*==?\s*([^\s=!]*)\s*")
_DURATION = re.compile(r"(\d+)(?:\.\d+)?s")
PARTS = ("annotations", "labels", "scaling", "template", "traffic", "ingress", "description", "default_uri_disabled")


@dataclass(frozen=True)
class Asked:
    """One REST call, read: the v2 name of what it is about, the query, and the body."""

    resource: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Json = field(default_factory=dict)


class Namespaces:
    """v1 on top of the services, revisions and operations that v2 has."""

    def __init__(self, services: Services, revisions: Revisions, operations: Operations, knobs: Knobs) -> None:
        self._services, self._revisions, self._operations, self._knobs = services, revisions, operations, knobs

    def methods(self) -> dict[str, Method]:
        """What is taught, by name. A call that reads has the name it has in v2."""
        reads = {
            "Services.GetService": self.get_service,
            "Services.ListServices": self.list_services,
            "Revisions.GetRevision": self.get_revision,
            "Revisions.ListRevisions": self.list_revisions,
            "Operations.GetOperation": self.get_operation,
            "Operations.WaitOperation": self.wait_operation,
        }
        writes = {"Services.ReplaceService": self.replace_service, "Revisions.DeleteRevision": self.delete_revision}
        return {
            name: Method(name.partition(".")[2], None, handle, lambda asked: asked.resource, writes=name in writes)
            for name, handle in {**reads, **writes}.items()
        }

    async def get_service(self, asked: Asked, call: Call) -> Json:
        """The service as it is now."""
        return service_object(self._services.find(asked.resource))

    async def list_services(self, asked: Asked, call: Call) -> Json:
        """The services of the project in this location."""
        _refuse_selector(asked)
        found = [s for name, s in sorted(self._services.states.items()) if name.startswith(f"{asked.resource}/")]
        return _listed("Service", [service_object(state) for state in found], asked)

    async def replace_service(self, asked: Asked, call: Call) -> Json:
        """The service is what was sent, if nobody changed it since it was read; the rest follows."""
        state = self._services.find(asked.resource)
        sent = asked.body
        self._check_identity(state, sent)
        self._check_version(state, sent["metadata"].get("resourceVersion"))
        spec = sent.get("spec") or {}
        if not ((spec.get("template") or {}).get("spec") or {}).get("containers"):
            raise invalid("spec.template.spec.containers", "one container with an image is needed")
        wanted, kept = parsed(state, sent)
        if state.message.scaling != wanted.scaling:
            settle_scaling(state.message, wanted)
        check_settings("service", state.name.service, wanted)
        call.write.mask = [name for name in PARTS if getattr(wanted, name) != getattr(state.message, name)]
        makes_revision = self._services.is_new(state, wanted, kept)
        self._services.write(state, wanted, kept, call, makes_revision=makes_revision)
        return service_object(state)

    @staticmethod
    def _check_identity(state: ServiceState, sent: Json) -> None:
        if (sent.get("apiVersion"), sent.get("kind")) != (API_VERSION, "Service"):
            raise invalid("service", f"apiVersion must be {API_VERSION} and kind Service")
        metadata = sent.get("metadata")
        if not isinstance(metadata, dict) or metadata.get("name") != state.name.service:
            raise invalid("metadata.name", f"must be {state.name.service}, as in the URL")
        if metadata.get("namespace", state.name.project) != state.name.project:
            raise invalid("metadata.namespace", f"must be {state.name.project}, as in the URL")

    def _check_version(self, state: ServiceState, sent: Any) -> None:
        if sent and self._knobs.enforce_resource_version and sent != version_text(state.version_us):
            raise RefusalError(
                Code.ABORTED,
                f"Conflict for resource '{state.name.service}': version '{version_number(sent)}' was specified but "
                f"current version is '{state.version_us}'.",
            )

    async def get_revision(self, asked: Asked, call: Call) -> Json:
        """The revision as it is now."""
        return revision_object(*self._revisions.find(self._revision_name(asked)))

    async def list_revisions(self, asked: Asked, call: Call) -> Json:
        """The revisions of one service (by the label selector) or of all, newest first."""
        states: list[ServiceState] = [s for n, s in self._services.states.items() if n.startswith(f"{asked.resource}/")]
        for key, value in _selected(asked):
            if key not in SERVICE_LABELS:
                raise RefusalError(Code.UNIMPLEMENTED, f"labelSelector: {key} is not taught.")
            states = [state for state in states if state.name.service == value]
        found = [(state, revision) for state in states for revision in state.revisions.values()]
        found.sort(key=lambda pair: pair[1].message.create_time.ToNanoseconds(), reverse=True)
        return _listed("Revision", [revision_object(*pair) for pair in found], asked)

    async def delete_revision(self, asked: Asked, call: Call) -> Json:
        """A revision that nothing reaches is gone."""
        request = _DeleteRevision(self._revision_name(asked))
        await self._revisions.delete(request, call)
        return {"kind": "Status", "status": "Success"}

    def _revision_name(self, asked: Asked) -> str:
        """v1 names a revision without its service: ``…/services/SERVICE/revisions/NAME``, found by its name."""
        parent, _, name = asked.resource.partition("/revisions/")
        for full, state in self._services.states.items():
            if full.startswith(f"{parent}/services/") and name in state.revisions:
                return f"{full}/revisions/{name}"
        raise RefusalError(
            Code.NOT_FOUND,
            f"Resource '{name}' of kind 'REVISION' in region '{parent.split('/')[3]}' in project "
            f"'{parent.split('/')[1]}' does not exist.",
        )

    async def get_operation(self, asked: Asked, call: Call) -> Json:
        """The operation as it is now."""
        return self._shown(await self._operations.get(operations_pb2.GetOperationRequest(name=asked.resource), call))

    async def wait_operation(self, asked: Asked, call: Call) -> Json:
        """The operation once it is done, or as it is after ``timeout`` (30 s if none is sent)."""
        request = operations_pb2.WaitOperationRequest(name=asked.resource)
        found = _DURATION.fullmatch(str(asked.body.get("timeout", "30s")))
        if not found:
            raise invalid("timeout", "must be a duration such as 30s")
        request.timeout.seconds = int(found[1])
        return self._shown(await self._operations.wait(request, call))

    def _shown(self, operation: Any) -> Json:
        about = Service()
        response = None
        if operation.metadata.Unpack(about) and about.name in self._services.states:
            response = service_object(self._services.states[about.name])
        return operation_object(operation, response)


@dataclass(frozen=True)
class _DeleteRevision:
    """What `Revisions.delete` reads of a v2 request."""

    name: str
    etag: str = ""
    validate_only: bool = False


def _selected(asked: Asked) -> list[tuple[str, str]]:
    pairs = []
    for part in filter(str.strip, asked.query.get("labelSelector", "").split(",")):
        found = _EQUALS.fullmatch(part)
        if not found:
            raise RefusalError(Code.UNIMPLEMENTED, f"labelSelector: {part!r} is not taught; KEY = VALUE is.")
        pairs.append((found[1], found[2]))
    return pairs


def _refuse_selector(asked: Asked) -> None:
    if asked.query.get("labelSelector"):
        raise RefusalError(Code.UNIMPLEMENTED, "labelSelector is not taught for services.")


def _listed(kind: str, items: list[Json], asked: Asked) -> Json:
    limit = asked.query.get("limit", "0")
    if not limit.isdigit():
        raise invalid("limit", "must be a whole number")
    page, token = paged(items, int(limit) or DEFAULT_PAGE, asked.query.get("continue", ""))
    metadata = {"continue": token} if token else {}
    return {"apiVersion": API_VERSION, "kind": f"{kind}List", "metadata": metadata, "items": page}
