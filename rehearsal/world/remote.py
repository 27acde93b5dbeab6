"""A world in another process, as async methods, for tests and scenarios."""

import asyncio
import atexit
import contextlib
import functools
import json
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import httpx

from rehearsal.world.identity import RELEASER
from rehearsal.world.loopback import reach_directly

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20
CALL_TIMEOUT_S = 60
LOOK_S = 30.0
"""How long one request may wait for its answer."""


class WorldError(Exception):
    """The world refused a request, or did not start."""


@functools.cache
def shared_authority() -> Path:
    """A folder for one certificate authority of all worlds this process starts: gRPC reads its roots only once."""
    folder = Path(tempfile.mkdtemp(prefix="rehearsal-authority-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class RemoteWorld:
    """``async with RemoteWorld.start(folder, small=True) as world``: the world's control API.

    Methods that take a service and a project want its short name, the others its full one (`find` has it).
    """

    def __init__(self, addresses: Mapping[str, Any], http: httpx.AsyncClient) -> None:
        self.addresses = addresses
        self._http = http

    @classmethod
    @contextlib.asynccontextmanager
    async def start(
        cls,
        folder: Path,
        *,
        small: bool = False,
        services: int = 3,
        projects: Sequence[str] = ("ethixai-production", "ethixai-staging"),
        balance: str = "random",
        authority: Path | None = None,
    ) -> AsyncIterator[Self]:
        """A world runs in its own process within the block, with so many services in each project.

        Its log is ``folder/world.log``.
        """
        reach_directly()
        folder.mkdir(parents=True, exist_ok=True)  # once, before anything runs
        command = [sys.executable, "-m", "rehearsal.world", "--folder", str(folder), "--follow-stdin"]
        command += ["--authority", str(authority or shared_authority()), "--balance", balance]
        command += ["--small"] if small else ["--services", str(services), "--projects", *projects]
        with (folder / "world.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for this process alone: the world ends last
            )
        try:
            addresses = await _first_line(process, folder)
            async with httpx.AsyncClient(
                base_url=addresses["control"], timeout=CALL_TIMEOUT_S, trust_env=False
            ) as http:
                yield cls(addresses, http)
        finally:
            await _end(process)

    @property
    def client_environ(self) -> dict[str, str]:
        """What Google's clients need in their environment to talk to this world."""
        return dict(self.addresses["environ"])

    @property
    def grpc_endpoint(self) -> str:
        """``api_endpoint`` of Google's clients."""
        return str(self.addresses["grpc"])

    @property
    def rest_url(self) -> str:
        """Where Google's REST is answered in plain text: Cloud Run v1, Logging v2, and ``/token``."""
        return str(self.addresses["rest"])

    @property
    def gcloud_environ(self) -> dict[str, str]:
        """What gcloud needs in its environment to work on this world's production."""
        return dict(self.addresses["gcloud"])

    @property
    def prometheus_url(self) -> str:
        """Where Prometheus answers."""
        return str(self.addresses["prometheus"])

    @property
    def vendors_url(self) -> str:
        """Where the vendor stand-ins are: ``/slack/api``, ``/pagerduty``, ``/sentry``, ``/github``, ``/registry``."""
        return str(self.addresses["vendors"])

    @property
    def mongodb_uri(self) -> str:
        """Where the services' MongoDB is."""
        return str(self.addresses["mongodb"])

    @property
    def restored_uri(self) -> str:
        """Where the cluster is that backups are restored to."""
        return str(self.addresses["restored"])

    def find(self, service: str, project: str = "ethixai-production") -> str:
        """The full name of a service of a project. Raises WorldError."""
        for name in self.addresses["services"]:
            if name.startswith(f"projects/{project}/") and name.endswith(f"/services/{service}"):
                return str(name)
        raise WorldError(f"the world began without a service {service} in {project}")

    def url(self, service: str, project: str = "ethixai-production") -> str:
        """The URL of a service."""
        return str(self.addresses["services"][self.find(service, project)])

    async def state(self) -> list[dict[str, Any]]:
        """Every service: name, project, service, url, annotations, traffic (wanted), served, tags, revisions, …"""
        return list(await self._ask("state"))

    async def service(self, service: str, project: str = "ethixai-production") -> dict[str, Any]:
        """One service of `state`."""
        name = self.find(service, project)
        return next(state for state in await self.state() if state["name"] == name)

    async def served(self, project: str = "ethixai-production") -> dict[str, dict[str, int]]:
        """``{service: {revision: percent}}`` of what is served, without the revisions that get nothing."""
        found: dict[str, dict[str, int]] = {}
        for state in await self.state():
            if state["project"] == project:
                shares = found.setdefault(state["service"], {})
                for target in state["served"]:
                    if target["percent"]:
                        shares[target["revision"]] = shares.get(target["revision"], 0) + target["percent"]
        return found

    async def writes(self, since: int = 0) -> list[dict[str, Any]]:
        """The writes after a sequence number: method, resource, caller, mask, traffic, annotations, code, …"""
        return list(await self._ask("writes", since=since))

    async def vendor_calls(self, vendor: str = "") -> list[dict[str, Any]]:
        """The accepted calls to vendors (or one) that changed something: seq, at, vendor, method, path, body."""
        return [entry for entry in await self._ask("vendor_calls") if vendor in ("", entry["vendor"])]

    async def reset(self) -> None:
        """Return to the initial state."""
        await self._ask("reset")

    async def publish(self, repository: str, tag: str, env: Mapping[str, str] | None = None) -> str:
        """Publish an image in the registry. Returns its digest."""
        return str(await self._ask("publish", repository=repository, tag=tag, env=dict(env or {})))

    async def fault(self, method: str, code: str = "", **order: Any) -> None:
        """Order a fault of a gRPC method: see `rehearsal.world.faults.Fault`."""
        await self._ask("order_fault", method=method, code=code, **order)

    async def clear_faults(self) -> None:
        """Cancel all faults of gRPC methods."""
        await self._ask("clear_faults")

    async def vendor_fault(self, vendor: str, **order: Any) -> None:
        """Order a fault of a vendor: see `rehearsal.world.vendors.vendor.Fault`."""
        await self._ask("order_vendor_fault", vendor=vendor, **order)

    async def fault_met(self, timeout_s: float) -> bool:
        """Whether a call has met the newest fault: it hangs, or it was answered. Waits at most ``timeout_s``."""
        ends_s = time.monotonic() + timeout_s
        while not await self._ask("fault_met", timeout_s=max(0.0, min(LOOK_S, ends_s - time.monotonic()))):
            if time.monotonic() >= ends_s:
                return False
        return True

    async def clear_vendor_faults(self) -> None:
        """Cancel all faults of vendors."""
        await self._ask("clear_vendor_faults")

    async def github_checked(self, commit: str, conclusions: Mapping[str, str]) -> None:
        """Set the CI checks of a commit: conclusions by the name of the check."""
        await self._ask("github_checked", commit=commit, conclusions=dict(conclusions))

    async def github_release(self, tag: str, notes: str, *, draft: bool = False) -> None:
        """Create a release with these notes in GitHub."""
        await self._ask("github_release", tag=tag, notes=notes, draft=draft)

    async def on_call(self, *shifts: tuple[str, int, float | None, float | None]) -> None:
        """Who is on call: name, escalation level, from and until (unix seconds; None: without an end)."""
        await self._ask("on_call", shifts=shifts)

    async def prometheus_away(self) -> None:
        """Stop Prometheus: it neither answers nor scrapes."""
        await self._ask("prometheus_away")

    async def prometheus_back(self) -> None:
        """Start Prometheus again."""
        await self._ask("prometheus_back")

    async def dependency(self, *, is_down: bool) -> None:
        """Take the dependency that all revisions share down (a fifth of all user requests fails), or bring it back."""
        await self._ask("dependency", is_down=is_down)

    async def mongodb_fault(self, command: str, **order: Any) -> None:
        """Order MongoDB to break the connection at ``command``: see `rehearsal.world.mongodb.Fault`."""
        await self._ask("mongodb_fault", command=command, **order)

    async def mongodb_away(self) -> None:
        """Stop MongoDB. Its documents are lost."""
        await self._ask("mongodb_away")

    async def mongodb_back(self) -> None:
        """Start MongoDB again, without faults."""
        await self._ask("mongodb_back")

    async def atlas_snapshot(self, at_s: float) -> str:
        """Create an Atlas snapshot of MongoDB's documents, dated ``at_s`` (unix seconds). Returns its id."""
        return str(await self._ask("atlas_snapshot", at_s=at_s))

    async def atlas_restores_fail(self, word: str = "failed") -> None:
        """Let Atlas restores end as ``failed``, ``cancelled`` or ``expired``; '' lets them succeed."""
        await self._ask("atlas_restores_fail", word=word)

    async def out_of_band(
        self,
        service: str,
        traffic: Sequence[Mapping[str, Any]] | None = None,
        annotations: Mapping[str, str] | None = None,
        email: str = "",
        deploy: Mapping[str, str] | None = None,
        *,
        may_fail: bool = False,
    ) -> None:
        """Change a service (full name) out of band, and wait until the change is served, or has failed if it may.

        Traffic is ``[{revision, percent, tag}]``; ``deploy`` is ``{revision, image}``, of the service's own template.
        """
        await self._ask(
            "out_of_band",
            service=service,
            traffic=traffic,
            annotations=annotations,
            email=email,
            deploy=deploy,
            may_fail=may_fail,
        )

    async def front(self, service: str, **how: bool) -> None:
        """How a service (full name) is reached from outside: ``is_private``, ``is_internal``, ``is_url_disabled``.

        Private: 403 without an ID token for the service's URL. Internal, or without its default URL: 404.
        """
        await self._ask("front", service=service, **how)

    async def id_token(self, audience: str, email: str = RELEASER) -> str:
        """An ID token for ``audience``."""
        return str(await self._ask("id_token", email=email, audience=audience))

    async def access_token(self, email: str = RELEASER) -> str:
        """An access token, for Google's REST."""
        return str(await self._ask("access_token", email=email))

    async def deny(self, email: str, method: str = "", resource: str = "*") -> None:
        """Calls of ``email`` to methods that begin with ``method``, on ``resource``, get PERMISSION_DENIED.

        ``email`` and ``resource`` are patterns. A permission such as ``run.services.update`` in place of a method
        takes v1 and v2 alike.
        """
        await self._ask("deny", email=email, method=method, resource=resource)

    async def allow(self) -> None:
        """Cancel all denials."""
        await self._ask("allow")

    async def key_file(self, email: str) -> Path:
        """The service-account file of an identity."""
        return Path(await self._ask("key_file", email=email))

    async def put_secret(self, project: str, secret: str, value: str, **options: Any) -> str:
        """Add a version of a secret (options: expires_at, state). Returns its full name."""
        return str(await self._ask("put_secret", project=project, secret=secret, value=value, **options))

    async def turn(self, **knobs: Any) -> dict[str, Any]:
        """Set knobs (`rehearsal.world.cloud_run.state.Knobs`, ``ingestion_delay_s``, ``request_count_delay_s``).

        Returns all of them.
        """
        return dict(await self._ask("turn", **knobs))

    async def _ask(self, name: str, **body: Any) -> Any:
        answer = await self._http.post(f"/{name}", json=body)
        if answer.is_error:
            raise WorldError(f"{name}: {answer.text}")
        return answer.json()


async def _first_line(process: asyncio.subprocess.Process, folder: Path) -> dict[str, Any]:
    assert process.stdout
    line = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
    if not line:
        said = (folder / "world.log").read_text(errors="replace").strip().splitlines()[-5:]
        raise WorldError("the world did not start: " + " / ".join(said))
    return dict(json.loads(line))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Wait until the world has ended; after a while, kill it and its children."""
    if process.stdin:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
