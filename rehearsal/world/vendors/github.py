"""GitHub's REST API (2022-11-28) for one public repository: checks, releases, issues and their search."""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from rehearsal.world.vendors.vendor import (
    Json,
    Refused,
    Said,
    Vendor,
    bearer,
    is_wrong,
    json_object,
    may_only_read,
    stamp,
)

REPOSITORY = "geoaziz/ethixai"
MAIN = "main"
SCAN = "trivy"
"""The check whose output says what an image scan found."""
LOAD_TESTS = 9001
"""The number of the issue below which load tests are acknowledged; it is only listed by its label."""
LOAD_TEST_LABEL = "load-test"
CHECKS = ("build", "test", "trivy")
"""What CI runs on each commit."""
CONCLUSIONS = ("action_required", "cancelled", "failure", "neutral", "success", "skipped", "stale", "timed_out")
STATES = ("error", "failure", "inactive", "in_progress", "queued", "pending", "success")
DESCRIPTION_MAX = 140
ASSIGNABLE = ("ada", "grace", "geoaziz")
"""Who can follow up an issue."""
DOCUMENTATION = "https://docs.github.com/rest"
PER_PAGE, PER_PAGE_MAX = 30, 100
MESSAGES = {
    401: "Bad credentials",
    403: "Resource not accessible by personal access token",
    404: "Not Found",
    429: "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
    501: "Not Implemented",
    503: "Service Unavailable",
}


class GitHub(Vendor):
    """`REPOSITORY`. A commit exists when ``is_commit`` says so; its checks have succeeded unless `checked` says not."""

    name = "github"

    def __init__(
        self, said: Said, is_commit: Callable[[str], bool], digests: Callable[[str], Sequence[str]] = lambda commit: ()
    ) -> None:
        """``digests`` gives the images of a commit: by default the scan has found nothing in any of them."""
        self._is_commit, self._digests = is_commit, digests
        self.forget()
        super().__init__(said)

    def forget(self) -> None:
        """No issues, no releases; every check of every commit has passed, and a load test is acknowledged."""
        self._issues: list[Json] = []
        self._comments: dict[int, list[Json]] = {}
        self._releases: list[Json] = []
        self._checks: dict[str, dict[str, str]] = {}
        self._statuses: dict[str, dict[str, str]] = {}
        self._outputs: dict[str, str] = {}
        self._off_main: set[str] = set()
        self._deployments: list[Json] = []
        self._states: dict[int, list[Json]] = {}
        self._history: list[tuple[str, str]] = []
        self._load_tests: list[Json] = []
        self._token_ends = ""
        self._by_other_apps: list[tuple[str, str, str]] = []
        self.acknowledge("load test reviewed: 900 days https://grafana.example/load-tests/day-14")

    def checked(self, commit: str, conclusions: Mapping[str, str]) -> None:
        """Set the checks of ``commit``: check -> conclusion; an empty one is still running. Raises ValueError."""
        if wrong := set(conclusions.values()) - {"", *CONCLUSIONS}:
            raise ValueError(f"no such conclusion: {', '.join(sorted(wrong))}; there are {', '.join(CONCLUSIONS)}")
        self._checks[commit] = dict(conclusions)

    def checked_by_another(self, app: str, name: str, conclusion: str) -> None:
        """Another app has made a check run of this name on every commit."""
        self._by_other_apps.append((app, name, conclusion))

    def token_ends(self, at: str) -> None:
        """The tokens of all callers end then, as GitHub writes it; empty: never."""
        self._token_ends = at

    def reported(self, commit: str, statuses: Mapping[str, str]) -> None:
        """Set the commit statuses of ``commit``: context -> error, failure, pending or success."""
        self._statuses[commit] = dict(statuses)

    def scanned(self, commit: str, output: str) -> None:
        """The text that the scan of ``commit`` has left in its check run."""
        self._outputs[commit] = output

    def leaves_main(self, commit: str) -> None:
        """``commit`` is on a branch of its own."""
        self._off_main.add(commit)

    def commits(self, *history: tuple[str, str]) -> None:
        """What every comparison of two commits shows: (SHA, message), oldest first."""
        self._history = list(history)

    def acknowledge(
        self, text: str, author: str = "ada", association: str = "MEMBER", at: str = "", edited: str = ""
    ) -> None:
        """A comment below the issue of load tests. ``at`` and ``edited`` are RFC 3339."""
        number, at = len(self._load_tests) + 1, at or stamp()
        self._load_tests.append(
            {
                "id": 90_000 + number,
                "body": text,
                "html_url": f"https://github.com/{REPOSITORY}/issues/{LOAD_TESTS}#issuecomment-{90_000 + number}",
                "user": {"login": author},
                "author_association": association,
                "created_at": at,
                "updated_at": edited or at,
            }
        )

    def unacknowledge(self) -> None:
        """No load test is acknowledged."""
        self._load_tests.clear()

    def release(self, tag: str, notes: str, draft: bool = False) -> None:
        """Create a release of ``tag`` with these notes; it is the newest one."""
        number = len(self._releases) + 1
        url = f"https://github.com/{REPOSITORY}/releases/tag/{tag}"
        made = {"id": number, "tag_name": tag, "name": tag, "body": notes, "draft": draft, "prerelease": False}
        self._releases.insert(
            0, {**made, "html_url": url, "created_at": stamp(), "published_at": None if draft else stamp()}
        )

    def routes(self) -> Sequence[BaseRoute]:
        """What is below the repository, and the search."""
        below = [
            Route("/commits/{ref}/check-runs", self._check_runs, methods=["GET"]),
            Route("/commits/{ref}/status", self._status, methods=["GET"]),
            Route("/commits/{ref}", self._get_commit, methods=["GET"]),
            Route("/deployments", self._list_deployments, methods=["GET"]),
            Route("/deployments", self._deploy, methods=["POST"]),
            Route("/deployments/{number:int}/statuses", self._list_states, methods=["GET"]),
            Route("/deployments/{number:int}/statuses", self._set_state, methods=["POST"]),
            Route("/assignees/{login}", self._assignee, methods=["GET"]),
            Route("/compare/{basehead}", self._compare, methods=["GET"]),
            Route("/releases", self._list_releases, methods=["GET"]),
            Route("/releases/tags/{tag}", self._release_of_tag, methods=["GET"]),
            Route("/issues", self._list_issues, methods=["GET"]),
            Route("/issues", self._open_issue, methods=["POST"]),
            Route("/issues/{number:int}", self._get_issue, methods=["GET"]),
            Route("/issues/{number:int}", self._change_issue, methods=["PATCH"]),
            Route("/issues/{number:int}/comments", self._list_comments, methods=["GET"]),
            Route("/issues/{number:int}/comments", self._comment, methods=["POST"]),
        ]
        return [
            Route("/repos/{owner}/{repo}", self._repository, methods=["GET"]),
            Mount("/repos/{owner}/{repo}", routes=below),
            Route("/search/issues", self._search, methods=["GET"]),
        ]

    def error(self, status: int, message: str) -> Json:
        """An error in GitHub's format."""
        words = message or MESSAGES.get(status, "Server Error")
        return {"message": words, "documentation_url": DOCUMENTATION, "status": str(status)}

    async def _repository(self, request: Request) -> Response:
        """The repository itself, and when the caller's token ends."""
        self._enter(request)
        headers = {"GitHub-Authentication-Token-Expiration": self._token_ends} if self._token_ends else None
        return JSONResponse({"full_name": REPOSITORY, "private": False, "default_branch": MAIN}, headers=headers)

    async def _check_runs(self, request: Request) -> Response:
        self._enter(request)
        commit = self._commit(request)
        runs = [
            {
                "id": number,
                "name": name,
                "head_sha": commit,
                "status": "completed" if conclusion else "in_progress",
                "conclusion": conclusion or None,
                "html_url": f"https://github.com/{REPOSITORY}/actions/runs/{number}",
                "started_at": stamp(),
                "completed_at": stamp() if conclusion else None,
                "output": self._output(commit, name),
                "app": {"slug": app},
            }
            for number, (app, name, conclusion) in enumerate(self._runs(commit), start=1)
            if request.query_params.get("check_name", name) == name
        ]
        return self._paged(request, runs, lambda shown: {"total_count": len(runs), "check_runs": shown})

    async def _status(self, request: Request) -> Response:
        """The older commit statuses, the newest of each context. Where there are none, GitHub calls that pending."""
        self._enter(request)
        commit = self._commit(request)
        found = self._statuses.get(commit, {})
        bad = {"error", "failure"} & set(found.values())
        state = "failure" if bad else "success" if found and set(found.values()) == {"success"} else "pending"
        url = f"https://ci.example/{commit}/"
        statuses: list[Json] = [
            {"context": context, "state": one, "target_url": url + context, "created_at": stamp()}
            for context, one in found.items()
        ]
        whole = {"state": state, "sha": commit, "total_count": len(statuses)}
        return self._paged(request, statuses, lambda shown: {**whole, "statuses": shown})

    async def _compare(self, request: Request) -> Response:
        """Two commits, or the main branch and one: everything is on it unless `leaves_main` says not."""
        self._enter(request)
        base, dots, head = str(request.path_params["basehead"]).partition("...")
        known = [one == MAIN or one in self._checks or self._is_commit(one) for one in (base, head)]
        if not dots or not all(known):
            raise self._refused(404)
        history = self._history or [(head.ljust(40, "0"), f"Change of {head}")]
        is_old = base == head or (base == MAIN and head not in self._off_main)
        status = ("identical" if base == head else "behind") if is_old else "diverged" if base == MAIN else "ahead"
        commits: list[Json] = (
            []
            if is_old
            else [{"sha": sha, "commit": {"message": message, "author": {"name": "Ada"}}} for sha, message in history]
        )
        url = f"https://github.com/{REPOSITORY}/compare/{base}...{head}"
        whole = {"status": status, "html_url": url, "total_commits": len(commits), "ahead_by": len(commits)}
        return self._paged(request, commits, lambda shown: {**whole, "commits": shown})

    async def _get_commit(self, request: Request) -> Response:
        self._enter(request)
        commit = self._commit(request)
        return JSONResponse({"sha": commit.ljust(40, "0"), "commit": {"message": f"Change of {commit}"}})

    async def _list_deployments(self, request: Request) -> Response:
        """The newest first."""
        self._enter(request)
        wanted = request.query_params.get("environment")
        found = [one for one in reversed(self._deployments) if wanted in (None, one["environment"])]
        return self._paged(request, found)

    async def _deploy(self, request: Request) -> Response:
        """A ref that is named must exist; checks are asked for unless ``required_contexts`` is empty."""
        self._enter(request)
        said = await self._body(request)
        if not said.get("ref"):
            raise self._invalid("ref", "missing_field")
        if not any(self._is_commit(str(said["ref"])[:length]) for length in range(6, 41)):
            raise self._refused(422, f"No ref found for: {said['ref']}")
        if said.get("auto_merge", True) or said.get("required_contexts") != []:
            raise self._refused(501, "not taught: merging, or waiting for checks")
        if len(said.get("description") or "") > DESCRIPTION_MAX:
            raise self._invalid("description", "too_long")
        number = len(self._deployments) + 1
        made = {
            "id": number,
            "sha": said["ref"],
            "ref": said["ref"],
            "task": "deploy",
            "payload": said.get("payload", {}),
            "environment": said.get("environment", "production"),
            "description": said.get("description"),
            "production_environment": said.get("production_environment", False),
            "transient_environment": False,
            "created_at": stamp(),
        }
        self._deployments.append(made)
        self._states[number] = []
        self.keep(request, said)
        return JSONResponse(made, 201)

    async def _list_states(self, request: Request) -> Response:
        """The newest first."""
        self._enter(request)
        return self._paged(request, list(reversed(self._states_of(request))))

    async def _set_state(self, request: Request) -> Response:
        self._enter(request)
        states, said = self._states_of(request), await self._body(request)
        if said.get("state") not in STATES:
            raise self._invalid("state", "invalid")
        if len(said.get("description") or "") > DESCRIPTION_MAX:
            raise self._invalid("description", "too_long")
        state = {"id": len(states) + 1, "state": said["state"], "created_at": stamp()}
        states.append(state | {key: said.get(key, "") for key in ("description", "log_url")})
        self.keep(request, said)
        return JSONResponse(states[-1], 201)

    def _states_of(self, request: Request) -> list[Json]:
        number = int(request.path_params["number"])
        if number not in self._states:
            raise self._refused(404)
        return self._states[number]

    def deployed(self, environment: str) -> list[tuple[str, list[str]]]:
        """Each deployment to ``environment``, oldest first: its commit, and the states that it has had."""
        found = [one for one in self._deployments if one["environment"] == environment]
        return [(one["sha"].rstrip("0"), [state["state"] for state in self._states[one["id"]]]) for one in found]

    async def _assignee(self, request: Request) -> Response:
        """Whether issues can be assigned to this login."""
        self._enter(request)
        if request.path_params["login"] not in ASSIGNABLE:
            raise self._refused(404)
        return Response(status_code=204)

    def _output(self, commit: str, name: str) -> Json:
        """What a check run says of itself; only the scan says something."""
        if name != SCAN:
            return {"title": None, "summary": None, "text": None, "annotations_count": 0}
        scans = [{"digest": digest, "vulnerabilities": []} for digest in self._digests(commit)]
        text = self._outputs.get(commit, f"```json\n{json.dumps({'scans': scans})}\n```")
        return {"title": "Image scan", "summary": "See below", "text": text, "annotations_count": 0}

    async def _list_releases(self, request: Request) -> Response:
        token = self._enter(request)
        return self._paged(request, [one for one in self._releases if token or not one["draft"]])

    async def _release_of_tag(self, request: Request) -> Response:
        """A draft has no tag yet, and is not found by one."""
        self._enter(request)
        tag = request.path_params["tag"]
        found = next((one for one in self._releases if one["tag_name"] == tag and not one["draft"]), None)
        if found is None:
            raise self._refused(404)
        return JSONResponse(found)

    async def _list_issues(self, request: Request) -> Response:
        self._enter(request)
        query = request.query_params
        labels = {label for label in query.get("labels", "").split(",") if label}
        sort, direction, state = (
            query.get("sort", "created"),
            query.get("direction", "desc"),
            query.get("state", "open"),
        )
        if (
            sort not in ("created", "updated")
            or direction not in ("asc", "desc")
            or query.keys() & {"since", "assignee"}
        ):
            raise self._refused(501, "not taught: this way to list issues")
        found = [one for one in self._issues if state in ("all", one["state"]) and labels <= _labels(one)]
        if LOAD_TEST_LABEL in labels and self._load_tests:
            return self._paged(request, [{"number": LOAD_TESTS, "html_url": "", "body": "", "state": "open"}])
        found.sort(key=lambda one: (one[f"{sort}_at"], one["number"]), reverse=direction == "desc")
        return self._paged(request, found)

    async def _open_issue(self, request: Request) -> Response:
        self._enter(request)
        said = await self._body(request)
        if not said.get("title"):
            raise self._invalid("title", "missing_field")
        number = len(self._issues) + 1
        issue = {
            "id": 1000 + number,
            "number": number,
            "url": f"https://api.github.com/repos/{REPOSITORY}/issues/{number}",
            "html_url": f"https://github.com/{REPOSITORY}/issues/{number}",
            "state": "open",
            "state_reason": None,
            "user": {"login": "ethixai-release[bot]"},
            "comments": 0,
            "created_at": stamp(),
            "updated_at": stamp(),
            "closed_at": None,
            **self._content(said, {"title": "", "body": None, "labels": []}),
        }
        self._issues.append(issue)
        self.keep(request, said)
        return JSONResponse(issue, 201, {"Location": str(issue["url"])})

    async def _get_issue(self, request: Request) -> Response:
        self._enter(request)
        return JSONResponse(self._issue(request))

    async def _change_issue(self, request: Request) -> Response:
        self._enter(request)
        issue = self._issue(request)
        said = await self._body(request)
        state = said.get("state", issue["state"])
        if state not in ("open", "closed"):
            raise self._invalid("state", "invalid")
        content = self._content(said, {})
        if state != issue["state"]:
            is_closed = state == "closed"
            reason = said.get("state_reason") or ("completed" if is_closed else "reopened")
            content |= {"state": state, "state_reason": reason, "closed_at": stamp() if is_closed else None}
        issue.update(content, updated_at=stamp())
        self.keep(request, said)
        return JSONResponse(issue)

    async def _list_comments(self, request: Request) -> Response:
        self._enter(request)
        if int(request.path_params["number"]) == LOAD_TESTS:
            return self._paged(request, list(self._load_tests))
        return self._paged(request, self._comments.get(self._issue(request)["number"], []))

    async def _comment(self, request: Request) -> Response:
        self._enter(request)
        issue = self._issue(request)
        said = await self._body(request)
        if not said.get("body"):
            raise self._invalid("body", "missing_field")
        comments = self._comments.setdefault(issue["number"], [])
        number = sum(map(len, self._comments.values())) + 1
        url = f"{issue['html_url']}#issuecomment-{number}"
        comment = {"id": number, "body": said["body"], "html_url": url, "user": issue["user"], "created_at": stamp()}
        comment |= {"updated_at": comment["created_at"], "author_association": "MEMBER"}
        comments.append(comment)
        issue["comments"] = len(comments)
        self.keep(request, said)
        return JSONResponse(comment, 201)

    async def _search(self, request: Request) -> Response:
        """Words (in title or body) and the qualifiers ``repo``, ``label``, ``is``, ``state``."""
        self._token(request)
        if not request.query_params.get("q"):
            raise self._invalid("q", "missing")
        try:
            terms = shlex.split(request.query_params["q"])
        except ValueError:
            raise self._invalid("q", "invalid") from None
        found = [one for one in reversed(self._issues) if all(self._matches(one, term) for term in terms)]
        whole = {"total_count": len(found), "incomplete_results": False}
        return self._paged(request, found, lambda items: {**whole, "items": items})

    def _matches(self, issue: Json, term: str) -> bool:
        qualifier, colon, value = term.partition(":")
        match qualifier if colon else "":
            case "repo":
                return value.lower() == REPOSITORY
            case "label":
                return value in _labels(issue)
            case "is" | "state" if value in ("issue", "open", "closed"):
                return value in ("issue", issue["state"])
            case "":
                return term.lower() in f"{issue['title']} {issue['body']}".lower()
        raise self._refused(501, f"not taught: searching by {term}")

    def _enter(self, request: Request) -> str:
        """The caller's token; '' for an anonymous caller, who may read. Raises Refused as GitHub does."""
        token = self._token(request)
        repository = f"{request.path_params['owner']}/{request.path_params['repo']}".lower()
        if repository != REPOSITORY:
            raise self._refused(404)
        if request.method != "GET" and not token:
            raise self._refused(401, "Requires authentication")
        if request.method != "GET" and may_only_read(token):
            raise self._refused(403)
        return token

    def _token(self, request: Request) -> str:
        token = bearer(request.headers) or bearer(request.headers, "token")
        if is_wrong(token):
            raise self._refused(401)
        return token

    def _commit(self, request: Request) -> str:
        ref = str(request.path_params["ref"])
        if ref not in self._checks and not self._is_commit(ref):
            raise self._refused(422, f"No commit found for SHA: {ref}")
        return ref

    def _runs(self, commit: str) -> list[tuple[str, str, str]]:
        """App, name and conclusion of each run."""
        ours = [("github-actions", name, conclusion) for name, conclusion in self._conclusions(commit).items()]
        return ours + self._by_other_apps

    def _conclusions(self, commit: str) -> dict[str, str]:
        return self._checks.get(commit, dict.fromkeys(CHECKS, "success"))

    def _issue(self, request: Request) -> Json:
        number = int(request.path_params["number"])
        if not 1 <= number <= len(self._issues):
            raise self._refused(404)
        return self._issues[number - 1]

    def _content(self, said: Json, default: Json) -> Json:
        """The fields of an issue that its writer chooses, with labels as GitHub shows them."""
        if set(said.get("assignees") or ()) - set(ASSIGNABLE):
            raise self._invalid("assignees", "invalid")
        chosen = {**default, **{key: said[key] for key in ("title", "body", "labels", "assignees") if key in said}}
        if "labels" in chosen:
            if not isinstance(chosen["labels"], list) or not all(isinstance(one, str) for one in chosen["labels"]):
                raise self._invalid("labels", "invalid")
            chosen["labels"] = [{"name": name} for name in chosen["labels"]]
        return chosen

    async def _body(self, request: Request) -> Json:
        return await json_object(request, self._refused(400, "Problems parsing JSON"))

    def _paged(
        self, request: Request, found: list[Json], shown: Callable[[list[Json]], Json | list[Json]] = list
    ) -> Response:
        """One page of ``found``, and a link to the next where there is one."""
        try:
            per_page = min(int(request.query_params.get("per_page", PER_PAGE)), PER_PAGE_MAX)
            page = int(request.query_params.get("page", 1))
        except ValueError:
            raise self._invalid("page", "invalid") from None
        following = request.url.include_query_params(page=page + 1)
        headers = {"Link": f'<{following}>; rel="next"'} if len(found) > page * per_page else None
        return JSONResponse(shown(found[(page - 1) * per_page : page * per_page]), headers=headers)

    def _refused(self, status: int, message: str = "") -> Refused:
        return Refused(status, self.error(status, message))

    def _invalid(self, field: str, code: str) -> Refused:
        errors = [{"resource": "Issue", "field": field, "code": code}]
        return Refused(422, {**self.error(422, "Validation Failed"), "errors": errors})


def _labels(issue: Json) -> set[str]:
    return {label["name"] for label in issue["labels"]}
