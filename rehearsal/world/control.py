"""The world's control API over HTTP: scenarios and tests in other processes read its state and inject faults.

Bad input is answered 400 with ``{"error": …}``. Nothing here imitates Google.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from rehearsal.world.faults import Fault
from rehearsal.world.mongodb import Fault as BrokenConnection
from rehearsal.world.rpc import RefusalError
from rehearsal.world.world import PERSON, World

Body = dict[str, Any]
Answer = Callable[[Body], Awaitable[Any]]


def addresses(world: World) -> dict[str, Any]:
    """Where everything of the world is."""
    return {
        "grpc": world.grpc_endpoint,
        "rest": world.rest_url,
        "gcloud": dict(world.gcloud_environ),
        "environ": world.client_environ,
        "prometheus": world.prometheus.url,
        "image_env": world.image_env,
        "vendors": world.vendors_url,
        "mongodb": world.mongodb.uri,
        "restored": world.restored.uri,
        "services": {str(state.name): state.message.uri for state in world.services.states.values()},
    }


class Control:
    """One method for each request; the JSON body is its only argument."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ordered = asyncio.Event()  # the newest order's ``met``

    async def addresses(self, body: Body) -> Any:
        """See `addresses`."""
        return addresses(self._world)

    async def state(self, body: Body) -> Any:
        """Every service: requested and served traffic, revisions, instances."""
        return self._world.state()

    async def writes(self, body: Body) -> Any:
        """The writes after ``since`` (a sequence number; 0: all)."""
        return list(self._world.gate.writes.since(body.get("since", 0)))

    async def vendor_calls(self, body: Body) -> Any:
        """The accepted calls to vendors that changed something, in order."""
        return list(self._world.vendors.calls)

    async def reset(self, body: Body) -> Any:
        """Return to the initial state."""
        await self._world.reset()

    async def publish(self, body: Body) -> Any:
        """Publish an image ``{repository, tag, env}`` in the registry. Returns its digest."""
        return self._world.vendors.registry.publish(body["repository"], body["tag"], body.get("env", {}))

    async def order_fault(self, body: Body) -> Any:
        """Order a fault of a gRPC method, with the fields of `Fault`."""
        self._ordered = self._world.gate.order(Fault(**body)).met

    async def clear_faults(self, body: Body) -> Any:
        """Cancel all faults of gRPC methods."""
        self._world.gate.faults.clear()

    async def order_vendor_fault(self, body: Body) -> Any:
        """Order a fault of a vendor: ``{vendor, …}``, the rest with the fields of the vendors' `Fault`."""
        self._ordered = self._world.vendors.fault(**body).met

    async def fault_met(self, body: Body) -> Any:
        """Whether a call has met the newest fault of a method or a vendor; waits at most ``timeout_s``."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ordered.wait(), body["timeout_s"])
        return self._ordered.is_set()

    async def clear_vendor_faults(self, body: Body) -> Any:
        """Cancel all faults of vendors."""
        self._world.vendors.clear()

    async def github_checked(self, body: Body) -> Any:
        """Set the CI checks of a commit: ``{commit, conclusions}``, as the GitHub stand-in takes them."""
        self._world.vendors.github.checked(body["commit"], body["conclusions"])

    async def github_release(self, body: Body) -> Any:
        """Create a release in GitHub: ``{tag, notes, draft}``."""
        self._world.vendors.github.release(**body)

    async def on_call(self, body: Body) -> Any:
        """Who is on call in PagerDuty: ``shifts``, each (name, escalation level, from, until)."""
        self._world.vendors.pagerduty.on_call(*map(tuple, body["shifts"]))

    async def prometheus_away(self, body: Body) -> Any:
        """Stop Prometheus: it neither answers nor scrapes."""
        await self._world.prometheus.away()

    async def prometheus_back(self, body: Body) -> Any:
        """Start Prometheus again."""
        await self._world.prometheus.back()

    async def dependency(self, body: Body) -> Any:
        """Take the dependency that all revisions share down, or bring it back: ``{is_down}``."""
        self._world.dependency(body["is_down"])

    async def mongodb_fault(self, body: Body) -> Any:
        """Order MongoDB to break the connection at a command, with the fields of `rehearsal.world.mongodb.Fault`."""
        self._world.mongodb.order(BrokenConnection(**body))

    async def mongodb_away(self, body: Body) -> Any:
        """Stop MongoDB. Its documents are lost."""
        self._world.mongodb.away()

    async def mongodb_back(self, body: Body) -> Any:
        """Start MongoDB again, without faults."""
        self._world.mongodb.clear_faults()
        self._world.mongodb.back()

    async def atlas_snapshot(self, body: Body) -> Any:
        """Create an Atlas snapshot of MongoDB's documents, dated ``at_s`` (unix seconds). Returns its id."""
        return self._world.vendors.atlas.keep_snapshot(self._world.mongodb.copy(), body["at_s"])

    async def atlas_restores_fail(self, body: Body) -> Any:
        """Let Atlas restores end as ``word`` says: failed, cancelled or expired; '' lets them succeed."""
        self._world.vendors.atlas.restores_fail(body["word"])

    async def out_of_band(self, body: Body) -> Any:
        """Change ``service`` out of band: ``traffic``, ``annotations``, ``email``, ``deploy``, ``may_fail``."""
        await self._world.out_of_band(
            body["service"],
            body.get("traffic"),
            body.get("annotations"),
            body.get("email") or PERSON,
            body.get("deploy"),
            may_fail=body.get("may_fail", False),
        )

    async def front(self, body: Body) -> Any:
        """How ``service`` is reached from outside: ``is_private``, ``is_internal``, ``is_url_disabled``."""
        await self._world.front(**body)

    async def id_token(self, body: Body) -> Any:
        """An ID token of ``email`` for ``audience``, as the token server would give it."""
        return self._world.identities.id_token(**body)

    async def access_token(self, body: Body) -> Any:
        """An access token of ``email``."""
        return self._world.identities.access_token(body["email"])

    async def deny(self, body: Body) -> Any:
        """``email`` may not call methods that begin with ``method`` (or need that permission) on ``resource``."""
        self._world.gate.denied.append((body["email"], body.get("method", ""), body.get("resource", "*")))

    async def allow(self, body: Body) -> Any:
        """Cancel all denials."""
        self._world.gate.denied.clear()

    async def key_file(self, body: Body) -> Any:
        """The service-account file of ``email``."""
        return str(self._world.identities.key_file(body["email"]))

    async def put_secret(self, body: Body) -> Any:
        """Add a version of a secret: ``{project, secret, value, expires_at, state}``. Returns its full name."""
        return self._world.secrets.put(**body)

    async def turn(self, body: Body) -> Any:
        """Set knobs: the fields of `Knobs`, ``ingestion_delay_s``, ``request_count_delay_s``. Returns all of them."""
        knobs = self._world.knobs
        known = {field.name for field in fields(knobs)}
        log, counts = self._world.log, self._world.request_counts
        log.ingestion_delay_s = body.pop("ingestion_delay_s", log.ingestion_delay_s)
        counts.delay_s = body.pop("request_count_delay_s", counts.delay_s)
        if unknown := body.keys() - known:
            raise ValueError(f"no such knob: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
        for name, value in body.items():
            setattr(knobs, name, value)
        delays = {"ingestion_delay_s": log.ingestion_delay_s, "request_count_delay_s": counts.delay_s}
        return asdict(knobs) | delays


def application(world: World) -> Starlette:
    """``POST /NAME`` for each public method of `Control`."""
    control = Control(world)
    names = [name for name in vars(Control) if not name.startswith("_")]
    return Starlette(routes=[Route(f"/{name}", _endpoint(getattr(control, name)), methods=["POST"]) for name in names])


def _endpoint(answer: Answer) -> Callable[[Request], Awaitable[JSONResponse]]:
    async def endpoint(request: Request) -> JSONResponse:
        body = await request.json() if await request.body() else {}
        try:
            return JSONResponse(await answer(body))
        except (ValueError, TypeError, KeyError, RefusalError, RuntimeError) as error:
            return JSONResponse({"error": f"{type(error).__name__}: {error}"}, status_code=400)

    return endpoint
