"""The stand-in for Sentry."""

from typing import Any

import pytest

RELEASES = "/sentry/api/0/organizations/ethixai/releases/"
RELEASE = {"version": "v20251116-abc123", "ref": "abc123", "projects": ["backend"]}
ONE = f"{RELEASES}v20251116-abc123/"


async def test_a_release_is_made_once(stand_ins: Any) -> None:
    """The first time is 201, the second 208 with the same release; a new project of it is 201 again."""
    first = await stand_ins.http.post(RELEASES, json=RELEASE)
    second = await stand_ins.http.post(RELEASES, json=RELEASE)
    third = await stand_ins.http.post(RELEASES, json={**RELEASE, "projects": ["backend", "frontend"]})
    assert [answer.status_code for answer in (first, second, third)] == [201, 208, 201]
    assert first.json() == second.json()
    found = (await stand_ins.http.get(ONE)).json()
    assert (found["ref"], [one["slug"] for one in found["projects"]]) == ("abc123", ["backend", "frontend"])


async def test_deploys_are_listed_newest_first(stand_ins: Any) -> None:
    """Each deploy of a release is kept, also a second one to the same environment."""
    await stand_ins.http.post(RELEASES, json=RELEASE)
    for name in ("staging", "production", "production"):
        made = await stand_ins.http.post(f"{ONE}deploys/", json={"environment": name, "name": f"{name} v1"})
        assert made.status_code == 201
    found = (await stand_ins.http.get(f"{ONE}deploys/")).json()
    assert [one["environment"] for one in found] == ["production", "production", "staging"]
    assert (await stand_ins.http.get(ONE)).json()["deployCount"] == 3


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        pytest.param({}, {field: ["This field is required."] for field in ("version", "projects")}, id="nothing"),
        pytest.param({**RELEASE, "projects": ["mars"]}, {"projects": ["Invalid project slugs"]}, id="a project"),
        pytest.param(
            {**RELEASE, "version": "a/b"}, {"version": ["Release with name a/b is not allowed"]}, id="a slash"
        ),
    ],
)
async def test_bad_releases(stand_ins: Any, body: Any, answer: Any) -> None:
    """Every wrong field is named in a 400."""
    found = await stand_ins.http.post(RELEASES, json=body)
    assert (found.status_code, found.json()) == (400, answer)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({}, "environment", id="no environment"),
        pytest.param({"environment": "production", "name": "x" * 65}, "name", id="a long name"),
    ],
)
async def test_bad_deploys(stand_ins: Any, body: Any, field: str) -> None:
    """Sentry allows 64 characters for a deploy's name, and wants its environment."""
    await stand_ins.http.post(RELEASES, json=RELEASE)
    found = await stand_ins.http.post(f"{ONE}deploys/", json=body)
    assert (found.status_code, list(found.json())) == (400, [field])


@pytest.mark.parametrize("path", [ONE, f"{ONE}deploys/", RELEASES.replace("ethixai", "other") + "v1/"])
async def test_what_is_not_there(stand_ins: Any, path: str) -> None:
    """An unknown release or organization is a 404."""
    found = await stand_ins.http.get(path)
    assert (found.status_code, found.json()) == (404, {"detail": "The requested resource does not exist"})


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        pytest.param("", 401, id="no token"),
        pytest.param("Bearer wrong", 401, id="a wrong token"),
        pytest.param("Bearer readonly", 403, id="a token without project:releases"),
    ],
)
async def test_tokens(stand_ins: Any, authorization: str, status: int) -> None:
    """A token that will not do is refused, and no release is made."""
    answer = await stand_ins.http.post(RELEASES, json=RELEASE, headers={"Authorization": authorization})
    assert answer.status_code == status
    assert (await stand_ins.http.get(ONE)).status_code == 404
