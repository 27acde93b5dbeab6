"""Policy: what compresses, what an extension costs, what each number rests on."""

import pytest
from pydantic import ValidationError

from playbook.analysis.policy import LowTraffic, Policy

COMPRESSED = {
    "bake_s": (900, 60),
    "bake_max_s": (1800, 120),
    "cloud_run_interval_s": (60, 4),
    "cloud_run_delay_s": (240, 10),
    "literal_window_s": (300, 20),
    "horizon_s": (900, 60),
    "freshness_s": (60, 6),
    "saturation_s": (120, 8),
    "history_s": (3600, 30),
    "history_min_s": (600, 30),
    "gate_deadline_s": (900, 20),
    "watch_s": (3600, 30),
    "hotfix_watch_s": (300, 15),
    "drain_s": (300, 1),
    "literal_requests": (2000, 130),
    "scrape_s": (5, 1),
    "tick_s": (5, 1),
}


def test_compressed_changes_the_table_and_nothing_else():
    """A rehearsal's policy differs from the playbook's in its name and in the durations of the table only."""
    playbook, compressed = Policy().model_dump(), Policy.compressed().model_dump()
    different = {name: (playbook[name], compressed[name]) for name in playbook if playbook[name] != compressed[name]}
    assert different == {"name": ("playbook", "compressed"), **COMPRESSED}


@pytest.mark.parametrize("name", list(Policy.model_fields))
def test_each_number_says_what_it_is_and_where_it_comes_from(name):
    """Every field has a description, so that the UI and the docs can show it."""
    assert Policy.model_fields[name].description


def test_an_extension_is_longer_and_asks_for_more():
    """Extending raises the bake and lowers the chance that the next look may spend."""
    once = Policy().extended(600)
    assert (once.bake_s, once.extensions, once.alpha_promote_now) == (1500, 1, pytest.approx(0.01))
    assert once.extended(600).alpha_promote_now == pytest.approx(0.005)


def test_all_looks_together_spend_a_bounded_chance():
    """However often people extend, a canary above 0.5 % is promoted with at most 5 % + 2 %."""
    policy, spent = Policy(), Policy().alpha_promote_now
    for _ in range(50):
        policy = policy.extended(60)
        spent += policy.alpha_promote_now
    assert spent <= policy.alpha_promote + policy.alpha_extended


def test_watching_looks_for_an_hour():
    """After a promotion the same policy looks for the watch instead of the bake."""
    assert Policy().watching().bake_s == 3600


@pytest.mark.parametrize(
    ("written", "steps"),
    [
        ({}, ["promote"]),
        ({"other": "hold"}, ["promote"]),
        ({"*": ["probe", "promote"]}, ["probe", "promote"]),
        ({"*": "hold", "backend": "ask"}, ["ask"]),
        ({"backend": "probe"}, ["probe"]),
        ({"backend": []}, []),
        ("ask", ["ask"]),
        (["probe", "promote", "ask"], ["probe", "promote", "ask"]),
    ],
)
def test_the_steps_for_few_requests_are_written_for_all_services_or_for_one(written, steps):
    """One step or a list, for every service or by name; the older form (a service with one step) still works."""
    assert list(Policy(low_traffic=written).low_traffic_for("backend")) == steps


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"backend": "wait"}, "'hold', 'probe', 'promote' or 'ask'"),
        (["ask", "promote"], "ask is the last step"),
        (["probe", "probe"], "a step is named twice"),
    ],
)
def test_steps_without_sense_are_refused(written, said):
    """A step that is unknown, named twice, or would come after a person's answer."""
    with pytest.raises(ValidationError, match=said):
        Policy(low_traffic=written)


def test_a_policy_that_an_earlier_version_saved_is_read():
    """A saved block holds one step for each service."""
    saved = '{"low_traffic": {"backend": "probe", "frontend": "ask"}}'
    policy = Policy.model_validate_json(saved)
    assert policy.low_traffic_for("backend") == (LowTraffic.PROBE,)
    assert Policy.model_validate_json(policy.model_dump_json()) == policy


def test_a_bake_that_was_chosen_beforehand_is_still_the_planned_look():
    """The forecast's bake costs no certainty; a fault is looked for over all of it."""
    chosen = Policy().planned(1800)
    assert (chosen.bake_s, chosen.horizon_s, chosen.alpha_promote_now) == (1800, 1800, 0.05)
    assert chosen.extended(60).alpha_small_now == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("name", "value"),
    [("error_ratio_max", 0), ("error_ratio_max", 1), ("bake_s", -1), ("canary_percent", 100), ("beat_s", 11)],
)
def test_a_number_without_sense_is_refused(name, value):
    """A threshold outside its range never reaches a release."""
    with pytest.raises(ValidationError):
        Policy(**{name: value})
