"""The world's own API over HTTP, for stories and tests in other processes: look at it, and make it go wrong.

Bad input is answered 400 with ``{"error": …}``. Nothing here is Google's; it is how a rehearsal pulls the strings.
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
        "desks": world.desks_url,
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
        """Every service: wanted, served, revisions, instances."""
        return self._world.state()

    async def writes(self, body: Body) -> Any:
        """The writes after ``since`` (a sequence number; 0: all)."""
        return list(self._world.gate.writes.since(body.get("since", 0)))

    async def told(self, body: Body) -> Any:
        """What the desks were told, in order."""
        return list(self._world.vendors.told)

    async def reset(self, body: Body) -> Any:
        """The state of the beginning."""
        await self._world.reset()

    async def publish(self, body: Body) -> Any:
        """An image ``{repository, tag, env}`` is in the registry; its digest."""
        return self._world.vendors.registry.publish(body["repository"], body["tag"], body.get("env", {}))

    async def order_fault(self, body: Body) -> Any:
        """A fault of a gRPC method that is taught, as in `Fault`."""
        self._ordered = self._world.gate.order(Fault(**body)).met

    async def clear_faults(self, body: Body) -> Any:
        """No gRPC method is ordered to fail."""
        self._world.gate.faults.clear()

    async def order_desk_fault(self, body: Body) -> Any:
        """A fault of a desk: ``{desk, …}``, the rest as that desk takes it."""
        self._ordered = self._world.vendors.fault(**body).met

    async def fault_met(self, body: Body) -> Any:
        """Whether the newest fault of a method or a desk was met, after ``timeout_s`` at most."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ordered.wait(), body["timeout_s"])
        return self._ordered.is_set()

    async def clear_desk_faults(self, body: Body) -> Any:
        """No desk is ordered to fail."""
        self._world.vendors.clear()

    async def github_checked(self, body: Body) -> Any:
        """CI has looked at a commit: ``{commit, conclusions}``, the latter as GitHub's desk takes them."""
        self._world.vendors.github.checked(body["commit"], body["conclusions"])

    async def github_release(self, body: Body) -> Any:
        """There is a release in GitHub: ``{tag, notes, draft}``."""
        self._world.vendors.github.release(**body)

    async def prometheus_away(self, body: Body) -> Any:
        """Prometheus does not answer and does not scrape."""
        await self._world.prometheus.away()

    async def prometheus_back(self, body: Body) -> Any:
        """Prometheus is there again."""
        await self._world.prometheus.back()

    async def dependency(self, body: Body) -> Any:
        """What all revisions share is down, or not: ``{is_down}``."""
        self._world.dependency(body["is_down"])

    async def mongodb_fault(self, body: Body) -> Any:
        """MongoDB breaks the connection at a command, as in `rehearsal.world.mongodb.Fault`."""
        self._world.mongodb.order(BrokenConnection(**body))

    async def mongodb_away(self, body: Body) -> Any:
        """MongoDB is gone, with what it holds."""
        self._world.mongodb.away()

    async def mongodb_back(self, body: Body) -> Any:
        """MongoDB is there again, and breaks no connection any more."""
        self._world.mongodb.clear_faults()
        self._world.mongodb.back()

    async def atlas_snapshot(self, body: Body) -> Any:
        """Atlas has a snapshot of what MongoDB holds now, dated ``at_s`` (unix seconds); its id."""
        return self._world.vendors.atlas.keep_snapshot(self._world.mongodb.copy(), body["at_s"])

    async def atlas_restores_fail(self, body: Body) -> Any:
        """Restores end as ``word`` says: failed, cancelled, expired, or well ('')."""
        self._world.vendors.atlas.restores_fail(body["word"])

    async def out_of_band(self, body: Body) -> Any:
        """Somebody changes ``service`` by hand: ``traffic``, ``annotations``, ``email``, ``deploy``."""
        await self._world.out_of_band(
            body["service"],
            body.get("traffic"),
            body.get("annotations"),
            body.get("email") or PERSON,
            body.get("deploy"),
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
        """Everybody may do everything."""
        self._world.gate.denied.clear()

    async def key_file(self, body: Body) -> Any:
        """The service-account file of ``email``."""
        return str(self._world.identities.key_file(body["email"]))

    async def put_secret(self, body: Body) -> Any:
        """A new version of a secret: ``{project, secret, value, expires_at, state}``; its full name."""
        return self._world.secrets.put(**body)

    async def turn(self, body: Body) -> Any:
        """Turn knobs: `Knobs` and ``ingestion_delay_s``; answers how they all stand."""
        knobs = self._world.knobs
        known = {field.name for field in fields(knobs)}
        self._world.log.ingestion_delay_s = body.pop("ingestion_delay_s", self._world.log.ingestion_delay_s)
        if unknown := body.keys() - known:
            raise ValueError(f"no such knob: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
        for name, value in body.items():
            setattr(knobs, name, value)
        return asdict(knobs) | {"ingestion_delay_s": self._world.log.ingestion_delay_s}


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
