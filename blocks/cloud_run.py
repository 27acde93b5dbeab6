"""Cloud Run: read a service, and write one change over exactly what was read."""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

import httpx
from pydantic import Field, HttpUrl, PrivateAttr, ValidationError

from blocks import google_api
from blocks.base import GoogleBlock, PerLoop
from blocks.clock import monotonic_s
from blocks.cloud_run_drift import drift_of
from blocks.cloud_run_rest import CloudRunRest
from blocks.cloud_run_types import revision_of
from blocks.cloud_run_v1 import OPERATION_ID, Json, own_annotations, replacement_of, snapshot_of
from blocks.google_api import calling
from blocks.google_token import GoogleToken
from blocks.http import UNREADABLE, HttpService, quoted
from blocks.signing import Signer
from playbook.errors import Conflict, Overwritten, Refused, ReleaseError, StartFailed, Transient
from playbook.lease.change import Change
from playbook.release.drift import Drift
from playbook.release.traffic import Revision, Scaling, ServiceSnapshot

if TYPE_CHECKING:
    from google.cloud import run_v2

CLIENT = "google.cloud.run_v2"

WAIT_CHUNK_S = 5.0
"""How long the server is asked to hold its answer about an operation. Then the service is read: where the traffic is
served although the operation has not ended, the release goes on."""

SERVICE_MAX_BYTES = 4 * 1024 * 1024

FAILED_PRECONDITION = 9
START_FAILED = frozenset({3, 5, 7, 8, 9, 13})
"""Codes of google.rpc with which a deployment's operation ends: invalid, no such image, image not readable, quota, the
container does not start, "Container import failed"."""
GONE = "does not exist or is deleted"
"""An unknown revision in the traffic comes back as INTERNAL (terraform-docs-samples#269)."""

PAGES_TAKE = 5
"""All pages of a list together may take so many times as long as one call."""

PAUSE_S = 0.2
PAUSE_MAX_S = 2.0


class CloudRun(GoogleBlock):
    """The Cloud Run services of one project and region.

    Services are read and written over the Admin API v1 (REST), which refuses a write under a stale resource version, as
    gcloud does it. Revisions are read over v2 (gRPC).
    """

    _block_type_name: ClassVar[str | None] = "EthixAI Cloud Run"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://cloud.google.com/run/docs/reference/rpc")

    region: str = Field(title="Region", description="Region of the services, for example us-east1.")
    read_timeout_s: float = Field(10, gt=0, title="Call timeout", description="Seconds that one call may take.")
    write_timeout_s: float = Field(
        300, gt=0, title="Write timeout", description="Seconds that a write may take until it is served."
    )
    api_url: str = Field("", title="v1 API URL", description="URL of the v1 REST API. Empty: Google's, of the region.")
    _clients: PerLoop[httpx.AsyncClient] = PrivateAttr(default_factory=PerLoop)
    _token: PerLoop[GoogleToken] = PrivateAttr(default_factory=PerLoop)
    _services: PerLoop["run_v2.ServicesAsyncClient"] = PrivateAttr(default_factory=PerLoop)
    _revisions: PerLoop["run_v2.RevisionsAsyncClient"] = PrivateAttr(default_factory=PerLoop)
    _signer: Signer = PrivateAttr(default_factory=lambda: Signer("", ()))

    def sign_with(self, signer: Signer) -> None:
        """What is written is signed by ``signer``, and what is read is checked by it."""
        self._signer = signer

    async def snapshot(self, service: str) -> ServiceSnapshot:
        """One read of ``service``. One call; the first one reads the signing key too.

        Raises: Transient (away, slow, busy), Refused (no such service, permission, unreadable traffic).
        """
        return await self._signer.checked(await self._snapshot(service), self.project, self.region)

    async def _snapshot(self, service: str) -> ServiceSnapshot:
        found = await self._rest().service(service)
        try:
            return snapshot_of(found)
        except ValidationError as error:
            raise Refused(
                f"{service}: its traffic cannot be read ({error.errors()[0]['msg']}). "
                "Give it whole percents that sum to 100 and start again."
            ) from error
        except UNREADABLE as error:
            raise Transient(f"{service}: Cloud Run's answer is not a service ({error!r}).") from error

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
        """Cloud Run would let this worker change ``service``. One call over v2; nothing is written.

        Raises: Refused (permission), Transient.
        """
        name = self._name(service)
        permission = "run.services.get and run.services.update"
        annotations = dict((await self._rest().service(service))["metadata"].get("annotations") or {})
        async with calling(CLIENT, f"Cloud Run, asked whether {name} may be changed", permission):
            await self._service_client().update_service(
                request={
                    "service": {"name": name, "annotations": own_annotations(annotations)},
                    "update_mask": {"paths": ["annotations"]},
                    "validate_only": True,
                },
                retry=None,
                timeout=self.read_timeout_s,
            )

    async def drift(self, snapshot: ServiceSnapshot, base: str, overrides: Iterable[str]) -> Drift:
        """How the template of the service differs from its revision ``base``, field by field. ``overrides`` are
        variables that a release sets anyway. One call. Raises: Transient, Refused."""
        found = await self._rest().revision(snapshot.service, base)
        try:
            return drift_of(snapshot, found, overrides)
        except UNREADABLE as error:
            raise Transient(
                f"{snapshot.service}: Cloud Run answered a template that cannot be read ({error!r}). Ask again."
            ) from error

    async def write(self, snapshot: ServiceSnapshot, change: Change) -> ServiceSnapshot:
        """Write ``change`` over exactly what was read and wait until it is served; nothing is tried twice.

        The answer is a fresh read that shows it. It may still be reconciling: what is served counts, not the end of
        the operation. At most ``write_timeout_s`` seconds.

        Raises: Conflict (the service changed since the snapshot, or the revision's name is taken: read and decide
        again), Overwritten (it was changed once more before this was seen), StartFailed (the new revision did not
        start; traffic is as it was), Transient (what became of the write is not known: read before repeating it),
        Refused (permission, unknown revision, invalid value).
        """
        ends_at, rest, service = monotonic_s() + self.write_timeout_s, self._rest(), snapshot.service
        ours = None
        if change.record is not None:
            ours = await self._signer.written(change.record, snapshot, self.project, self.region)
        base = await rest.revision(service, change.deployment.base) if change.deployment else None
        try:
            _check_drift(snapshot, change, base)
            body = replacement_of(snapshot, change, base, ours)
        except UNREADABLE as error:
            raise Transient(
                f"{service}: Cloud Run answered something that cannot be deployed from ({error!r}). Ask again."
            ) from error
        written = await rest.replace(service, body, f"to {_said(change)} of")
        found = await self._served(service, change, _operation_of(written), ends_at)
        return found.model_copy(update={"before": snapshot.etag})

    async def check_conditional_writes(self, written: ServiceSnapshot) -> None:
        """Cloud Run refuses a write under a version that is no longer the current one: the lease rests on that.

        ``written`` is what `write` answered: the same object is sent once more, under the version before. Of a mere
        read the object is first written unchanged, to have such a version. One or two calls.

        Raises: Refused (the stale write was accepted), Transient.
        """
        stale, body, rest = written.before, replacement_of(written, Change(record=None)), self._rest()
        if not stale:
            stale = written.etag
            taken = await rest.replace(written.service, body, "to take unchanged")
            if operation := _operation_of(taken):
                await self._ended(operation, WAIT_CHUNK_S)
        body = {**body, "metadata": {**body["metadata"], "resourceVersion": stale}}
        try:
            await rest.replace(written.service, body, "to refuse a stale write of")
        except Conflict:
            return
        raise Refused(
            f"{written.service}: conditional writes are not enforced here. Cloud Run accepted a write under a resource "
            "version that was no longer the current one, so two releases could overwrite each other. Nothing is "
            "released. Report this to Google Cloud support, with the project and the region."
        )

    async def _served(self, service: str, change: Change, operation: str, ends_at: float) -> ServiceSnapshot:
        """A read that shows ``change`` in effect. The operation's own word is not enough, in either direction."""
        error: ReleaseError | None = None
        pause_s, is_open = PAUSE_S, bool(operation)
        while True:
            if is_open:
                ended = await self._ended(operation, min(WAIT_CHUNK_S, max(0.0, ends_at - monotonic_s())))
                is_open = ended is not None and not ended.get("done")
                error = _failure(ended["error"], service, change) if ended and ended.get("error") else error
            found = await self.snapshot(service)
            is_last = monotonic_s() + pause_s > ends_at
            if _shows(found, change) and (is_last or not (_only_scales(change) and found.is_reconciling)):
                return found
            if not is_open and not found.is_reconciling and found.failure and error is None:
                error = _failure({"code": FAILED_PRECONDITION, "message": found.failure}, service, change)
            if error is not None and not found.is_reconciling:
                raise error
            if _was_overwritten(found, change):
                by = found.last_modifier or "an unknown account"
                raise Overwritten(f"{service}: changed by {by} right after this write. Read it again.")
            if is_last:
                raise error or Transient(
                    f"{service}: written, but not served after {self.write_timeout_s:g} s: asked for {change.split}, "
                    f"served {found.served}. Read it again."
                )
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, PAUSE_MAX_S)

    async def _ended(self, operation: str, chunk_s: float) -> Json | None:
        """The operation when it is done, or as it is after ``chunk_s`` seconds: the server holds the answer.

        None where it cannot be asked about; then the service itself tells how the write goes on.
        """
        try:
            return await self._rest().wait(operation, chunk_s)
        except Refused:
            return None
        except Transient:
            return {"done": False}

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

    def _rest(self) -> CloudRunRest:
        url = self.api_url or f"https://{self._endpoint}"
        http = HttpService(
            "Cloud Run", "cloud_run", url, "project", self.read_timeout_s, self._clients, max_bytes=SERVICE_MAX_BYTES
        )
        return CloudRunRest(http, self._token.get(GoogleToken), self.project, self.region)

    @property
    def _endpoint(self) -> str:
        return f"{self.region}-run.googleapis.com"


def _check_drift(snapshot: ServiceSnapshot, change: Change, base: Json | None) -> None:
    """The template is as the release was planned on. Raises: Refused."""
    new = change.deployment
    if new is None or base is None or new.planned is None:
        return
    now = drift_of(snapshot, base, new.environment)
    if now.lines != new.planned:
        raise Refused(
            f"{snapshot.service}: its template was changed by {snapshot.last_modifier or 'another person'} since the "
            f"release was planned: {'; '.join(now.lines) or 'it is what serves again'}. "
            "Check the change, then start a new release."
        )


def _said(change: Change) -> str:
    """What a change does, for a message."""
    if change.deployment:
        return f"deploy revision {change.deployment.revision} ({change.split})"
    if change.split:
        return f"send traffic to {change.split}"
    return f"set the scaling to {change.scaling}" if change.scaling else "write the annotations"


def _shows(found: ServiceSnapshot, change: Change) -> bool:
    """Whether a read shows the change in effect: what is observed, not only what is asked for.

    Whether the operation has ended says nothing about it.
    """
    return (
        not _was_overwritten(found, change)
        and (change.split is None or found.served == found.pinned)
        and (change.deployment is None or found.latest_ready == change.deployment.revision)
    )


def _only_scales(change: Change) -> bool:
    """Whether only instances are asked for. Traffic does not show their start; the end of reconciling does."""
    return change.scaling is not None and change.split is None


def _was_overwritten(found: ServiceSnapshot, change: Change) -> bool:
    """Whether what is asked of the service is no longer what this change asked."""
    return (
        (change.record is not None and not change.record.stands_in(found.annotations))
        or (change.split is not None and found.split != change.split)
        or (change.scaling is not None and not _is_scaled(found.scaling, change.scaling))
    )


def _is_scaled(found: Scaling, want: Scaling) -> bool:
    """Whether ``found`` is ``want``. A fixed number of instances unsets the bounds, so they are not compared then."""
    return found == want if want.manual is None else found.manual == want.manual


def _operation_of(written: Json) -> str:
    """The id of the operation that follows a write; empty where it is not named."""
    return str((written["metadata"].get("annotations") or {}).get(OPERATION_ID) or "")


def _failure(error: Json, service: str, change: Change) -> ReleaseError:
    """What the error of a finished operation means (google.rpc.Code), with Google's own words."""
    code, came = int(error.get("code") or 0), quoted(str(error.get("message") or "no reason was given."))
    asked = f"{service}: Cloud Run could not {_said(change)}: code {code}: {came}"
    if change.deployment and code in START_FAILED and not _is_of_another_revision(came, change.deployment.revision):
        return StartFailed(f"{asked} Traffic is as it was. Read the logs of {change.deployment.revision}.")
    if code in google_api.CONFLICT:
        return Conflict(f"{asked} Read it again.")
    if code in google_api.TRANSIENT and GONE not in came:
        return Transient(f"{asked} Read it again before repeating it.")
    return Refused(f"{asked} Correct what was asked.")


def _is_of_another_revision(came: str, ours: str) -> bool:
    """Whether the sentence is about a revision that is none of this deployment: one that a tag points to."""
    return GONE in came or ("Revision '" in came and f"Revision '{ours}'" not in came)
