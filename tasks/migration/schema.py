"""Which code can read the database. Does nothing for an environment without one."""

from prefect import get_run_logger

from blocks.environment import Environment
from blocks.migrations import load
from playbook.errors import Refused, Transient
from playbook.migration.plan import Migration, code_problem
from playbook.migration.plan import schema_of as schema_by_ledger
from tasks.retries import READ, step


def modules(env: Environment) -> tuple[Migration, ...]:
    """The environment's migrations. Raises: BadRequest (a module is wrong), Refused (it names no folder)."""
    return load(folder_of(env))


def folder_of(env: Environment) -> str:
    """Where the environment's migrations are. Raises: Refused (it names none, or no database)."""
    if env.migrations is None or env.mongodb is None:
        raise Refused(f"{env.name} names no migrations. Add [mongodb] and [migrations] to its file.")
    return env.migrations.folder


@step("check schema", **READ)
async def check_schema(env: Environment, releases: dict[str, str], is_urgent: bool = False) -> None:
    """Each release (by the service that is to serve it) can read the database, or nothing is kept about that.

    A revision that no release made is only warned of: users may be waiting to be taken back to it. Where that
    ``is_urgent``, a database that does not answer stops nothing either.
    Raises: Refused, naming what the release reads and what the database has.
    """
    if env.migrations is None or env.mongodb is None:
        return
    migrations = modules(env)
    try:
        applied = await env.mongodb.applied()
    except Transient as away:
        if not is_urgent:
            raise
        get_run_logger().warning("which schema the database has is not known: %s", away)
        return
    schema = schema_by_ledger(migrations, applied)
    for service in env.migrations.services:
        if problem := code_problem(migrations, releases[service], schema) if service in releases else "":
            if releases[service]:
                raise Refused(f"{service}: {problem}")
            get_run_logger().warning("%s: %s", service, problem)
