"""What a release changes, and the commands that take it back by hand."""

from playbook.lease.lease import Kind, Lease
from playbook.messages.escape import code_span, markdown, shell


def plan_table(lease: Lease) -> str:
    """A table of what each service served, and what it is to serve. Markdown."""
    rows = [
        f"| {markdown(rollout.service)} | {markdown(str(rollout.found))} | {markdown(rollout.to_revision)} | "
        f"{code_span(rollout.image.rsplit('@', 1)[-1][:19] + '…')} |"
        for rollout in lease.rollouts
    ]
    drifts = [
        f"| {markdown(rollout.service)} | {markdown(line)} | {'taken' if rollout.takes_template else 'left out'} |"
        for rollout in lease.rollouts
        for line in rollout.drift or ()
    ]
    changed = (
        ["", "| service | its template, not yet served | this release |", "|---|---|---|", *drifts] if drifts else []
    )
    becomes = "goes back to" if lease.kind is Kind.ROLLBACK else "new revision"
    return "\n".join((f"| service | before | {becomes} | image |", "|---|---|---|---|", *rows, *changed))


def canary_share(lease: Lease) -> str:
    """The canaries' share of the users: ``10 %``, or ``10 to 30 %`` where services differ."""
    least, most = lease.shares[0], lease.shares[-1]
    return f"{least} %" if least == most else f"{least} to {most} %"


def rollback_plan(lease: Lease) -> str:
    """How this release is taken back by hand when everything else is down. Commands for a shell."""
    place = f" {' '.join(map(shell, lease.place.split()))}" if lease.place else ""
    return "\n".join(
        f"gcloud run services update-traffic {shell(rollout.service)}{place} \\\n  --to-revisions="
        + shell(",".join(f"{revision}={share}" for revision, share in lease.fallback(rollout).percent.items()))
        for rollout in lease.rollouts
    )
