"""Whether the migrations that a release brings were applied and taken back in staging."""

from blocks.environment import Environment
from blocks.migrations import load
from playbook.checklist.items import Answer
from playbook.migration.tested import untested

Found = tuple[Answer, str]


async def migrations_tested(env: Environment, staging: Environment | None) -> Found:
    """The answer and the fact behind it, from the two ledgers and what staging keeps of migrations taken back.

    Raises: Transient, Refused, BadRequest (a module is wrong).
    """
    if env.migrations is None or env.mongodb is None:
        return Answer.CANNOT_TELL, "this environment names no [mongodb] and [migrations]; add them, or gates.not_needed"
    known = {migration.name: migration for migration in load(env.migrations.folder)}
    applied = {line.name for line in await env.mongodb.applied()}
    new = [name for name in known if name not in applied]
    if not new:
        return Answer.PASS, f"none in this version: production has all {len(known)}"
    if staging is None or staging.mongodb is None:
        return Answer.CANNOT_TELL, f"new: {', '.join(new)}; staging names no [mongodb], so its ledger cannot be read"
    there = {line.name for line in await staging.mongodb.applied()}
    taken_back = {name for name in new if await staging.mongodb.was_taken_back(name)}
    problems = untested([known[name] for name in new], there, taken_back)
    if problems:
        return Answer.FAIL, "; ".join(problems)
    return Answer.PASS, f"applied and taken back in {staging.name}: {', '.join(new)}"
