"""google.cloud.run.v2.Services: get, list, create, update, delete; and the one way every write takes, v1's too."""

import random
import re
from typing import Any

from google.cloud import run_v2

from rehearsal.world.cloud_run.operations import Operations, paged
from rehearsal.world.cloud_run.reconcile import Reconciler
from rehearsal.world.cloud_run.state import (
    Json,
    Knobs,
    Revision,
    RevisionState,
    Service,
    ServiceName,
    ServiceState,
    condition,
    etag_of,
    new_uid,
    next_version_us,
    plain_traffic,
    set_condition,
    stamp,
)
from rehearsal.world.cloud_run.v1.kept import kept_after, template_of
from rehearsal.world.cloud_run.validation import (
    LABEL,
    MAX_SERVICE_NAME,
    check_service,
    mask_paths,
    merged,
    settle_scaling,
    with_defaults,
)
from rehearsal.world.proxy import Proxy
from rehearsal.world.rpc import Call, Code, Method, RefusalError, invalid

SERVICE = "google.cloud.run.v2.Services"
DEFAULT_PAGE = 100
_PARENT = re.compile(r"projects/[^/]+/locations/[a-z][^/]*")
_CONSONANTS, _VOWELS = "bcdfghjklmnpqrstvwxz", "aeiou"


class Services:
    """The services of a world, by full name."""

    def __init__(self, reconciler: Reconciler, operations: Operations, proxy: Proxy, knobs: Knobs) -> None:
        self.states: dict[str, ServiceState] = {}
        self._reconciler, self._operations, self._proxy, self._knobs = reconciler, operations, proxy, knobs

    def methods(self) -> list[Method]:
        """What the gRPC service answers; IAM policies are not taught."""
        v2, name = run_v2, lambda r: r.name
        return [
            Method("GetService", v2.GetServiceRequest.pb(), self.get, name),
            Method("ListServices", v2.ListServicesRequest.pb(), self.list, lambda r: r.parent),
            Method("CreateService", v2.CreateServiceRequest.pb(), self.create, _created_name, writes=True),
            Method("UpdateService", v2.UpdateServiceRequest.pb(), self.update, lambda r: r.service.name, writes=True),
            Method("DeleteService", v2.DeleteServiceRequest.pb(), self.delete, name, writes=True),
        ]

    def find(self, name: str) -> ServiceState:
        """The service of that full name. Raises RefusalError (NOT_FOUND)."""
        if name not in self.states:
            raise RefusalError(Code.NOT_FOUND, missing(name))
        return self.states[name]

    async def get(self, request: Any, call: Call) -> Any:
        """The service as it is now."""
        return self.find(request.name).message

    async def list(self, request: Any, call: Call) -> Any:
        """The services of a project and location, by name."""
        if not _PARENT.fullmatch(request.parent):
            raise invalid("ListServicesRequest.parent", "must be projects/PROJECT/locations/LOCATION")
        found = [s.message for name, s in sorted(self.states.items()) if name.startswith(f"{request.parent}/services/")]
        page, token = paged(found, request.page_size or DEFAULT_PAGE, request.page_token)
        return run_v2.ListServicesResponse.pb()(services=page, next_page_token=token)

    async def create(self, request: Any, call: Call) -> Any:
        """A new service with its first revision, on its way."""
        if not _PARENT.fullmatch(request.parent):
            raise invalid("CreateServiceRequest.parent", "must be projects/PROJECT/locations/LOCATION")
        if not LABEL.fullmatch(request.service_id) or len(request.service_id) > MAX_SERVICE_NAME:
            raise invalid(
                "CreateServiceRequest.service_id",
                f"{request.service_id!r} must begin with a letter, have small letters, digits and hyphens only, "
                f"and at most {MAX_SERVICE_NAME} characters",
            )
        name = _created_name(request)
        if name in self.states:
            raise RefusalError(Code.ALREADY_EXISTS, f"Resource '{request.service_id}' already exists.")
        sent = Service()
        sent.CopyFrom(request.service)
        return self._create(name, sent, call, validate_only=request.validate_only, where="CreateServiceRequest.service")

    def _create(self, full_name: str, sent: Any, call: Call, *, validate_only: bool, where: str) -> Any:
        name = ServiceName.parse(full_name)
        if name is None:
            raise invalid(f"{where}.name", "must be projects/PROJECT/locations/LOCATION/services/SERVICE")
        blank = Service(name=full_name, creator=call.caller)
        wanted = merged(blank, sent, [])
        settle_scaling(blank, wanted)
        check_service(where, name.service, wanted, blank)
        stamp(wanted.create_time)
        wanted.uid = new_uid()
        state = ServiceState(name, blank)
        if not validate_only:
            self.states[full_name] = state
        return self.write(state, wanted, {}, call, makes_revision=True, validate_only=validate_only)

    async def update(self, request: Any, call: Call) -> Any:
        """The masked fields of the service are replaced; what follows from it is on its way."""
        paths = mask_paths(request.update_mask.paths)
        call.write.mask = paths
        name = request.service.name
        if name not in self.states and request.allow_missing:
            return self._create(
                name, request.service, call, validate_only=request.validate_only, where="UpdateServiceRequest.service"
            )
        state = self.find(name)
        current = state.message
        self._check_etag(name, request.service.etag, current.etag)
        wanted = merged(current, request.service, paths)
        if current.scaling != wanted.scaling:
            settle_scaling(current, wanted)
        check_service("UpdateServiceRequest.service", state.name.service, wanted, current)
        has_template = not paths or any(path.partition(".")[0] == "template" for path in paths)
        kept = kept_after(state.kept, {path.partition(".")[0] for path in paths})
        makes_revision = has_template and self.is_new(state, wanted, kept)
        return self.write(state, wanted, kept, call, makes_revision=makes_revision, validate_only=request.validate_only)

    async def delete(self, request: Any, call: Call) -> Any:
        """The service and its revisions are gone; their instances finish what they have in hand."""
        state = self.find(request.name)
        self._check_etag(request.name, request.etag, state.message.etag)
        operation = self._operations.begin(state.name.parent, state.message)
        if not request.validate_only:
            del self.states[request.name]
            call.write.applied, call.write.result = True, "OK"
            self._reconciler.later(self._reconciler.retire(state))
        self._operations.succeed(operation, state.message)
        return operation

    def _check_etag(self, name: str, sent: str, current: str) -> None:
        if self._knobs.enforce_etag and sent and sent != current:
            raise RefusalError(
                Code.ABORTED,
                f"Conflict for resource '{name}': etag '{sent}' was specified but the current one is '{current}'.",
            )

    def is_new(self, state: ServiceState, wanted: Any, kept: Json) -> bool:
        """Whether the template asks for a revision that there is not yet. Raises RefusalError (ALREADY_EXISTS)."""
        name, template, rest = wanted.template.revision, with_defaults(wanted.template), template_of(kept)
        if not name:
            return bool((template, rest) != (state.message.template, template_of(state.kept)))
        existing = state.revisions.get(name)
        if existing is None:
            return True
        if (existing.template, existing.kept) != (template, rest):
            raise RefusalError(
                Code.ALREADY_EXISTS, f"Revision named '{name}' with different configuration already exists."
            )
        return False

    def write(
        self,
        state: ServiceState,
        wanted: Any,
        kept: Json,
        call: Call,
        *,
        makes_revision: bool,
        validate_only: bool = False,
    ) -> Any:
        """Take ``wanted`` as the service's desired state and begin to follow it."""
        wanted.generation += 1
        version_us = next_version_us(state.version_us)
        wanted.etag = etag_of(state.name, version_us)
        self._set_urls(state, wanted)
        wanted.last_modifier = call.caller
        stamp(wanted.update_time)
        wanted.template.CopyFrom(with_defaults(wanted.template))
        if validate_only:
            operation = self._operations.begin(state.name.parent, wanted)
            self._operations.succeed(operation, wanted)
            return operation
        new = self._new_revision(state, wanted, template_of(kept), call.caller) if makes_revision else None
        if wanted.template.revision in state.revisions:
            named = state.revisions[wanted.template.revision]
            wanted.latest_created_revision = named.message.name
            if named.is_ready:
                state.failure, wanted.latest_ready_revision = None, named.message.name
        wanted.reconciling = True
        pending = condition("Ready", "RECONCILING")
        wanted.terminal_condition.CopyFrom(pending)
        state.message, state.pending = wanted, state.pending + 1
        state.kept, state.version_us = kept, version_us
        operation = self._operations.begin(state.name.parent, wanted)
        state.operation_id = operation.name.rpartition("/")[2]
        call.write.applied = True
        call.write.traffic, call.write.annotations = plain_traffic(wanted.traffic), dict(wanted.annotations)
        snapshot = Service()
        snapshot.CopyFrom(wanted)
        self._reconciler.later(self._reconciler.reconcile(state, snapshot, new, operation, call.write, call.fault))
        # The reply is what the operation is now, whatever becomes of it while the reply is under way.
        return type(operation).FromString(operation.SerializeToString())

    def _set_urls(self, state: ServiceState, wanted: Any) -> None:
        """The service has its URL, unless it wants none."""
        del wanted.urls[:]
        wanted.uri = "" if wanted.default_uri_disabled else self._proxy.url(str(state.name))
        if wanted.uri:
            wanted.urls.append(wanted.uri)

    def _new_revision(self, state: ServiceState, wanted: Any, kept: Json, caller: str) -> RevisionState:
        name = wanted.template.revision or f"{state.name.service}-{wanted.generation:05d}-{_word()}"
        message = Revision(
            name=f"{state.name}/revisions/{name}",
            uid=new_uid(),
            generation=1,
            service=str(state.name),
            creator=caller,
            etag=etag_of(name, next_version_us(0)),
            reconciling=True,
        )
        for field in wanted.template.DESCRIPTOR.fields:
            shared = message.DESCRIPTOR.fields_by_name.get(field.name)
            if shared is None:
                continue
            value = getattr(wanted.template, field.name)
            if field.is_repeated:
                getattr(message, field.name).MergeFrom(value)
            elif field.message_type is None:
                setattr(message, field.name, value)
            elif wanted.template.HasField(field.name):
                getattr(message, field.name).CopyFrom(value)
        stamp(message.create_time)
        stamp(message.update_time)
        set_condition(message.conditions, condition("Ready", "RECONCILING"))
        template = type(wanted.template)()
        template.CopyFrom(wanted.template)
        template.revision = name
        state.revisions[name] = revision = RevisionState(message, template, kept)
        wanted.latest_created_revision = message.name
        return revision


def _created_name(request: Any) -> str:
    return f"{request.parent}/services/{request.service_id}"


def missing(full_name: str, kind: str = "SERVICE") -> str:
    """What is said of a resource that is not there."""
    name = ServiceName.parse(full_name.partition("/revisions/")[0])
    if name is None:
        return f"Resource '{full_name}' of kind '{kind}' does not exist."
    short = full_name.rpartition("/")[2]
    return (
        f"Resource '{short}' of kind '{kind}' in region '{name.location}' in project '{name.project}' does not exist."
    )


def _word() -> str:
    """Three letters, consonant vowel consonant, as gcloud ends the names it makes."""
    return random.choice(_CONSONANTS) + random.choice(_VOWELS) + random.choice(_CONSONANTS)
