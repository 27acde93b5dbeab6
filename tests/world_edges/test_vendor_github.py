"""The stand-in for GitHub."""

from typing import Any

import pytest

REPO = "/github/repos/geoaziz/ethixai"
TICKET = {"title": "Production canary rollback triggered", "body": "<!-- v1 --> P2", "labels": ["incident", "P2"]}


async def numbers(stand_ins: Any, **query: Any) -> list[int]:
    """The numbers of the issues that a list finds."""
    return [one["number"] for one in (await stand_ins.http.get(f"{REPO}/issues", params=query)).json()]


async def test_an_issue_is_opened_changed_and_closed(stand_ins: Any) -> None:
    """It keeps title, body and labels; PATCH changes what it names; closed issues are listed on request."""
    made = await stand_ins.http.post(f"{REPO}/issues", json=TICKET)
    assert made.status_code == 201
    assert made.headers["location"] == made.json()["url"]
    assert [label["name"] for label in made.json()["labels"]] == ["incident", "P2"]
    closed = await stand_ins.http.patch(f"{REPO}/issues/1", json={"state": "closed"})
    assert (closed.json()["state"], closed.json()["state_reason"], closed.json()["body"]) == (
        "closed",
        "completed",
        TICKET["body"],
    )
    assert (await stand_ins.http.get(f"{REPO}/issues/1")).json() == closed.json()
    assert (await numbers(stand_ins), await numbers(stand_ins, state="all")) == ([], [1])
    assert [one["method"] for one in stand_ins.vendors.calls] == ["POST", "PATCH"]


async def test_issues_are_found_by_label_and_by_search(stand_ins: Any) -> None:
    """All labels that are asked for must be there; a search takes words and qualifiers; newest first."""
    for labels in (["incident"], ["incident", "P2"], ["other"]):
        await stand_ins.http.post(f"{REPO}/issues", json={**TICKET, "labels": labels})
    assert await numbers(stand_ins, labels="incident") == [2, 1]
    assert await numbers(stand_ins, labels="incident,P2") == [2]
    asked = {"q": 'repo:geoaziz/ethixai is:issue is:open label:incident "canary rollback"'}
    found = (await stand_ins.http.get("/github/search/issues", params=asked)).json()
    assert (found["total_count"], [one["number"] for one in found["items"]]) == (2, [2, 1])


async def test_lists_have_pages(stand_ins: Any) -> None:
    """A page links to the next, and the last one does not."""
    for _ in range(3):
        await stand_ins.http.post(f"{REPO}/issues", json=TICKET)
    first = await stand_ins.http.get(f"{REPO}/issues", params={"per_page": 2})
    last = await stand_ins.http.get(first.links["next"]["url"])
    assert ([one["number"] for one in first.json()], [one["number"] for one in last.json()]) == ([3, 2], [1])
    assert "next" not in last.links


async def test_a_comment_is_added_to_its_issue(stand_ins: Any) -> None:
    """The issue counts it."""
    await stand_ins.http.post(f"{REPO}/issues", json=TICKET)
    made = await stand_ins.http.post(f"{REPO}/issues/1/comments", json={"body": "reverted"})
    assert made.status_code == 201
    assert [one["body"] for one in (await stand_ins.http.get(f"{REPO}/issues/1/comments")).json()] == ["reverted"]
    assert (await stand_ins.http.get(f"{REPO}/issues/1")).json()["comments"] == 1


async def test_checks_of_a_commit(stand_ins: Any) -> None:
    """A commit whose image CI published has passed its checks, unless conclusions were set."""
    stand_ins.vendors.registry.publish("ghcr.io/geoaziz/ethixai-backend", "sha-abc123", {})
    passed = (await stand_ins.http.get(f"{REPO}/commits/abc123/check-runs")).json()
    assert {one["name"]: one["conclusion"] for one in passed["check_runs"]} == dict.fromkeys(
        ("build", "test", "trivy"), "success"
    )
    stand_ins.vendors.github.checked("abc123", {"build": "success", "trivy": "failure", "test": ""})
    found = (await stand_ins.http.get(f"{REPO}/commits/abc123/check-runs")).json()
    assert (found["total_count"], [(one["status"], one["conclusion"]) for one in found["check_runs"]]) == (
        3,
        [("completed", "success"), ("completed", "failure"), ("in_progress", None)],
    )
    assert (await stand_ins.http.get(f"{REPO}/commits/abc123/status")).json()["state"] == "pending"


async def test_an_unknown_commit_is_refused(stand_ins: Any) -> None:
    """It is a 422 in GitHub's words."""
    answer = await stand_ins.http.get(f"{REPO}/commits/fff/check-runs")
    assert (answer.status_code, answer.json()["message"]) == (422, "No commit found for SHA: fff")


async def test_releases(stand_ins: Any) -> None:
    """A draft is listed to those with a token, and has no tag yet."""
    stand_ins.vendors.github.release("v1", "Bug fixes")
    stand_ins.vendors.github.release("v2", "SHAP caching", draft=True)
    assert [one["tag_name"] for one in (await stand_ins.http.get(f"{REPO}/releases")).json()] == ["v2", "v1"]
    anonymous = await stand_ins.http.get(f"{REPO}/releases", headers={"Authorization": ""})
    assert [one["tag_name"] for one in anonymous.json()] == ["v1"]
    assert (await stand_ins.http.get(f"{REPO}/releases/tags/v1")).json()["body"] == "Bug fixes"
    assert (await stand_ins.http.get(f"{REPO}/releases/tags/v2")).status_code == 404


@pytest.mark.parametrize(
    ("authorization", "repository", "body", "status", "message"),
    [
        pytest.param("", "geoaziz/ethixai", TICKET, 401, "Requires authentication", id="no token"),
        pytest.param("Bearer wrong", "geoaziz/ethixai", TICKET, 401, "Bad credentials", id="a wrong token"),
        pytest.param(
            "Bearer readonly",
            "geoaziz/ethixai",
            TICKET,
            403,
            "Resource not accessible by personal access token",
            id="a token without issues: write",
        ),
        pytest.param("token good", "geoaziz/other", TICKET, 404, "Not Found", id="another repository"),
        pytest.param("token good", "GeoAziz/EthixAI", {}, 422, "Validation Failed", id="no title"),
        pytest.param("token good", "GeoAziz/EthixAI", [], 400, "Problems parsing JSON", id="no object"),
    ],
)
async def test_what_github_refuses(
    stand_ins: Any, authorization: str, repository: str, body: Any, status: int, message: str
) -> None:
    """A refusal is in GitHub's words, and no issue is opened."""
    headers = {"Authorization": authorization}
    answer = await stand_ins.http.post(f"/github/repos/{repository}/issues", json=body, headers=headers)
    assert (answer.status_code, answer.json()["message"], answer.json()["status"]) == (status, message, str(status))
    assert await numbers(stand_ins, state="all") == []


async def test_a_validation_error_names_the_field(stand_ins: Any) -> None:
    """The field and GitHub's code for what is wrong with it are in ``errors``."""
    answer = await stand_ins.http.post(f"{REPO}/issues", json={"body": "x"})
    assert answer.json()["errors"] == [{"resource": "Issue", "field": "title", "code": "missing_field"}]
