"""The status page of an environment: what serves, what is under way, how the last runs ended. Markdown from values."""

from collections.abc import Iterable, Mapping
from typing import Any

from playbook.base import Frozen
from playbook.lease.lease import Decision, Kind, Lease
from playbook.lease.record import Mitigation, Record, Unreadable
from playbook.messages.escape import BREAK, markdown
from playbook.messages.facts import Message
from playbook.messages.plan import canary_share
from playbook.messages.times import moment
from playbook.release.outcome import TAKEN_BACK, ReleaseOutcome
from playbook.release.promotion import Promotion
from playbook.release.traffic import ServiceSnapshot

LINK = "What serves now: "
"""Begins the line that a deployment's description ends with."""
ENDED_MAX = 10
ROLLBACKS_MAX = 3
REASON_MAX = 240
ROLLBACK_MAX = 480
"""What a rollback would do names every service."""


class Link(Frozen):
    """A place to look at or a form to open."""

    title: str
    url: str


class Serving(Frozen):
    """What one service gives its users. ``problem`` says why that is not known."""

    service: str
    users_on: str = ""
    release: str = ""
    since_s: float | None = None
    mitigation: Mitigation | None = None
    problem: str = ""


class Start(Frozen):
    """A deployment that people start. ``title`` and ``what`` are the first paragraph of its description."""

    title: str
    url: str
    what: str = ""


class Ended(Frozen):
    """How a run of ``flow`` ended. ``by``: who asked for it, and who approved it. ``release``: the version that it
    released; ``took_back``: that of a release of another run, which it has taken back."""

    name: str
    url: str
    outcome: str
    reason: str
    at_s: float
    by: str = ""
    flow: str = ""
    release: str = ""
    took_back: str = ""


class Status(Frozen):
    """Everything that the page shows of an environment. ``ended``: the newest first; ten of them are listed, and the
    last revert and the last hotfix are looked for among all."""

    environment: str
    serving: tuple[Serving, ...]
    under_way: tuple[Lease, ...] = ()
    last_words: str = ""
    released_by: str = ""
    ended: tuple[Ended, ...] = ()
    next_start_s: float | None = None
    rollback: str = ""
    notices: tuple[str, ...] = ()
    forms: tuple[Link, ...] = ()
    starts: tuple[Start, ...] = ()
    places: tuple[Link, ...] = ()
    ui_url: str = ""


def key_of(environment: str) -> str:
    """The key of the environment's status page among Prefect's artifacts."""
    return f"{environment}-now"


def link_to(environment: str, ui_url: str) -> str:
    """The lasting address of the status page: Prefect's UI shows one entry there, which is the page. Empty without a
    UI."""
    return f"{ui_url}/v2/artifacts/key/{key_of(environment)}" if ui_url else ""


def described(description: str, environment: str, url: str) -> str:
    """A deployment's description with the link to the status page of its environment. It may be given again."""
    text = description.partition(f"\n\n{LINK}")[0].rstrip()
    return f"{text}\n\n{LINK}[{environment}]({url})" if url else text


def started(description: str, flow: str) -> tuple[str, str]:
    """What people start with a deployment, and what it does: the bold beginning of its description, and the rest."""
    text = description.partition(f"\n\n{LINK}")[0].strip()
    head, _, rest = text.removeprefix("**").partition("**")
    if not text.startswith("**") or not rest:
        return flow.replace("-", " ").capitalize(), text
    return head.rstrip(".:"), rest.lstrip(": ").strip()


def linked(message: Message, url: str) -> Message:
    """``message`` with a last line that leads to the status page."""
    return message.model_copy(update={"text": f"{message.text}\n{LINK}{url}"}) if url else message


def serving_of(snapshot: ServiceSnapshot) -> Serving:
    """What a service gives its users, by its traffic and its own record."""
    record = Record.parse(snapshot.service, snapshot.annotations)
    goods = () if isinstance(record, Unreadable) else record.last_good
    by_revision = {good.revision: good for good in goods}
    split = snapshot.pinned
    shares = sorted(split.percent.items(), key=lambda share: -share[1])
    users_on = ", ".join(
        f"{share} % on {by_revision[revision].name if revision in by_revision else revision}"
        for revision, share in shares
    )
    good = by_revision.get(split.main)
    return Serving(
        service=snapshot.service,
        users_on=users_on,
        release=good.name if good else split.main,
        since_s=good.promoted_at_s if good else None,
        mitigation=None if isinstance(record, Unreadable) else record.mitigation,
        problem=str(record) if isinstance(record, Unreadable) else "",
    )


def ways_back(snapshots: Iterable[ServiceSnapshot]) -> tuple[str, ...]:
    """The last good releases that do not serve now, the newest first: what a rollback can be asked for."""
    goods: dict[str, Promotion] = {}
    serving: set[str] = set()
    for snapshot in snapshots:
        record = Record.parse(snapshot.service, snapshot.annotations)
        if isinstance(record, Unreadable):
            continue
        for good in record.last_good:
            if good.revision == snapshot.pinned.main:
                serving.add(good.release)
            elif good.release:
                goods.setdefault(good.release, good)
    names = sorted(goods, key=lambda name: -goods[name].promoted_at_s)
    return tuple(name for name in names if name not in serving)[:ROLLBACKS_MAX]


def page(status: Status) -> str:
    """The whole page; what people look for first stands first. The same status gives the same text."""
    lines = [since(status), under_way(status), *_lasts(status)]
    if status.rollback:
        lines.append(f"**A rollback now** {markdown(_cut(status.rollback, ROLLBACK_MAX))}")
    lines.append(_next(status))
    links = (("Start", status.forms), ("Look at", status.places))
    lines += [f"**{name}** {_links(found)}" for name, found in links if found]
    blocks = [f"## {title(status)}", *(f"**{markdown(one)}**" for one in status.notices), BREAK.join(lines)]
    blocks += ["### Services", _services(status), "### The last ten runs", _ended(status)]
    if status.starts:
        blocks += ["### What you can start", *map(_start, status.starts)]
    return "\n\n".join(filter(None, blocks))


def title(status: Status) -> str:
    """What serves, in one line."""
    recorded = _recorded(status)
    if recorded:
        return f"{status.environment} serves {markdown(' and '.join(recorded))}"
    if any(one.release for one in status.serving):
        return f"{status.environment} serves what was there before the first release of this playbook"
    return f"{status.environment}: what serves is not known"


def _recorded(status: Status) -> list[str]:
    """The releases of this playbook that serve."""
    return list(dict.fromkeys(one.release for one in status.serving if one.since_s is not None))


def _start(one: Start) -> str:
    return f"**[{markdown(one.title)}]({one.url})** {markdown(one.what)}".rstrip()


HOTFIX = "hotfix"
RELEASING = frozenset({"release", HOTFIX})
"""The flows whose runs are releases."""


def _lasts(status: Status) -> list[str]:
    """Why the last release was taken back, and who approved the last hotfix."""
    runs, here = status.ended, f" to {status.environment}"
    back = next((one for one in runs if one.took_back or (one.flow in RELEASING and one.outcome in TAKEN_BACK)), None)
    hotfix = next((one for one in runs if one.flow == HOTFIX and one.outcome == ReleaseOutcome.PROMOTED.value), None)
    found = []
    if back is not None:
        what = _taken_back(back, runs, here)
        found.append(f"**Last reverted:** {what}, {moment(back.at_s)}. {markdown(_sentence(_cut(back.reason)))}")
    if hotfix is not None:
        found.append(f"**Last hotfix:** {_run(hotfix, here)}, by {markdown(hotfix.by)}.")
    return found


def _taken_back(back: Ended, runs: Iterable[Ended], here: str) -> str:
    """The release that was taken back, with a link to its own run; and by what, where that was another run."""
    if not back.took_back:
        return _run(back, here)
    own = next((one for one in runs if one.flow in RELEASING and one.release == back.took_back), None)
    name = _run(own, here) if own is not None else f"release {markdown(back.took_back)}"
    return f"{name}, by [{back.flow}]({back.url})"


def _run(one: Ended, without: str = "") -> str:
    """A link to the run, by its name without its outcome, and without what its reader knows."""
    return f"[{markdown(one.name.removesuffix(f': {one.outcome}').removesuffix(without))}]({one.url})"


def _sentence(reason: str) -> str:
    return f"{reason[:1].upper()}{reason[1:]}" + ("" if reason.endswith((".", "…")) else ".")


def _cut(text: str, most: int = REASON_MAX) -> str:
    return text if len(text) <= most else text[:most].rstrip() + " …"


def newest_release(serving: Iterable[Serving]) -> str:
    """The release that was promoted last of those that serve; empty where none is recorded."""
    recorded = [one for one in serving if one.since_s is not None]
    return max(recorded, key=lambda one: one.since_s or 0.0).release if recorded else ""


def since(status: Status) -> str:
    """Since when, and who released it; which services have something else."""
    starts = [one.since_s for one in status.serving if one.since_s is not None]
    if not starts:
        return "What serves was not released by this playbook, so its time is not recorded."
    by = f", released by {markdown(status.released_by)}" if status.released_by else ""
    others = [one.service for one in status.serving if one.release and one.since_s is None]
    before = f" What was there before still serves on {', '.join(others)}." if others else ""
    return f"Since {moment(max(starts))}{by}.{before}"


def people(request: Mapping[str, Any]) -> str:
    """Who asked for a run with this request, and who approved it; empty where it does not say."""
    by, approver, incident = (str(request.get(key) or "") for key in ("requested_by", "approver", "incident"))
    approved = f"approved by {approver}" + (f" ({incident})" if incident else "") if approver else ""
    return ", ".join(filter(None, (by, approved)))


def under_way(status: Status) -> str:
    """What runs now, and where it stands."""
    if not status.under_way:
        return "**Under way:** nothing."
    return BREAK.join(f"**Under way:** {_lease(status, lease)}" for lease in status.under_way)


def _lease(status: Status, lease: Lease) -> str:
    what = {Kind.RELEASE: "release", Kind.HOTFIX: "hotfix", Kind.ROLLBACK: "rollback of"}.get(lease.kind, "migration")
    name = markdown(f"{what} {lease.version}")
    link = f"[{name}]({status.ui_url}/v2/runs/flow-run/{lease.flow_run_id})" if status.ui_url else name
    by = f" Asked for by {markdown(lease.requested_by)}." if lease.requested_by else ""
    words = f" Last step: {markdown(status.last_words)}." if status.last_words else ""
    return f"{link}: {standing(lease)}{by}{words}"


def standing(lease: Lease) -> str:
    """Where the users of a lease are, and what comes next, in one sentence."""
    started_s = lease.bake_start_s
    if lease.gate_deadline_s is not None and lease.decision is Decision.BAKE:
        return f"held: a person decides until {moment(lease.gate_deadline_s)}; without an answer it is reverted."
    match lease.decision:
        case Decision.DEPLOY:
            return "all users are on the old revisions; the new ones are being started."
        case Decision.BAKE if started_s is None:
            return f"{canary_share(lease)} of the users are being moved to the canary."
        case Decision.BAKE:
            return f"{canary_share(lease)} of the users are on the canary since {moment(started_s or 0)}."
        case Decision.PROMOTE:
            return "all users are being moved to the new revisions."
        case Decision.REVERT:
            return f"all users are being moved back. {markdown(lease.reason)}"


def _next(status: Status) -> str:
    if status.next_start_s is None:
        return "**Next scheduled release:** none."
    return f"**Next scheduled release:** {moment(status.next_start_s)}."


def _links(links: Iterable[Link]) -> str:
    return " · ".join(f"[{markdown(link.title)}]({link.url})" for link in links)


def _services(status: Status) -> str:
    rows = ["| service | users | since | note |", "|---|---|---|---|"]
    for one in status.serving:
        measure = one.mitigation
        note = f"{measure.measure.value} by {measure.by}: {measure.reason}" if measure else one.problem
        at = moment(one.since_s) if one.since_s is not None else "not recorded"
        users_on = markdown(one.users_on or "not known")
        rows.append(f"| {one.service} | {users_on} | {at} | {markdown(note[:REASON_MAX]) or '–'} |")
    return "\n".join(rows)


def _ended(status: Status) -> str:
    if not status.ended:
        return "None yet."
    rows = ["| ended | run | outcome | why |", "|---|---|---|---|"]
    for one in status.ended[:ENDED_MAX]:
        by = f", by {markdown(one.by)}" if one.by else ""
        run, outcome = f"{_run(one)}{by}", markdown(one.outcome)
        rows.append(f"| {moment(one.at_s)} | {run} | **{outcome}** | {markdown(_cut(one.reason))} |")
    return "\n".join(rows)
