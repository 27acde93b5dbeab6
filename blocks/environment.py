"""Environment: one named world, and the one door to it."""

from typing import ClassVar, Self

from prefect.exceptions import ObjectNotFound
from pydantic import Field, HttpUrl, field_validator

from blocks.atlas import Atlas
from blocks.base import OutsideBlock
from blocks.cloud_logging import CloudLogging
from blocks.cloud_run import CloudRun
from blocks.ethixai import EthixAI
from blocks.github import GitHub
from blocks.mongodb import MongoDB
from blocks.pagerduty import PagerDuty
from blocks.prometheus import Prometheus
from blocks.queries import Queries
from blocks.registry import Registry
from blocks.secret_manager import SecretManager
from blocks.sentry import Sentry
from blocks.slack import Slack
from playbook.analysis.policy import Policy
from playbook.errors import BadRequest
from playbook.incident.response import Contact
from playbook.migration.plan import Migrations
from playbook.release.version import Service


class Environment(OutsideBlock):
    """One world that releases go to, with its services, rules, queries and everything outside that they need.

    It is written in a file under `environments/` and applied with `python -m blocks apply FILE`.
    """

    _block_type_name: ClassVar[str | None] = "EthixAI Environment"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.prefect.io/v3/concepts/blocks")

    name: str = Field(title="Name", pattern=r"^[a-z][a-z0-9-]*$", description="Also the name of the block.")
    services: list[Service] = Field(
        title="Services", min_length=1, description="In order of promotion; the first one leads a release."
    )
    policy: Policy = Field(title="Policy", description="Every threshold, window and deadline.")
    queries: Queries = Field(title="Queries", description="Where each number comes from.")
    staging: str = Field(
        "", title="Staging", description="Name of the environment that a release passes first. Empty: none."
    )
    required_checks: tuple[str, ...] = Field(
        (),
        title="Required checks",
        description="CI checks that must have passed on the commit; the image scan with Trivy is one of them.",
    )
    ui_url: str = Field("", title="Prefect UI", description="Where people reach the Prefect UI, for links in messages.")
    contacts: dict[str, Contact] = Field(
        default_factory=dict, title="Contacts", description="Whom an incident may need, by role (playbook 10)."
    )
    cloud_run: CloudRun
    cloud_logging: CloudLogging
    prometheus: Prometheus
    registry: Registry
    slack: Slack
    ethixai: EthixAI
    github: GitHub | None = None
    pagerduty: PagerDuty | None = None
    sentry: Sentry | None = None
    secret_manager: SecretManager | None = None
    mongodb: MongoDB | None = None
    atlas: Atlas | None = None
    migrations: Migrations | None = Field(
        None,
        title="Migrations",
        description="Where the migrations of the database are. Empty: schemas are not checked.",
    )

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

    @property
    def service_names(self) -> tuple[str, ...]:
        """The services, in order of promotion."""
        return tuple(service.name for service in self.services)

    def service(self, name: str) -> Service:
        """The service of that name. Raises KeyError."""
        return {service.name: service for service in self.services}[name]
