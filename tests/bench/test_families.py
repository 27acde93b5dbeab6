"""What `bench.limit --families` counts, and how the figures of two commits stand beside each other."""

from pathlib import Path

from bench.families import RATES, count, tables
from bench.limit import of_tree

ROOT = Path(__file__).parents[2]


def test_every_family_that_is_not_bad_is_counted_at_every_rate():
    """One bake each of a healthy one: counted, not rolled back, and the quick one promoted."""
    found = count(1, [0], only="0.01 %, 2 gaps, 3 restarts")
    assert list(found) == [f"healthy|0.01 %, 2 gaps, 3 restarts|{rate:g}" for rate in RATES]
    assert all((bakes, back) == (1, 0) for bakes, back, _ in found.values())
    assert found["healthy|0.01 %, 2 gaps, 3 restarts|2000"][2] == 1


def test_before_and_now_stand_beside_each_other():
    """A row for each family of which a bake was rolled back, and the sum of all."""
    now = {"healthy|calm|20": [5, 0, 5], "healthy|wild|20": [5, 1, 4], "band|0.3 %|200": [5, 2, 0]}
    before = {**now, "healthy|wild|20": [5, 3, 2]}
    text = tables(now, before)
    assert "| wild | 0 / 0 | 3 / 1 | 0 / 0 | 0 / 0 |" in text
    assert "| calm |" not in text
    assert "10 bakes of 2 families, 3 / 1 rolled back, 7 / 9 promoted." in text
    assert "| 0.3 % | 0 / 0 | 0 / 0 | 2 / 2 | 0 / 0 |" in text


def test_the_judge_of_another_tree_is_asked():
    """With this folder's bench and that one's playbook, in a process of its own."""
    arguments = ["--only", "no setup", "--families", "--family-runs", "0", "--seeds", "0"]
    found = of_tree(ROOT, arguments)
    assert found["limit"] == {}
    assert list(found["families"].values()) == [[0, 0, 0]] * len(found["families"])
