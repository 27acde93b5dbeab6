"""Slack says each fact once, and names what is wrong when it cannot."""

import pytest
from pydantic import SecretStr

from blocks import Slack
from playbook.errors import Refused, ReleaseError, Transient
from playbook.messages.facts import Audience, Message

FACT = Message(
    key="v20251116-abc123-1f2e3d/complete", audience=Audience.RELEASES, text="✅ Production release complete"
)


@pytest.fixture
def slack(stand_ins) -> Slack:
    """An app in the vendor's workspace."""
    channels = {Audience.RELEASES: "C0RELEASES", Audience.INCIDENTS: "C0INCIDENTS"}
    return Slack(token=SecretStr("xoxb-1"), channels=channels, api_url=f"{stand_ins.url}/slack/api")


async def test_a_message_goes_to_its_room_with_its_key(slack: Slack, stand_ins) -> None:
    """The text is what people read, the key is beside it."""
    await slack.post(FACT)
    (said,) = stand_ins.told("slack")
    assert (said["channel"], said["text"]) == ("C0RELEASES", FACT.text)
    assert said["metadata"] == {"event_type": "release_fact", "event_payload": {"key": FACT.key}}


async def test_a_repeat_tells_nobody_what_they_know(slack: Slack, stand_ins) -> None:
    """The reply to the first try was lost; the second finds the fact in the channel and is silent."""
    stand_ins.vendors.fault("slack", applied=True, path="*postMessage")
    with pytest.raises(Transient):
        await slack.post(FACT)
    await slack.post(FACT, repeat=True)
    assert len(stand_ins.told("slack")) == 1


async def test_a_repeat_tells_what_was_never_heard(slack: Slack, stand_ins) -> None:
    """The first try did not arrive, and other facts are in the channel: this one is told."""
    await slack.post(FACT.model_copy(update={"key": "another"}))
    await slack.post(FACT, repeat=True)
    assert len(stand_ins.told("slack")) == 2


@pytest.mark.parametrize(
    ("error", "ours", "field"),
    [
        ("invalid_auth", Refused, r"slack\.token"),
        ("missing_scope", Refused, r"slack\.token"),
        ("channel_not_found", Refused, r"slack\.channels\.releases"),
        ("is_archived", Refused, r"slack\.channels\.releases"),
        ("ratelimited", Transient, "again"),
        ("internal_error", Transient, "again"),
    ],
)
async def test_slacks_own_word_decides(
    slack: Slack, stand_ins, error: str, ours: type[ReleaseError], field: str
) -> None:
    """An error comes with status 200; its word says whether to ask again, and which field is wrong otherwise."""
    stand_ins.vendors.fault("slack", status=200, message=error)
    with pytest.raises(ours, match=field):
        await slack.post(FACT)


async def test_a_slack_that_is_busy_has_the_message_when_its_time_is_over(slack: Slack, stand_ins) -> None:
    """It did not take the first try, so the message stands there once."""
    stand_ins.vendors.fault("slack", status=429)
    await slack.post(FACT)
    assert len(stand_ins.told("slack")) == 1


@pytest.mark.parametrize("order", [{"status": 429, "count": None}, {"status": 503}, {"garbage": True}], ids=str)
async def test_a_slack_that_is_away_is_asked_again(slack: Slack, stand_ins, order: dict[str, object]) -> None:
    """Neither a status nor a gateway's page is a yes."""
    stand_ins.vendors.fault("slack", **order)
    with pytest.raises(Transient):
        await slack.model_copy(update={"timeout_s": 3}).post(FACT)
    assert stand_ins.told("slack") == []


async def test_a_room_without_a_channel_is_named() -> None:
    """Before anything is sent."""
    with pytest.raises(Refused, match=r"slack\.channels\.releases"):
        await Slack(token=SecretStr("xoxb-1"), channels={}).post(FACT)
