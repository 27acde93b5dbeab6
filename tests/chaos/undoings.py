"""The plots of a migration that is taken back: by its own ``down``, by a backup that people agree to, or not at all.

Writes are off meanwhile, so the end is looked at in the documents, in who can write, and in which code can read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cloud import Behaviour, RevisionState
from database import Backups, Database
from driver import Orders, Run, Stage
from plots import TRIES_MAX, Asked, released
from prefect import Flow
from scene import ROOT, SERVICES

from blocks.migrations import load
from flows.migration_rollback import migration_rollback
from playbook.migration import MigrationRequest, Migrations, code_problem
from playbook.traffic import Scaling

AI_CORE, BACKEND, FRONTEND = SERVICES
WRITERS = (BACKEND, AI_CORE)
FOLDER = str(ROOT / "rehearsal" / "migrations")
RENAME, DROP = "20251030093000-rename-full-name", "20251113101500-drop-raw-uploads"
READS_BOTH, READS_RENAMED, READS_DROPPED = "v20251030-bbbbbb", "v20251106-aaaaaa", "v20251113-cccccc"
MAINTENANCE = f"{BACKEND}-maintenance"
THEIRS = "theirs"
"""A tag that somebody else put on the backend."""
SECRET, RESTORED = "mongodb-uri", "mongodb://restored"
SCALING = Scaling(min_instances=1, max_instances=4)
USERS = 5
YES = {"answer": "yes", "approver": "Ada", "reason": "users wait"}
NO = {"answer": "no", "approver": "Ada", "reason": "too much would be lost"}


@dataclass(frozen=True)
class Undoing(Asked):
    """A migration rollback. What holds of each: nobody writes while documents change, everybody afterwards."""

    has_maintenance: bool = False
    """the backend's writes are stopped by a revision that refuses them, and not by having no instance"""
    is_cancelled: bool = False
    """a person cancels it: it halts with a page, and is started again in the end"""

    async def set_the_scene(self, stage: Stage) -> None:
        """Production has a database, the folder of its migrations, backups, and the releases that came with them."""
        scene = stage.scene
        database = Database(scene.wire, lambda: any(map(scene.production.takes_writes, WRITERS)))
        restored = Database(scene.wire, lambda: False)
        database.elsewhere[RESTORED] = restored
        backups = Backups(scene.wire, restored, RESTORED)
        migrations = Migrations(folder=FOLDER, services=WRITERS, batch=2, connection_secret=SECRET)
        outside = {"mongodb": database, "atlas": backups, "migrations": migrations, "secret_manager": scene.secrets}
        production = scene.environments["production"]
        for version in (READS_BOTH, READS_RENAMED, READS_DROPPED):
            scene.publish(version)
        self._released(stage)
        for service in WRITERS:
            scene.production.services[service].scaling = SCALING
        backend = scene.production.services[BACKEND]
        backend.split = backend.split.with_tag(THEIRS, backend.split.main)
        backend.served = backend.split
        services = [self._closable(stage, service) for service in production.services]
        scene.environments["production"] = production.model_copy(update={**outside, "services": services})
        self._fill(database, backups, scene.now())
        stage.server.answer = lambda question: self._answer(stage, question)

    def asked(self) -> tuple[Flow[..., object], object]:
        """For the last one that was applied."""
        return migration_rollback, MigrationRequest(reason="reports are empty", requested_by="ada")

    def is_known(self, stage: Stage) -> bool:
        """From its first write: it is in the claim."""
        return any(write.by.startswith(migration_rollback.name) for write in stage.scene.production.writes)

    async def begin(self, stage: Stage, orders: Orders) -> Run:
        """Its process may end by a cancellation."""
        run = await super().begin(stage, orders)
        if self.is_cancelled and run.process.is_dead:
            stage.cancel(run)
        return run

    async def follow(self, stage: Stage, run: Run) -> list[Run]:
        """The automations'; and the person's, who is paged where it halts: started again, it goes on."""
        followers = await super().follow(stage, run)
        flow, request = self.asked()
        for _ in range(TRIES_MAX):
            if not stage.is_held("production"):
                break
            last = await stage.follow(flow, request=request, environment="production")
            followers += [last, *await stage.recover()]
        return followers

    def wrong(self, stage: Stage, run: Run) -> Iterator[str]:
        """Writes are on, to code that can read what is there; and what the plot itself must keep."""
        cloud, migrations = stage.scene.production, load(FOLDER)
        for service in WRITERS:
            found, release = cloud.read(service), stage.scene.versions_served()[service]
            if not cloud.takes_writes(service) or found.scaling != SCALING:
                yield f"{service} takes no writes: {found.split}, {found.scaling}"
            if problem := code_problem(migrations, release, self._schema_after()):
                yield f"{service}: {problem}"
        if THEIRS not in cloud.read(BACKEND).split.tags:
            yield "somebody else's tag is gone"
        database = database_of(stage)
        if database.changed_while_open:
            yield f"documents were changed {database.changed_while_open} times while users could write"
        if strange := {name for name in database.documents.list_collection_names() if name.startswith("playbook")}:
            yield f"of the walk is left: {strange}"
        if max(database.changed.values(), default=0) > 1:
            yield f"changed more than once: {database.changed}"
        if stage.scene.slack.keys.count("closing") != 1:
            yield f"that writes stop was told so: {stage.scene.slack.keys}"
        if [one.key.split("/")[-1] for one in stage.scene.github.tickets] != ["ticket"]:
            yield f"its tickets: {[one.key for one in stage.scene.github.tickets]}"
        if stage.scene.pagerduty.incidents:
            yield f"a page is still open: {list(stage.scene.pagerduty.incidents)}"
        if self.is_cancelled and stage.died_holding(run) and not stage.scene.pagerduty.paged:
            yield "it was cancelled with writes off, and nobody was paged"
        yield from self._data_wrong(stage)

    def _closable(self, stage: Stage, service: Any) -> Any:
        if service.name != BACKEND or not self.has_maintenance:
            return service
        state = stage.scene.production.services[BACKEND]
        past_s = stage.scene.now() - 86_400
        refuses = Behaviour(takes_writes=False)
        state.revisions[MAINTENANCE] = RevisionState("maintenance", past_s, refuses, True, "", past_s)
        return service.model_copy(update={"maintenance_revision": MAINTENANCE})

    def _released(self, stage: Stage) -> None:
        """What serves, and what served before."""
        raise NotImplementedError

    def _fill(self, database: Database, backups: Backups, now_s: float) -> None:
        """What the database and its backups hold."""
        raise NotImplementedError

    def _answer(self, stage: Stage, question: str) -> dict[str, str]:
        """What people answer to what they read above the form."""
        return NO

    def _schema_after(self) -> int:
        """The schema that code must be able to read in the end."""
        raise NotImplementedError

    def _data_wrong(self, stage: Stage) -> Iterator[str]:
        """What is not right about the documents, the ledger, and what was told of them."""
        raise NotImplementedError


@dataclass(frozen=True)
class Down(Undoing):
    """A renamed field gets its old name back, and the backend the release that can read it."""

    def _released(self, stage: Stage) -> None:
        released(stage, BACKEND, READS_BOTH, READS_RENAMED)
        for service in (AI_CORE, FRONTEND):
            released(stage, service, READS_BOTH)

    def _fill(self, database: Database, backups: Backups, now_s: float) -> None:
        users = [{"_id": n, "newField": f"user {n}"} for n in range(USERS)]
        database.become({"users": users, "changelog": [_line(RENAME, now_s - 3600)]})

    def _schema_after(self) -> int:
        return 1

    def _data_wrong(self, stage: Stage) -> Iterator[str]:
        database = database_of(stage)
        users = sorted(database.documents.users.find(), key=lambda one: one["_id"])
        if users != [{"_id": n, "oldField": f"user {n}"} for n in range(USERS)]:
            yield f"users: {users}"
        if ledger := list(database.documents.changelog.find()):
            yield f"the ledger: {ledger}"
        if sum(database.changed.values()) != USERS:
            yield f"changed: {database.changed}"
        if stage.scene.slack.keys.count("done") != 1:
            yield f"that it is done was told so: {stage.scene.slack.keys}"


@dataclass(frozen=True)
class Restore(Undoing):
    """What was dropped comes back from a backup beside production, if people agree."""

    is_agreed: bool = True
    hesitates: bool = False
    """production is not to be pointed at it before somebody was paged because of that"""

    def _released(self, stage: Stage) -> None:
        for service in SERVICES:
            released(stage, service, READS_RENAMED, READS_DROPPED)

    def _fill(self, database: Database, backups: Backups, now_s: float) -> None:
        before = {"datasets": [{"_id": n, "raw": [n]} for n in range(3)], "changelog": [_line(RENAME, now_s - 9000)]}
        backups.snapshots["before"] = (now_s - 3660, before)
        after = [{"_id": n, "summary": n} for n in range(3)]
        database.become({"datasets": after, "changelog": [*before["changelog"], _line(DROP, now_s - 3600)]})

    def _answer(self, stage: Stage, question: str) -> dict[str, str]:
        hesitates = self.hesitates and "Point production" in question and not stage.scene.pagerduty.paged
        return YES if self.is_agreed and not hesitates else NO

    def _schema_after(self) -> int:
        return 2 if self.is_agreed else 3

    def _data_wrong(self, stage: Stage) -> Iterator[str]:
        database, jobs = database_of(stage), stage.scene.environments["production"].atlas.jobs
        if database.changed or database.documents.changelog.count_documents({}) != 2:
            yield "production's own database was changed"
        ended = "done" if self.is_agreed else "declined"
        if stage.scene.slack.keys.count(ended) != 1:
            yield f"the end was told so: {stage.scene.slack.keys}"
        versions = stage.scene.secrets.versions.get(SECRET, [])
        if not self.is_agreed:
            if jobs or versions:
                yield f"nobody agreed to {jobs}, {versions}"
            return
        if self.hesitates and not stage.scene.pagerduty.paged:
            yield "it halted with writes off, and nobody was paged"
        if len(jobs) != 1 or [value for _, value in versions] != [RESTORED]:
            yield f"restores: {jobs}; versions of the secret: {versions}"
        restored = [one["raw"] for one in database.elsewhere[RESTORED].documents.datasets.find()]
        if restored != [[0], [1], [2]]:
            yield f"restored: {restored}"
        for service in WRITERS:
            state = stage.scene.production.services[service]
            if state.revisions[state.served.main].created_at_s < versions[-1][0]:
                yield f"{service} serves {state.served.main}, from before its secret led to what was restored"


def database_of(stage: Stage) -> Database:
    """Production's."""
    found = stage.scene.environments["production"].mongodb
    assert isinstance(found, Database)
    return found


def _line(name: str, at_s: float) -> dict[str, Any]:
    """A line of the ledger."""
    return {"_id": name, "fileName": f"{name}.js", "appliedAt": datetime.fromtimestamp(at_s, UTC)}


UNDOINGS = (
    Down("undo"),
    Down("undo, cancelled", has_maintenance=True, is_cancelled=True),
    Restore("restore", has_maintenance=True),
    Restore("restore, no", is_agreed=False),
    Restore("restore, halted", hesitates=True),
)
