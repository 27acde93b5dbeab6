"""Cloud Logging: a revision's errors, and its deaths for want of memory."""

import asyncio
import time

import pytest
from google.cloud.logging_v2 import types

from blocks import CloudLogging
from blocks.cloud_logging import line_of, quoted
from playbook.errors import Refused, StartFailed, Transient
from playbook.incident.logs import LogLine


async def seen(logging: CloudLogging, revision: str, since_s: float) -> tuple[LogLine, ...]:
    """The revision's errors, once there are some: a log arrives when it arrives."""
    for _ in range(100):
        if found := await logging.errors("ethixai-backend", revision, since_s):
            return found
        await asyncio.sleep(0.1)
    raise AssertionError("no error was logged")


async def test_the_errors_of_one_revision_are_seen(logging: CloudLogging, backend) -> None:
    """Its own, with their time and text; not those of another one."""
    since_s = time.time() - 1
    with pytest.raises(StartFailed):
        await backend.deploy("dies")
    found = await seen(logging, backend.revision, since_s)
    assert all(line.at_s >= since_s and line.text and line.insert_id for line in found)
    assert {line.severity for line in found} <= {"ERROR", "CRITICAL", "ALERT", "EMERGENCY"}
    assert await logging.errors("ethixai-backend", "ethixai-backend-00041-xyz", since_s) == ()


async def test_nothing_older_than_asked_for_is_seen(logging: CloudLogging, backend) -> None:
    """The window is ours, and not the vendor's last day."""
    with pytest.raises(StartFailed):
        await backend.deploy("dies")
    await seen(logging, backend.revision, time.time() - 60)
    assert await logging.errors("ethixai-backend", backend.revision, time.time() + 60) == ()


async def test_an_instance_killed_for_memory_is_counted(logging: CloudLogging, backend) -> None:
    """Cloud Run says so in its own words, and the words are found."""
    since_s = time.time() - 1
    assert await logging.oom_kills("ethixai-backend", backend.revision, since_s) == 0
    await backend.deploy("leak=2000")
    for _ in range(150):
        if kills := await logging.oom_kills("ethixai-backend", backend.revision, since_s):
            break
        await asyncio.sleep(0.1)
    assert kills >= 1


async def test_a_name_cannot_leave_its_quotes(logging: CloudLogging, world) -> None:
    """A revision that is called like a filter finds nothing, and nobody else's lines."""
    assert await logging.errors('x" OR resource.type="cloud_run_revision', 'y" OR "', 0) == ()


@pytest.mark.parametrize(
    ("text", "inside"),
    [("plain", '"plain"'), ('say "hi"', r'"say \"hi\""'), ("a\\b", r'"a\\b"'), ("two\nlines", r'"two\nlines"')],
)
def test_whatever_a_text_holds_it_is_one_string(text: str, inside: str) -> None:
    """Backslashes first, then quotes and line breaks."""
    assert quoted(text) == inside


@pytest.mark.parametrize(("code", "ours"), [("PERMISSION_DENIED", Refused), ("RESOURCE_EXHAUSTED", Transient)])
async def test_a_failing_question_is_ours(logging: CloudLogging, world, code: str, ours) -> None:
    """A permission is named; the small quota of this API is asked again."""
    await world.fault("*.ListLogEntries", code=code)
    with pytest.raises(ours, match="Cloud Logging of ethixai-production"):
        await logging.errors("ethixai-backend", "r", 0)


async def test_an_answer_that_never_comes_ends_at_the_timeout(logging: CloudLogging, world) -> None:
    """All pages together have one timeout."""
    await world.fault("*.ListLogEntries", hang=True)
    with pytest.raises(Transient):
        await logging.model_copy(update={"timeout_s": 0.3}).errors("ethixai-backend", "r", 0)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"text_payload": "it broke"}, "it broke"),
        ({"json_payload": {"message": "it broke", "code": 3}}, "it broke"),
        ({"json_payload": {"code": "E3"}}, "{'code': 'E3'}"),
        (
            {"http_request": {"request_method": "GET", "request_url": "https://x/a", "status": 500}},
            "GET https://x/a answered 500",
        ),
        ({}, ""),
    ],
    ids=["text", "the message of its JSON", "its JSON", "the request it tells of", "nothing"],
)
def test_every_kind_of_entry_has_a_text(entry: dict[str, object], text: str) -> None:
    """What people read is taken from wherever the application put it."""
    line = line_of(types.LogEntry(severity=500, insert_id="1", **entry))
    assert (line.text, line.severity) == (text, "ERROR")
