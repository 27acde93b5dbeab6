"""The outside: configuration, secrets and typed clients. ``prefect block register -m blocks`` finds them all here."""

from blocks.atlas import Atlas
from blocks.cloud_logging import CloudLogging
from blocks.cloud_run import CloudRun
from blocks.environment import Environment
from blocks.ethixai import EthixAI
from blocks.github import GitHub
from blocks.mongodb import MongoDB
from blocks.pagerduty import PagerDuty
from blocks.prometheus import Prometheus
from blocks.registry import Registry
from blocks.release_records import ReleaseRecords
from blocks.secret_manager import SecretManager
from blocks.sentry import Sentry
from blocks.server_notices import ServerNotices
from blocks.slack import Slack

__all__ = [
    "Atlas",
    "CloudLogging",
    "CloudRun",
    "Environment",
    "EthixAI",
    "GitHub",
    "MongoDB",
    "PagerDuty",
    "Prometheus",
    "Registry",
    "ReleaseRecords",
    "SecretManager",
    "Sentry",
    "ServerNotices",
    "Slack",
]
