"""A load test that a person has acknowledged, in a comment below an issue of the code host.

A comment says ``load test reviewed: VERSION`` or ``load test reviewed: N days``, with a link to the results. It counts
where its author belongs to the repository, and where it was never edited: the code host records both.
"""

import re
from collections.abc import Iterable, Sequence

from playbook.checklist.checks import Comment
from playbook.checklist.items import Answer, Seen
from playbook.messages.times import day

FORM = re.compile(
    r"^\s*load test reviewed:\s*(?:(?P<version>v[0-9]{8}-[0-9a-z-]+)|(?P<days>[0-9]{1,3})\s+days?)\b", re.I | re.M
)
LINK = re.compile(r"https?://[^\s<>()\"']{3,500}")
DAY_S = 86_400.0


def load_test(comments: Iterable[Comment], version: str, now_s: float, days_max: int = 999) -> Seen:
    """Whether a person has acknowledged the load test of ``version``, newest comment first. No comment holds for more
    than ``days_max`` days."""
    why_not: list[str] = []
    for comment in sorted(comments, key=lambda one: -one.at_s):
        found = FORM.search(comment.text)
        if found is None:
            continue
        link = LINK.search(comment.text)
        problem = _problem(comment, found, bool(link), version, now_s, days_max)
        if not problem and link:
            valid = f"for {version}" if found["version"] else f"for {found['days']} days"
            said = f"acknowledged by {comment.author} on {day(comment.at_s)} {valid}: {link[0]}"
            return Seen(Answer.ACKNOWLEDGED, said, comment.url)
        why_not.append(f"{comment.author} on {day(comment.at_s)}: {problem}")
    return Seen(Answer.FAIL, _missing(why_not, version))


def _problem(
    comment: Comment, found: "re.Match[str]", has_link: bool, version: str, now_s: float, days_max: int
) -> str:
    if not comment.is_member:
        return "does not belong to the repository"
    if comment.is_edited:
        return "the comment was edited afterwards; write a new one"
    if not has_link:
        return "the comment links to no results"
    if found["version"]:
        return "" if found["version"] == version else f"it is about {found['version'][:64]}"
    days = min(int(found["days"]), days_max)
    said = f"its {days} days are over" + ("" if days == int(found["days"]) else " (gates.load_test_days_max)")
    return "" if now_s <= comment.at_s + days * DAY_S else said


def _missing(why_not: Sequence[str], version: str) -> str:
    said = f"no person has acknowledged a load test for {version}"
    return f"{said} ({'; '.join(why_not[:3])})" if why_not else said
