"""Cloud Run: read a service, and write one change of it."""

import asyncio
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, HttpUrl, PrivateAttr, ValidationError

from blocks import google_api
from blocks.base import GoogleBlock, PerLoop
from blocks.clock import monotonic_s
from blocks.cloud_run_types import body_of, mask_of, revision_of, snapshot_of
from blocks.google_api import calling
from playbook.errors import Conflict, Refused, ReleaseError, StartFailed, Transient
from playbook.lease.change import Change
from playbook.release.traffic import Revision, Scaling, ServiceSnapshot

if TYPE_CHECKING:
    from google.cloud import run_v2
    from google.longrunning.operations_pb2 import Operation

CLIENT = "google.cloud.run_v2"

WAIT_CHUNK_S = 30.0
"""How long one WaitOperation asks the server to hold its answer; gcloud uses the same."""

WRITE_PERMISSIONS = "run.services.update, and iam.serviceAccounts.actAs on the service's own account,"

PAGES_TAKE = 5
"""All pages of a list together may take so many times as long as one call."""

PAUSE_S = 0.2
PAUSE_MAX_S = 2.0


class CloudRun(GoogleBlock):
    """The Cloud Run services of one project and region, through the Admin API v2 (gRPC)."""

    _block_type_name: ClassVar[str | None] = "EthixAI Cloud Run"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://cloud.google.com/run/docs/reference/rpc")

    region: str = Field(title="Region", description="Region of the services, for example us-east1.")
    read_timeout_s: float = Field(10, gt=0, title="Call timeout", description="Seconds that one call may take.")
    write_timeout_s: float = Field(
        300, gt=0, title="Write timeout", description="Seconds that a write may take until it is served."
    )
    _services: PerLoop["run_v2.ServicesAsyncClient"] = PrivateAttr(default_factory=PerLoop)
    _revisions: PerLoop["run_v2.RevisionsAsyncClient"] = PrivateAttr(default_factory=PerLoop)

    async def snapshot(self, service: str) -> ServiceSnapshot:
        """One read of ``service``. One call.

        Raises: Transient (away, slow, busy), Refused (no such service, permission, unreadable traffic).
        """
        name = self._name(service)
        async with calling(CLIENT, f"Cloud Run, asked for service {name}", "run.services.get"):
            found = await self._service_client().get_service(name=name, retry=None, timeout=self.read_timeout_s)
            try:
                return snapshot_of(found)
            except ValidationError as error:
                raise Refused(
                    f"{service}: its traffic cannot be read ({error.errors()[0]['msg']}). "
                    "Give it whole percents that sum to 100 and start again."
                ) from error

    async def revision(self, service: str, name: str) -> Revision:
        """One revision of ``service``. One call. Raises: Transient, Refused (no such revision, permission)."""
        return revision_of(await self._revision(service, name))

    async def revisions(self, service: str) -> tuple[Revision, ...]:
        """Every revision of ``service``, newest first. One call for each 100. Raises: Transient, Refused."""
        parent = self._name(service)
        asked, within_s = f"Cloud Run, asked for the revisions of {parent}", PAGES_TAKE * self.read_timeout_s
        async with calling(CLIENT, asked, "run.revisions.list", within_s=within_s):
            pages = await self._revision_client().list_revisions(
                request={"parent": parent, "page_size": 100}, retry=None, timeout=self.read_timeout_s
            )
            found = [revision_of(revision) async for revision in pages]
        return tuple(sorted(found, key=lambda revision: -revision.created_at_s))

    async def can_write(self, service: str) -> None:
        """Cloud Run would let this worker change ``service``. Two calls; nothing is written.

        Raises: Refused (permission), Transient (also where it changed between the two calls).
        """
        name = self._name(service)
        permission = "run.services.get and run.services.update"
        async with calling(CLIENT, f"Cloud Run, asked whether {name} may be changed", permission):
            found = await self._service_client().get_service(name=name, retry=None, timeout=self.read_timeout_s)
            await self._service_client().update_service(
                request={
                    "service": {"name": name, "etag": found.etag, "annotations": dict(found.annotations)},
                    "update_mask": {"paths": ["annotations"]},
                    "validate_only": True,
                },
                retry=None,
                timeout=self.read_timeout_s,
            )

    async def write(self, snapshot: ServiceSnapshot, change: Change) -> ServiceSnapshot:
        """Write ``change`` in one update under the etag of ``snapshot`` and wait until it is served.

        The answer is a fresh read that shows it. At most ``write_timeout_s`` seconds; nothing is tried twice.

        Raises: Conflict (the service changed since the snapshot, or the revision's name is taken: read and decide
        again), StartFailed (the new revision did not start; traffic is as it was), Transient (what became of the write
        is not known: read before repeating it), Refused (permission, unknown revision, invalid value).
        """
        name = self._name(snapshot.service)
        ends_at = monotonic_s() + self.write_timeout_s
        base = await self._revision(snapshot.service, change.deployment.base) if change.deployment else None
        body = body_of(name, snapshot, change, base)
        async with calling(CLIENT, f"Cloud Run, asked to {_said(change)} of {name}", WRITE_PERMISSIONS, is_write=True):
            started = await self._service_client().update_service(
                request={"service": body, "update_mask": {"paths": mask_of(change)}},
                retry=None,
                timeout=self.read_timeout_s,
            )
            operation = await self._finished(started.operation, ends_at)
        error = _failure(operation, snapshot.service, change) if operation.HasField("error") else None
        return await self._served(snapshot.service, change, error, ends_at)

    async def _finished(self, operation: "Operation", ends_at: float) -> "Operation":
        """The operation once it is done. Raises TimeoutError at ``ends_at`` (monotonic seconds)."""
        from google.api_core.exceptions import MethodNotImplemented

        look = self._wait
        while not operation.done:
            left_s = ends_at - monotonic_s()
            if left_s <= 0:
                raise TimeoutError(f"operation {operation.name} was not done after {self.write_timeout_s:g} s")
            try:
                operation = await look(operation.name, min(WAIT_CHUNK_S, left_s))
            except MethodNotImplemented:
                look = self._get
        return operation

    async def _wait(self, operation: str, chunk_s: float) -> "Operation":
        """The operation as it is when done, or after ``chunk_s`` seconds. One call: the server holds the answer."""
        from google.longrunning import operations_pb2

        request = operations_pb2.WaitOperationRequest(name=operation)
        request.timeout.FromMilliseconds(int(chunk_s * 1000))
        timeout_s = chunk_s + self.read_timeout_s
        answer = await self._service_client().wait_operation(request, retry=None, timeout=timeout_s)
        # Over gRPC this method has no deserializer and answers bytes (google-cloud-run 0.16.2).
        found = operations_pb2.Operation.FromString(answer) if isinstance(answer, bytes) else answer
        # A server that answers early is not asked again at once.
        await asyncio.sleep(0 if found.done else PAUSE_S)
        return found

    async def _get(self, operation: str, chunk_s: float) -> "Operation":
        """The operation as it is after a pause: for an endpoint that cannot wait."""
        from google.longrunning import operations_pb2

        await asyncio.sleep(min(PAUSE_S, chunk_s))
        request = operations_pb2.GetOperationRequest(name=operation)
        return await self._service_client().get_operation(request, retry=None, timeout=self.read_timeout_s)

    async def _served(
        self, service: str, change: Change, error: ReleaseError | None, ends_at: float
    ) -> ServiceSnapshot:
        """A read that shows ``change`` in effect. The operation's own word is not enough, in either direction."""
        pause_s = PAUSE_S
        while True:
            found = await self.snapshot(service)
            if not found.is_reconciling:
                if _shows(found, change):
                    return found
                if error is not None:
                    raise error
                if _was_overwritten(found, change):
                    by = found.last_modifier or "somebody"
                    raise Conflict(f"{service}: changed by {by} right after this write. Read it again.")
            if monotonic_s() + pause_s > ends_at:
                raise Transient(
                    f"{service}: written, but not served after {self.write_timeout_s:g} s: asked for {change.split}, "
                    f"served {found.served}. Read it again."
                )
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, PAUSE_MAX_S)

    async def _revision(self, service: str, name: str) -> "run_v2.Revision":
        full = f"{self._name(service)}/revisions/{name}"
        async with calling(CLIENT, f"Cloud Run, asked for revision {full}", "run.revisions.get"):
            found = await self._revision_client().get_revision(name=full, retry=None, timeout=self.read_timeout_s)
            if found is None:
                raise ValueError("the answer is not a revision")
            return found

    def _name(self, service: str) -> str:
        return f"projects/{self.project}/locations/{self.region}/services/{service}"

    def _service_client(self) -> "run_v2.ServicesAsyncClient":
        from google.cloud import run_v2

        return self._services.get(lambda: self._make(run_v2.ServicesAsyncClient, self._endpoint))

    def _revision_client(self) -> "run_v2.RevisionsAsyncClient":
        from google.cloud import run_v2

        return self._revisions.get(lambda: self._make(run_v2.RevisionsAsyncClient, self._endpoint))

    @property
    def _endpoint(self) -> str:
        return f"{self.region}-run.googleapis.com"


def _said(change: Change) -> str:
    """What a change does, for a message."""
    if change.deployment:
        return f"deploy revision {change.deployment.revision} ({change.split})"
    if change.split:
        return f"send traffic to {change.split}"
    return f"set the scaling to {change.scaling}" if change.scaling else "write the annotations"


def _shows(found: ServiceSnapshot, change: Change) -> bool:
    """Whether a read shows the change in effect: what is observed, not only what is asked for."""
    return (
        not _was_overwritten(found, change)
        and (change.split is None or found.served == found.pinned)
        and (change.deployment is None or found.latest_ready == change.deployment.revision)
    )


def _was_overwritten(found: ServiceSnapshot, change: Change) -> bool:
    """Whether what is asked of the service is no longer what this change asked."""
    return (
        found.annotations != change.record.beside(found.annotations)
        or (change.split is not None and found.split != change.split)
        or (change.scaling is not None and not _is_scaled(found.scaling, change.scaling))
    )


def _is_scaled(found: Scaling, want: Scaling) -> bool:
    """Whether ``found`` is ``want``. A fixed number of instances unsets the bounds, so they are not compared then."""
    return found == want if want.manual is None else found.manual == want.manual


def _failure(operation: "Operation", service: str, change: Change) -> ReleaseError:
    """What a finished operation's error means (google.rpc.Code)."""
    code, came = operation.error.code, operation.error.message
    asked = f"{service}: Cloud Run could not {_said(change)}: code {code}: {came}"
    if change.deployment and code in google_api.START_FAILED:
        return StartFailed(f"{asked} Traffic is as it was. Read the logs of {change.deployment.revision}.")
    if code in google_api.CONFLICT:
        return Conflict(f"{asked} Read it again.")
    # An unknown revision in the traffic comes back as INTERNAL (terraform-docs-samples#269).
    if code in google_api.TRANSIENT and "does not exist or is deleted" not in came:
        return Transient(f"{asked} Read it again before repeating it.")
    return Refused(f"{asked} Correct what was asked.")
