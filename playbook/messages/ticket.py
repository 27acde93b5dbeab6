"""The ticket that follows up an incident, and the draft of its post-mortem. GitHub Markdown."""

from collections.abc import Mapping, Sequence
from string import Template

from playbook.analysis.telemetry_checks import is_about_telemetry
from playbook.incident.response import Signature
from playbook.lease.lease import Kind
from playbook.messages.escape import code_span, markdown, shell
from playbook.messages.facts import Ticket
from playbook.messages.release_page import page
from playbook.messages.report import Report
from playbook.messages.times import clock_s, day
from playbook.messages.words import impact, severity, stable_names

COMMITS_MAX = 20
"""Of a release's commits, so many are in its ticket; the link leads to all."""


def rollback_ticket(report: Report, *more: str, assignee: str = "") -> Ticket:
    """Playbook 4, scenario 1: title and severity as written there, the evidence in the body. ``more`` is Markdown.

    ``assignee`` is the login of who follows it up.
    """
    lease = report.lease
    level = severity(report)
    title = {Kind.RELEASE: "canary rollback triggered", Kind.HOTFIX: "hotfix rolled back"}.get(
        lease.kind, f"rollback of {lease.version}"
    )
    engineer = markdown(lease.requested_by) or "unassigned"
    if is_about_telemetry(lease.reason):
        title = "release stopped: its metrics cannot be judged"
        more = ("The telemetry is at fault and not the code. Correct it, then release the same version again.", *more)
    opening = f"Severity: {level.in_words}\nRelease engineer: {engineer}"
    return Ticket(
        key=f"{lease.release_id}/ticket",
        title=f"{report.environment.capitalize()} {title}",
        severity=level,
        body="\n\n".join((opening, *more, page(report))),
        labels=("incident", level.value),
        assignee=assignee,
    )


def causes(commits: Sequence[str], commits_url: str, sentry_url: str, secrets: Sequence[str]) -> str:
    """Playbook 4, scenario 1, step 3: Sentry's traces, the secrets, the code changes. Markdown; the arguments are not.

    An empty URL is left out.
    """
    shown = [f"- {markdown(one)}" for one in commits[-COMMITS_MAX:]] or ["- not known"]
    if len(commits) > COMMITS_MAX:
        shown.append(f"- and {len(commits) - COMMITS_MAX} before these")
    parts = [
        "## Root cause: where to look",
        *([f"Error traces: {sentry_url}"] if sentry_url else []),
        "\n".join(("Secrets when this was written:", *(f"- {markdown(one)}" for one in secrets))),
        "\n".join((f"Commits of this release{f' ({commits_url})' if commits_url else ''}:", *shown)),
    ]
    return "\n\n".join(parts)


def findings(report: Report, signatures: Sequence[Signature], links: Mapping[str, str]) -> str:
    """The part of the ticket that helps to find the cause: errors that are new, and where to look. Markdown.

    ``links`` maps a name to Markdown.
    """
    errors = _listed(signatures) or "- none found in the logs; they may arrive late"
    where = "\n".join(f"- {markdown(name)}: {link}" for name, link in links.items())
    names = " and ".join(markdown(report.lease.suspect(rollout)) for rollout in report.lease.rollouts)
    return f"## Errors of {names} that stable does not have\n\n{errors}\n\n## Links\n\n{where}"


def log_commands(report: Report) -> dict[str, str]:
    """Playbook 4, scenario 1: the command that reads each new revision's errors. Markdown."""
    found = {}
    project = "".join(f" {shell(flag)}" for flag in report.lease.place.split() if flag.startswith("--project="))
    for rollout in report.lease.rollouts:
        query = f'resource.type=cloud_run_revision AND resource.labels.revision_name="{report.lease.suspect(rollout)}"'
        command = f"gcloud logging read {shell(f'{query} AND severity>=ERROR')} --limit=100{project}"
        found[f"logs of {rollout.service}"] = code_span(command)
    return found


def postmortem(template: str, report: Report, signatures: Sequence[Signature]) -> str:
    """The draft of the post-mortem: everything that is known by now is in its place. Markdown.

    ``template`` has the names of `string.Template`; one it does not know stays as it is.
    """
    lease = report.lease
    trigger = {
        Kind.ROLLBACK: f"reported by {lease.requested_by or 'an unnamed person'}",
        Kind.HOTFIX: "smoke tests and metrics of the first minutes",
        Kind.RELEASE: "automatic, in the canary phase",
    }[lease.kind]
    values = {
        "title": f"{report.environment.capitalize()}: {lease.version} was rolled back",
        "date": day(report.notes[0].at_s) if report.notes else "",
        "severity": severity(report).value,
        "version": lease.version,
        "services": ", ".join(lease.services),
        "stable": stable_names(lease),
        "reason": lease.reason,
        "detection": trigger,
        "impact": impact(report),
    }
    return Template(template).safe_substitute(
        {name: markdown(value) for name, value in values.items()},
        timeline="\n".join(f"| {clock_s(note.at_s)} | {markdown(note.text)} |" for note in report.notes),
        errors=_listed(signatures) or "- none found in the logs",
    )


def folded(summary: str, text: str) -> str:
    """``text`` (Markdown) behind a line that opens it on GitHub."""
    return f"<details><summary>{markdown(summary)}</summary>\n\n{text}\n</details>"


def _listed(signatures: Sequence[Signature]) -> str:
    return "\n".join(f"- {markdown(str(one))}" for one in signatures)
