"""GitHub: what CI says of a commit, the release notes, and the incident ticket."""

import datetime
from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, HttpUrl

from blocks.http import HttpBlock, HttpService, Parsed
from blocks.secret_reference import Credential, SecretReference
from playbook.checklist.checks import Check, Comment, Commit, Comparison
from playbook.messages.facts import Ticket
from playbook.text import Cleaned

PAGE = 100
PAGES_MAX = 10
ISSUES_MAX = 10
MEMBERS = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})
"""GitHub's words for the authors of comments who belong to the repository. Anyone may comment on a public one."""
VERSION = "2022-11-28"


class GitHub(HttpBlock):
    """One GitHub repository (checks: read, commit statuses: read, contents: read, issues: write)."""

    _block_type_name: ClassVar[str | None] = "EthixAI GitHub"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.github.com/en/rest")

    repository: str = Field(title="Repository", pattern=r"^[\w.-]+/[\w.-]+$", description="owner/name.")
    token: SecretReference = Field(title="Token", description="Where a fine-grained token, or that of an app, is.")
    api_url: str = Field("https://api.github.com", title="API URL", description="Where GitHub's REST API is.")

    async def checks(self, commit: str) -> tuple[Check, ...]:
        """Every check run of ``commit`` (a SHA, short or long), the newest try of each, and the newest commit status of
        each context. Two may have one name.

        One call for each hundred of either. Raises: Transient, Refused (no such commit).
        """
        path, asked = f"/commits/{commit}/check-runs", f"for the checks of {commit}"
        runs = await self._every(path, asked, lambda answer: [_check(run) for run in answer["check_runs"]])
        path, asked = f"/commits/{commit}/status", f"for the statuses of {commit}"
        return runs + await self._every(path, asked, lambda answer: [_status(one) for one in answer["statuses"]])

    async def compare(self, base: str, head: str) -> Comparison:
        """What ``head`` has that ``base`` has not (each a SHA or a branch): its commits, oldest first.

        GitHub shows at most 250 of them and counts all. One call for each hundred.
        Raises: Transient, Refused (one of them does not exist).
        """
        path, asked = f"/compare/{base}...{head}", f"what {head} has that {base} has not"
        found: list[Commit] = []
        for page in range(1, PAGES_MAX + 1):
            query = {"per_page": PAGE, "page": page}
            answer = await self._service().json("GET", path, asked, _Comparison.model_validate, params=query)
            found += [one.commit_of() for one in answer.commits]
            if len(answer.commits) < PAGE:
                break
        return Comparison(
            commits=tuple(found),
            total=answer.total_commits,
            url=answer.html_url,
            is_ancestor=answer.status in ("behind", "identical"),
        )

    async def comments(self, label: str) -> tuple[Comment, ...]:
        """The comments below the ten newest issues with this label. One call for the issues, and one for each hundred
        comments of each. Raises: Transient, Refused.
        """
        query = {"labels": label, "state": "all", "sort": "created", "direction": "desc", "per_page": ISSUES_MAX}
        asked = f"for the issues labelled {label}"
        numbers = await self._service().json("GET", "/issues", asked, _numbers, params=query)
        found: list[Comment] = []
        for number in numbers:
            path, asked = f"/issues/{number}/comments", f"for the comments of issue {number}"
            found += await self._every(path, asked, lambda answer: [_comment(one) for one in answer])
        return tuple(found)

    async def release_notes(self, version: str) -> str | None:
        """The notes of the release called ``version``, a draft included. None where there is none.

        One call for each hundred releases. Raises: Transient, Refused.
        """
        asked = f"for the release notes of {version}"
        found = await self._every("/releases", asked, lambda releases: [_notes(release) for release in releases])
        return next((notes for names, notes in found if version in names), None)

    def commits_url(self, since: str, until: str) -> str:
        """The comparison of two commits on GitHub's site, or the history of ``until``."""
        parts = urlsplit(self.api_url)
        is_cloud = not parts.path.startswith("/api/v3")  # GitHub Enterprise serves its API below its own site
        site = "https://github.com" if is_cloud else f"{parts.scheme}://{parts.netloc}"
        return f"{site}/{self.repository}/{f'compare/{since}...{until}' if since else f'commits/{until}'}"

    async def ticket(self, ticket: Ticket) -> str:
        """The URL of the issue that has this ticket's key, opened now where there is none.

        The key is in its body, out of sight; the newest hundred issues with the ticket's first label are read.
        One or two calls. Raises: Transient, Refused.
        """
        marker = f"<!-- {ticket.key} -->"
        query = {"labels": ticket.labels[0], "state": "all", "sort": "created", "direction": "desc", "per_page": PAGE}
        for body, url in await self._service().json(
            "GET", "/issues", f"for ticket {ticket.key}", _issues, params=query
        ):
            if marker in body:
                return url
        said = {"title": ticket.title, "body": f"{ticket.body}\n\n{marker}\n", "labels": list(ticket.labels)}
        _, url = await self._service().json("POST", "/issues", f"to open ticket {ticket.key}", _issue, json=said)
        return url

    async def _every(self, path: str, asked: str, parse: Callable[[Any], list[Parsed]]) -> tuple[Parsed, ...]:
        """Every entry of a list, a thousand at most."""
        found: list[Parsed] = []
        for page in range(1, PAGES_MAX + 1):
            entries = await self._service().json("GET", path, asked, parse, params={"per_page": PAGE, "page": page})
            found += entries
            if len(entries) < PAGE:
                break
        return tuple(found)

    def _service(self) -> HttpService:
        headers: dict[str, str | Credential] = {
            "Authorization": self.token.within("Bearer {}"),
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": VERSION,
        }
        where = f"{self.api_url}/repos/{self.repository}"
        return HttpService("GitHub", "github", where, "token", self.timeout_s, self._clients, headers)


def _check(run: dict[str, Any]) -> Check:
    found = _CheckRun.model_validate(run)
    output = found.output.text or found.output.summary or "" if found.output else ""
    return Check(name=found.name, conclusion=found.conclusion or "pending", url=found.html_url or "", output=output)


def _status(status: object) -> Check:
    """A commit status as a check: ``error`` and ``failure`` have not passed."""
    found = _Status.model_validate(status)
    return Check(name=found.context, conclusion=found.state, url=found.target_url or "")


def _numbers(issues: list[object]) -> list[int]:
    return [_Numbered.model_validate(issue).number for issue in issues]


def _comment(comment: object) -> Comment:
    found = _Comment.model_validate(comment)
    return Comment(
        author=found.user.login if found.user else "an unknown account",
        text=found.body or "",
        url=found.html_url,
        at_s=found.created_at.timestamp(),
        is_edited=found.updated_at != found.created_at,
        is_member=found.author_association in MEMBERS,
    )


class _Output(BaseModel):
    summary: Cleaned | None = None
    text: Cleaned | None = None


class _CheckRun(BaseModel):
    name: Cleaned
    conclusion: Cleaned | None
    html_url: str | None = Field(None, max_length=2000)
    output: _Output | None = None


class _Status(BaseModel):
    context: Cleaned
    state: Cleaned
    target_url: str | None = Field(None, max_length=2000)


class _Person(BaseModel):
    name: Cleaned | None = None
    login: Cleaned = ""


class _Message(BaseModel):
    message: Cleaned
    author: _Person | None = None


class _Commit(BaseModel):
    sha: str = Field(pattern=r"^[0-9a-f]{6,64}$")
    commit: _Message

    def commit_of(self) -> Commit:
        """As the checklist reads it."""
        author = self.commit.author.name or "" if self.commit.author else ""
        return Commit(sha=self.sha, message=self.commit.message, author=author)


class _Comparison(BaseModel):
    status: str = Field(max_length=40)
    total_commits: int = Field(ge=0)
    html_url: str = Field("", max_length=2000)
    commits: list[_Commit]


class _Numbered(BaseModel):
    number: int = Field(ge=1)


class _Comment(BaseModel):
    user: _Person | None = None
    body: Cleaned | None = None
    html_url: str = Field(max_length=2000)
    created_at: datetime.datetime
    updated_at: datetime.datetime
    author_association: str = Field("NONE", max_length=40)


class _Release(BaseModel):
    tag_name: str
    name: str | None = None
    body: Cleaned | None = None


class _Issue(BaseModel):
    html_url: str = Field(max_length=2000)
    body: Cleaned | None = None


def _notes(release: object) -> tuple[tuple[str, str], str]:
    """What a release is called, and its notes."""
    found = _Release.model_validate(release)
    return (found.tag_name, found.name or ""), found.body or ""


def _issues(found: list[object]) -> list[tuple[str, str]]:
    return [_issue(issue) for issue in found]


def _issue(issue: object) -> tuple[str, str]:
    """An issue's body and its URL."""
    found = _Issue.model_validate(issue)
    return found.body or "", found.html_url
