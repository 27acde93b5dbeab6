"""The page of a release says what a tired reader needs, and its picture shows what was seen."""

import base64
import re
import xml.etree.ElementTree as ElementTree

import pytest

from playbook.analysis.chart import BINS, curves, draw, trace
from playbook.analysis.policy import Policy
from playbook.analysis.verdict import Verdict, judge
from playbook.lease.lease import Decision, ReleaseLease, ServiceRollout
from playbook.messages.release_page import QUERY_WIDTH, folded, page, users
from playbook.messages.report import Report
from playbook.release.outcome import FlowResult, ReleaseOutcome
from playbook.release.traffic import TrafficSplit

PART = ServiceRollout(
    service="backend",
    from_revision="backend-1",
    found=TrafficSplit.all_to("backend-1"),
    to_revision="backend-2",
    image="r/backend@sha256:" + "a" * 64,
)
CLAIM = ReleaseLease(
    release_id="v20251116-abc123-1f2e3d",
    version="v20251116-abc123",
    flow_run_id="1",
    epoch=1,
    rollouts=(PART,),
    canary_percent=10,
    place="--project=p --region=r",
    deadline_s=0,
)


def judged(bake, tick, ticks: int = 30, errors: int = 1) -> Verdict:
    """A verdict as the monitor shows it: with queries and the course of the bake."""
    evidence = bake().folded([tick(n=20, x=errors, m=180) for _ in range(ticks)])
    verdict = judge(evidence, Policy()).with_queries({"requests": 'http_requests_total{job="backend"}'})
    return verdict.model_copy(update={"trace": trace(evidence.rounds, evidence.strongest, evidence.bake_start_s)})


def test_the_page_gives_the_whole_command_that_takes_a_release_back() -> None:
    """Project, region, service and revision stand in it: nothing is left to remember at 3 a.m."""
    text = page(Report(environment="production", lease=CLAIM)).replace("\\\n  ", "")
    assert "gcloud run services update-traffic backend --project=p --region=r --to-revisions=backend-1=100" in text


@pytest.mark.parametrize(
    ("decision", "start", "end", "words"),
    [
        (Decision.DEPLOY, None, None, "revisions from before"),
        (Decision.BAKE, 1.0, None, "10 % have been on the new revisions"),
        (Decision.REVERT, 1.0, None, "being moved back"),
        (Decision.REVERT, 1.0, ReleaseOutcome.REVERTED, "all are back on backend-1"),
        (Decision.PROMOTE, 1.0, ReleaseOutcome.PROMOTED, "all are on the new revisions"),
        (Decision.REVERT, 1.0, ReleaseOutcome.INTERRUPTED, "see the next sentence"),
    ],
)
def test_the_page_says_who_is_on_what(
    decision: Decision, start: float | None, end: ReleaseOutcome | None, words: str
) -> None:
    """The one thing that everybody asks first is answered in one sentence, at every point of a release."""
    lease = CLAIM.model_copy(update={"decision": decision, "bake_start_s": start})
    outcome = FlowResult(end=end, message="m") if end else None
    assert words in users(Report(environment="production", lease=lease, outcome=outcome))


def test_every_signal_stands_on_the_page_with_its_query_and_without_a_none(bake, tick) -> None:
    """Numbers are in percent and odds, what is not known is called so, and the query can be asked again."""
    text = page(Report(environment="production", lease=CLAIM, verdicts=(judged(bake, tick),)))
    assert "30 of 600 (5 %)" in text
    assert 'http_requests_total{job="backend"}' in text
    assert "None" not in text


def test_a_ticket_carries_no_picture_and_the_page_does(bake, tick) -> None:
    """A picture is a data URI: the Prefect UI draws it, an issue on GitHub would show its bytes."""
    report = Report(environment="production", lease=CLAIM, verdicts=(judged(bake, tick),))
    assert "data:image" not in page(report)
    found = re.search(r"data:image/svg\+xml;base64,([^)]+)", page(report, pictures=True))
    assert found
    assert b"<svg" in base64.b64decode(found[1])


@pytest.mark.parametrize("ticks", [0, 1, 180, 1000])
def test_the_picture_is_whole_and_small_however_long_the_bake(bake, tick, ticks: int) -> None:
    """It is well-formed SVG of a bounded number of moments."""
    moments = judged(bake, tick, ticks=ticks).trace
    svg = draw("backend", moments, curves(moments, 0.005, 0.05, "requests slower than 2 s"))
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert len(moments) <= BINS


def test_the_picture_leaves_a_gap_where_nobody_asked(bake, tick) -> None:
    """Without requests there is no ratio: the line stops and begins anew, it does not fall to zero."""
    evidence = bake().folded([tick(n=20, m=180), tick(), tick(n=20, m=180)])
    moments = trace(evidence.rounds, evidence.strongest, evidence.bake_start_s)
    assert [moment.canary for moment in moments] == [0, None, 0]


def test_a_query_is_folded_and_stays_the_same_query() -> None:
    """No line is wider than the page, and without the breaks it is what was asked."""
    query = 'http_requests_total{project="ethixai-production",job="backend",revision="ethixai-backend-abc1234-1f2e3d"}'
    lines = folded(query).split("\n")
    assert len(lines) == 2
    assert max(map(len, lines)) <= QUERY_WIDTH
    assert "".join(line.strip() for line in lines) == query
