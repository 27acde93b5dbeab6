"""Release notes: whether they say what they must, and a draft from the commits where there are none."""

import re

from playbook.checklist.checks import Commit, Comparison

BREAKING = re.compile(r"^[a-z]+(?:\([^)]*\))?!:|BREAKING[ -]CHANGE", re.MULTILINE)
"""How Conventional Commits mark a breaking change."""
COMMITS_MAX = 50


def breaking(commits: tuple[Commit, ...]) -> tuple[Commit, ...]:
    """The commits that say of themselves that they break something."""
    return tuple(commit for commit in commits if BREAKING.search(commit.message))


def notes_problems(notes: str, version: str) -> list[str]:
    """What notes do not say: the version, what changed, and what breaks (playbook 2)."""
    text = notes.lower()
    found = [] if version.lower() in text else ["the version"]
    lines = [line for line in notes.splitlines() if re.match(r"\s*[-*•+]|\s*\d+[.)]", line)]
    found += [] if lines or "changelog" in text or "changes" in text else ["a changelog"]
    return found + ([] if "breaking" in text else ["breaking changes (write “none” where there are none)"])


def draft(version: str, since: str, compared: Comparison) -> str:
    """Release notes from the commits since what serves now. Markdown text, one line for each commit."""
    lines = [f"- {_first(commit)} ({commit.sha[:7]})" for commit in reversed(compared.commits[-COMMITS_MAX:])]
    if compared.total > len(lines):
        lines.append(f"- and {compared.total - len(lines)} more: {compared.url}")
    broken = [f"- {_first(commit)}" for commit in breaking(compared.commits)]
    parts = (
        f"Version: {version} (since {since})",
        "Changelog:",
        *lines,
        "Breaking changes:",
        *(broken or ["- none found"]),
    )
    return "\n".join(parts)


def summary(compared: Comparison) -> str:
    """The changes in one line, for a message."""
    firsts = [_first(commit) for commit in reversed(compared.commits[-3:])]
    more = f", and {compared.total - len(firsts)} more" if compared.total > len(firsts) else ""
    count = len(breaking(compared.commits))
    return f"{'; '.join(firsts)}{more}" + (f" ({count} breaking)" if count else "")


def _first(commit: Commit) -> str:
    return (commit.message.splitlines() or [""])[0][:120]
