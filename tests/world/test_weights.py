"""How percents become weights and slots: exactly."""

from collections import Counter
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rehearsal.world.proxy import SLOTS_PER_PERCENT, slots_for, weights_for


@st.composite
def splits(draw: st.DrawFn) -> list[tuple[int, int]]:
    """(percent, instances) of one to four revisions, percents summing to 100."""
    cuts = sorted(draw(st.lists(st.integers(0, 100), max_size=3)))
    edges = [0, *cuts, 100]
    return [(b - a, draw(st.integers(1, 13))) for a, b in pairwise(edges)]


@given(splits())
def test_weights_are_proportional_to_percents(shares):
    """The weights of a revision's instances sum to its percent times one factor, and fit haproxy's 0 to 256."""
    weights = weights_for(shares)
    total = sum(map(sum, weights))
    for (percent, instances), rollouts in zip(shares, weights, strict=True):
        assert len(rollouts) == instances
        assert Fraction(sum(rollouts), total) == Fraction(percent, 100)
        assert all(0 <= rollout <= 256 for rollout in rollouts)
        assert max(rollouts) - min(rollouts) <= 1


@given(splits())
def test_slots_are_proportional_to_percents(shares):
    """A revision has so many slots for each percent, its instances equally many but for one."""
    named = [(percent, [f"r{i}.{n}" for n in range(count)]) for i, (percent, count) in enumerate(shares)]
    counts = Counter(slots_for(named))
    assert counts.total() == 100 * SLOTS_PER_PERCENT
    for percent, names in named:
        each = [counts[name] for name in names]
        assert sum(each) == percent * SLOTS_PER_PERCENT
        assert max(each) - min(each) <= 1


def test_a_revision_without_instances_has_neither():
    """Scaled to nothing: no slot, no weight."""
    assert slots_for([(100, [])]) == []
    assert weights_for([(100, 0)]) == [[]]
