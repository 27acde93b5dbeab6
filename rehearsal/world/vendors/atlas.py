"""Atlas: the backups and restores of the Admin API v2, with digest authentication and the versioned media type."""

import datetime
import hashlib
import re
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from rehearsal.world.vendors.vendor import Json, Refused, Said, Vendor, json_object, stamp

GROUP = "32b6e34b3d91647abb20e7b8"
CLUSTER, RESTORE_CLUSTER = "ethixai-production", "ethixai-production-restore"
PUBLIC_KEY, PRIVATE_KEY = "rehearsal", "rehearsal-token"
MEDIA = re.compile(r"application/vnd\.atlas\.(\d{4}-\d{2}-\d{2})\+json")
REALM = "MMS Public API"
RESTORE_S = 1.0
"""How long a restore takes here; at Atlas minutes to hours."""
PREFIX = "/api/atlas/v2/groups/{group}/clusters/{cluster}/backup"
CODES = {
    400: "INVALID_ATTRIBUTE",
    401: "NOT_ORG_GROUP_CREATOR",
    404: "RESOURCE_NOT_FOUND",
    406: "INVALID_VERSION_DATE",
    409: "CONFLICT",
    500: "UNEXPECTED_ERROR",
    501: "NOT_TAUGHT",
}
Snapshot = dict[str, dict[str, list[dict[str, Any]]]]


class Atlas(Vendor):
    """One project with two clusters. ``restore`` puts the documents of a snapshot into the second one."""

    name = "atlas"

    def __init__(self, said: Said, restore: Callable[[Snapshot], None] = lambda snapshot: None) -> None:
        self._restore = restore
        self.forget()
        super().__init__(said)

    def forget(self) -> None:
        """No snapshots, no restores."""
        self._snapshots: dict[str, tuple[Json, Snapshot]] = {}
        self._jobs: dict[str, Json] = {}
        self._fails = ""

    def keep_snapshot(self, documents: Snapshot, at_s: float) -> str:
        """Create a completed snapshot of ``documents``, dated ``at_s`` (unix seconds). Returns its id."""
        identity = secrets.token_hex(12)
        shown = {
            "id": identity,
            "createdAt": stamp(at_s),
            "expiresAt": stamp(at_s + 7 * 86_400),
            "mongodVersion": "7.0.0",
            "snapshotType": "scheduled",
            "status": "completed",
            "type": "replicaSet",
        }
        self._snapshots[identity] = (shown, documents)
        return identity

    def restores_fail(self, word: str) -> None:
        """Restores that are started from now on end ``failed``, ``cancelled`` or ``expired``; '' lets them succeed."""
        if word not in ("", "failed", "cancelled", "expired"):
            raise ValueError(f"a restore does not end {word!r}")
        self._fails = word

    def routes(self) -> Sequence[BaseRoute]:
        """Snapshots and restore jobs."""
        return [
            Route(f"{PREFIX}/snapshots", self._list_snapshots, methods=["GET"]),
            Route(f"{PREFIX}/snapshots/{{id}}", self._get_snapshot, methods=["GET"]),
            Route(f"{PREFIX}/restoreJobs", self._list_jobs, methods=["GET"]),
            Route(f"{PREFIX}/restoreJobs", self._create_job, methods=["POST"]),
            Route(f"{PREFIX}/restoreJobs/{{id}}", self._get_job, methods=["GET"]),
        ]

    def error(self, status: int, message: str) -> Json:
        """An error in Atlas's format."""
        return {
            "detail": message or "Atlas says no more.",
            "error": status,
            "errorCode": CODES.get(status, "UNEXPECTED_ERROR"),
            "parameters": [],
            "reason": "Unexpected" if status >= 500 else "Client Error",
        }

    async def _list_snapshots(self, request: Request) -> Response:
        self._check(request)
        return self._answer(request, _page(request, [shown for shown, _ in self._snapshots.values()]))

    async def _get_snapshot(self, request: Request) -> Response:
        self._check(request)
        found = self._snapshots.get(request.path_params["id"])
        if found is None:
            raise Refused(404, self.error(404, f"No snapshot with ID {request.path_params['id']} exists."))
        return self._answer(request, found[0])

    async def _list_jobs(self, request: Request) -> Response:
        self._check(request)
        return self._answer(request, _page(request, [self._progressed(job) for job in self._jobs.values()]))

    async def _get_job(self, request: Request) -> Response:
        self._check(request)
        job = self._jobs.get(request.path_params["id"])
        if job is None:
            raise Refused(404, self.error(404, f"No restore job with ID {request.path_params['id']} exists."))
        return self._answer(request, self._progressed(job))

    async def _create_job(self, request: Request) -> Response:
        self._check(request)
        body = await json_object(request, Refused(400, self.error(400, "The body is not JSON.")))
        if body.get("deliveryType") != "automated":
            raise Refused(501, self.error(501, "not taught: a delivery that is not automated"))
        if body.get("snapshotId") not in self._snapshots:
            raise Refused(404, self.error(404, f"No snapshot with ID {body.get('snapshotId')} exists."))
        if body.get("targetClusterName") != RESTORE_CLUSTER or body.get("targetGroupId") != GROUP:
            raise Refused(404, self.error(404, f"No cluster named {body.get('targetClusterName')} exists."))
        identity = secrets.token_hex(12)
        self._jobs[identity] = {
            "id": identity,
            "cancelled": False,
            "expired": False,
            "failed": False,
            "deliveryType": "automated",
            "snapshotId": body["snapshotId"],
            "targetClusterName": RESTORE_CLUSTER,
            "targetGroupId": GROUP,
            "timestamp": self._snapshots[body["snapshotId"]][0]["createdAt"],
            "_began": time.time(),
            "_ends": self._fails,
        }
        self._restore({})  # all data on the target is removed first
        self.keep(request, body)
        return self._answer(request, _shown(self._jobs[identity]))

    def _progressed(self, job: Json) -> Json:
        """The job as it stands by now; the documents are there before it says so."""
        is_over = bool(job.get("finishedAt")) or bool(job["_ends"] and job[job["_ends"]])
        if not is_over and time.time() - job["_began"] >= RESTORE_S:
            if job["_ends"]:
                job[job["_ends"]] = True
            else:
                self._restore(self._snapshots[job["snapshotId"]][1])
                job["finishedAt"] = stamp()
        return _shown(job)

    def _answer(self, request: Request, body: Json) -> Response:
        return JSONResponse(body, media_type=request.headers["accept"])

    def _check(self, request: Request) -> None:
        """Raises Refused: without the right digest, without a version, for another project or cluster."""
        if not _is_signed(request):
            nonce = secrets.token_hex(16)
            challenge = f'Digest realm="{REALM}", domain="", nonce="{nonce}", algorithm=MD5, qop="auth", stale=false'
            words = "You are not authorized for this resource."
            raise Refused(401, self.error(401, words), {"WWW-Authenticate": challenge})
        version = MEDIA.fullmatch(request.headers.get("accept", ""))
        if version is None or not _is_date(version[1]):
            raise Refused(406, self.error(406, "The Accept header names no version of the API."))
        if request.path_params["group"] != GROUP or request.path_params["cluster"] != CLUSTER:
            raise Refused(404, self.error(404, f"No cluster named {request.path_params['cluster']} exists."))


def _is_signed(request: Request) -> bool:
    """Whether the digest (RFC 7616, MD5, qop auth) is the one of the key pair."""
    given = dict(re.findall(r'(\w+)="?([^",]*)"?', request.headers.get("authorization", "")))
    if given.get("username") != PUBLIC_KEY or given.get("realm") != REALM or given.get("qop") != "auth":
        return False
    first = _md5(f"{PUBLIC_KEY}:{REALM}:{PRIVATE_KEY}")
    second = _md5(f"{request.method}:{given.get('uri', '')}")
    middle = f"{given.get('nonce')}:{given.get('nc')}:{given.get('cnonce')}:auth"
    return given.get("response") == _md5(f"{first}:{middle}:{second}")


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _is_date(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _shown(job: Json) -> Json:
    return {name: value for name, value in job.items() if not name.startswith("_")}


def _page(request: Request, found: list[Json]) -> Json:
    """The page that is asked for: 100 entries, 500 at most; an empty one beyond the last."""
    number, size = int(request.query_params.get("pageNum", "1")), int(request.query_params.get("itemsPerPage", "100"))
    if number < 1 or not 1 <= size <= 500:
        words = {"detail": f"no page {number} of {size}", "error": 400, "errorCode": CODES[400], "parameters": []}
        raise Refused(400, words)
    return {"results": found[(number - 1) * size : number * size], "totalCount": len(found), "links": []}
