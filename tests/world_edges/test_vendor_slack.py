"""The stand-in for Slack."""

from typing import Any

import pytest

POST, HISTORY = "/slack/api/chat.postMessage", "/slack/api/conversations.history"
FACT = {"event_type": "release_fact", "event_payload": {"key": "v1/start"}}


def said(**more: Any) -> dict[str, Any]:
    """A message in #releases."""
    return {"channel": "C0RELEASES", "text": "hello", **more}


async def test_a_message_is_kept_whole(stand_ins: Any) -> None:
    """Blocks and metadata come back from the history, newest first, each message with a ts of its own."""
    blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": "*hello*"}}]
    first = (await stand_ins.http.post(POST, json=said(metadata=FACT, blocks=blocks))).json()
    second = (await stand_ins.http.post(POST, json=said(channel="#releases"))).json()
    assert (first["ok"], first["channel"], second["channel"]) == (True, "C0RELEASES", "C0RELEASES")
    assert first["ts"] < second["ts"]
    asked = {"channel": "C0RELEASES", "include_all_metadata": "true"}
    found = (await stand_ins.http.get(HISTORY, params=asked)).json()["messages"]
    assert [one["ts"] for one in found] == [second["ts"], first["ts"]]
    assert (found[1]["metadata"], found[1]["blocks"]) == (FACT, blocks)


async def test_metadata_is_shown_on_request_only(stand_ins: Any) -> None:
    """Without ``include_all_metadata`` the history leaves it out, as Slack does."""
    await stand_ins.http.post(POST, json=said(metadata=FACT))
    (found,) = (await stand_ins.http.get(HISTORY, params={"channel": "C0RELEASES"})).json()["messages"]
    assert "metadata" not in found


async def test_history_is_limited(stand_ins: Any) -> None:
    """``limit`` and ``oldest`` bound the history, and ``has_more`` says that there was more."""
    stamps = [(await stand_ins.http.post(POST, json=said())).json()["ts"] for _ in range(3)]
    limited = (await stand_ins.http.get(HISTORY, params={"channel": "C0RELEASES", "limit": 2})).json()
    assert ([one["ts"] for one in limited["messages"]], limited["has_more"]) == (stamps[:0:-1], True)
    newer = (await stand_ins.http.get(HISTORY, params={"channel": "C0RELEASES", "oldest": stamps[1]})).json()
    assert [one["ts"] for one in newer["messages"]] == stamps[2:]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param(said(channel="C0NOWHERE"), "channel_not_found", id="an unknown channel"),
        pytest.param({"text": "hello"}, "channel_not_found", id="no channel"),
        pytest.param(said(text=""), "no_text", id="nothing to say"),
        pytest.param(said(text="x" * 40_001), "msg_too_long", id="too much to say"),
        pytest.param(said(blocks=[{"no": "type"}]), "invalid_blocks", id="a block without a type"),
        pytest.param(said(metadata={"event_type": "x"}), "invalid_metadata_format", id="metadata without payload"),
        pytest.param(["hello"], "invalid_json", id="no object"),
    ],
)
async def test_what_slack_refuses(stand_ins: Any, body: Any, error: str) -> None:
    """A bad call is HTTP 200 with ``ok: false`` and Slack's error, and no message is stored."""
    answer = await stand_ins.http.post(POST, json=body)
    assert (answer.status_code, answer.json()) == (200, {"ok": False, "error": error})
    assert stand_ins.vendors.calls == []


@pytest.mark.parametrize(
    ("authorization", "error"),
    [
        pytest.param("", "not_authed", id="no token"),
        pytest.param("Bearer wrong", "invalid_auth", id="a wrong token"),
        pytest.param("Bearer readonly", "missing_scope", id="a token without chat:write"),
    ],
)
async def test_tokens(stand_ins: Any, authorization: str, error: str) -> None:
    """What is wrong with a token is HTTP 200 and Slack's word for it."""
    answer = await stand_ins.http.post(POST, json=said(), headers={"Authorization": authorization})
    assert (answer.status_code, answer.json()["ok"], answer.json()["error"]) == (200, False, error)


async def test_any_error_of_slacks_can_be_ordered(stand_ins: Any) -> None:
    """An order's message is Slack's error."""
    stand_ins.vendors.fault("slack", status=200, message="is_archived")
    assert (await stand_ins.http.post(POST, json=said())).json() == {"ok": False, "error": "is_archived"}
