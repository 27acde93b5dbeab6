"""Whether the migrations that a release brings were applied and taken back in staging, as they are now."""

from pathlib import Path

from blocks.database import Database
from blocks.environment import Environment
from blocks.migrations import digest_of, load
from playbook.checklist.items import Answer, Seen
from playbook.migration.plan import Migration
from playbook.migration.tested import Trial, findings


async def migrations_tested(env: Environment, staging: Environment | None) -> Seen:
    """The answer and the fact behind it, from the two ledgers, what staging keeps of migrations taken back, and the
    modules as they are now.

    Raises: Transient, Refused, BadRequest (a module is wrong).
    """
    if env.migrations is None or env.mongodb is None:
        said = "this environment names no [mongodb] and [migrations]; add them, or gates.not_needed"
        return Seen(Answer.CANNOT_TELL, said)
    folder = env.migrations.folder
    known = {migration.name: migration for migration in load(folder)}
    applied = {line.name for line in await env.mongodb.applied()}
    new = [name for name in known if name not in applied]
    if not new:
        return Seen(Answer.PASS, f"none in this version: production has all {len(known)}")
    if staging is None or staging.mongodb is None:
        said = f"new: {', '.join(new)}; staging names no [mongodb], so its ledger cannot be read"
        return Seen(Answer.CANNOT_TELL, said)
    found = findings([known[name] for name in new], await _trials(staging.mongodb, folder, known, new))
    if problems := (*found.wrong, *found.unknown):
        return Seen(Answer.FAIL if found.wrong else Answer.CANNOT_TELL, "; ".join(problems))
    return Seen(Answer.PASS, f"applied and taken back in {staging.name}, and unchanged since: {', '.join(new)}")


async def _trials(staging: Database, folder: str, known: dict[str, Migration], new: list[str]) -> dict[str, Trial]:
    """What staging knows of each of ``new``. One query, and one more for each."""
    ledger = {line.name: line for line in await staging.applied()}
    trials = {}
    for name in new:
        line = ledger.get(name)
        taken_back_by = await staging.taken_back_by(name)
        trials[name] = Trial(line, taken_back_by, _file_here(folder, known[name], line.file_name) if line else "")
    return trials


def _file_here(folder: str, migration: Migration, file_name: str) -> str:
    """The digest of the file that a ledger names, if the folder has it. What the ledger says is no path."""
    if Path(file_name).name != file_name:
        return ""
    return migration.digest if file_name == f"{migration.name}.py" else digest_of(Path(folder) / file_name)
