"""What must be true of every story that ends so, whatever happened in it."""

from rehearsal.story import PRODUCTION, SERVICES, Tale

OURS = "playbook.ethixai.com/"


def common(tale: Tale) -> None:
    """The end state is the one expected; no claim and no canary tag are left."""
    tale.expect(tale.outcome == tale.story.ends, f"it ended {tale.outcome}, not {tale.story.ends}: {tale.run.message}")
    if tale.story.recovery_ends:
        found = tale.recovery.state if tale.recovery else "nothing"
        tale.expect(found == tale.story.recovery_ends, f"recovery ended {found}, not {tale.story.recovery_ends}")
    for service in SERVICES:
        left = [key for key in tale.annotations[service] if key in (OURS + "claim", OURS + "member")]
        tale.expect(not left, f"{service} still carries {', '.join(left)}")
        tale.expect("canary" not in tale.tags[service], f"{service} still has its canary tag")


def one_revision(tale: Tale) -> None:
    """Every service gives all its users one revision."""
    for service in SERVICES:
        tale.expect(list(tale.after[service].values()) == [100], f"{service} serves {tale.after[service]}")


def promoted(tale: Tale) -> None:
    """All three services serve the new revision, everybody was told, and users noticed nothing."""
    one_revision(tale)
    for service in SERVICES:
        tale.expect(tale.after[service] != tale.before[service], f"{service} still serves the old revision")
        tale.expect(OURS + "last-good" in tale.annotations[service], f"{service} has no last good release written down")
    words = tale.words("slack")
    tale.expect(any("🚀 Production release starting" in text for text in words), "#releases was not told of the start")
    tale.expect(any("✅ Production release complete" in text for text in words), "#releases was not told of the end")
    tale.expect(bool(tale.words("sentry")), "Sentry does not know the release")
    tale.expect(not tale.words("pagerduty"), "somebody was paged for nothing")


def untroubled(tale: Tale, least: int) -> None:
    """Not one user request failed, of at least ``least``."""
    total, failed = tale.requests["total"], tale.requests["failed"]
    tale.expect(total >= least, f"only {total} user requests were made, {least} are wanted")
    tale.expect(failed == 0, f"{failed} of {total} user requests failed")


def reverted(tale: Tale) -> None:
    """Everybody is on what was stable; first the revert, then the page, then the words."""
    for service in SERVICES:
        tale.expect(
            tale.after[service] == tale.before[service],
            f"{service} serves {tale.after[service]}, not what was stable ({tale.before[service]})",
        )
    reverts = [step.ended_at_s for step in tale.steps_named("revert")]
    pages = [one["at"] for one in tale.told if one["desk"] == "pagerduty"]
    words = [one["at"] for one in tale.told if one["desk"] == "slack" and "ROLLBACK EXECUTED" in str(one["body"])]
    tickets = [str(one["body"]) for one in tale.told if one["desk"] == "github"]
    tale.expect(len(pages) == 1, f"{len(pages)} pages were sent, not one")
    tale.expect(len(words) == 1, f"{len(words)} rollback messages were sent, not one")
    tale.expect(any("Production canary rollback triggered" in ticket for ticket in tickets), "no ticket was opened")
    if reverts and pages and words:
        tale.expect(max(reverts) <= pages[0] <= words[0], "the order was not revert, then page, then tell")


def never_shifted(tale: Tale) -> None:
    """No write ever gave a production user to a new revision."""
    for write in tale.production_writes():
        shares = {t["revision"] for t in write["traffic"] if t["percent"]}
        old = {revision for service in SERVICES for revision in tale.before[service]} | {"LATEST"}
        tale.expect(shares <= old, f"{write['resource']} sent users to {', '.join(sorted(shares - old))}")


def untouched(tale: Tale) -> None:
    """Production saw no write at all."""
    tale.expect(not tale.production_writes(), f"{PRODUCTION} was written to {len(tale.production_writes())} times")
