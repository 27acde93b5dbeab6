"""What staging's ledger must say of migrations that are new to production."""

from collections.abc import Collection, Iterable

from playbook.migration.plan import Migration


def untested(new: Iterable[Migration], applied: Collection[str], taken_back: Collection[str]) -> list[str]:
    """A sentence for each new migration that staging has not applied, or never took back where it can be."""
    found = []
    for migration in new:
        if migration.name not in applied:
            found.append(f"{migration.name} is not applied in staging")
        elif migration.is_reversible and migration.name not in taken_back:
            found.append(
                f"{migration.name} was never taken back in staging; roll it back there once, and apply it again"
            )
    return found
