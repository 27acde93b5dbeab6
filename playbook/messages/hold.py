"""The question of a held release, in ten lines: in the form, in the state of the paused run, and in the chat."""

from collections.abc import Sequence

from playbook.analysis.verdict import Action, Verdict
from playbook.lease.lease import Lease
from playbook.messages.checklist import overridden
from playbook.messages.escape import markdown
from playbook.messages.plan import canary_share
from playbook.messages.report import Report
from playbook.messages.times import clock, minutes
from playbook.messages.words import one_name

REASONS_MAX = 3
"""Undecided services that are named; the page has all."""
NEEDED = "Fill in the first three fields: else it stays Paused."
"""Prefect 3.9.1 checks the answer on its server, not in the dialog, which shows no refusal."""
AGAIN = "; then it is judged again."
ASKS = " A person decides when the bake ends."
"""The end of a verdict that is a question now."""
ALL_NUMBERS = "All numbers: "
PERCENT_MAX = 50
"""The largest share that a person may give a canary."""


def question(report: Report, page_url: str = "") -> tuple[str, ...]:
    """The lines as plain text: what is asked, until when, what was measured, what each answer does."""
    lease = report.lease
    bake = minutes(report.bake_s)
    lines = [
        f"Promote {lease.version} to all users of {report.environment}, or revert it?",
        f"Answer until {clock(lease.gate_deadline_s or 0)} UTC. No answer reverts it.",
        *_undecided(report.verdicts),
        *overridden(lease.overrides),
        f"Users: {_now(lease)}",
        "promote: all users get it.",
        f"revert: all users go back to {one_name(lease)}.",
        f"extend: {canary_share(lease)} of users keep it for 1 to 60 minutes more{AGAIN}",
    ]
    if lease.shares[-1] < PERCENT_MAX:
        lines.append(f"raise: {lease.shares[-1] + 1} to {PERCENT_MAX} % of users get it for {bake}{AGAIN}")
    return (*lines, f"{ALL_NUMBERS}{page_url}") if page_url else tuple(lines)


def form_text(lines: Sequence[str]) -> str:
    """The lines as Markdown above the form, so short that the required fields stand on the first screen.

    What *extend* and *raise* do stands at their fields (`tasks.gate.Decide`).
    """
    first, *others = lines
    shown, last = [f"**{markdown(first)}**"], f"*{NEEDED}*"
    for line in others:
        if line.endswith(AGAIN):
            continue
        if line.startswith(ALL_NUMBERS):
            last = f"{_line(line)} · {last}"
        elif line.startswith(JOINED):
            shown[-1] += f" {_line(line)}"
        else:
            shown.append(_line(line))
    return "  \n".join([*shown, last])


JOINED = ("Answer until ", "revert: ")
"""How lines begin that stand behind the one before."""


def _line(text: str) -> str:
    if (url := text.removeprefix(ALL_NUMBERS)) != text and url.startswith(("https://", "http://")):
        return f"[{ALL_NUMBERS.rstrip(': ')}](<{url.replace('<', '%3C').replace('>', '%3E')}>)"
    name, colon, rest = text.partition(": ")
    return f"**{markdown(name)}:** {markdown(rest)}" if colon and " " not in name else markdown(text)


def _undecided(verdicts: Sequence[Verdict]) -> list[str]:
    """What could not be decided, with value and limit, one line for each service."""
    if verdicts and verdicts[0].action is Action.PROMOTE:
        healthy = [f"{one.service}: {one.explanation}" for one in verdicts[:REASONS_MAX]]
        return ["The policy asks for approval before all users move; the judge would promote.", *healthy]
    found = [one for one in verdicts if one.action is Action.INCONCLUSIVE]
    lines = [f"{one.service}: {one.explanation.removesuffix(ASKS)}" for one in found[:REASONS_MAX]]
    new = [f"{one.service}: new error: {one.new_errors[0]}" for one in found[:REASONS_MAX] if one.new_errors]
    lines += new[:1]
    others = ", ".join(one.service for one in found[REASONS_MAX:])
    return [*lines, f"Also undecided: {others}."] if others else lines


def _now(lease: Lease) -> str:
    seen = lease.measured
    counted = f"; {seen.failed:,} of {seen.requests:,} requests to it failed" if seen and seen.requests else ""
    return f"{canary_share(lease)} are on it{counted}."
