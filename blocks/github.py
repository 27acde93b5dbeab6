"""GitHub: what CI says of a commit, the release notes, and the incident ticket."""

from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, HttpUrl

from blocks.http import HttpBlock, HttpService, Parsed
from blocks.secret_reference import Credential, SecretReference
from playbook.checklist.checks import Check
from playbook.messages.facts import Ticket
from playbook.text import Cleaned

PAGE = 100
PAGES_MAX = 10
VERSION = "2022-11-28"


class GitHub(HttpBlock):
    """One GitHub repository (checks: read, contents: read, issues: write)."""

    _block_type_name: ClassVar[str | None] = "EthixAI GitHub"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.github.com/en/rest")

    repository: str = Field(title="Repository", pattern=r"^[\w.-]+/[\w.-]+$", description="owner/name.")
    token: SecretReference = Field(title="Token", description="Where a fine-grained token, or that of an app, is.")
    api_url: str = Field("https://api.github.com", title="API URL", description="Where GitHub's REST API is.")

    async def checks(self, commit: str) -> tuple[Check, ...]:
        """Every check run of ``commit`` (a SHA, short or long), the newest try of each; two may have one name.

        One call for each hundred. Raises: Transient, Refused (no such commit).
        """
        path, asked = f"/commits/{commit}/check-runs", f"for the checks of {commit}"
        return await self._every(path, asked, lambda answer: [_check(run) for run in answer["check_runs"]])

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
    return Check(name=run["name"], conclusion=run["conclusion"] or "pending", url=run.get("html_url") or "")


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
