"""What the forecast prints, and that whole releases of small services are measured as they are made."""

import numpy as np
import pytest

from bench import forecast, small_services
from bench.small_services import Case, release
from playbook.analysis.verdict import Action


def test_the_table_has_a_row_for_each_rate(capsys):
    """From one request in fifty seconds to two thousand a second."""
    assert forecast.main([]) == 0
    rows = capsys.readouterr().out.strip().splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == [f"{rate:g}" for rate in forecast.RATES]
    assert "| 30 % for 18 minutes |" in next(row for row in rows if row.startswith("| 2 |"))


def test_one_rate_is_said_in_a_sentence(capsys):
    """As a release would say it."""
    assert forecast.main(["--rate", "2"]) == 0
    assert capsys.readouterr().out.startswith("About 180 requests will reach the service's canary in 15 minutes; ")
    with pytest.raises(SystemExit):
        forecast.main(["--rate", "-1"])


@pytest.mark.parametrize(
    ("case", "end"),
    [(Case("healthy"), Action.PROMOTE), (Case("bad", fault=0.3), Action.ROLLBACK)],
    ids=["healthy", "30 % fail"],
)
def test_a_measured_release_ends_as_its_policy_has_it(case, end):
    """At 2 requests/s: 30 % for 18 minutes, and no person."""
    found, (chosen,) = release(np.random.default_rng(1), case, 2.0)
    assert (found, chosen.percent) == (end, 30)
    assert 1000 <= chosen.bake_s <= 1200


def test_every_target_is_a_rate_that_is_measured():
    """The table says what is required beside what was measured."""
    assert set(small_services.TARGETS) <= set(small_services.RATES)
