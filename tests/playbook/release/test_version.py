"""Versions, where a service's requests are seen, and what a request to release must have."""

from typing import Any

import pytest
from pydantic import ValidationError

from playbook.analysis.policy import Policy
from playbook.analysis.samples import CounterSeries
from playbook.release.version import ReleaseRequest, Service, Telemetry, Version, commit_of_version, is_version

SERVICES = ("backend", "ai-core")
OWN, CLOUD_RUN = Telemetry.OWN, Telemetry.CLOUD_RUN


@pytest.mark.parametrize(
    ("text", "hotfix", "commit"),
    [
        ("v20251116-abc123", None, "abc123"),
        ("v20251116-hotfix1-abc123", 1, "abc123"),
        ("v20251116-hotfix0-abc123", 0, "abc123"),
    ],
)
def test_a_version_is_written_as_it_was_read(text: str, hotfix: int | None, commit: str) -> None:
    """The number of a hotfix may be 0."""
    version = Version.parse(text)
    assert (str(version), version.hotfix, version.commit) == (text, hotfix, commit)
    assert (is_version(text), commit_of_version(text)) == (True, commit)


def test_what_is_no_version_names_no_commit() -> None:
    """A revision's name is none."""
    assert (is_version("backend-00041-xyz"), commit_of_version("backend-00041-xyz")) == (False, "")


def test_a_service_without_metrics_is_judged_by_cloud_runs_counts() -> None:
    """They come late and say nothing of latency, so the judge waits longer and lets it be unseen."""
    policy = Policy(scrape_s=5, freshness_s=60)
    changed = CLOUD_RUN.policy(policy)
    assert OWN.policy(policy) == policy
    assert changed.scrape_s == policy.cloud_run_interval_s
    assert changed.freshness_s == 60 + policy.cloud_run_delay_s
    assert changed.allow_unseen == (*policy.allow_unseen, "latency")
    assert CLOUD_RUN.policy(changed).allow_unseen == changed.allow_unseen
    assert (OWN.requests, OWN.latency) == ("requests", "latency")
    assert (CLOUD_RUN.requests, CLOUD_RUN.latency) == ("cloud_run_requests", "")


@pytest.mark.parametrize(
    ("source", "queries", "offers"),
    [
        (OWN, ["latency", "up"], True),
        (CLOUD_RUN, ["requests", "memory"], True),
        (CLOUD_RUN, ["requests", "latency"], False),
        (CLOUD_RUN, [], True),
    ],
)
def test_a_source_offers_what_it_can_answer(source: Telemetry, queries: list[str], offers: bool) -> None:
    """A service without metrics is not scraped."""
    assert source.offers(queries) is offers


def test_the_class_of_a_response_is_its_status() -> None:
    """Cloud Run counts by class; a service's own series have the status already."""
    counted = CounterSeries({"response_code_class": "5xx"}, ((0.0, 1.0),))
    plain = CounterSeries({"status": "200"}, ((0.0, 1.0),))
    assert [one.labels["status"] for one in CLOUD_RUN.with_status([counted, plain])] == ["5xx", "200"]
    assert OWN.with_status([counted]) == (counted,)


def service(**fields: Any) -> Service:
    return Service.model_validate({"name": "backend", "repository": "r/backend", "job": "backend"} | fields)


def test_a_header_is_a_reference_to_a_secret() -> None:
    """The file is stored in Prefect, and a header's value is a secret more often than not."""
    for reference in (
        "env:SMOKE_TOKEN",
        "secret-manager:projects/p/secrets/s",
        "secret-manager:projects/p/secrets/s/versions/1",
    ):
        assert service(headers={"Authorization": reference}).headers == {"Authorization": reference}
    with pytest.raises(ValidationError, match="Authorization: say where its value is"):
        service(headers={"Authorization": "Bearer x"})


def test_a_service_answers_where_its_file_says() -> None:
    """With a tag at the tag's URL; empty means the URL that Cloud Run names."""
    named = service(tag_url="https://{tag}.internal", url="https://api.internal")
    assert (named.answers_at("c-1f2e3d"), named.answers_at("")) == ("https://c-1f2e3d.internal", "https://api.internal")
    assert service().answers_at("c-1f2e3d") == service().answers_at("") == ""


@pytest.mark.parametrize("percent", [None, 1, 99, 10.0])
def test_a_share_is_a_whole_number_from_1_to_99(percent: float | None) -> None:
    """Empty means the policy's."""
    assert ReleaseRequest(canary_percent=percent).problems(SERVICES) == []


@pytest.mark.parametrize(
    ("percent", "says"),
    [
        (0, "canary_percent: 0 is not between 1 and 99"),
        (100, "canary_percent: 100 is not between 1 and 99"),
        (10.5, "canary_percent: 10.5 is not a whole number"),
    ],
)
def test_any_other_share_is_refused(percent: float, says: str) -> None:
    """All users at once are the hotfix flow's."""
    (problem,) = ReleaseRequest(canary_percent=percent).problems(SERVICES)
    assert problem.startswith(says)


def test_services_are_known_and_named_once() -> None:
    """Both are said."""
    assert ReleaseRequest(services=list(SERVICES)).problems(SERVICES) == []
    assert ReleaseRequest(services=["backend", "backend"]).problems(SERVICES) == ["services: a service is named twice"]
    (problem,) = ReleaseRequest(services=["frontend"]).problems(SERVICES)
    assert problem == "services: 'frontend' is not a service of this environment; it has backend, ai-core"


def test_a_run_is_named_after_what_it_releases_and_an_empty_box_is_the_default() -> None:
    """The UI sends null for it."""
    assert ReleaseRequest.model_validate({"version": None, "canary_percent": None}) == ReleaseRequest()
    assert ReleaseRequest.model_validate(ReleaseRequest(changes="x")).changes == "x"
    assert ReleaseRequest().subject == "the newest version in staging"
    assert ReleaseRequest(version="v20251116-abc123").subject == "v20251116-abc123"
    with pytest.raises(ValidationError):
        ReleaseRequest.model_validate("v20251116-abc123")
