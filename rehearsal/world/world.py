"""A whole world: cloud, proxy, instances, Prometheus and vendor stand-ins, with a clean state on demand."""

import asyncio
import contextlib
import copy
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import grpc.aio
from google.cloud import run_v2
from google.longrunning import operations_pb2

from rehearsal.world import cloud_logging, gcloud, secret_manager
from rehearsal.world.cloud_run import operations, revisions, services
from rehearsal.world.cloud_run.reconcile import Reconciler
from rehearsal.world.cloud_run.state import LATEST, PINNED, Knobs, ServiceState, plain_traffic
from rehearsal.world.cloud_run.v1.namespaces import Namespaces
from rehearsal.world.cloud_run.v1.words import version_text
from rehearsal.world.cloud_run.validation import serving_container
from rehearsal.world.faults import Write
from rehearsal.world.gateway import Gateway
from rehearsal.world.identity import RELEASER, Authority, Identities
from rehearsal.world.instances import APP
from rehearsal.world.mongodb import MongoDB
from rehearsal.world.prometheus import Prometheus, Target
from rehearsal.world.proxy import Balance, Proxy
from rehearsal.world.request_counts import Counted, RequestCounts
from rehearsal.world.rest import Rest
from rehearsal.world.rpc import Call, Gate, handler_for
from rehearsal.world.serving import Served, serve
from rehearsal.world.vendors import Vendors

REGION = "us-east1"
PRODUCTION, STAGING = "ethixai-production", "ethixai-staging"
OWNER = "owner@ethixai.example"
"""The identity that created the initial services."""
PERSON = "person@ethixai.example"
"""The identity of out-of-band changes."""
GRPC_GRACE_S = 0.5
DATABASE = "ethixai"
APPLIED = {
    "fileName": "20251030093000-rename-full-name.js",
    "appliedAt": datetime.datetime(2025, 10, 30, 9, 30, tzinfo=datetime.UTC),
}
"""The one migration in the initial ledger, as migrate-mongo stores it."""
REPOSITORY = "ghcr.io/geoaziz"


@dataclass(frozen=True)
class ServiceSpec:
    """A service as the world begins with it: one ready revision ``{name}-{suffix}`` that LATEST points at."""

    project: str
    name: str
    suffix: str
    region: str = REGION
    tag: str = "sha-5ab1e0"
    env: Mapping[str, str] = field(default_factory=dict)
    """The image's."""
    instances: int = 1

    @property
    def full_name(self) -> str:
        """``projects/…/locations/…/services/…``."""
        return f"projects/{self.project}/locations/{self.region}/services/{self.name}"

    @property
    def repository(self) -> str:
        """Where its images are."""
        return f"{REPOSITORY}/{self.name}"


BACKEND, AI_CORE, FRONTEND = (
    ("ethixai-backend", "00041-xyz"),
    ("ethixai-ai-core", "00023-xyz"),
    ("ethixai-frontend", "00031-xyz"),
)
SMALL = tuple(ServiceSpec(PRODUCTION, *service) for service in (BACKEND, FRONTEND))


def whole(count: int = 3, projects: Sequence[str] = (PRODUCTION, STAGING)) -> tuple[ServiceSpec, ...]:
    """So many services in each project: the three, then more of the ai-core (``ethixai-ai-core-4``)."""
    more = [(f"{AI_CORE[0]}-{number}", AI_CORE[1]) for number in range(4, count + 1)]
    services = [AI_CORE, BACKEND, FRONTEND, *more][:count]
    return tuple(ServiceSpec(project, *service) for project in projects for service in services)


WHOLE = whole()


class World:
    """``async with World(folder) as world``: everything runs on free loopback ports until the block ends."""

    def __init__(
        self,
        folder: Path,
        specs: Sequence[ServiceSpec] = WHOLE,
        *,
        authority: Path | None = None,
        knobs: Knobs | None = None,
        balance: Balance = "random",
        scrape_interval_s: float = 1.0,
        app: Path = APP,
    ) -> None:
        self.folder, self.specs = folder, specs
        self.knobs = knobs or Knobs()
        self._initial_knobs = copy.copy(self.knobs)
        self._authority = Authority(authority or folder / "authority")
        self.identities = Identities(self._authority, folder / "credentials")
        self.gate = Gate(self.identities)
        self.mongodb, self.restored = MongoDB(), MongoDB()
        self.vendors = Vendors(self.restored.become)
        self.prometheus = Prometheus(folder / "prometheus", scrape_interval_s)
        self.log = cloud_logging.CloudLogging()
        self.secrets = secret_manager.SecretManager()
        self.proxy = Proxy(folder / "haproxy", balance, self.identities.issuer_file)
        self.request_counts = RequestCounts(self._counted)
        self.operations = operations.Operations()
        self._reconciler = Reconciler(
            app, self.vendors.registry, self.proxy, self.log, self.operations, self.knobs, self._retarget
        )
        self.services = services.Services(self._reconciler, self.operations, self.proxy, self.knobs)
        self.revisions = revisions.Revisions(self.services, self.operations, self.knobs)
        namespaces = Namespaces(self.services, self.revisions, self.operations, self.knobs)
        self._rest = Rest(namespaces, self.log, self.gate, REGION)
        self.grpc_endpoint = self.rest_url = ""
        self.gcloud_environ: Mapping[str, str] = {}
        """What makes gcloud work on this world's production."""
        self._stack = contextlib.AsyncExitStack()
        self._vendors_served: Served | None = None

    @classmethod
    def small(cls, folder: Path, **options: Any) -> Self:
        """Two services of production: up in a few seconds."""
        return cls(folder, SMALL, **options)

    @property
    def client_environ(self) -> dict[str, str]:
        """What Google's clients need in their environment to talk to this world."""
        return self.identities.environ(RELEASER)

    @property
    def vendors_url(self) -> str:
        """Where the vendor stand-ins are: ``/slack/api``, ``/pagerduty``, ``/sentry``, ``/github``, ``/registry``."""
        assert self._vendors_served
        return self._vendors_served.url

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self.proxy.stop)
            stack.push_async_callback(self.prometheus.stop)
            counts = await stack.enter_async_context(serve(self.request_counts.app))
            self.prometheus.cloud_monitoring = counts.url.removeprefix("http://")
            await asyncio.gather(self.proxy.start(), self.prometheus.start())
            await stack.enter_async_context(self.request_counts.running())
            self._vendors_served = await stack.enter_async_context(serve(self.vendors.app))
            for server in (self.mongodb, self.restored):
                stack.enter_context(server)
            stack.push_async_callback(self._reconciler.stop)
            await self._begin()
            self.rest_url = (await stack.enter_async_context(serve(self._rest.app))).url
            self.identities.token_uri = f"{self.rest_url}/token"
            plain_port = await self._serve_grpc(stack)
            gateway = Gateway(
                self._authority, self.folder / "gateway", plain_port, int(self.rest_url.rpartition(":")[2])
            )
            await stack.enter_async_context(gateway.served())
            self.gcloud_environ = gcloud.environ(
                self.folder / "gcloud", self.identities, self._authority.ca_file, gateway.port, PRODUCTION, REGION
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    @property
    def _dependency(self) -> Path:
        """While this file exists, the dependency that all revisions share is down."""
        return self.folder / "dependency-down"

    @property
    def image_env(self) -> dict[str, str]:
        """Environment variables for every image, so that its instances depend on the shared dependency."""
        return {"DEPENDENCY": str(self._dependency)}

    def dependency(self, is_down: bool) -> None:
        """Take the dependency that all revisions share down, or bring it back."""
        if is_down:
            self._dependency.touch()
        else:
            self._dependency.unlink(missing_ok=True)

    async def reset(self) -> None:
        """Return to the initial state: services, registry, vendors, logs; no faults, no writes, no denials."""
        self.gate.faults.clear()
        self.gate.denied.clear()
        self.dependency(is_down=False)
        await self._reconciler.stop()
        await self.proxy.clear()
        self.services.states.clear()
        self.operations.clear()
        self.gate.writes.clear()
        self.log.clear()
        self.log.ingestion_delay_s = 0.0
        self.secrets.clear()
        self.mongodb.reset()
        self.restored.reset()
        self.vendors.reset()
        await self.prometheus.back()
        await self._begin()

    async def out_of_band(
        self,
        service: str,
        traffic: Sequence[Mapping[str, Any]] | None = None,
        annotations: Mapping[str, str] | None = None,
        email: str = PERSON,
        deploy: Mapping[str, str] | None = None,
        *,
        may_fail: bool = False,
    ) -> None:
        """Change a service out of band: traffic ``[{revision, percent, tag}]``, annotations, a new revision
        ``{revision, image}`` of the same template, or several of them.

        Without an etag, as a person in the console does. Returns once it is served, or has failed where it
        ``may_fail``. Raises RefusalError.
        """
        update = run_v2.UpdateServiceRequest.pb()()
        update.service.name = service
        for target in traffic or ():
            latest = target["revision"] == "LATEST"
            update.service.traffic.add(
                type_=LATEST if latest else PINNED,
                revision="" if latest else target["revision"],
                percent=target.get("percent", 0),
                tag=target.get("tag", ""),
            )
        update.service.annotations.update(annotations or {})
        update.update_mask.paths.extend(["traffic"] if traffic is not None else [])
        update.update_mask.paths.extend(["annotations"] if annotations is not None else [])
        if deploy is not None:
            update.service.template.CopyFrom(self.services.find(service).message.template)
            update.service.template.revision = deploy["revision"]
            serving_container(update.service.template).image = deploy["image"]
            update.update_mask.paths.append("template")
        write = Write("Services.UpdateService", service, email)
        operation = await self.services.update(update, Call(email, write))
        self.gate.writes.add(write, "OK")
        with contextlib.suppress(RuntimeError if may_fail else ()):
            await self._done(operation)

    async def front(
        self,
        service: str,
        *,
        is_private: bool | None = None,
        is_internal: bool | None = None,
        is_url_disabled: bool | None = None,
    ) -> None:
        """How the service can be reached from outside changes; what is not said stays. Raises RefusalError.

        Private is a matter of IAM and no change of the service; the other two are, made by `PERSON`.
        """
        state = self.services.find(service)
        if is_private is not None:
            state.is_private = is_private
        update = run_v2.UpdateServiceRequest.pb()(service=state.message)
        if is_internal is not None:
            traffic = run_v2.IngressTraffic
            internal, everyone = traffic.INGRESS_TRAFFIC_INTERNAL_ONLY, traffic.INGRESS_TRAFFIC_ALL
            update.service.ingress = int(internal if is_internal else everyone)
        if is_url_disabled is not None:
            update.service.default_uri_disabled = is_url_disabled
        update.update_mask.paths.extend(["ingress", "default_uri_disabled"])
        update.service.etag = ""
        write = Write("Services.UpdateService", service, PERSON)
        operation = await self.services.update(update, Call(PERSON, write))
        self.gate.writes.add(write, "OK")
        await self._done(operation)

    def state(self) -> list[dict[str, Any]]:
        """Every service as plain data: what is wanted, what is served, its revisions and their instances."""
        return [_plain_service(state) for state in self.services.states.values()]

    async def _begin(self) -> None:
        """The services of the beginning are there, at once whatever the knobs say, and the database with its ledger."""
        self.mongodb.become({DATABASE: {"changelog": [dict(APPLIED)]}})
        self.knobs.become(Knobs(reconcile_delay_s=0.0))
        await asyncio.gather(*(self._create(spec) for spec in self.specs))
        self.knobs.become(self._initial_knobs)

    async def _create(self, spec: ServiceSpec) -> None:
        digest = self.vendors.registry.publish(spec.repository, spec.tag, {**spec.env, **self.image_env})
        request = run_v2.CreateServiceRequest.pb()()
        request.parent, _, request.service_id = spec.full_name.partition("/services/")
        template = request.service.template
        template.revision = f"{spec.name}-{spec.suffix}"
        container = template.containers.add(image=f"{spec.repository}@{digest}")
        container.env.add(name="APP_ENV", value=spec.project.removeprefix("ethixai-"))
        request.service.traffic.add(type_=LATEST, percent=100)
        if spec.instances > 1:
            request.service.scaling.min_instance_count = spec.instances
        operation = await self.services.create(
            request, Call(OWNER, Write("Services.CreateService", spec.full_name, OWNER))
        )
        await self._done(operation)
        message = self.services.find(spec.full_name).message
        message.generation = message.observed_generation = int(spec.suffix.partition("-")[0])

    async def _done(self, operation: Any) -> None:
        """The operation has ended well. Raises RuntimeError."""
        request = operations_pb2.WaitOperationRequest(name=operation.name)
        ended = await self.operations.wait(
            request, Call(OWNER, Write("Operations.WaitOperation", operation.name, OWNER))
        )
        if ended.HasField("error"):
            raise RuntimeError(ended.error.message)

    async def _serve_grpc(self, stack: contextlib.AsyncExitStack) -> int:
        """gRPC is answered over TLS at ``grpc_endpoint``; in plain text at the port that is returned."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        for module, rollout in (
            (services, self.services),
            (revisions, self.revisions),
            (operations, self.operations),
            (cloud_logging, self.log),
            (secret_manager, self.secrets),
        ):
            server.add_generic_rpc_handlers((handler_for(module.SERVICE, rollout.methods(), self.gate),))
        credentials = grpc.ssl_server_credentials([self._authority.server_credentials()])
        port = server.add_secure_port("127.0.0.1:0", credentials)
        plain_port = server.add_insecure_port("127.0.0.1:0")
        self.identities.key_file(RELEASER)
        await server.start()
        stack.push_async_callback(server.stop, GRPC_GRACE_S)
        self.grpc_endpoint = f"localhost:{port}"
        return int(plain_port)

    async def _counted(self) -> dict[Counted, int]:
        return {Counted(*key): count for key, count in (await self.proxy.counts()).items()}

    def _retarget(self) -> None:
        self.prometheus.retarget(
            [
                Target(
                    instance.address,
                    {
                        "job": instance.program.job,
                        "service": state.name.service,
                        "revision": revision.name,
                        "project": state.name.project,
                    },
                )
                for state in self.services.states.values()
                for revision in state.revisions.values()
                for instance in revision.instances
            ]
        )


def _plain_service(state: ServiceState) -> dict[str, Any]:
    message = state.message
    return {
        "name": str(state.name),
        "project": state.name.project,
        "region": state.name.location,
        "service": state.name.service,
        "uid": message.uid,
        "url": message.uri,
        "generation": message.generation,
        "observed_generation": message.observed_generation,
        "reconciling": message.reconciling,
        "etag": message.etag,
        "resource_version": version_text(state.version_us),
        "last_modifier": message.last_modifier,
        "annotations": dict(message.annotations),
        "traffic": plain_traffic(message.traffic),
        "served": [{"revision": name, "percent": percent, "tag": tag} for name, percent, tag in state.plan.targets],
        "tags": {status.tag: status.uri for status in message.traffic_statuses if status.tag},
        "revisions": {
            revision.name: {
                "is_ready": revision.is_ready,
                "image": serving_container(revision.template).image,
                "instances": [
                    {"address": i.address, "pid": i.pid, "instance_id": i.instance_id, "restarts": i.restarts}
                    for i in revision.instances
                ],
            }
            for revision in state.revisions.values()
        },
    }
