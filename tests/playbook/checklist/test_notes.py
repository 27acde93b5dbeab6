"""Release notes, and the acknowledgement of a load test."""

import pytest

from playbook.checklist.acknowledgement import load_test
from playbook.checklist.checks import Comment, Commit, Comparison
from playbook.checklist.items import Answer
from playbook.checklist.notes import draft, notes_problems, summary

VERSION = "v20251116-abc123"
DAY_S = 86_400.0


@pytest.mark.parametrize(
    ("notes", "missing"),
    [
        (f"{VERSION}\n\n- Bug fixes\n\nBreaking changes: none", []),
        (f"# {VERSION}\n## Changelog\nBug fixes\n## BREAKING\nnone", []),
        ("- Bug fixes\nBreaking: none", ["the version"]),
        (f"{VERSION} fixes bugs. Breaking: none", ["a changelog"]),
        (f"{VERSION}\n- Bug fixes", ["breaking changes (write “none” where there are none)"]),
        ("", ["the version", "a changelog", "breaking changes (write “none” where there are none)"]),
    ],
)
def test_notes_say_version_changelog_and_breaking_changes(notes: str, missing: list[str]) -> None:
    """The three things that the playbook asks for."""
    assert notes_problems(notes, VERSION) == missing


COMPARED = Comparison(
    commits=(
        Commit(sha="a" * 40, message="Cache SHAP values"),
        Commit(sha="b" * 40, message="feat(api)!: drop /v1\n\nlong text"),
        Commit(sha="c" * 40, message="Fix login\n\nBREAKING CHANGE: tokens are shorter"),
    ),
    total=5,
    url="https://github.com/x/compare/a...b",
)


def test_a_draft_lists_the_commits_and_what_breaks() -> None:
    """Newest first; where the code host shows fewer commits than there are, it says how many are left out."""
    assert draft(VERSION, "v20251109-0000aa", COMPARED).splitlines() == [
        f"Version: {VERSION} (since v20251109-0000aa)",
        "Changelog:",
        "- Fix login (ccccccc)",
        "- feat(api)!: drop /v1 (bbbbbbb)",
        "- Cache SHAP values (aaaaaaa)",
        "- and 2 more: https://github.com/x/compare/a...b",
        "Breaking changes:",
        "- feat(api)!: drop /v1",
        "- Fix login",
    ]
    assert summary(COMPARED) == "Fix login; feat(api)!: drop /v1; Cache SHAP values, and 2 more (2 breaking)"


def test_a_draft_of_few_commits_leaves_none_out() -> None:
    """No line says that there are 0 more."""
    whole = COMPARED.model_copy(update={"total": 3})
    assert "more" not in draft(VERSION, "v20251109-0000aa", whole)
    assert summary(whole) == "Fix login; feat(api)!: drop /v1; Cache SHAP values (2 breaking)"


def comment(text: str, at_s: float = 0.0, **fields: bool) -> Comment:
    """A comment by Ada."""
    return Comment(author="ada", text=text, url="https://github.com/x/issues/1#c", at_s=at_s, **fields)


FOR_THIS = f"Load test reviewed: {VERSION}\nhttps://grafana.example/d/14"
FOR_DAYS = "load test reviewed: 14 days https://grafana.example/d/14"


@pytest.mark.parametrize(
    ("comments", "answer", "says"),
    [
        ([comment(FOR_THIS)], Answer.ACKNOWLEDGED, f"acknowledged by ada on 1970-01-01 for {VERSION}: https://graf"),
        ([comment(FOR_DAYS)], Answer.ACKNOWLEDGED, "for 14 days"),
        ([comment("hello"), comment(FOR_DAYS)], Answer.ACKNOWLEDGED, "for 14 days"),
        ([comment(FOR_DAYS, at_s=-4 * DAY_S)], Answer.ACKNOWLEDGED, "for 14 days"),
        ([comment(FOR_DAYS, at_s=-5 * DAY_S)], Answer.FAIL, "its 14 days are over"),
        ([comment(FOR_THIS.replace("abc123", "fed987"))], Answer.FAIL, "it is about v20251116-fed987"),
        ([comment(FOR_THIS.replace("abc123", "abc1234"))], Answer.FAIL, "it is about v20251116-abc1234"),
        ([comment(FOR_THIS, is_edited=True)], Answer.FAIL, "was edited afterwards"),
        ([comment(FOR_THIS, is_member=False)], Answer.FAIL, "does not belong to the repository"),
        ([comment(f"load test reviewed: {VERSION}")], Answer.FAIL, "links to no results"),
        ([comment("> looks good")], Answer.FAIL, "no person has acknowledged a load test"),
        ([], Answer.FAIL, "no person has acknowledged a load test"),
    ],
)
def test_a_load_test_is_acknowledged_by_an_unedited_comment_of_a_member(
    comments: list[Comment], answer: Answer, says: str
) -> None:
    """For this version, or for so many days; it links to the results. Ten days after the epoch here."""
    found = load_test(comments, VERSION, 10 * DAY_S)
    assert (found.answer, says in found.fact) == (answer, True), found.fact


def test_no_acknowledgement_holds_longer_than_the_policy_says() -> None:
    """Whatever its comment says."""
    years = comment("load test reviewed: 999 days https://grafana.example/d/14")
    assert load_test([years], VERSION, 89 * DAY_S, days_max=90).answer is Answer.ACKNOWLEDGED
    found = load_test([years], VERSION, 91 * DAY_S, days_max=90)
    assert (found.answer, "its 90 days are over (gates.load_test_days_max)" in found.fact) == (Answer.FAIL, True)
