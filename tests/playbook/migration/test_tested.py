"""What staging must say of a migration that is new to production."""

import pytest

from playbook.migration.plan import Applied, Batch, Migration
from playbook.migration.tested import Trial, findings

BATCH = Batch(collection="users", match={"b": 1}, change={"$unset": {"b": ""}})
NOW, THEN = "a" * 64, "b" * 64


def migration(*, is_reversible: bool = True) -> Migration:
    """The migration as it is now."""
    down = (BATCH,) if is_reversible else ()
    return Migration(
        name="m", from_schema=1, to_schema=2, is_reversible=is_reversible, up=(BATCH,), down=down, digest=NOW
    )


def line(file_hash: str = "") -> Applied:
    """Its line in staging's ledger."""
    return Applied(file_name="m.js", at_s=1, file_hash=file_hash)


DOWN = migration()
NO_DOWN = migration(is_reversible=False)
CASES = {
    "not applied": (DOWN, Trial(None, None, ""), "m is not applied in staging", ""),
    "taken back, and not applied again": (DOWN, Trial(None, NOW, ""), "m is not applied in staging", ""),
    "never taken back": (DOWN, Trial(line(), None, ""), "m was never taken back in staging; roll it back there", ""),
    "taken back and applied again": (DOWN, Trial(line(), NOW, ""), "", ""),
    "its module was changed": (DOWN, Trial(line(), THEN, ""), "m.py was changed after it was taken back in", ""),
    "the applied file was changed": (DOWN, Trial(line(THEN), NOW, NOW), "m.js was changed after it was applied", ""),
    "the applied file is the same": (DOWN, Trial(line(THEN), NOW, THEN), "", ""),
    "the applied file is not here": (DOWN, Trial(line(THEN), NOW, ""), "", ""),
    "taken back by an earlier version": (DOWN, Trial(line(), "", ""), "", "did not keep the text of its module"),
    "no way back, not applied": (NO_DOWN, Trial(None, None, ""), "m is not applied in staging", ""),
    "no way back, the same file": (NO_DOWN, Trial(line(THEN), None, THEN), "", ""),
    "no way back, another file": (NO_DOWN, Trial(line(THEN), None, NOW), "m.js was changed after it was applied", ""),
    "no way back, no hash": (NO_DOWN, Trial(line(), None, NOW), "", "set useFileHash in migrate-mongo's config"),
    "no way back, no file": (NO_DOWN, Trial(line(THEN), None, ""), "", "m.js, which was applied there, is not in"),
}


@pytest.mark.parametrize(("new", "trial", "wrong", "unknown"), CASES.values(), ids=CASES)
def test_a_new_migration_was_tried_in_staging_as_it_is_now(
    new: Migration, trial: Trial, wrong: str, unknown: str
) -> None:
    """Applied there, taken back where it can be, and unchanged since; what is not known passes no release."""
    found = findings([new], {"m": trial})
    assert [len(found.wrong), len(found.unknown)] == [bool(wrong), bool(unknown)]
    assert wrong in "".join(found.wrong)
    assert unknown in "".join(found.unknown)


def test_each_migration_is_judged_by_its_own_trial() -> None:
    """One is wrong, one not known, one right: both that stop the release are named."""
    new = [DOWN.model_copy(update={"name": name}) for name in ("a", "b", "c")]
    found = findings(new, {"a": Trial(None, None, ""), "b": Trial(line(), "", ""), "c": Trial(line(), NOW, "")})
    assert [[said.split()[0] for said in lines] for lines in found] == [["a"], ["b"]]
