"""The environment files of a rehearsal: the same format as production's, pointed at the stand-in world."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from secrets import token_hex

from rehearsal.world.remote import RemoteWorld

TOKEN = "rehearsal-token"  # noqa: S105  # the vendor stand-ins take any; as in production, no file holds it
SECRETS = {
    "REHEARSAL_TOKEN": TOKEN,
    "REHEARSAL_ROUTING_KEY": "0123456789abcdef0123456789abcdef",
    "REHEARSAL_SIGNING_KEY": token_hex(32),
    "EXPLOIT_DEBUG_USERS": '{"path": "/api/debug/users"}',
}

SERVICES = ("ethixai-ai-core", "ethixai-backend", "ethixai-frontend")
"""In order of promotion."""
THIRD = "europe"
"""The environment that a rehearsal on several machines has beside production and staging."""
SCALED_BAKE_S = 360
SCALED_POLICY = f"bake_s = {SCALED_BAKE_S}\nbake_max_s = {SCALED_BAKE_S}\nhorizon_s = {SCALED_BAKE_S}\n"
"""Long enough to kill each part of the Prefect side in turn."""
MAINTENANCE = "ethixai-ai-core-maintenance"
"""The maintenance revision in production's file. The other services have none."""
TEMPLATE = """\
# Made for one rehearsal, with the ports of its stand-in world. Compare environments/{name}.toml.
name = "{name}"
{staging}ui_url = "{ui_url}"
required_checks = ["build", "test", "trivy"]

[policy]
base = "compressed"
{policy}
{services}[gates]
build_deadline_s = 60
late_after_s = 300
not_needed = {{ {not_needed} }}
{gates}
[contacts]
"Platform Engineering Lead" = {{ slack = "@platform-lead", escalation = "Primary on-call" }}
"CTO" = {{ slack = "@cto", escalation = "Escalation for P0 incidents" }}

# Prometheus takes up to 6 s to forget an instance that is gone.
[[signals]]
name = "instances that answer scrapes"
for_s = 15

{signals}[queries]
requests = '''
http_requests_total{{project="{project}",job="{{job}}",revision="{{revision}}",handler!~"{{health_checks}}"}}'''
latency = '''
http_request_duration_seconds_bucket{{
project="{project}",job="{{job}}",revision="{{revision}}",handler!~"{{health_checks}}"}}'''
cpu = 'cpu_utilization_ratio{{project="{project}",job="{{job}}",revision="{{revision}}"}}'
memory = 'memory_utilization_ratio{{project="{project}",job="{{job}}",revision="{{revision}}"}}'
cloud_run_requests = '''
run_googleapis_com:request_count{{project_id="{project}",service_name="{{service}}",revision_name="{{revision}}"}}'''
start_time = 'process_start_time_seconds{{project="{project}",job="{{job}}",revision="{{revision}}"}}'
up = 'up{{project="{project}",job="{{job}}",revision="{{revision}}"}}'
error_ratio = '''
(sum(rate(http_requests_total{{
project="{project}",job="{{job}}",revision="{{revision}}",handler!~"{{health_checks}}",status=~"5.."}}[15s]))
 or vector(0))
/ sum(rate(http_requests_total{{
project="{project}",job="{{job}}",revision="{{revision}}",handler!~"{{health_checks}}"}}[15s]))'''

[cloud_run]
project = "{project}"
region = "us-east1"
api_endpoint = "{grpc}"
api_url = "{rest}"

[signing]
keys = [{{ env = "REHEARSAL_SIGNING_KEY" }}]

[cloud_logging]
project = "{project}"
api_endpoint = "{grpc}"

[prometheus]
url = "{prometheus}"

[registry]
base_url = "{vendors}/registry"
username = "rehearsal"
token = {{ env = "REHEARSAL_TOKEN" }}

[ethixai]
poll_interval_s = 0.2
{ethixai}
[slack]
api_url = "{vendors}/slack/api"
token = {{ env = "REHEARSAL_TOKEN" }}
channels = {{ releases = "C0RELEASES", incidents = "C0INCIDENTS", platform = "C0PLATFORM" }}

[github]
api_url = "{vendors}/github"
repository = "geoaziz/ethixai"
deployments = true
token = {{ env = "REHEARSAL_TOKEN" }}

[sentry]
api_url = "{vendors}/sentry"
organization = "ethixai"
projects = ["backend", "ai-core", "frontend"]
environment = "{name}"
token = {{ env = "REHEARSAL_TOKEN" }}

[secret_manager]
project = "{project}"
api_endpoint = "{grpc}"
names = ["mongodb-uri", "jwt-signing-key"]
"""
SERVICE = """\
[[services]]
name = "{name}"
repository = "ghcr.io/geoaziz/{name}"
job = "{job}"
{more}smoke = {smoke}

"""
SMOKE = {"ai-core": ["health", "metrics"], "backend": ["health", "auth", "analyze", "metrics"]}
"""The smoke tests of each job; a page is what every other one shows."""
PAGERDUTY = """
[pagerduty]
events_url = "{vendors}/pagerduty"
api_url = "{vendors}/pagerduty/api"
routing_key = {{ env = "REHEARSAL_ROUTING_KEY" }}
api_token = {{ env = "REHEARSAL_TOKEN" }}
escalation_policy = "PABC123"
"""

NOTICES = """
[server_notices]
releases = {{ env = "REHEARSAL_HOOK_RELEASES" }}
incidents = {{ env = "REHEARSAL_HOOK_INCIDENTS" }}
platform = {{ env = "REHEARSAL_HOOK_PLATFORM" }}
routing_key = {{ env = "REHEARSAL_ROUTING_KEY" }}
events_url = "{vendors}/pagerduty"
"""
HOOKS = {"RELEASES": "C0RELEASES", "INCIDENTS": "C0INCIDENTS", "PLATFORM": "C0PLATFORM"}
"""Slack's incoming webhooks, by which the Prefect server tells people what no worker can."""

MONGODB = """
[mongodb]
uri = {{ env = "REHEARSAL_MONGODB_URI" }}
database = "ethixai"
timeout_s = 10

[migrations]
folder = "{migrations}"
services = ["ethixai-backend"]
batch = 200
connection_secret = "mongodb-uri"

[atlas]
api_url = "{vendors}/atlas"
public_key = "rehearsal"
private_key = {{ env = "REHEARSAL_TOKEN" }}
group = "32b6e34b3d91647abb20e7b8"
cluster = "ethixai-production"
restore_cluster = "ethixai-production-restore"
restore_uri = {{ env = "REHEARSAL_RESTORED_URI" }}
poll_interval_s = 0.5
"""
NOT_NEEDED = 'migrations = "the migrations of a rehearsal run in production only"'
MIGRATIONS = Path(__file__).resolve().parent / "migrations"


def services_table(names: Sequence[str], more: Mapping[str, str]) -> str:
    """The tables of these services, in order of promotion. ``more``: further lines of some of them."""
    rows = []
    for name in names:
        job = re.sub(r"-\d+$", "", name.removeprefix("ethixai-"))
        smoke = json.dumps(SMOKE.get(job, ["health", "page"]))
        rows.append(SERVICE.format(name=name, job=job, smoke=smoke, more=more.get(name, "")))
    return "".join(rows)


def secrets(world: RemoteWorld) -> dict[str, str]:
    """The environment variables that the files refer to, for the command that applies them."""
    hooks = {f"REHEARSAL_HOOK_{name}": f"{world.vendors_url}/slack/hooks/T0ETHIXAI/{to}" for name, to in HOOKS.items()}
    databases = {"REHEARSAL_MONGODB_URI": world.mongodb_uri, "REHEARSAL_RESTORED_URI": world.restored_uri}
    return {**SECRETS, **hooks, **databases}


def write_environments(
    folder: Path,
    world: RemoteWorld,
    ui_url: str,
    policy: str = "",
    gates: str = "",
    signals: str = "",
    frontend: str = "",
    ethixai: str = "",
    services: Sequence[str] = SERVICES,
    notices: str = "",
) -> tuple[Path, Path]:
    """Write production.toml and staging.toml for this world. Returns their paths, staging first.

    ``policy`` and ``gates`` are added to the tables [policy] and [gates] of production, ``signals`` to its [[signals]],
    and ``frontend`` to its last service. ``ethixai`` is added to the table [ethixai] of both. ``services``: in order of
    promotion. ``notices``: "yes" where the Prefect server tells people what no worker can.
    """
    places = _places(world, ui_url, ethixai)
    staging = plain_environment("staging", "bake_s = 0\n", services, places)
    more = {"ethixai-ai-core": f'maintenance_revision = "{MAINTENANCE}"\n', "ethixai-frontend": frontend}
    production = TEMPLATE.format(
        name="production",
        project="ethixai-production",
        staging='staging = "staging"\n',
        policy=policy,
        gates=gates,
        not_needed=NOT_NEEDED,
        signals=signals,
        services=services_table(services, more),
        **places,
    )
    database = MONGODB.format(migrations=MIGRATIONS, **places)
    told = NOTICES.format(**places) if notices else ""
    files = {"staging": staging, "production": production + PAGERDUTY.format(**places) + told + database}
    staging_file, production_file = _written(folder, files)
    return staging_file, production_file


def write_scaled(
    folder: Path, world: RemoteWorld, ui_url: str, policy: str = "", services: Sequence[str] = SERVICES
) -> tuple[Path, ...]:
    """Three environments that no other one comes before, each with a canary: production, staging and `THIRD`.

    Returns their paths.
    """
    places = _places(world, ui_url)
    names = ("production", "staging", THIRD)
    return _written(folder, {name: plain_environment(name, SCALED_POLICY + policy, services, places) for name in names})


def plain_environment(name: str, policy: str, services: Sequence[str], places: Mapping[str, str]) -> str:
    """The file of an environment without a pager, a database and an environment before it."""
    return TEMPLATE.format(
        name=name,
        project=f"ethixai-{name}",
        staging='pager = "none"\n',
        policy=policy,
        gates="",
        not_needed=NOT_NEEDED + ', staging = "this environment stands alone"',
        signals="",
        services=services_table(services, {}),
        **places,
    )


def _places(world: RemoteWorld, ui_url: str, ethixai: str = "") -> dict[str, str]:
    return {
        "ui_url": ui_url,
        "grpc": world.grpc_endpoint,
        "rest": world.rest_url,
        "prometheus": world.prometheus_url,
        "vendors": world.vendors_url,
        "ethixai": ethixai,
    }


def _written(folder: Path, files: Mapping[str, str]) -> tuple[Path, ...]:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    return tuple(folder / f"{name}.toml" for name in files)
