"""Where a person looks further: the addresses on the page of a release."""

import asyncio
import contextlib
from urllib.parse import quote

from blocks.environment import Environment
from playbook.lease.lease import Decision, Lease
from playbook.release.plan import commit_of
from playbook.release.version import commit_of_version
from tasks.start import form_link

LINK_WAITS_S = 3
"""For a server that hangs: no release waits longer for a link."""
CONSOLE = "https://console.cloud.google.com/logs/query"


async def links_of(env: Environment, lease: Lease) -> dict[str, str]:
    """Name -> URL, what is needed first stands first. What this environment does not have is left out."""
    found = {
        "run": env.run_url(lease.flow_run_id),
        "logs": logs_url(env, lease),
        "commits": commits_url(env, lease),
        "dashboard": env.dashboard,
    }
    if lease.decision is not Decision.REVERT and env.ui_url:  # a release that is taken back waits for no link
        with contextlib.suppress(TimeoutError):
            asked = form_link(env.ui_url, f"rollback/{env.name}", {"environment": env.name})
            form = await asyncio.wait_for(asked, LINK_WAITS_S)
            found["roll back"] = form if form.startswith("http") else ""
    return {name: url for name, url in found.items() if url}


def logs_url(env: Environment, lease: Lease) -> str:
    """Google's console with the logs of the revisions that matter: the newest first."""
    names = " OR ".join(f'"{lease.suspect(rollout)}"' for rollout in lease.rollouts)
    return _logs(env, f'resource.type="cloud_run_revision"\nresource.labels.revision_name=({names})')


def all_logs_url(env: Environment) -> str:
    """Google's console with the logs of every service of the environment."""
    names = " OR ".join(f'"{name}"' for name in env.service_names)
    return _logs(env, f'resource.type="cloud_run_revision"\nresource.labels.service_name=({names})')


def _logs(env: Environment, query: str) -> str:
    return f"{CONSOLE};query={quote(query, safe='')}?project={quote(env.cloud_run.project)}"


def commits_url(env: Environment, lease: Lease) -> str:
    """What this version has that the good one has not, or all that leads to it; empty where that is not known."""
    old, new = commits_of(lease)
    return env.code_host.commits_url(old, new) if env.code_host is not None and new else ""


def commits_of(lease: Lease) -> tuple[str, str]:
    """The commit of what is known to be good, and that of the version; each empty where it is not known."""
    old = next(filter(None, (commit_of(one.service, lease.trusted(one)) for one in lease.rollouts)), "")
    return old, commit_of_version(lease.version)
