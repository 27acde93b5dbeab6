"""Scenarios of a migration rollback: by the migration's ``down``, from a backup after approval, or denied.

Writes are frozen meanwhile, so the checks look at the documents, at who can write, and at which code can read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cloud import Behaviour, RevisionState
from database import RESTORE_S, Backups, Database
from driver import Orders, Run, TestEnvironment
from fixture import ROOT, SERVICES
from prefect import Flow
from scenarios import TRIES_MAX, Asked, released

from blocks.migrations import load
from flows.migration_rollback import migration_rollback
from playbook.migration.plan import MigrationRequest, Migrations, code_problem
from playbook.release.traffic import Scaling

AI_CORE, BACKEND, FRONTEND = SERVICES
WRITERS = (BACKEND, AI_CORE)
FOLDER = str(ROOT / "rehearsal" / "migrations")
RENAME, DROP = "20251030093000-rename-full-name", "20251113101500-drop-raw-uploads"
READS_BOTH, READS_RENAMED, READS_DROPPED = "v20251030-bbbbbb", "v20251106-aaaaaa", "v20251113-cccccc"
MAINTENANCE = f"{BACKEND}-maintenance"
THEIRS = "theirs"
"""A tag on the backend that is not ours."""
SECRET, RESTORED = "mongodb-uri", "mongodb://restored"
SCALING = Scaling(min_instances=1, max_instances=4)
USERS = 5
YES = {"answer": "yes", "approver": "Ada", "reason": "users wait"}
NO = {"answer": "no", "approver": "Ada", "reason": "too much would be lost"}


@dataclass(frozen=True)
class MigrationRollback(Asked):
    """A migration rollback. In all of them: no user writes while documents change, and all can write afterwards."""

    has_maintenance: bool = False
    """the backend's writes are stopped by a revision that refuses them, and not by having no instance"""
    is_cancelled: bool = False
    """a person cancels it: it halts with a page, and is started again in the end"""
    restore_s: float = RESTORE_S
    """how long a restore takes"""

    async def prepare(self, test_env: TestEnvironment) -> None:
        """Production has a database, its migrations, backups, and the releases that belong to them."""
        fixture = test_env.fixture
        database = Database(fixture.wire, lambda: any(map(fixture.production.takes_writes, WRITERS)))
        restored = Database(fixture.wire, lambda: False)
        database.elsewhere[RESTORED] = restored
        backups = Backups(fixture.wire, restored, RESTORED, self.restore_s)
        migrations = Migrations(folder=FOLDER, services=WRITERS, batch=2, connection_secret=SECRET)
        outside = {"mongodb": database, "atlas": backups, "migrations": migrations, "secret_manager": fixture.secrets}
        production = fixture.environments["production"]
        for version in (READS_BOTH, READS_RENAMED, READS_DROPPED):
            fixture.publish(version)
        self._released(test_env)
        for service in WRITERS:
            fixture.production.services[service].scaling = SCALING
        backend = fixture.production.services[BACKEND]
        backend.split = backend.split.with_tag(THEIRS, backend.split.main)
        backend.served = backend.split
        services = [self._closable(test_env, service) for service in production.services]
        fixture.environments["production"] = production.model_copy(update={**outside, "services": services})
        self._fill(database, backups, fixture.now())
        test_env.server.answer = lambda question: self._answer(test_env, question)

    def asked(self) -> tuple[Flow[..., object], object]:
        """The flow, for the last applied migration."""
        return migration_rollback, MigrationRequest(reason="reports are empty", requested_by="ada")

    def is_known(self, test_env: TestEnvironment) -> bool:
        """From its first write on, which is the lease."""
        return any(write.by.startswith(migration_rollback.name) for write in test_env.fixture.production.writes)

    async def begin(self, test_env: TestEnvironment, orders: Orders) -> Run:
        """The kill may be a cancellation."""
        run = await super().begin(test_env, orders)
        if self.is_cancelled and run.process.is_dead:
            test_env.cancel(run)
        return run

    async def follow(self, test_env: TestEnvironment, run: Run) -> list[Run]:
        """The runs of the automations; where it halts, the paged person starts it again and it continues."""
        followers = await super().follow(test_env, run)
        flow, request = self.asked()
        for _ in range(TRIES_MAX):
            if not test_env.is_held("production"):
                break
            last = await test_env.follow(flow, request=request, environment="production")
            followers += [last, *await test_env.recover()]
        return followers

    def wrong(self, test_env: TestEnvironment, run: Run) -> Iterator[str]:
        """Writes are on, the code can read the schema, and the scenario's own rules hold."""
        cloud, migrations = test_env.fixture.production, load(FOLDER)
        for service in WRITERS:
            found, release = cloud.read(service), test_env.fixture.versions_served()[service]
            if not cloud.takes_writes(service) or found.scaling != SCALING:
                yield f"{service} takes no writes: {found.split}, {found.scaling}"
            if problem := code_problem(migrations, release, self._schema_after()):
                yield f"{service}: {problem}"
        if THEIRS not in cloud.read(BACKEND).split.tags:
            yield "a tag that is not ours is gone"
        database = database_of(test_env)
        if database.changed_while_open:
            yield f"documents were changed {database.changed_while_open} times while users could write"
        ours = {name for name in database.documents.list_collection_names() if name.startswith("playbook")}
        if strange := ours - {"playbook_taken_back"}:  # the record of what was taken back stays
            yield f"of the walk is left: {strange}"
        if max(database.changed.values(), default=0) > 1:
            yield f"changed more than once: {database.changed}"
        if test_env.fixture.slack.keys.count("closing") != 1:
            yield f"messages of the write freeze: {test_env.fixture.slack.keys}"
        if [one.key.split("/")[-1] for one in test_env.fixture.github.tickets] != ["ticket"]:
            yield f"its tickets: {[one.key for one in test_env.fixture.github.tickets]}"
        if test_env.fixture.pagerduty.incidents:
            yield f"a page is still open: {list(test_env.fixture.pagerduty.incidents)}"
        if self.is_cancelled and test_env.died_holding(run) and not test_env.fixture.pagerduty.paged:
            yield "it was cancelled during the write freeze, but no page was sent"
        yield from self._data_wrong(test_env)

    def _closable(self, test_env: TestEnvironment, service: Any) -> Any:
        if service.name != BACKEND or not self.has_maintenance:
            return service
        state = test_env.fixture.production.services[BACKEND]
        past_s = test_env.fixture.now() - 86_400
        refuses = Behaviour(takes_writes=False)
        state.revisions[MAINTENANCE] = RevisionState("maintenance", past_s, refuses, True, "", past_s)
        return service.model_copy(update={"maintenance_revision": MAINTENANCE})

    def _released(self, test_env: TestEnvironment) -> None:
        """The version that serves, and the ones before it."""
        raise NotImplementedError

    def _fill(self, database: Database, backups: Backups, now_s: float) -> None:
        """What the database and its backups hold."""
        raise NotImplementedError

    def _answer(self, test_env: TestEnvironment, question: str) -> dict[str, str]:
        """The answer of a person to the text above the form."""
        return NO

    def _schema_after(self) -> int:
        """The schema that code must be able to read in the end."""
        raise NotImplementedError

    def _data_wrong(self, test_env: TestEnvironment) -> Iterator[str]:
        """Violations in the documents, the ledger and the messages."""
        raise NotImplementedError


@dataclass(frozen=True)
class Down(MigrationRollback):
    """A renamed field gets its old name again, and the backend the version that can read it."""

    def _released(self, test_env: TestEnvironment) -> None:
        released(test_env, BACKEND, READS_BOTH, READS_RENAMED)
        for service in (AI_CORE, FRONTEND):
            released(test_env, service, READS_BOTH)

    def _fill(self, database: Database, backups: Backups, now_s: float) -> None:
        users = [{"_id": n, "newField": f"user {n}"} for n in range(USERS)]
        database.become({"users": users, "changelog": [_line(RENAME, now_s - 3600)]})

    def _schema_after(self) -> int:
        return 1

    def _data_wrong(self, test_env: TestEnvironment) -> Iterator[str]:
        database = database_of(test_env)
        users = sorted(database.documents.users.find(), key=lambda one: one["_id"])
        if users != [{"_id": n, "oldField": f"user {n}"} for n in range(USERS)]:
            yield f"users: {users}"
        if ledger := list(database.documents.changelog.find()):
            yield f"the ledger: {ledger}"
        if sum(database.changed.values()) != USERS:
            yield f"changed: {database.changed}"
        if test_env.fixture.slack.keys.count("done") != 1:
            yield f"messages of the completion: {test_env.fixture.slack.keys}"


@dataclass(frozen=True)
class Restore(MigrationRollback):
    """Dropped data is restored from a backup to another cluster, if people approve."""

    is_agreed: bool = True
    hesitates: bool = False
    """production must not be switched to it before a page was sent"""

    def _released(self, test_env: TestEnvironment) -> None:
        for service in SERVICES:
            released(test_env, service, READS_RENAMED, READS_DROPPED)

    def _fill(self, database: Database, backups: Backups, now_s: float) -> None:
        before = {"datasets": [{"_id": n, "raw": [n]} for n in range(3)], "changelog": [_line(RENAME, now_s - 9000)]}
        backups.snapshots["before"] = (now_s - 3660, before)
        after = [{"_id": n, "summary": n} for n in range(3)]
        database.become({"datasets": after, "changelog": [*before["changelog"], _line(DROP, now_s - 3600)]})

    def _answer(self, test_env: TestEnvironment, question: str) -> dict[str, str]:
        hesitates = self.hesitates and "Point production" in question and not test_env.fixture.pagerduty.paged
        return YES if self.is_agreed and not hesitates else NO

    def _schema_after(self) -> int:
        return 2 if self.is_agreed else 3

    def _data_wrong(self, test_env: TestEnvironment) -> Iterator[str]:
        database, jobs = database_of(test_env), test_env.fixture.environments["production"].atlas.jobs
        if database.changed or database.documents.changelog.count_documents({}) != 2:
            yield "production's own database was changed"
        ended = "done" if self.is_agreed else "declined"
        if test_env.fixture.slack.keys.count(ended) != 1:
            yield f"messages of the end: {test_env.fixture.slack.keys}"
        versions = test_env.fixture.secrets.versions.get(SECRET, [])
        if not self.is_agreed:
            if jobs or versions:
                yield f"not approved: {jobs}, {versions}"
            return
        if self.hesitates and not test_env.fixture.pagerduty.paged:
            yield "it halted during the write freeze, but no page was sent"
        if len(jobs) != 1 or [value for _, value in versions] != [RESTORED]:
            yield f"restores: {jobs}; versions of the secret: {versions}"
        restored = [one["raw"] for one in database.elsewhere[RESTORED].documents.datasets.find()]
        if restored != [[0], [1], [2]]:
            yield f"restored: {restored}"
        for service in WRITERS:
            state = test_env.fixture.production.services[service]
            if state.revisions[state.served.main].created_at_s < versions[-1][0]:
                yield f"{service} serves {state.served.main}, from before its secret led to what was restored"


def database_of(test_env: TestEnvironment) -> Database:
    """Production's."""
    found = test_env.fixture.environments["production"].mongodb
    assert isinstance(found, Database)
    return found


def _line(name: str, at_s: float) -> dict[str, Any]:
    """A line of the ledger."""
    return {"_id": name, "fileName": f"{name}.js", "appliedAt": datetime.fromtimestamp(at_s, UTC)}


MIGRATION_ROLLBACKS = (
    Down("undo"),
    Down("undo, cancelled", has_maintenance=True, is_cancelled=True),
    Restore("restore", has_maintenance=True),
    Restore("restore, no", is_agreed=False),
    Restore("restore, halted", hesitates=True, restore_s=5),  # it is over before a killed process is missed
)
