"""Environment: one named set of services, policy and vendors. Flows reach the outside through it alone."""

from typing import Annotated, Any, ClassVar, Literal, Self

from prefect.exceptions import ObjectNotFound
from pydantic import Field, HttpUrl, PrivateAttr, field_validator, model_validator

from blocks.atlas import Atlas
from blocks.base import OutsideBlock
from blocks.cloud_logging import CloudLogging
from blocks.cloud_run import CloudRun
from blocks.database import Backups, Database
from blocks.ethixai import EthixAI
from blocks.github import GitHub
from blocks.mongodb import MongoDB
from blocks.plug import Plug
from blocks.ports import (
    Application,
    Channel,
    CodeHost,
    Images,
    Logs,
    Metrics,
    Notices,
    Pager,
    ReleaseTracker,
    Secrets,
    Services,
    Tickets,
)
from blocks.prometheus import Prometheus
from blocks.queries import Queries
from blocks.registry import Registry
from blocks.secret_manager import SecretManager
from blocks.secret_reference import SecretReference
from blocks.sentry import Sentry
from blocks.server_notices import ServerNotices
from blocks.signing import Signer, Signing
from playbook.analysis.policy import Policy
from playbook.analysis.signals import DEFAULT_SIGNALS, Signal, Signals
from playbook.analysis.telemetry import TelemetryForm
from playbook.checklist.gates import Gates
from playbook.errors import BadRequest
from playbook.incident.response import Contact
from playbook.lease.lease import Lease
from playbook.lease.origin import taken_out
from playbook.messages.routing import Routing
from playbook.migration.plan import Migrations
from playbook.release.version import Service

SHORTHANDS: dict[str, tuple[str, ...]] = {
    "slack": ("channels",),
    "pagerduty": ("pagers",),
    "github": ("tickets", "code_host"),
    "sentry": ("release_tracker",),
}
"""A table that is named after its vendor, and the ports that it fills."""
LISTS = frozenset({"channels", "pagers"})


def plug_in(table: dict[str, Any]) -> dict[str, Any]:
    """``table`` with each shorthand in place of the ports it fills: ``[slack]`` is one entry of ``[[channels]]``.

    Environments that an earlier version saved have the same form.
    """
    found = {key: value for key, value in table.items() if key not in SHORTHANDS}
    for vendor, ports in SHORTHANDS.items():
        if not isinstance(described := table.get(vendor), dict):
            if described is not None:
                found[vendor] = described
            continue
        for port in ports:
            one = {"type": vendor, **described}
            if port in LISTS:
                entries = found.get(port)
                found[port] = [one, *(entries if isinstance(entries, list) else ())]
            else:
                found.setdefault(port, one)
    return found


class Environment(OutsideBlock):
    """One environment that releases go to, with its services, rules, queries and everything outside that they need.

    It is written in a file under `environments/` and applied with `python -m blocks apply FILE`.
    """

    _block_type_name: ClassVar[str | None] = "EthixAI Environment"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.prefect.io/v3/concepts/blocks")

    name: str = Field(
        title="Name",
        pattern=r"^[a-z][a-z0-9-]*$",
        description="Also the name of the block: lower-case letters, digits and hyphens, a letter first.",
    )
    services: list[Service] = Field(
        title="Services", min_length=1, description="In order of promotion; the first one leads a release."
    )
    policy: Policy = Field(title="Policy", description="Every threshold, window and deadline.")
    gates: Gates = Field(
        default_factory=Gates, title="Gates", description="Which checks stop a release, and what each one asks for."
    )
    queries: Queries = Field(title="Queries", description="Where each number comes from.")
    signals: tuple[Signal, ...] = Field(
        DEFAULT_SIGNALS,
        title="Signals",
        description="What is measured of a canary beside the playbook's table, its limit, and what a breach does.",
    )
    telemetry: TelemetryForm = Field(
        TelemetryForm(), title="Telemetry", description="The labels and units of the metrics."
    )
    staging: str = Field(
        "", title="Staging", description="Name of the environment that a release passes first. Empty: none."
    )
    required_checks: tuple[str, ...] = Field(
        (),
        title="Required checks",
        description=(
            "CI checks that must have passed on the commit; the image scan with Trivy is one of them. "
            '["none"] says in so many words that this environment needs none.'
        ),
    )
    ui_url: str = Field("", title="Prefect UI", description="Where people reach the Prefect UI, for links in messages.")
    dashboard: str = Field(
        "",
        title="Dashboard",
        pattern=r"^(https?://\S+)?$",
        description="Address of the team's dashboard (https://…), for links.",
    )
    contacts: dict[str, Contact] = Field(
        default_factory=dict, title="Contacts", description="Whom an incident may need, by role (playbook 10)."
    )
    routing: Routing = Field(
        Routing(), title="Routing", description="Which channels get which messages, which pager is called for what."
    )
    pager: Literal["", "none"] = Field(
        "", title="Pager", description='"none" says in so many words that this environment has no pager.'
    )
    signing: Signing = Field(
        Signing(),
        title="Signing",
        description=(
            "Where the keys are with which everything of ours on a service is signed. "
            '"none" says in so many words that nothing is.'
        ),
    )
    cloud_run: Annotated[Services, Plug(CloudRun)] = Field(title="Services", description="Where the services run.")
    cloud_logging: Annotated[Logs, Plug(CloudLogging)] = Field(title="Logs", description="Where the logs are.")
    prometheus: Annotated[Metrics, Plug(Prometheus)] = Field(title="Metrics", description="Where the metrics are.")
    registry: Annotated[Images, Plug(Registry)] = Field(title="Images", description="Where CI pushes images to.")
    ethixai: Annotated[Application, Plug(EthixAI)] = Field(
        title="Application", description="How the application is tested from outside."
    )
    channels: list[Annotated[Channel, Plug()]] = Field(
        default_factory=list, title="Channels", description="Chats that read what a release says."
    )
    pagers: list[Annotated[Pager, Plug()]] = Field(
        default_factory=list, title="Pagers", description="What wakes the on-call engineer."
    )
    tickets: Annotated[Tickets | None, Plug(GitHub)] = Field(
        None, title="Tickets", description="Where incidents are followed up."
    )
    code_host: Annotated[CodeHost | None, Plug(GitHub)] = Field(
        None, title="Code host", description="Where CI's checks and the release notes are read."
    )
    release_tracker: Annotated[ReleaseTracker | None, Plug(Sentry)] = Field(
        None, title="Release tracker", description="What relates errors to a release."
    )
    server_notices: Annotated[Notices | None, Plug(ServerNotices)] = Field(
        None, title="Server notices", description="Where the Prefect server tells people that no worker is there."
    )
    secret_manager: Annotated[Secrets | None, Plug(SecretManager)] = Field(
        None, title="Secrets", description="Where the services' secrets are."
    )
    mongodb: Annotated[Database | None, Plug(MongoDB)] = Field(
        None, title="Database", description="The database whose migrations can be taken back."
    )
    atlas: Annotated[Backups | None, Plug(Atlas)] = Field(None, title="Backups", description="The database's backups.")
    migrations: Migrations | None = Field(
        None,
        title="Migrations",
        description="Where the migrations of the database are. Empty: schemas are not checked.",
    )

    _signer: Signer = PrivateAttr(default_factory=lambda: Signer("", ()))

    @model_validator(mode="before")
    @classmethod
    def _plug_in(cls, table: object) -> object:
        return plug_in(table) if isinstance(table, dict) else table

    @model_validator(mode="after")
    def _counts_users(self) -> Self:
        self.queries.without(self.telemetry.health_checks_in_promql)
        return self

    @model_validator(mode="after")
    def _signs(self) -> Self:
        """Its keys are read through its own Secret Manager, if it names one."""
        manager, keys = self.secret_manager, self.signing.secrets
        if isinstance(manager, OutsideBlock) and manager.reads_secrets:
            keys = tuple(key.read_by(manager.value) for key in keys)
        self.sign_with(Signer(self.name, keys))
        return self

    def sign_with(self, signer: Signer) -> None:
        """Records on its services, and what its runs hand on to other runs, are signed and checked by ``signer``."""
        self._signer = signer
        self.cloud_run.sign_with(signer)

    @property
    def signer(self) -> Signer:
        """What signs for this environment."""
        return self._signer

    def ui(self, path: str) -> str:
        """The address of a page of Prefect's default UI, such as ``/variables``; empty where the file names no UI.

        Without ``/v2`` a page below the root opens in the UI of before.
        """
        return f"{self.ui_url}/v2{path}" if self.ui_url else ""

    @property
    def gcloud_flags(self) -> str:
        """``--project`` and ``--region`` of its services, for the gcloud commands that people copy."""
        return f"--project={self.cloud_run.project} --region={self.cloud_run.region}"

    def run_url(self, flow_run_id: str | None) -> str:
        """Where a flow run is seen."""
        return self.ui(f"/runs/flow-run/{flow_run_id}") if flow_run_id else ""

    @field_validator("channels", "pagers")
    @classmethod
    def _have_names(cls, held: list[Any]) -> list[Any]:
        names = [one.name for one in held]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is named twice; give each its own name")
        return held

    @field_validator("required_checks")
    @classmethod
    def _are_checks(cls, checks: tuple[str, ...]) -> tuple[str, ...]:
        if twice := sorted({name for name in checks if checks.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is named twice")
        if "none" in checks and len(checks) > 1:
            raise ValueError('"none" says that no check is needed; it stands alone')
        return checks

    @field_validator("signals")
    @classmethod
    def _have_different_names(cls, signals: Signals) -> Signals:
        names = [signal.name for signal in signals]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is named twice")
        return signals

    @field_validator("services")
    @classmethod
    def _are_distinct(cls, services: list[Service]) -> list[Service]:
        names = [service.name for service in services]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} is named twice")
        return services

    @classmethod
    async def open(cls, name: str) -> Self:
        """The environment of that name, from the Prefect server. Raises BadRequest: there is none, or it is stale."""
        try:
            found = await cls.aload(name)
        except ValueError as missing:
            if not isinstance(missing.__cause__, ObjectNotFound):
                raise
            raise BadRequest(
                [f"environment: there is no {name!r}. Create it: python -m blocks apply environments/{name}.toml"]
            ) from missing
        except RuntimeError as stale:
            raise BadRequest(
                [f"environment: {name!r} was saved by another version of this project. Apply its file again."]
            ) from stale
        return found

    def references(self) -> dict[str, SecretReference]:
        """Every token that the worker reads for this environment, by its place in the file.

        Those of [server_notices] are no part of it: `apply` reads them, and the Prefect server uses them.
        """
        found: dict[str, SecretReference] = {}
        for name in type(self).model_fields:
            value = getattr(self, name) if name != "server_notices" else None
            for block in value if isinstance(value, list) else [value]:
                if isinstance(block, OutsideBlock):
                    places = {f"{name}.{field}": getattr(block, field) for field in type(block).model_fields}
                    found |= {place: one for place, one in places.items() if isinstance(one, SecretReference)}
        return found

    @property
    def is_production(self) -> bool:
        """Whether users are served here: by its name, or because another environment comes before it."""
        return self.name == "production" or bool(self.staging)

    @property
    def service_names(self) -> tuple[str, ...]:
        """The services, in order of promotion."""
        return tuple(service.name for service in self.services)

    @property
    def untagged(self) -> tuple[str, ...]:
        """The services whose revisions get no tag."""
        return tuple(service.name for service in self.services if not service.has_tags)

    def whole(self, lease: Lease) -> Self:
        """The environment with what its file no longer has of the services of ``lease``."""
        return self.model_copy(update={"services": [*self.services, *taken_out(lease, self.services)]})

    def service(self, name: str) -> Service:
        """The service of that name. Raises KeyError."""
        return {service.name: service for service in self.services}[name]
