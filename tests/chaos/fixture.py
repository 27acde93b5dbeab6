"""All outside systems in memory: production and staging as their files describe them, and what they talk to."""

import asyncio
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cloud import Behaviour, Cloud
from pydantic import SecretStr
from telemetry import Logs, Telemetry
from vendors import EthixAI, GitHub, PagerDuty, SecretManager, Sentry, Slack, Transport, wired
from wire import Wire

import blocks
from blocks import files
from blocks.environment import Environment
from blocks.http import HttpBlock
from blocks.secret_reference import SecretReference
from blocks.signing import Signer, Signing
from playbook.analysis.policy import Policy
from playbook.lease.signature import Key
from playbook.release.version import Image, Version
from rehearsal.world.vendors import Vendors
from rehearsal.world.vendors.pagerduty import POLICY
from rehearsal.world.vendors.sentry import PROJECTS
from rehearsal.world.vendors.slack import CHANNELS

TOKEN = SecretReference.given(SecretStr("token"))
SIGNING_KEYS = {
    name: f"the signing key of {name}".replace(" ", "-").ljust(32, ".") for name in ("production", "staging")
}
ROOT = Path(__file__).resolve().parents[2]
OLD, NEW = "v20251109-0000aa", "v20251116-abc123"

QUICK = Policy.compressed().model_copy(
    update={
        "name": "chaos",
        "bake_s": 12,
        "watch_s": 12,
        "tick_s": 4,
        "scrape_s": 2,
        "freshness_s": 12,
        "horizon_s": 12,
        "warm_up_scrapes": 1,
    }
)
"""A bake and a watch of three ticks: enough for every branch of a release."""


@functools.cache
def written(name: str) -> Environment:
    """The environment that is in the repository under that name, without its secrets."""
    return asyncio.run(files.read(ROOT / "environments" / f"{name}.toml", with_secrets=False))


WRITTEN = {name: written(name) for name in ("production", "staging")}
SERVICES = WRITTEN["production"].service_names


class Fixture:
    """All outside systems. Create it in a running loop; ``policy`` is production's."""

    def __init__(self, policy: Policy = QUICK) -> None:
        now = asyncio.get_running_loop().time
        self.now: Callable[[], float] = now
        self.wire = Wire()
        self.behaviours: dict[tuple[str, str], Behaviour] = {}
        self.vendors = {name: Vendors() for name in WRITTEN}
        """each environment's own; production's GitHub, PagerDuty and registry are everyone's"""
        self.rooms = {name: Slack(vendors) for name, vendors in self.vendors.items()}
        self.sentries = {name: Sentry(vendors) for name, vendors in self.vendors.items()}
        shared = self.vendors["production"]
        self.pagerduty, self.github, self.secrets = PagerDuty(shared), GitHub(shared), SecretManager(self.wire)
        self.transport = Transport(self.wire, self.vendors)
        self.published: list[str] = []
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
        """CI has pushed ``version`` of every service. Images behave as ``behaviours`` says, healthy by default."""
        self.published.append(version)
        for service in WRITTEN["production"].services:
            image = self.image(service.name, version)
            behaviour = (behaviours or {}).get(service.name)
            if behaviour is not None:
                self.behaviours[where, image.digest] = behaviour
        self.ci(version)

    def ci(self, version: str = NEW, **conclusions: str) -> None:
        """CI has ended for ``version``: its required checks and the scan passed, except as ``conclusions`` says."""
        written = WRITTEN["production"]
        passed = dict.fromkeys((*written.required_checks, written.gates.scan_check), "success")
        self.vendors["production"].github.checked(Version.parse(version).commit, passed | conclusions)

    def forget(self) -> None:
        """Forget every call to a vendor, and the behaviours of images that no service names."""
        for vendors in self.vendors.values():
            vendors.calls.clear()
            for vendor in (vendors.slack, vendors.pagerduty, vendors.github, vendors.sentry):
                vendor.forget()
        kept = {image for cloud in self.clouds.values() for image in cloud.forget()}
        digests = {image.rsplit("@", 1)[-1] for image in kept}
        self.behaviours = {key: one for key, one in self.behaviours.items() if key[1] in digests}
        self.published = [
            version for version in self.published if any(self.image(s, version).digest in digests for s in SERVICES)
        ]

    def image(self, service: str, version: str) -> Image:
        """The image of a service's version."""
        named = WRITTEN["production"].service(service)
        tag, env = named.image_tag(Version.parse(version)), {"SERVICE": service}
        digest = self.vendors["production"].registry.publish(named.repository, tag, env)
        return Image(repository=named.repository, digest=digest)

    @property
    def slack(self) -> Slack:
        """The messages in production's channels."""
        return self.rooms["production"]

    @property
    def production(self) -> Cloud:
        """Production's services."""
        return self.clouds["production"]

    def versions_served(self, where: str = "production") -> dict[str, str]:
        """Service -> the version that serves all its users, or a description of the split."""
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
        github = self._wired(written.tickets, api_url="http://production/github", deployments=False)
        paging = {
            "events_url": "http://production/pagerduty",
            "api_url": "http://production/pagerduty/api",
            "routing_key": SecretReference.given(SecretStr("0" * 32)),
            "api_token": TOKEN,
            "escalation_policy": POLICY,
        }
        outside: dict[str, Any] = {
            "cloud_run": self.clouds[name],
            "prometheus": self.telemetry[name],
            "cloud_logging": Logs(self.wire, self.clouds[name]),
            "registry": self._wired(written.registry, base_url="http://production/registry", token=None),
            "channels": [self._slack(name, channel) for channel in written.channels],
            "pagers": [self._wired(pager, **paging) for pager in written.pagers],
            "tickets": github,
            "code_host": github,
            "release_tracker": self._wired(
                written.release_tracker, api_url=f"http://{name}/sentry", projects=list(PROJECTS)
            ),
            "ethixai": EthixAI(self.wire, self.clouds[name], self.now),
            "policy": policy,
            "secret_manager": written.secret_manager and self.secrets,
        }
        signing = Signing(secrets=(SecretReference.given(SecretStr(SIGNING_KEYS[name])),))
        self.clouds[name].key = Key.of(SIGNING_KEYS[name])
        environment = written.model_copy(update={**outside, "signing": signing})
        environment.sign_with(Signer(name, signing.secrets))
        return environment

    def _slack(self, name: str, written: object) -> Any:
        assert isinstance(written, blocks.Slack)
        channels = dict(zip(written.channels, CHANNELS, strict=True))
        return self._wired(written, api_url=f"http://{name}/slack/api", channels=channels)

    def _wired(self, block: object, **fields: Any) -> Any:
        """The block as its file describes it, with the stand-in's addresses and names; None where there is none."""
        if not isinstance(block, HttpBlock):
            return None
        return wired(block, self.transport, **{"token": TOKEN, **fields} if hasattr(block, "token") else fields)


def _without_bake(policy: Policy) -> Policy:
    return policy.model_copy(update={"bake_s": 0})
