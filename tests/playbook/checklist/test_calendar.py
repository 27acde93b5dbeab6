"""Freeze windows, in the local time of the people who set them, right across clock changes."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from playbook.analysis.policy import Policy
from playbook.checklist.calendar import WEEKDAYS, Freeze, frozen

BERLIN = "Europe/Berlin"
WEEKEND = Freeze(name="weekend", begins="fri 16:00", ends="mon 08:00", zone=BERLIN)


def at(text: str) -> float:
    """Unix seconds of a time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("now", "is_frozen"),
    [
        ("2025-11-28 14:59", False),  # winter: 15:59 in Berlin
        ("2025-11-28 15:00", True),
        ("2025-11-30 12:00", True),
        ("2025-12-01 06:59", True),
        ("2025-12-01 07:00", False),
        ("2025-07-04 13:59", False),  # summer: 15:59 in Berlin
        ("2025-07-04 14:00", True),
        ("2025-07-07 05:59", True),
        ("2025-07-07 06:00", False),
        ("2025-10-24 13:59", False),  # the clocks go back in this weekend
        ("2025-10-24 14:00", True),
        ("2025-10-27 06:59", True),
        ("2025-10-27 07:00", False),
        ("2026-03-27 15:00", True),  # the clocks go forward in this weekend
        ("2026-03-30 05:59", True),
        ("2026-03-30 06:00", False),
        ("2025-12-26 15:00", True),  # over the end of a year
        ("2026-01-02 14:59", False),
    ],
)
def test_a_weekly_window_follows_the_local_clock(now: str, is_frozen: bool) -> None:
    """Friday 16:00 to Monday 08:00 in Berlin, in summer and in winter."""
    assert (frozen([WEEKEND], at(now)) is not None) is is_frozen


@pytest.mark.parametrize(
    ("begins", "ends", "first", "last"),
    [
        ("2025-11-27 18:00", "2025-12-02 08:00", "2025-11-27 17:00", "2025-12-02 07:00"),
        ("2025-10-26 02:30", "2025-10-26 02:45", "2025-10-26 00:30", "2025-10-26 01:45"),  # both happen twice
        ("2026-03-29 02:30", "2026-03-29 02:45", "2026-03-29 00:30", "2026-03-29 01:45"),  # neither happens
    ],
)
def test_a_local_time_with_two_meanings_counts_to_the_longer_side(
    begins: str, ends: str, first: str, last: str
) -> None:
    """A clock change repeats an hour or leaves one out: the window is then longer, never shorter."""
    window = [Freeze(name="x", begins=begins, ends=ends, zone=BERLIN)]
    held = frozen(window, at(first))
    assert held is not None
    assert (held.from_s, held.until_s) == (at(first), at(last))
    assert frozen(window, at(first) - 1) is None
    assert frozen(window, at(last)) is None


def test_a_release_that_a_window_would_overtake_is_not_begun() -> None:
    """The bake counts."""
    assert frozen([WEEKEND], at("2025-11-28 14:50"), lasts_s=300) is None
    held = frozen([WEEKEND], at("2025-11-28 14:50"), lasts_s=900)
    assert held is not None
    assert held.from_s == at("2025-11-28 15:00")


def test_of_two_windows_the_longer_one_is_named() -> None:
    """A person who waits for the shorter one would be refused again."""
    year_end = Freeze(name="year end", begins="2025-11-28 00:00", ends="2026-01-05 08:00", zone="UTC")
    held = frozen([WEEKEND, year_end], at("2025-11-29 12:00"))
    assert held is not None
    assert held.freeze is year_end


def test_a_window_within_one_day_and_over_midnight() -> None:
    """The end is the next one after the begin, and a Sunday begins in the week before."""
    nights = Freeze(name="night", begins="sun 22:00", ends="mon 02:00", zone="UTC")
    assert frozen([nights], at("2025-11-30 23:00")) is not None  # a Sunday
    assert frozen([nights], at("2025-12-01 01:59")) is not None
    assert frozen([nights], at("2025-12-01 02:00")) is None
    noon = Freeze(name="noon", begins="wed 12:00", ends="wed 13:00", zone="America/New_York")
    assert frozen([noon], at("2025-12-03 17:30")) is not None
    assert frozen([noon], at("2025-12-03 18:00")) is None


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"begins": "friday 16:00"}, "is neither"),
        ({"begins": "fri 25:00"}, "hour must be"),
        ({"ends": "sun 24:00"}, "'sun 24:00' is no time: .* begins and ends at 00:00"),
        ({"begins": "2025-02-30 10:00", "ends": "2025-03-01 10:00"}, "day"),
        ({"begins": "2025-11-27 18:00"}, "must have the same form"),
        ({"ends": "fri 16:00"}, "emergency stop"),
        ({"begins": "2025-11-27 18:00", "ends": "2025-11-27 18:00"}, "which is not after"),
        ({"zone": "Berlin"}, "is no time zone"),
        ({"zone": "../etc/passwd"}, "is no time zone"),
    ],
)
def test_a_window_that_is_wrong_is_refused_with_what_to_write(fields: dict[str, str], says: str) -> None:
    """Before anything is saved."""
    with pytest.raises(ValidationError, match=says):
        Freeze(**{"name": "x", "begins": "fri 16:00", "ends": "mon 08:00", **fields})


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Tue 16:00", "tue 16:00"),
        (" THU 08:00 ", "thu 08:00"),
        ("sat 00:00", "sat 00:00"),
        ("2025-11-27T18:00", "2025-11-27 18:00"),
        ("2025-11-27t18:00", "2025-11-27 18:00"),
    ],
)
def test_a_window_may_be_written_in_capitals_and_as_iso_8601(written: str, read: str) -> None:
    """The T of a date and the t of a weekday are not the same."""
    ends = "2025-12-02 08:00" if read[:1].isdigit() else "mon 07:00"
    assert Freeze(name="x", begins=written, ends=ends).begins == read


def test_a_toml_date_is_a_window_too() -> None:
    """TOML has local date-times of its own."""
    written = Freeze(name="x", begins=datetime(2025, 11, 27, 18), ends=datetime(2025, 11, 28, 8))  # type: ignore[arg-type]
    assert (written.begins, written.ends) == ("2025-11-27 18:00", "2025-11-28 08:00")


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/St_Johns", "Africa/Cairo"]
)
@pytest.mark.parametrize(
    ("begins", "ends"),
    [
        ("sat 23:30", "sun 02:30"),
        ("sun 02:15", "sun 02:45"),
        ("thu 23:30", "fri 00:30"),
        ("fri 16:00", "mon 08:00"),
        ("sun 23:00", "mon 00:00"),
    ],
)
def test_no_clock_change_makes_a_window_shorter(zone: str, begins: str, ends: str) -> None:
    """Whenever the clock on the wall shows a time within it, it holds: every ten minutes around each clock change."""
    freeze, wall = Freeze(name="x", begins=begins, ends=ends, zone=zone), ZoneInfo(zone)
    first, last = (WEEKDAYS.index(text[:3]) * 1440 + int(text[4:6]) * 60 + int(text[7:]) for text in (begins, ends))
    for change in ("2025-03-07", "2025-03-28", "2025-04-04", "2025-04-24", "2025-10-03", "2025-10-24", "2025-10-31"):
        start = datetime.fromisoformat(change).replace(tzinfo=UTC)
        for moment in (start + timedelta(minutes=10 * step) for step in range(4 * 144)):
            local = moment.astimezone(wall)
            shown = local.weekday() * 1440 + local.hour * 60 + local.minute
            is_within = first <= shown < last if first < last else shown >= first or shown < last
            assert not is_within or frozen([freeze], moment.timestamp()), local


def test_a_window_is_looked_for_as_long_as_the_policy_lets_a_release_take() -> None:
    """The forecast may choose a longer bake than is planned; a hotfix has its first minutes, and no bake."""
    policy = Policy(bake_s=900, bake_max_s=1800, hotfix_watch_s=300)
    assert (policy.longest_s(), policy.longest_s(is_hotfix=True)) == (1800, 300)
    assert policy.model_copy(update={"bake_max_s": 600}).longest_s() == 900
    assert policy.model_copy(update={"bake_s": 0}).longest_s() == 0
