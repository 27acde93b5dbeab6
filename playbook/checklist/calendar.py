"""Freeze windows: times in which nothing is released, once or every week, in the time zone of the people who set them.

A local time that a clock change repeats or leaves out counts to the longer side: a window begins with its first
reading and ends with its last.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, time, timedelta
from typing import NamedTuple, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from playbook.base import Written

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ONCE = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d")
WEEKLY = re.compile(rf"({'|'.join(WEEKDAYS)}) (\d\d:\d\d)")
FORMS = "'2025-11-27 18:00' for one window, or 'fri 16:00' for every week"
WEEK = timedelta(days=7)


class Freeze(Written):
    """One window, from ``begins`` until just before ``ends``."""

    name: str = Field(min_length=1, max_length=100, description="What people call it, for example Black Friday.")
    begins: str = Field(description=f"Local time: {FORMS}.")
    ends: str = Field(description="Local time, in the same form.")
    zone: str = Field("UTC", description="Time zone of both, for example Europe/Berlin.")

    @field_validator("begins", "ends", mode="before")
    @classmethod
    def _has_a_form(cls, value: object) -> object:
        text = value.isoformat(" ", "minutes") if isinstance(value, datetime) else str(value).strip().lower()
        text = text.replace("t", " ") if text[:1].isdigit() else text
        weekly = WEEKLY.fullmatch(text)
        if not weekly and not ONCE.fullmatch(text):
            raise ValueError(f"{text[:40]!r} is neither {FORMS}")
        try:
            _ = time.fromisoformat(weekly[2]) if weekly else datetime.fromisoformat(text)
        except ValueError as wrong:
            raise ValueError(f"{text!r} is no time: {wrong}. A day begins and ends at 00:00") from wrong
        return text

    @field_validator("zone")
    @classmethod
    def _is_known(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as unknown:
            raise ValueError(f"{zone[:60]!r} is no time zone; write one such as Europe/Berlin, or UTC") from unknown
        return zone

    @model_validator(mode="after")
    def _is_a_window(self) -> Self:
        if self.is_weekly != bool(WEEKLY.fullmatch(self.ends)):
            raise ValueError(f"begins and ends must have the same form: {FORMS}")
        if self.is_weekly and self.begins == self.ends:
            raise ValueError("it begins when it ends: a week that is frozen all the time is an emergency stop")
        if not self.is_weekly and self.begins >= self.ends:
            raise ValueError(f"it ends at {self.ends}, which is not after {self.begins}")
        try:
            list(self.occurrences(0.0))
        except (OverflowError, ValueError) as beyond:
            raise ValueError(f"{self.begins} to {self.ends} in {self.zone} is beyond the calendar") from beyond
        return self

    @property
    def is_weekly(self) -> bool:
        """Whether it comes back every week."""
        return WEEKLY.fullmatch(self.begins) is not None

    def occurrences(self, now_s: float) -> Iterable[tuple[float, float]]:
        """From and until (unix seconds) of the window, or of those of the weeks around ``now_s``."""
        zone = ZoneInfo(self.zone)
        if not self.is_weekly:
            first, last = datetime.fromisoformat(self.begins), datetime.fromisoformat(self.ends)
            yield _instants(first, zone)[0], _instants(last, zone)[1]
            return
        today = datetime.fromtimestamp(now_s, zone).replace(tzinfo=None)
        for week in (-1, 0, 1):
            begins = _in_week(today, self.begins) + week * WEEK
            ends = _in_week(begins, self.ends)
            yield _instants(begins, zone)[0], _instants(ends if ends > begins else ends + WEEK, zone)[1]


class Held(NamedTuple):
    """A window that holds, and until when (unix seconds)."""

    freeze: Freeze
    from_s: float
    until_s: float


def frozen(freezes: Iterable[Freeze], now_s: float, lasts_s: float = 0.0) -> Held | None:
    """The window in which something that begins now and lasts ``lasts_s`` seconds would lie, the one that ends last.

    Whole or in part: a release that a window would overtake in its bake is not begun.
    """
    held = [
        Held(freeze, from_s, until_s)
        for freeze in freezes
        for from_s, until_s in freeze.occurrences(now_s)
        if from_s <= now_s + lasts_s and now_s < until_s
    ]
    return max(held, key=lambda one: one.until_s, default=None)


def _in_week(day: datetime, text: str) -> datetime:
    """The local time that ``text`` names in the week (from Monday) of ``day``."""
    found = WEEKLY.fullmatch(text)
    assert found is not None
    monday = (day - timedelta(days=day.weekday())).date()
    at = time.fromisoformat(found[2])
    return datetime.combine(monday + timedelta(days=WEEKDAYS.index(found[1])), at)


def _instants(local: datetime, zone: ZoneInfo) -> tuple[float, float]:
    """The first and the last instant (unix seconds) that this local time may mean."""
    both = [local.replace(tzinfo=zone, fold=fold).astimezone(UTC).timestamp() for fold in (0, 1)]
    return min(both), max(both)
