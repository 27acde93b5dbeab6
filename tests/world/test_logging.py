"""Cloud Logging through the official clients: instances' lines, filters, order, pages, and what is refused."""

import asyncio
import json

import pytest
from google.api_core import exceptions
from google.cloud import run_v2
from google.cloud.logging_v2.types import LogEntry

from rehearsal.world.instances import Line, parse_line

V2 = "ethixai-backend-v2"
PROJECT = "projects/ethixai-production"


async def entries(cloud, query: str, **options) -> list[LogEntry]:
    """Every entry that the filter finds."""
    request = {"resource_names": [PROJECT], "filter": query, **options}
    return [entry async for entry in await cloud.logging.list_log_entries(request=request)]


async def write(cloud, *texts: str) -> None:
    """Entries of a log of our own."""
    log = f"{PROJECT}/logs/ours"
    new = [LogEntry(text_payload=text, severity="NOTICE") for text in texts]
    await cloud.logging.write_log_entries(request={"log_name": log, "resource": {"type": "global"}, "entries": new})


async def test_the_lines_of_an_instance_are_in_the_log(cloud):
    """A failing revision's stderr is found by the playbook's own filter, with its resource labels and instance id."""
    import httpx

    await cloud.deploy(V2, "errors=1")
    tag_url = (await cloud.get()).traffic_statuses[1].uri
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(tag_url + "/api/reports/x/status")).status_code == 500
    query = f"resource.type=cloud_run_revision AND resource.labels.revision_name={V2} AND severity>=ERROR"
    found = await cloud.until(lambda: entries(cloud, query))
    labels = found[0].resource.labels
    assert (labels["service_name"], labels["location"]) == ("ethixai-backend", "us-east1")
    assert found[0].severity == 500
    assert found[0].log_name == f"{PROJECT}/logs/run.googleapis.com%2Fstderr"
    assert "failed" in found[0].json_payload["message"]
    assert found[0].labels["instanceId"]


async def test_pages_follow_one_another(cloud):
    """Seven entries in pages of three, in both orders, each once."""
    texts = [f"line {i}" for i in range(7)]
    await write(cloud, *texts)
    query = f'logName="{PROJECT}/logs/ours"'
    assert [e.text_payload for e in await entries(cloud, query, page_size=3)] == texts
    newest_first = await entries(cloud, query, page_size=3, order_by="timestamp desc")
    assert [e.text_payload for e in newest_first] == texts[::-1]


async def test_a_page_token_belongs_to_its_question(cloud):
    """A token with another filter is INVALID_ARGUMENT."""
    await write(cloud, "a", "b")
    pager = await cloud.logging.list_log_entries(request={"resource_names": [PROJECT], "page_size": 1})
    with pytest.raises(exceptions.InvalidArgument, match="page_token"):
        await entries(cloud, "severity>=ERROR", page_token=pager.next_page_token)


async def test_other_projects_are_not_seen(cloud):
    """Entries are found only under the resource names that were asked for."""
    await write(cloud, "ours")
    request = {"resource_names": ["projects/elsewhere"]}
    assert [e async for e in await cloud.logging.list_log_entries(request=request)] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [({"filter": "banana"}, "filter"), ({"order_by": "severity"}, "order_by"), ({"resource_names": ["p"]}, "names")],
)
async def test_what_it_does_not_know_is_invalid(cloud, options, words):
    """A filter, order or resource name that is not taught is INVALID_ARGUMENT naming the field."""
    request = {"resource_names": [PROJECT], **options}
    with pytest.raises(exceptions.InvalidArgument, match=words):
        await cloud.logging.list_log_entries(request=request)


async def test_entries_can_be_found_later_than_they_are_written(cloud):
    """With an ingestion delay an entry is not there at once, then it is."""
    await cloud.world.turn(ingestion_delay_s=0.5)
    await write(cloud, "late")
    query = f'logName="{PROJECT}/logs/ours"'
    assert await entries(cloud, query) == []
    await cloud.until(lambda: entries(cloud, query))


async def test_the_hand_written_client_works_too(cloud):
    """``logging.Client`` writes and lists, with nothing but the endpoint."""
    from google.cloud import logging

    def write_and_list() -> list[str]:
        options = {"api_endpoint": cloud.world.grpc_endpoint}
        client = logging.Client(project="ethixai-production", client_options=options)
        client.logger("ours").log_text("hello", severity="WARNING")
        return [entry.payload for entry in client.list_entries(filter_="severity>=WARNING", max_results=5)]

    assert await asyncio.to_thread(write_and_list) == ["hello"]


async def test_a_tail_gets_what_is_written_from_then_on(cloud):
    """Only what the filter lets through; what was there before is not sent."""

    async def ask():
        yield {"resource_names": [PROJECT], "filter": "logName:tailed"}
        await asyncio.Event().wait()

    async def write(text: str, log: str = "tailed") -> None:
        entry = LogEntry(log_name=f"{PROJECT}/logs/{log}", text_payload=text)
        entry.resource.type = "global"
        await cloud.logging.write_log_entries(entries=[entry])

    async def keep_writing() -> None:
        while True:
            await write("other", "elsewhere")
            await write("new")
            await asyncio.sleep(0.1)

    await write("old")
    async with asyncio.timeout(20):
        answers = await cloud.logging.tail_log_entries(requests=ask())
        writing = asyncio.create_task(keep_writing())
        try:
            seen = await anext(aiter(answers))
        finally:
            writing.cancel()
            answers.cancel()
    assert {entry.text_payload for entry in seen.entries} == {"new"}


async def test_a_tail_with_a_wrong_filter_is_refused(cloud):
    """INVALID_ARGUMENT, as for a list."""

    async def ask():
        yield {"resource_names": [PROJECT], "filter": "colour=red"}
        await asyncio.Event().wait()

    answers = await cloud.logging.tail_log_entries(requests=ask())
    with pytest.raises(exceptions.InvalidArgument):
        await asyncio.wait_for(anext(aiter(answers)), 20)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", Line("stdout", "INFO", "plain")),
        (json.dumps({"severity": "warning", "message": "m"}), Line("stdout", "WARNING", {"message": "m"})),
        (json.dumps({"message": "m"}), Line("stdout", "INFO", {"message": "m"})),
        ("{not json", Line("stdout", "INFO", "{not json")),
    ],
)
def test_a_line_is_read_as_cloud_run_reads_it(text, line):
    """Text stays text; a JSON object is structured and its severity is the entry's."""
    assert parse_line(text, "stdout", "INFO") == line


async def test_a_template_without_logs_of_its_own_is_silent(cloud):
    """A new revision that says nothing leaves no ERROR."""
    await cloud.deploy(V2)
    assert await entries(cloud, f"resource.labels.revision_name={V2} AND severity>=ERROR") == []
    assert (await cloud.get()).terminal_condition.state == run_v2.Condition.State.CONDITION_SUCCEEDED
