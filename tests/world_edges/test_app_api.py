"""EthixAI's API (playbook section 5), asked of real processes."""

import asyncio
import re
from typing import Any

import pytest

SAMPLE = b"age,gender,outcome\n34,female,1\n51,male,0\n"
LOGIN = {"email": "test@example.com", "password": "testpass"}
ASKED = {"targetColumn": "outcome", "sensitiveAttributes": ["gender"]}


@pytest.fixture
async def signed_in(backend: Any) -> dict[str, str]:
    """The headers of the playbook's own user."""
    answer = await backend.http.post("/api/auth/login", json=LOGIN)
    return {"Authorization": f"Bearer {answer.json()['token']}"}


async def test_the_playbooks_flow_works_across_two_instances(start_app: Any) -> None:
    """Every step may be served by another instance, as haproxy does it, and the report completes."""
    one, other = [(await start_app()).http for _ in range(2)]
    user = {"email": "smoke-test-1@example.com", "password": "TestPass123"}
    registered = await one.post("/api/auth/register", json=user)
    assert registered.status_code == 201
    assert (await other.post("/api/auth/login", json=user)).json()["token"]
    headers = {"Authorization": f"Bearer {registered.json()['token']}"}
    files, form = {"file": ("sample.csv", SAMPLE, "text/csv")}, {"datasetName": "smoke-test-dataset"}
    uploaded = await other.post("/api/datasets/upload", headers=headers, files=files, data=form)
    assert uploaded.status_code == 201
    dataset = uploaded.json()["datasetId"]
    analyzed = await one.post("/api/analyze", headers=headers, json={"datasetId": dataset, **ASKED})
    assert analyzed.json()["status"] == "queued"
    seen = []
    while "completed" not in seen:
        for http in (other, one):
            answer = await http.get(f"/api/reports/{analyzed.json()['reportId']}/status", headers=headers)
            seen.append(answer.json()["status"])
        await asyncio.sleep(0.05)
    assert list(dict.fromkeys(seen)) == ["queued", "running", "completed"]
    assert (await one.delete(f"/api/datasets/{dataset}", headers=headers)).status_code == 204
    assert (await other.delete(f"/api/users/{registered.json()['userId']}", headers=headers)).status_code == 204


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        pytest.param("/api/auth/login", {**LOGIN, "password": "wrong"}, 401, id="a wrong password"),
        pytest.param("/api/auth/login", {"email": "test@example.com"}, 400, id="no password"),
        pytest.param("/api/auth/register", {"email": "nobody", "password": "TestPass123"}, 400, id="no address"),
        pytest.param("/api/auth/register", {"email": "a@b.cd", "password": "short1"}, 400, id="a weak password"),
        pytest.param("/api/auth/register", LOGIN, 400, id="a user who is there already"),
        pytest.param("/api/auth/register", ["a", "b"], 400, id="not an object"),
        pytest.param("/api/analyze", {"datasetId": "x", **ASKED}, 401, id="no token"),
        pytest.param("/api/ping", {}, 405, id="a method that the path has not"),
        pytest.param("/api/nothing", {}, 404, id="a path that is not there"),
    ],
)
async def test_bad_requests_without_a_token_are_refused(backend: Any, path: str, body: Any, status: int) -> None:
    """What is wrong with a request without a token is answered with its own 4xx and a sentence."""
    answer = await backend.http.post(path, json=body)
    assert (answer.status_code, bool(answer.json()["error"])) == (status, True)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param({"datasetId": "ds_e30.0123456789abcdef", **ASKED}, 404, id="an unsigned id"),
        pytest.param({**ASKED}, 400, id="no data set"),
        pytest.param({"datasetId": "x", "sensitiveAttributes": ["gender"]}, 404, id="an id that is none"),
    ],
)
async def test_bad_analyses_are_refused(
    backend: Any, signed_in: dict[str, str], body: dict[str, Any], status: int
) -> None:
    """The answer says what is wrong with an analysis."""
    assert (await backend.http.post("/api/analyze", headers=signed_in, json=body)).status_code == status


@pytest.mark.parametrize(
    ("files", "form"),
    [
        pytest.param({"file": ("a.csv", SAMPLE)}, {}, id="no name"),
        pytest.param({"other": ("a.csv", SAMPLE)}, {"datasetName": "a"}, id="no file"),
        pytest.param({"file": ("a.csv", b"age\n")}, {"datasetName": "a"}, id="no rows"),
    ],
)
async def test_bad_uploads_are_refused(backend: Any, signed_in: dict[str, str], files: Any, form: Any) -> None:
    """An upload that cannot be a data set is a 400."""
    answer = await backend.http.post("/api/datasets/upload", headers=signed_in, files=files, data=form)
    assert answer.status_code == 400


async def test_a_user_cannot_delete_another_user(backend: Any, signed_in: dict[str, str]) -> None:
    """It is answered 403."""
    other = await backend.http.post(
        "/api/auth/register", json={"email": "other@example.com", "password": "TestPass123"}
    )
    answer = await backend.http.delete(f"/api/users/{other.json()['userId']}", headers=signed_in)
    assert answer.status_code == 403


async def test_each_job_serves_its_own_routes(start_app: Any) -> None:
    """The frontend has a page and no user API, the ai-core analyzes and registers no users; all have health."""
    frontend, core = (await start_app(job="frontend")).http, (await start_app(job="ai-core")).http
    page = await frontend.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "EthixAI" in page.text
    assert (await frontend.post("/api/auth/login", json=LOGIN)).status_code == 404
    assert (await core.post("/api/auth/login", json=LOGIN)).status_code == 404
    assert (await core.post("/api/analyze", json={})).status_code == 401
    for http in (frontend, core):
        assert (await http.get("/health/liveness")).status_code == 200
        assert (await http.get("/health/readiness")).status_code == 200
        assert (await http.get("/api/ping")).status_code == 200


async def test_requests_in_one_packet_are_answered_in_order(backend: Any) -> None:
    """A client that does not wait for answers gets them in the order it asked, on one connection."""
    host, port = backend.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    asked = ["GET /api/ping HTTP/1.1", "GET /api/nothing HTTP/1.1", "GET /health/liveness HTTP/1.0"]
    writer.write("".join(f"{line}\r\nHost: x\r\n\r\n" for line in asked).encode())
    answers = (await reader.read(-1)).decode()
    writer.close()
    assert re.findall(r"HTTP/1\.1 (\d+)", answers) == ["200", "404", "200"]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        pytest.param("NONSENSE\r\n\r\n", "400", id="no request line"),
        pytest.param("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "411", id="a body without a length"),
        pytest.param("POST / HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n", "413", id="a body that is too large"),
        pytest.param("GET / HTTP/1.1\r\n" + "a: b\r\n" * 12_000, "431", id="endless headers"),
    ],
)
async def test_malformed_requests_are_refused(backend: Any, text: str, status: str) -> None:
    """An unreadable request gets its own status, and the connection is closed."""
    host, port = backend.address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(text.encode())
    line = await reader.readline()
    assert line.split()[1].decode() == status
    writer.close()
