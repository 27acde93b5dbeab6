"""Splits: whole percents that sum to 100, whatever is done to them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from playbook.release.traffic import LATEST, ServiceSnapshot, TrafficSplit

names = st.sampled_from(["old", "older", "oldest"])


@st.composite
def splits(draw: st.DrawFn) -> TrafficSplit:
    cuts = sorted(draw(st.sets(st.integers(1, 99), max_size=2)))
    shares = [b - a for a, b in zip([0, *cuts], [*cuts, 100], strict=True)]
    return TrafficSplit(percent=dict(zip(["old", "older", "oldest"], shares, strict=False)))


@given(splits(), st.integers(1, 99))
def test_a_canary_takes_its_share_and_the_rest_still_sums_to_100(split: TrafficSplit, percent: int) -> None:
    """Whatever was served before, adding a canary gives a whole split with exactly the canary's share."""
    with_canary = split.with_canary("new", percent)
    assert with_canary.percent["new"] == percent
    assert sum(with_canary.percent.values()) == 100


@given(splits(), st.integers(1, 99))
def test_the_rest_is_shared_as_before_to_within_one_percent(split: TrafficSplit, percent: int) -> None:
    """No old revision gains or loses more than rounding by the arrival of a canary."""
    with_canary = split.with_canary("new", percent)
    for revision, share in split.percent.items():
        assert abs(with_canary.percent.get(revision, 0) - share * (100 - percent) / 100) < 1


@pytest.mark.parametrize("percent", [{"a": 99}, {"a": 101}, {"a": 100, "b": 0}, {"a": 150, "b": -50}, {}])
def test_a_split_that_is_not_whole_cannot_be_made(percent: dict[str, int]) -> None:
    """Percents above 0 that sum to 100, or nothing."""
    with pytest.raises(ValidationError, match="sum to 100"):
        TrafficSplit(percent=percent)


def snapshot(split: TrafficSplit, **kwargs: object) -> ServiceSnapshot:
    fields = {"service": "s", "etag": "1", "uri": "", "split": split, "served": split, "latest_ready": "r2"}
    return ServiceSnapshot.model_validate(fields | kwargs)


def test_latest_is_pinned_to_the_revision_that_serves_now() -> None:
    """LATEST becomes the newest ready revision, and joins it where that one already has a share."""
    found = snapshot(TrafficSplit(percent={LATEST: 90, "r2": 10}, tags={"t": LATEST}))
    assert found.pinned == TrafficSplit(percent={"r2": 100}, tags={"t": "r2"})


def test_tags_move_nobody() -> None:
    """Two splits that differ in tags only send users the same way."""
    split = TrafficSplit.all_to("r1")
    assert split.with_tag("canary", "r2").moves_like(split)
    assert split.with_tag("canary", "r2") != split


def test_what_is_asked_for_and_observed_is_served() -> None:
    """An operation that does not end says nothing against it; another request that is not served yet does."""
    split, other = TrafficSplit.all_to("r1"), TrafficSplit.all_to("r2")
    assert snapshot(split).serves(split)
    assert snapshot(split, is_reconciling=True).serves(split)
    assert not snapshot(other, served=split, is_reconciling=True).serves(split)
    assert not snapshot(split, served=None).serves(split)
