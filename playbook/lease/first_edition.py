"""What the first edition stored, as today's fields: a lease in flight outlives the upgrade.

The first edition had one shape for all kinds, in which ``canary`` and ``stable`` of a part meant other things in a
rollback than in a release.
"""

from typing import Any

Fields = dict[str, Any]

IN_MIGRATION = ("maintenance", "halted", "restarts")
"""Fields of the first edition's migration rollback that every reader of a lease needs, and not the migration alone."""


def lease(stored: object) -> object:
    """The fields of a lease; what today's edition wrote is returned as it is."""
    if not isinstance(stored, dict) or "parts" not in stored:
        return stored
    kind = next((name for name in ("migration", "rollback", "hotfix") if stored.get(name)), "release")
    fields = {k: v for k, v in stored.items() if k not in ("parts", "migration", "rollback", "hotfix")}
    fields |= {"kind": kind, "rollouts": [_rollout(part, kind) for part in stored["parts"]]}
    if kind in ("rollback", "hotfix"):
        fields["request"] = stored[kind]
    if kind == "migration":
        migration = stored["migration"]
        fields |= {name: migration[name] for name in IN_MIGRATION if name in migration}
        fields["migration"] = migration["plan"]["undo"][-1]
        fields["is_declined"] = bool(migration.get("declined"))
        fields["details"] = {k: v for k, v in migration.items() if k not in IN_MIGRATION}
    return fields


def participant(stored: object) -> object:
    """The fields of a participant."""
    if not isinstance(stored, dict) or "lead" not in stored:
        return stored
    names = {"lead": "coordinator", "stable": "split"}
    return {names.get(name, name): value for name, value in stored.items()}


def _rollout(part: Fields, kind: str) -> Fields:
    """One part. In a release ``stable`` is what was found; elsewhere it is what users are taken to."""
    fields = {k: v for k, v in part.items() if k not in ("stable", "found", "before", "canary")}
    main = _main(part["stable"])
    if kind in ("release", "hotfix"):
        return fields | {"from_revision": main, "to_revision": part["canary"], "found": part["stable"]}
    fields |= {"from_revision": part["canary"], "to_revision": main, "found": part.get("found") or part["stable"]}
    if part.get("before"):
        fields["before_mitigation"] = part["before"]
    return fields


def _main(split: Fields) -> str:
    """The revision with the largest share."""
    percent: dict[str, int] = split["percent"]
    return max(percent, key=percent.__getitem__)
