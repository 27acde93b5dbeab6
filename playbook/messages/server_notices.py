"""What Prefect's own server tells people, since no process of ours may live to tell it: runs that do not start or that
die, workers that are gone, schedules that stay away.

Each notice is an automation of the server. Its text has fields of its own (`FIELDS`), which the server fills in.
"""

import re
from collections.abc import Callable
from typing import Any

from pydantic import Field

from playbook.base import Frozen
from playbook.incident.decision_matrix import SEVERITY_OF, Event, Severity
from playbook.messages.facts import Audience

POOL = "playbook"
START_S = 90
"""A run that is late, or that a worker has taken, begins within so many seconds, or people are told."""
NET_S = 1800
"""Recovery starts every 10 minutes; three that did not begin are no accident."""
WEEKLY_S = 8 * 86400
"""The weekly release starts once in seven days."""

UNTOLD = "playbook.untold"
"""The event of a run that could not tell people how it ended: its environment cannot be opened."""

FIELDS = {
    "deployment": "flow.name ~ '/' ~ deployment.name",
    "run": "flow_run.name",
    "url": "flow_run | ui_url | default('', true) | replace('/runs/', '/v2/runs/')",
    "due": "flow_run.expected_start_time.strftime('%H:%M')",
    "state": "flow_run.state.name",
    "why": "flow_run.state.message or 'no reason was given'",
    "queue": "work_queue.name",
    "resource": "event.resource.name",
}
"""Field of a text -> where the server finds it, in its own template language (Jinja)."""

URGENT = ("rollback", "migration-rollback", "recovery", "hotfix", "mitigate")
"""Flows that users wait for: a person is paged when one of them does not start in production."""
HOLDERS = ("release", "hotfix", "rollback", "migration-rollback")
"""Flows that hold services: recovery takes over what they held."""
OTHERS = ("release", "watch", "validation", "flight-check", "announce", "retrospective", "quarterly-review")

BEGUN = ("Running", "Completed", "Failed", "Crashed", "Cancelling", "Cancelled", "AwaitingConcurrencySlot")


class Notice(Frozen):
    """One automation: when it fires, who is told, and what.

    ``page`` is the page's dedup key, empty where no one is paged; ``resolves`` is the key of a page that is over then.
    """

    name: str
    trigger: dict[str, Any]
    audience: Audience = Audience.RELEASES
    text: str
    page: str = ""
    resolves: str = ""
    severity: Severity = Field(SEVERITY_OF[Event.NOT_STARTED], description="of the page")

    def said(self, field: Callable[[str], str]) -> str:
        """The text, with what ``field`` makes of the name of each of its fields in its place."""
        return re.sub(r"\{(\w+)\}", lambda found: field(found[1]), self.text)


def server_notices(environment: str, *, is_production: bool) -> tuple[Notice, ...]:
    """Everything that the server tells of one environment. A person is paged for production alone."""
    found = (
        *_not_started(environment),
        *_ended_badly(environment),
        *_schedules(environment, is_production=is_production),
        *((*_workers(), _untold()) if is_production else ()),
    )
    return found if is_production else tuple(one.model_copy(update={"page": "", "resolves": ""}) for one in found)


def _not_started(environment: str) -> tuple[Notice, ...]:
    """A run is late, or a worker took it and died: it did not begin, and nothing of ours can say so."""
    text = (
        f"⏰ {environment.upper()}: {{deployment}} HAS NOT STARTED\n"
        "It was due at {due} UTC, and no worker has begun it.\n"
        "Users: they have what they had before.\n"
        "Do: see whether the worker of work queue {queue} runs, and whether the queue is paused. "
        "The run starts by itself once there is a worker. Cancel it if it must not start so late.\n"
        "Run: {url}"
    )
    trigger = {
        "posture": "Proactive",
        "after": _events("Late", "Pending"),
        "expect": _events(*BEGUN),
        "for_each": ["prefect.resource.id"],
        "threshold": 1,
        "within": START_S,
    }
    urgent, others = _of(environment, URGENT), _of(environment, OTHERS)
    return (
        Notice(
            name=f"{environment}: an urgent run has not started",
            trigger=trigger | urgent,
            audience=Audience.INCIDENTS,
            text=text,
            page=f"{environment}/not-started",
        ),
        Notice(name=f"{environment}: a run has not started", trigger=trigger | others, text=text),
    )


def _ended_badly(environment: str) -> tuple[Notice, ...]:
    """A run died, or ended in an error that was not foreseen: it could not tell people itself."""
    head = f"🛑 {environment.upper()}: {{deployment}} ENDED {{state}}\nRun: {{run}}\nReason: {{why}}\n"
    held = (
        "Users: they stay where they are. Recovery starts within a minute, resumes or reverts what the run held, and "
        "tells what it did. If the run held nothing, start it again.\n{url}"
    )
    undelivered = (
        "A message, page or ticket was not delivered. Its text is in the parameters of the run: pass it on by hand, "
        "and see whether the system that refused it works.\n{url}"
    )
    reactive = {"posture": "Reactive", "for_each": ["prefect.resource.id"], "threshold": 1, "within": 0}
    died = ("Failed", "Crashed", "TimedOut")
    rest = ("watch", "validation", "flight-check", "retrospective", "quarterly-review")
    return (
        Notice(
            name=f"{environment}: a release or rollback died",
            trigger=reactive | {"expect": _events(*died, "Cancelled")} | _of(environment, HOLDERS),
            text=head + held,
        ),
        Notice(
            name=f"{environment}: a mitigation died",
            trigger=reactive | {"expect": _events(*died, "Cancelled")} | _of(environment, ("mitigate",)),
            audience=Audience.INCIDENTS,
            text=head
            + "Look at the service: the measure may be half done. Start it again, it is safe to repeat.\n{url}",
        ),
        Notice(
            name=f"{environment}: a message was not delivered",
            trigger=reactive | {"expect": _events(*died, "Refused")} | _of(environment, ("announce",)),
            audience=Audience.INCIDENTS,
            text=head + undelivered,
            page=f"{environment}/not-delivered",
            severity=SEVERITY_OF[Event.NOT_DELIVERED],
        ),
        Notice(
            name=f"{environment}: a check or review died",
            trigger=reactive | {"expect": _events(*died, "Refused")} | _of(environment, rest),
            audience=Audience.PLATFORM,
            text=head + "Users are not touched by it. Start it again; what it would have told is not known.\n{url}",
        ),
        Notice(
            name=f"{environment}: recovery fails",
            trigger=reactive
            | {"expect": _events(*died, "Refused"), "for_each": ["related:flow:prefect.resource.id"], "within": NET_S}
            | _of(environment, ("recovery",)),
            audience=Audience.INCIDENTS,
            text=head + "Releases that lose their process stay half done until it works. It is tried again every "
            "minute, and this is said at most every half hour.\n{url}",
            page=f"{environment}/recovery-fails",
            severity=SEVERITY_OF[Event.NO_RECOVERY],
        ),
    )


def _schedules(environment: str, *, is_production: bool) -> tuple[Notice, ...]:
    """What should have begun by itself did not: its schedule is off, or no worker and no scheduler is there."""
    absent = {"posture": "Proactive", "expect": _events("Running"), "threshold": 1}
    found = [
        Notice(
            name=f"{environment}: no recovery has run",
            trigger=absent | {"within": NET_S} | _of(environment, ("recovery",)),
            audience=Audience.INCIDENTS,
            text=f"🛑 {environment.upper()}: NO RECOVERY HAS RUN FOR {NET_S // 60} MINUTES\n"
            "Users: they stay where they are, but a release whose process dies is not taken back.\n"
            f"Do: see whether the worker of work queue emergency runs, and whether recovery/{environment} has its "
            "schedule switched on.",
            page=f"{environment}/no-recovery",
            severity=SEVERITY_OF[Event.NO_RECOVERY],
        )
    ]
    if is_production:
        found.append(
            Notice(
                name=f"{environment}: no weekly release",
                trigger=absent | {"within": WEEKLY_S} | _of(environment, ("release",)),
                text=f"📅 {environment.upper()}: NO RELEASE HAS STARTED FOR {WEEKLY_S // 86400} DAYS\n"
                "Users: they have what they had before.\n"
                f"Do: see whether the schedule of release/{environment} is switched on and has upcoming runs.",
            )
        )
    return tuple(found)


def _untold() -> Notice:
    """A run knew of no channel. Its environment was never applied, or another version of this project saved it."""
    return Notice(
        name="a run could not tell how it ended",
        trigger={
            "posture": "Reactive",
            "expect": [UNTOLD],
            "match": {"prefect.resource.id": f"{UNTOLD}.*"},
            "for_each": ["prefect.resource.id"],
            "threshold": 1,
            "within": 0,
        },
        text="⏹ {resource}\n"
        "Users: nothing changed for them.\n"
        "Do: apply the environment's file again (python -m blocks apply), then start the run again.",
    )


def _workers() -> tuple[Notice, ...]:
    """A worker is gone: its queue is no longer asked for work, or its pool has no worker left."""
    reactive = {"posture": "Reactive", "for_each": ["prefect.resource.id"], "threshold": 1, "within": 0}
    pool = {"prefect.resource.id": "prefect.work-pool.*", "prefect.resource.name": POOL}
    queue = {"prefect.resource.id": "prefect.work-queue.*"}
    of_pool = {"prefect.resource.role": "work-pool", "prefect.resource.name": POOL}
    do = "Do: start it again on its host: systemctl restart playbook-worker@{resource}"
    return (
        Notice(
            name="a worker is gone",
            trigger=reactive | {"expect": ["prefect.work-queue.not-ready"], "match": queue, "match_related": of_pool},
            audience=Audience.PLATFORM,
            text="🛑 NO WORKER FOR WORK QUEUE {resource}: none has asked it for work for a minute\n"
            "Users: they stay where they are. Runs of this queue wait; runs that began go on without their worker.\n"
            f"{do}",
            page=f"{POOL}/worker",
        ),
        Notice(
            name="a worker is back",
            trigger=reactive | {"expect": ["prefect.work-queue.ready"], "match": queue, "match_related": of_pool},
            audience=Audience.PLATFORM,
            text="✅ WORK QUEUE {resource} HAS A WORKER AGAIN: waiting runs start now",
            resolves=f"{POOL}/worker",
        ),
        Notice(
            name="the work pool has no worker",
            trigger=reactive | {"expect": ["prefect.work-pool.not-ready"], "match": pool},
            audience=Audience.PLATFORM,
            text="🛑 WORK POOL {resource} HAS NO WORKER: no release, no rollback and no recovery starts\n"
            "Users: they stay where they are.\n"
            "Do: start the workers on their hosts. Until then, roll back with gcloud (docs/operations.md, Roll back "
            "by hand).",
            page=f"{POOL}/pool",
        ),
        Notice(
            name="the work pool has a worker again",
            trigger=reactive | {"expect": ["prefect.work-pool.ready"], "match": pool},
            audience=Audience.PLATFORM,
            text="✅ WORK POOL {resource} HAS A WORKER AGAIN",
            resolves=f"{POOL}/pool",
        ),
    )


def _events(*states: str) -> list[str]:
    return [f"prefect.flow-run.{state}" for state in states]


def _of(environment: str, flows: tuple[str, ...]) -> dict[str, Any]:
    """What a trigger matches: runs of these flows in this environment."""
    return {
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "match_related": [
            {"prefect.resource.role": "flow", "prefect.resource.name": list(flows)},
            {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{environment}"},
        ],
    }
