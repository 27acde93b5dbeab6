"""One whole outside in memory: production and staging as their files describe them, and everything they talk to."""

import asyncio
import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cloud import Behaviour, Cloud
from telemetry import Logs, Telemetry
from vendors import EthixAI, GitHub, PagerDuty, Registry, SecretManager, Sentry, Slack
from wire import Wire

import blocks
from blocks import files
from blocks.environment import Environment
from playbook.analysis.policy import Policy
from playbook.messages.facts import Audience
from playbook.release.version import Image, Version

ROOT = Path(__file__).resolve().parents[2]
OLD, NEW = "v20251109-0000aa", "v20251116-abc123"

QUICK = Policy.compressed().model_copy(
    update={
        "name": "chaos",
        "bake_s": 12,
        "tick_s": 4,
        "scrape_s": 2,
        "freshness_s": 12,
        "horizon_s": 12,
        "warm_up_scrapes": 1,
    }
)
"""A bake of three looks: every branch of a release, and little else to compute."""


@functools.cache
def written(name: str) -> Environment:
    """The environment that is in the repository under that name, without its secrets."""
    return asyncio.run(files.read(ROOT / "environments" / f"{name}.toml", with_secrets=False))


WRITTEN = {name: written(name) for name in ("production", "staging")}
SERVICES = WRITTEN["production"].service_names


class Fixture:
    """Everything outside. Make it inside a running loop; ``policy`` is production's."""

    def __init__(self, policy: Policy = QUICK) -> None:
        now = asyncio.get_running_loop().time
        self.now: Callable[[], float] = now
        self.wire = Wire()
        self.behaviours: dict[tuple[str, str], Behaviour] = {}
        self.rooms = {name: Slack(self.wire, _channels(one)) for name, one in WRITTEN.items()}
        self.sentries = {name: Sentry(self.wire, name) for name in WRITTEN}
        self.pagerduty, self.github, self.secrets = PagerDuty(self.wire), GitHub(self.wire), SecretManager(self.wire)
        self.registry = Registry(self.wire)
        self.published: list[str] = []
        self.github.required = WRITTEN["production"].required_checks
        self.clouds = {name: Cloud(self.wire, name, functools.partial(self._behaviour, name), now) for name in WRITTEN}
        self.telemetry = {
            name: Telemetry(self.wire, cloud, now, policy.scrape_s) for name, cloud in self.clouds.items()
        }
        self.environments = {
            name: self._environment(name, one, policy if name == "production" else _without_bake(policy))
            for name, one in WRITTEN.items()
        }
        self.publish(OLD)
        for name, cloud in self.clouds.items():
            for service in self.environments[name].services:
                cloud.begin(service.name, str(self.image(service.name, OLD)))

    def publish(
        self, version: str, behaviours: Mapping[str, Behaviour] | None = None, *, where: str = "production"
    ) -> None:
        """CI has pushed ``version`` of every service; its images behave so (healthy where nothing is said)."""
        self.published.append(version)
        for service in WRITTEN["production"].services:
            image = self.image(service.name, version)
            self.registry.images[f"{service.repository}:{service.image_tag(Version.parse(version))}"] = image
            behaviour = (behaviours or {}).get(service.name)
            if behaviour is not None:
                self.behaviours[where, image.digest] = behaviour

    def forget(self) -> None:
        """The desks were told nothing, and of images and revisions only those that a service names are kept."""
        for channel in self.rooms.values():
            channel.said.clear()
        self.github.tickets.clear()
        self.pagerduty.incidents.clear()
        for sentry in self.sentries.values():
            sentry.releases.clear()
        kept = {image for cloud in self.clouds.values() for image in cloud.forget()}
        digests = {image.rsplit("@", 1)[-1] for image in kept}
        self.registry.images = {tag: one for tag, one in self.registry.images.items() if one.digest in digests}
        self.behaviours = {key: one for key, one in self.behaviours.items() if key[1] in digests}
        self.published = [
            version for version in self.published if any(self.image(s, version).digest in digests for s in SERVICES)
        ]

    def image(self, service: str, version: str) -> Image:
        """The image of a service's version."""
        digest = hashlib.sha256(f"{service} {version}".encode()).hexdigest()
        return Image(repository=WRITTEN["production"].service(service).repository, digest=f"sha256:{digest}")

    @property
    def slack(self) -> Slack:
        """What production's channels were told."""
        return self.rooms["production"]

    @property
    def production(self) -> Cloud:
        """Production's services."""
        return self.clouds["production"]

    def versions_served(self, where: str = "production") -> dict[str, str]:
        """Service -> the version that serves all its users, or a description of the split where there are two."""
        versions = {self.image(s, v).digest: v for s in SERVICES for v in self.published}
        return {
            name: versions[state.revisions[state.served.main].image.rsplit("@", 1)[-1]]
            if len(state.served.percent) == 1
            else str(state.served)
            for name, state in self.clouds[where].services.items()
        }

    def _behaviour(self, where: str, image: str) -> Behaviour:
        return self.behaviours.get((where, image.rsplit("@", 1)[-1]), Behaviour())

    def _environment(self, name: str, written: Environment, policy: Policy) -> Environment:
        outside: dict[str, Any] = {
            "cloud_run": self.clouds[name],
            "prometheus": self.telemetry[name],
            "cloud_logging": Logs(self.wire, self.clouds[name]),
            "registry": self.registry,
            "channels": [self.rooms[name]],
            "pagers": [self.pagerduty] if written.pagers else [],
            "ethixai": EthixAI(self.wire, self.clouds[name], self.now),
            "policy": policy,
        }
        named = {"tickets": self.github, "code_host": self.github, "release_tracker": self.sentries[name]}
        named |= {"secret_manager": self.secrets}
        return written.model_copy(
            update=outside | {key: vendor for key, vendor in named.items() if getattr(written, key) is not None}
        )


def _channels(written: Environment) -> dict[Audience, str]:
    """The ids of the channels that the file names."""
    (slack,) = written.channels
    assert isinstance(slack, blocks.Slack)
    return slack.channels


def _without_bake(policy: Policy) -> Policy:
    return policy.model_copy(update={"bake_s": 0})
