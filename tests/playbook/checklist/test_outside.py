"""What tokens and staging say of themselves before a release."""

import base64
import json

import pytest

from playbook.checklist.checks import JWT_MAX, TIME_MAX_S, jwt_ends_s, staging_problem
from playbook.lease.record import Record
from playbook.release.promotion import Promotion
from playbook.release.traffic import LATEST, ServiceSnapshot, TrafficSplit


def token(claims: object, parts: int = 3) -> str:
    """A JSON Web Token with these claims, unpadded as RFC 7515 asks, and so many parts."""
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return ".".join(["e30", body, *["c2ln"] * (parts - 2)])


@pytest.mark.parametrize(
    ("text", "ends_s"),
    [
        (token({"exp": 1_763_647_200}), 1_763_647_200.0),
        (token({"exp": 1_763_647_200.5}), 1_763_647_200.5),
        (token({"exp": 0}), 0.0),
        (token({"exp": -1}), None),
        (token({"exp": TIME_MAX_S - 1}), TIME_MAX_S - 1),
        (token({"exp": TIME_MAX_S}), None),
        (token({"exp": float("nan")}), None),
        (token({"exp": True}), None),
        (token({"exp": "tomorrow"}), None),
        (token({}), None),
        (token(["exp"]), None),
        (token({"exp": 1}, parts=2), None),
        (token({"exp": 1}, parts=4), None),
        ("a.%%%.c", None),
        ("sk-no-token-at-all", None),
        ("", None),
    ],
)
def test_the_end_of_a_token_is_read_where_it_names_a_time(text: str, ends_s: float | None) -> None:
    """Any other secret, and any other claim, says nothing of its end."""
    assert jwt_ends_s(text) == ends_s


def test_a_token_longer_than_any_real_one_is_not_read() -> None:
    """A secret may be a file of megabytes."""
    short = token({"exp": 1})
    assert jwt_ends_s(short + "x" * (JWT_MAX - len(short))) == 1.0
    assert jwt_ends_s(short + "x" * (JWT_MAX - len(short) + 1)) is None


GOOD = Promotion(release="v20251116-abc123", revision="s-2", digest="sha256:new", promoted_at_s=2)
OLDER = Promotion(release="v20251109-abc123", revision="s-1", digest="sha256:old", promoted_at_s=1)


def staging(split: TrafficSplit) -> ServiceSnapshot:
    """Staging's service, on which two releases passed their smoke tests."""
    annotations = Record(last_good=(GOOD, OLDER)).annotations()
    return ServiceSnapshot(
        service="s", etag="1", uri="https://s", split=split, served=split, annotations=annotations, latest_ready="s-2"
    )


@pytest.mark.parametrize(
    ("split", "digest", "problem"),
    [
        (TrafficSplit.all_to("s-2"), "sha256:new", None),
        (TrafficSplit.all_to(LATEST), "sha256:new", None),
        (TrafficSplit.all_to("s-1"), "sha256:old", None),
        (TrafficSplit.all_to("s-1"), "sha256:new", "not s-2"),
        (TrafficSplit(percent={"s-1": 50, "s-2": 50}), "sha256:new", "not s-2"),
        (TrafficSplit.all_to("s-2"), "sha256:never", "no smoke tests of sha256:never"),
    ],
    ids=["serves it", "serves it as the latest", "an older one", "serves another", "serves half", "never tried"],
)
def test_staging_shows_that_an_image_works_where_it_passed_and_serves(
    split: TrafficSplit, digest: str, problem: str | None
) -> None:
    """Both: smoke tests that passed a week ago say nothing of what serves now."""
    said = staging_problem(staging(split), digest)
    assert said is None if problem is None else problem in (said or "")
