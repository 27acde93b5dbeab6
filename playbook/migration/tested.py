"""What staging must say of migrations that are new to production: each was applied there, taken back, and is unchanged.

What was tried is known by SHA-256 digests. Staging's database keeps that of the module which took a migration back,
and migrate-mongo, with ``useFileHash``, that of the file which it applied.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from playbook.migration.plan import Applied, Migration


class Trial(NamedTuple):
    """What staging knows of one migration."""

    applied: Applied | None
    """Its line in staging's ledger; None: it is not applied there."""
    taken_back_by: str | None
    """The digest of the module that took it back there last; None: never, empty: only the name was kept."""
    applied_file: str
    """The digest of the file of that line as it is here; empty where the folder does not have it."""


class Findings(NamedTuple):
    """What stops a release, a sentence for each migration."""

    wrong: tuple[str, ...]
    unknown: tuple[str, ...]


def findings(new: Iterable[Migration], trials: Mapping[str, Trial]) -> Findings:
    """What is wrong with the trial of each new migration, and what cannot be told of it."""
    new = tuple(new)
    wrong = {one.name: said for one in new if (said := _wrong(one, trials[one.name]))}
    unknown = (_unknown(one, trials[one.name]) for one in new if one.name not in wrong)
    return Findings(tuple(wrong.values()), tuple(said for said in unknown if said))


def _wrong(migration: Migration, trial: Trial) -> str:
    name, line = migration.name, trial.applied
    if line is None:
        return f"{name} is not applied in staging"
    if migration.is_reversible and trial.taken_back_by is None:
        return f"{name} was never taken back in staging; {AGAIN}"
    if line.file_hash and trial.applied_file and line.file_hash != trial.applied_file:
        told = _differ(line.file_hash, trial.applied_file)
        return f"{line.file_name} was changed after it was applied in staging ({told}); {_repeat(migration)}"
    if migration.is_reversible and trial.taken_back_by and trial.taken_back_by != migration.digest:
        told = _differ(trial.taken_back_by, migration.digest)
        return f"{name}.py was changed after it was taken back in staging ({told}); {AGAIN}"
    return ""


def _unknown(migration: Migration, trial: Trial) -> str:
    name = migration.name
    if migration.is_reversible:
        said = "was taken back in staging by an earlier version, which did not keep the text of its module"
        return "" if trial.taken_back_by else f"{name} {said}; {AGAIN}"
    if trial.applied is not None and trial.applied.file_hash and trial.applied_file:
        return ""
    return (
        f"{name} cannot be taken back, and it is not known whether it was changed after it was applied in staging: "
        f"{_missing(trial)}. Or read it again, and override this item with a name and a reason"
    )


AGAIN = "roll it back there once with migration-rollback/staging, and apply it again"


def _repeat(migration: Migration) -> str:
    return AGAIN if migration.is_reversible else "try what it is now in staging, under a new name"


def _missing(trial: Trial) -> str:
    if trial.applied is None or not trial.applied.file_hash:
        return "the ledger has no fileHash of it; set useFileHash in migrate-mongo's configuration"
    return f"{trial.applied.file_name}, which was applied there, is not in the migrations folder; put it beside"


def _differ(there: str, here: str) -> str:
    return f"SHA-256 {there[:12]}… then, {here[:12]}… now"
