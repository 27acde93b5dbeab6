"""The Logging query language: what matches, how operators bind, and what is not taught."""

import datetime

import pytest

from rehearsal.world.log_filter import SEVERITIES, Entry, FilterError, parse

ENTRY = Entry(
    seq=1,
    log_name="projects/p/logs/run.googleapis.com%2Fstderr",
    timestamp=datetime.datetime(2025, 11, 16, 14, 0, 0, tzinfo=datetime.UTC),
    severity=SEVERITIES["ERROR"],
    resource_type="cloud_run_revision",
    insert_id="i1",
    json={"message": "upstream reset", "status": 500, "ok": False, "deep": {"er": "x"}},
    labels={"instanceId": "abc"},
    resource_labels={"revision_name": "backend-v2", "service_name": "backend"},
)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ('resource.type="cloud_run_revision"', True),
        ("resource.type=cloud_run_revision AND severity>=ERROR", True),
        ('resource.labels.revision_name="BACKEND-V2"', True),
        ("resource.labels.revision_name=backend", False),
        ("resource.labels.revision_name:backend", True),
        ("resource.labels.revision_name:*", True),
        ("resource.labels.zone:*", False),
        ("severity=ERROR", True),
        ("severity>ERROR", False),
        ("severity<500", False),
        ("severity!=INFO", True),
        ('timestamp>="2025-11-16T14:00:00Z"', True),
        ('timestamp>"2025-11-16T15:00:00.123456789+01:00"', False),
        ('timestamp<"2025-11-17"', True),
        ("jsonPayload.status>=500", True),
        ("jsonPayload.status=404", False),
        ("jsonPayload.ok=false", True),
        ("jsonPayload.deep.er=x", True),
        ('jsonPayload.message=~"^upstream .*et$"', True),
        ('jsonPayload.message!~"reset"', False),
        ("labels.instanceId=abc", True),
        ('textPayload:"reset"', False),
        ('textPayload!="reset"', False),
        ('NOT textPayload="reset"', True),
        ("-severity=ERROR", False),
        ('logName:"stderr"', True),
        ("severity=INFO OR severity=ERROR", True),
        # OR binds tighter than AND: this is (INFO or ERROR) and (service is frontend).
        ("severity=ERROR OR severity=INFO AND resource.labels.service_name=frontend", False),
        ("severity=ERROR OR (severity=INFO AND resource.labels.service_name=frontend)", True),
        # NOT binds tighter than both.
        ("NOT severity=INFO AND severity=ERROR", True),
        ("severity=ERROR resource.labels.service_name=backend", True),
        ("severity=ERROR\nresource.labels.service_name=frontend", False),
    ],
)
def test_a_filter_matches_as_the_language_says(text, matches):
    """Each filter against one structured ERROR entry of backend-v2."""
    assert parse(text)(ENTRY) is matches


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("upstream", "without a field"),
        ("httpRequest.status=500", "httpRequest.status"),
        ("severity=LOUD", "LOUD"),
        ('timestamp>"yesterday"', "yesterday"),
        ("(severity=ERROR", "not closed"),
        ("severity=ERROR)", "unexpected"),
        ("severity=(ERROR OR INFO)", "lists of values"),
        ('textPayload=~"(?=x)"', "RE2"),
        ('textPayload=~"("', "no pattern"),
        ("severity=ERROR AND", "the end"),
        ('textPayload="open', "cannot read"),
        ("x" * 20_001, "20001"),
    ],
)
def test_what_is_not_known_is_said(text, words):
    """A filter that is wrong or not taught raises, naming what it is about."""
    with pytest.raises(FilterError, match=words.replace("(", r"\(")):
        parse(text)


def test_a_quoted_value_cannot_escape_its_quotes():
    """An escaped quote stays inside the value: no clause can be smuggled in."""
    assert not parse(r'textPayload="x\" OR severity=ERROR OR textPayload=\"x"')(ENTRY)
