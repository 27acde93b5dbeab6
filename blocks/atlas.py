"""Atlas: backups of the database's cluster, and restoring one to a cluster of its own."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar, Self, TypeVar

import httpx
from pydantic import Field, HttpUrl, model_validator

from blocks.http import HttpBlock, HttpService
from blocks.secret_reference import SecretReference
from playbook.errors import Refused
from playbook.migration.plan import Backup, RestoreJob

Parsed = TypeVar("Parsed")

MEDIA_TYPE = "application/vnd.atlas.2023-01-01+json"
PAGE = 100
PAGES_MAX = 50
"""As many as hold every snapshot that a policy keeps; a server that never comes to an end is not followed further."""
SAME_CLUSTER = "the restore cluster must not be the one that users are on: a restore removes everything there first"


class Atlas(HttpBlock):
    """The Atlas Admin API v2 of one project, with an API key of the role Project Backup Manager."""

    _block_type_name: ClassVar[str | None] = "EthixAI Atlas"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl(
        "https://www.mongodb.com/docs/atlas/reference/api-resources-spec/v2/"
    )

    public_key: str = Field(title="Public key", description="Public part of the API key.")
    private_key: SecretReference = Field(title="Private key", description="Where the private part of the API key is.")
    group: str = Field(title="Project", description="Id of the Atlas project (24 hexadecimal digits).")
    cluster: str = Field(title="Cluster", description="The cluster whose backups are used.")
    restore_cluster: str = Field(
        title="Restore cluster",
        description="A separate cluster that backups are restored to. All its data is removed first.",
    )
    restore_uri: SecretReference | None = Field(
        None,
        title="Restore connection string",
        description="Where that of the restore cluster is. Without it nothing is verified.",
    )
    restore_wait_s: float = Field(3600, gt=0, title="Restore wait", description="Seconds that a restore may take.")
    poll_interval_s: float = Field(10, gt=0, title="Poll interval", description="Seconds between two looks at it.")
    api_url: str = Field("https://cloud.mongodb.com", title="API URL", description="Where the Admin API is.")

    @model_validator(mode="after")
    def _restores_elsewhere(self) -> Self:
        if self.restore_cluster == self.cluster:
            raise ValueError(SAME_CLUSTER)
        return self

    async def backups(self) -> tuple[Backup, ...]:
        """Every completed snapshot of the cluster. One call for each hundred. Raises: Transient, Refused."""
        path = f"{self._clusters}/{self.cluster}/backup/snapshots"
        found = await self._every(path, f"for the snapshots of {self.cluster}", _backup)
        return tuple(one for one in found if one)

    async def restore(self, backup: str, since_s: float) -> str:
        """A restore of ``backup`` to the restore cluster is under way, or has ended well since ``since_s`` (unix
        seconds). Its id.

        One that is there already is taken for this one: a reply may have been lost, or the process that started it. Two
        calls, or one more for each further hundred of restores.
        Raises: Transient, Refused (no such snapshot, no such cluster, the role), Conflict.
        """
        path = f"{self._clusters}/{self.cluster}/backup/restoreJobs"
        asked = f"to restore {backup} to {self.restore_cluster}"
        for snapshot, cluster, job in await self._every(path, f"for the restores of {self.cluster}", _restore):
            if (snapshot, cluster) == (backup, self.restore_cluster) and job.serves_since(since_s):
                return job.id
        wanted = {
            "deliveryType": "automated",
            "snapshotId": backup,
            "targetClusterName": self.restore_cluster,
            "targetGroupId": self.group,
        }
        return (await self._call("POST", path, asked, _job, json=wanted)).id

    async def restore_job(self, job: str) -> RestoreJob:
        """How a restore stands. One call. Raises: Transient, Refused."""
        path = f"{self._clusters}/{self.cluster}/backup/restoreJobs/{job}"
        return await self._call("GET", path, f"for restore {job}", _job)

    @property
    def _clusters(self) -> str:
        return f"/api/atlas/v2/groups/{self.group}/clusters"

    async def _every(self, path: str, asked: str, parse: Callable[[Any], Parsed]) -> list[Parsed]:
        """What ``parse`` makes of each result, of all pages. Raises: Transient, Refused (there are too many)."""

        def results(answer: Any) -> list[Parsed]:
            return [parse(one) for one in answer["results"]]

        found: list[Parsed] = []
        for page in range(1, PAGES_MAX + 1):
            params = {"itemsPerPage": PAGE, "pageNum": page}
            more = await self._call("GET", path, asked, results, params=params)
            found += more
            if len(more) < PAGE:
                return found
        raise Refused(f"Atlas, asked {asked}, has more than {PAGE * PAGES_MAX:,}. Delete the oldest.")

    async def _call(self, method: str, path: str, asked: str, parse: Callable[[Any], Parsed], **request: Any) -> Parsed:
        # A fresh one for each call: it keeps the server's nonce, and calls may run side by side.
        auth = httpx.DigestAuth(self.public_key, (await self.private_key.read()).get_secret_value())
        service = HttpService(
            "Atlas", "atlas", self.api_url, "private_key", self.timeout_s, self._clients, {"Accept": MEDIA_TYPE}
        )
        return await service.json(method, path, asked, parse, auth=auth, **request)


def _backup(found: dict[str, Any]) -> Backup | None:
    if found.get("status", "completed") != "completed":
        return None
    return Backup(id=str(found["id"]), at_s=_unix(found["createdAt"]))


def _restore(found: dict[str, Any]) -> tuple[str, str, RestoreJob]:
    """The snapshot that is restored, where to, and how that stands."""
    return str(found["snapshotId"]), str(found["targetClusterName"]), _job(found)


def _job(found: dict[str, Any]) -> RestoreJob:
    ended = [word for word in ("failed", "cancelled", "expired") if found.get(word)]
    problem = f"Atlas says that restore {found['id']} is {ended[0]}" if ended else ""
    ended_at_s = _unix(found["finishedAt"]) if found.get("finishedAt") and not problem else None
    is_over = bool(problem) or ended_at_s is not None
    return RestoreJob(id=str(found["id"]), is_over=is_over, problem=problem, ended_at_s=ended_at_s)


def _unix(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
