"""GitHub: what CI says of a commit, the release notes, and the incident ticket."""

import contextlib
import datetime
from collections.abc import Callable
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import httpx
from pydantic import AwareDatetime, BaseModel, Field, HttpUrl

from blocks.http import HttpBlock, HttpService, Parsed, quoted
from blocks.secret_reference import Credential, SecretReference
from playbook.checklist.checks import Check, Comment, Commit, Comparison
from playbook.errors import Refused, Transient
from playbook.messages.facts import DeploymentState, Recorded, Ticket
from playbook.text import Cleaned, CleanName, clean

PAGE = 100
PAGES_MAX = 10
ISSUES_MAX = 10
MEMBERS = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})
"""GitHub's words for the authors of comments who belong to the repository. Anyone may comment on a public one."""
VERSION = "2022-11-28"
EXPIRATION = "github-authentication-token-expiration"
"""The header in which GitHub says when a personal access token ends."""
EXPIRATION_FORMS = ("%Y-%m-%d %H:%M:%S %z", "%Y-%m-%dT%H:%M:%S%z")
DESCRIPTION_MAX = 140
"""GitHub takes no longer description of a deployment."""
BEFORE_MAX = 5
"""So many deployments before the newest one are looked at for one that is still active."""


class GitHub(HttpBlock):
    """One GitHub repository (checks, commit statuses, contents: read; issues, deployments: write)."""

    _block_type_name: ClassVar[str | None] = "EthixAI GitHub"
    _documentation_url: ClassVar[HttpUrl | None] = HttpUrl("https://docs.github.com/en/rest")

    repository: str = Field(title="Repository", pattern=r"^[\w.-]+/[\w.-]+$", description="As owner/name.")
    token: SecretReference = Field(title="Token", description="Where a fine-grained token, or that of an app, is.")
    deployments: bool = Field(
        False,
        title="Deployments",
        description="Whether a release is shown as a deployment of the repository. A workflow's own is not repeated.",
    )
    checks_apps: tuple[str, ...] = Field(
        ("github-actions",),
        title="Apps of the checks",
        description=(
            "Slugs of the GitHub apps whose check runs count; others may use the same names. "
            "Empty: those of every app count, and commit statuses too."
        ),
    )
    api_url: str = Field("https://api.github.com", title="API URL", description="Where GitHub's REST API is.")

    async def checks(self, commit: str) -> tuple[Check, ...]:
        """Every check run of ``commit`` (a SHA, short or long) by one of `checks_apps`, the newest try of each; where
        every app counts, the newest commit status of each context too. Two may have one name.

        One call for each hundred of either. Raises: Transient, Refused (no such commit).
        """
        path, asked = f"/commits/{commit}/check-runs", f"for the checks of {commit}"
        every = await self._every(
            path, asked, lambda answer: [_check_of(run, commit) for run in answer["check_runs"]], is_whole=True
        )
        runs = tuple(check for check, app in every if not self.checks_apps or app in self.checks_apps)
        if self.checks_apps:
            return runs
        path, asked = f"/commits/{commit}/status", f"for the statuses of {commit}"
        return runs + await self._every(
            path, asked, lambda answer: [_status(one) for one in answer["statuses"]], is_whole=True
        )

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

    async def token_ends_s(self) -> float | None:
        """When the token ends (unix seconds); None where it has no end. One call.

        Raises: Transient (also: an end that is no time), Refused (the token is revoked).
        """
        service, asked = self._service(), "when its token ends"
        answer = await service.send("GET", "", asked)
        service.parsed(answer, asked, _Repository.model_validate)  # another network's page says nothing of a token
        said = answer.headers.get(EXPIRATION, "")
        if not said:
            return None
        for form in EXPIRATION_FORMS:
            with contextlib.suppress(ValueError, OverflowError):
                return datetime.datetime.strptime(said[:40].replace("UTC", "+0000"), form).timestamp()
        raise Transient(f"GitHub, asked when its token ends, answered {quoted(said)}, which is no time. Ask again.")

    async def record(self, recorded: Recorded) -> None:
        """The deployment of this release has this state, made now where there is none; what was active before is
        inactive once it succeeds. GitHub does that by itself in no production environment.

        Three to ten calls. Raises: Transient, Refused (no such commit, no permission).
        """
        found = await self._deployments(recorded.environment)
        mine = next((one.id for one in found if one.release == recorded.release_id), None)
        if mine is None:
            mine = await self._deploy(recorded)
        states = await self._states(mine)
        is_late = recorded.state is DeploymentState.IN_PROGRESS and bool(states)
        if not is_late and states[:1] != [recorded.state]:
            await self._set_state(mine, recorded.state, recorded.description, recorded.url)
        if recorded.state is DeploymentState.SUCCESS:
            for one in [one for one in found if one.id != mine][:BEFORE_MAX]:
                if (await self._states(one.id))[:1] == [DeploymentState.SUCCESS]:
                    await self._set_state(one.id, DeploymentState.INACTIVE, f"Replaced: {recorded.description}", "")

    async def _deployments(self, environment: str) -> list["_Deployment"]:
        """The newest deployments to ``environment``, the newest first."""
        query: dict[str, str | int] = {"environment": environment, "per_page": PAGE}
        asked = f"for the deployments to {environment}"
        return await self._service().json("GET", "/deployments", asked, _deployments, params=query)

    async def _deploy(self, recorded: Recorded) -> int:
        commit, asked = recorded.commit, f"to record the deployment of {recorded.release_id}"
        sha = await self._service().json("GET", f"/commits/{commit}", f"for the full SHA of {commit}", _sha)
        said = {
            "ref": sha,
            "environment": recorded.environment,
            "description": recorded.description[:DESCRIPTION_MAX],
            "production_environment": recorded.is_production,
            "auto_merge": False,
            "required_contexts": [],
            "payload": {"release": recorded.release_id},
        }
        return await self._service().json("POST", "/deployments", asked, _identity, json=said)

    async def _states(self, deployment: int) -> list[str]:
        """The states that a deployment has had, the newest first."""
        path, asked = f"/deployments/{deployment}/statuses", f"for the states of deployment {deployment}"
        return await self._service().json("GET", path, asked, _states, params={"per_page": PAGE})

    async def _set_state(self, deployment: int, state: DeploymentState, description: str, url: str) -> None:
        said = {"state": state.value, "description": description[:DESCRIPTION_MAX], "log_url": url}
        path, asked = f"/deployments/{deployment}/statuses", f"to set deployment {deployment} to {state}"
        await self._service().send("POST", path, asked, json=said)

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
        said: dict[str, Any] = {"title": ticket.title, "body": f"{ticket.body}\n\n{marker}\n"}
        said["labels"] = list(ticket.labels)
        if ticket.assignee and await self._is_assignable(ticket.assignee):
            said["assignees"] = [ticket.assignee]
        _, url = await self._service().json("POST", "/issues", f"to open ticket {ticket.key}", _issue, json=said)
        return url

    async def _is_assignable(self, login: str) -> bool:
        """Whether issues can be assigned to ``login``: GitHub refuses the whole issue otherwise."""
        path, asked = f"/assignees/{quote(login, safe='')}", f"whether issues can be assigned to {login}"
        answer = await self._service().send("GET", path, asked, frozenset({404}))
        return answer.status_code == httpx.codes.NO_CONTENT

    async def _every(
        self, path: str, asked: str, parse: Callable[[Any], list[Parsed]], *, is_whole: bool = False
    ) -> tuple[Parsed, ...]:
        """Every entry of a list, a thousand at most; with ``is_whole`` a longer one raises Refused."""
        found: list[Parsed] = []
        for page in range(1, PAGES_MAX + 1):
            entries = await self._service().json("GET", path, asked, parse, params={"per_page": PAGE, "page": page})
            found += entries
            if len(entries) < PAGE:
                return tuple(found)
        if is_whole:
            raise Refused(f"GitHub, asked {asked}, has more than {PAGE * PAGES_MAX}; not all of them were read.")
        return tuple(found)

    def _service(self) -> HttpService:
        headers: dict[str, str | Credential] = {
            "Authorization": self.token.within("Bearer {}"),
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": VERSION,
        }
        where = f"{self.api_url}/repos/{self.repository}"
        return HttpService("GitHub", "github", where, "token", self.timeout_s, self._clients, headers)


def _sha(commit: dict[str, Any]) -> str:
    return _Sha.model_validate(commit).sha


def _identity(deployment: dict[str, Any]) -> int:
    return _Deployment.model_validate(deployment).id


def _deployments(found: list[object]) -> list["_Deployment"]:
    return [_Deployment.model_validate(one) for one in found]


def _states(found: list[object]) -> list[str]:
    return [_State.model_validate(one).state for one in found]


def _check_of(run: dict[str, Any], commit: str) -> tuple[Check, str]:
    """A check run of this commit, and the slug of the app that made it.

    A branch or a tag may have the name of a short SHA: GitHub answers for that one.
    """
    found = _CheckRun.model_validate(run)
    if found.head_sha and not found.head_sha.startswith(commit):
        raise Refused(
            f"GitHub, asked for the checks of {commit}, answered with those of {clean(found.head_sha, 12)}. Is there a "
            "branch or a tag of that name? Rename it."
        )
    output = found.output.text or found.output.summary or "" if found.output else ""
    conclusion, url = found.conclusion or "pending", found.html_url or ""
    return Check(name=found.name, conclusion=conclusion, url=url, output=output), found.app.slug if found.app else ""


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


class _Sha(BaseModel):
    sha: str = Field(pattern=r"^[0-9a-f]{40,64}$")


class _State(BaseModel):
    state: str = Field(max_length=40)


class _Deployment(BaseModel):
    id: int = Field(ge=1)
    payload: Any = None

    @property
    def release(self) -> str:
        """The release that it is of; empty for one that is not ours."""
        return str(self.payload.get("release", "")) if isinstance(self.payload, dict) else ""


class _Output(BaseModel):
    summary: Cleaned | None = None
    text: Cleaned | None = None


class _Repository(BaseModel):
    full_name: Cleaned


class _App(BaseModel):
    slug: CleanName


class _CheckRun(BaseModel):
    name: CleanName
    head_sha: str = Field("", max_length=64)
    conclusion: Cleaned | None
    html_url: str | None = Field(None, max_length=2000)
    output: _Output | None = None
    app: _App | None = None


class _Status(BaseModel):
    context: CleanName
    state: Cleaned
    target_url: str | None = Field(None, max_length=2000)


class _Person(BaseModel):
    name: CleanName | None = None
    login: CleanName = ""


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
    created_at: AwareDatetime
    updated_at: AwareDatetime
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
